"""What the fields of an AWS role may hold."""

import pytest
from marshmallow import ValidationError

from verifiers.aws_role import VERIFIER, AwsRoleSchema

ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": "tenant:42"}


@pytest.mark.parametrize(
    "arn",
    [
        "reader",
        "arn:aws:iam::12345678901:role/reader",
        "arn:aws:iam::123456789012:user/reader",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role//",
        "arn:aws:iam::123456789012:role/path/",
        "arn:aws:iam:us-east-1:123456789012:role/reader",
        "arn:aws:sts::123456789012:assumed-role/reader/session",
        "arn:evil:iam::123456789012:role/reader",
        "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/reader",
        "arn:aws:iam::123456789012:role/re ader",
        f"arn:aws:iam::123456789012:role/{'x' * 65}",
        f"arn:aws:iam::123456789012:role/{'x/' * 1000}",
    ],
)
def test_what_is_no_arn_of_a_role_is_refused_with_an_example(arn: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AwsRoleSchema().load({**ROLE, "role_arn": arn})
    messages = refused.value.normalized_messages()
    assert list(messages) == ["role_arn"]
    assert "arn:aws:iam::123456789012:role/path/name" in str(messages)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/reader",
        "arn:aws-us-gov:iam::123456789012:role/a/b/c/reader+=,.@-_",
        f"arn:aws:iam::123456789012:role/{'x' * 64}",
    ],
)
def test_every_arn_of_a_role_is_taken(arn: str) -> None:
    assert AwsRoleSchema().load({**ROLE, "role_arn": arn})["role_arn"] == arn


@pytest.mark.parametrize(
    ("external_id", "good"),
    [
        ("ab", True),
        ("tenant:42/a-b_c+=,.@", True),
        ("x" * 1224, True),
        ("a", False),
        ("", False),
        ("two words", False),
        ("naïve", False),
        ("x" * 1225, False),
        (None, False),
    ],
)
def test_an_external_id_obeys_the_rules_of_aws(external_id: str | None, good: bool) -> None:
    assert (AwsRoleSchema().validate({**ROLE, "external_id": external_id}) == {}) is good


def test_a_role_has_no_secret_and_chooses_no_host() -> None:
    assert VERIFIER.kind.secret_fields == ()
    assert VERIFIER.kind.target_fields == ()
    assert AwsRoleSchema().load(ROLE)["use_path_style"] is False
