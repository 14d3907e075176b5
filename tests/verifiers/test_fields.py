"""The fields that payload schemas are made of: they refuse what marshmallow's own would coerce."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from verifiers.base import CloudProvider, Kind
from verifiers.fields import Endpoint, Flag, PayloadSchema, Secret, Text, require_url


def short(value: str) -> None:
    if value == "forbidden":
        raise ValidationError("Use another word.")


class Sample(PayloadSchema):
    name = Text(required=True, longest=10, rule=short)
    secret = Secret(required=True)
    note = Text(lines=True)
    hidden = Secret(on_wire=False)
    account = Text(derived=True)
    endpoint = Endpoint()
    jobs_endpoint = Endpoint(probed=False)
    path_style = Flag()


GOOD = {"name": "n", "secret": "s"}


def errors(sent: Any, schema: PayloadSchema | None = None) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        (schema or Sample()).load(sent)
    return caught.value.normalized_messages()


@pytest.mark.parametrize("value", [5, 5.7, True, ["a"], {"a": 1}, b"bytes"])
def test_text_is_a_string_and_nothing_like_one(value: object) -> None:
    """Requirement 21."""
    assert errors({**GOOD, "name": value}) == {"name": ["Must be a string."]}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "Must not be empty."),
        ("x" * 11, "Must be at most 10 characters long."),
        ("a\x00b", "Must not contain control characters."),
        ("a\nb", "Must not contain control characters."),
        ("a\x7f", "Must not contain control characters."),
        ("a\x85b", "Must not contain control characters."),
        ("a\ud800", "Must not contain control characters."),
        ("forbidden", "Use another word."),
    ],
)
def test_text_is_bounded_and_printable(value: str, says: str) -> None:
    assert errors({**GOOD, "name": value}) == {"name": [says]}


def test_text_is_kept_as_it_came() -> None:
    for value in (" a ", "é", "e\u0301", "10 \U0001f511 xxxxx"[:10]):
        assert Sample().load({**GOOD, "name": value})["name"] == value


def test_text_of_lines_takes_tabs_and_line_ends_alone() -> None:
    assert Sample().load({**GOOD, "note": "a\r\n\tb"})["note"] == "a\r\n\tb"
    for character in "\x00\x08\x0b\x0c\x1f\x7f\ud800":
        assert errors({**GOOD, "note": f"a{character}"}) == {"note": ["Must not contain control characters."]}


@pytest.mark.parametrize("value", ["yes", "true", "on", 1, 0, 1.0, "", [], {}])
def test_a_flag_is_true_or_false_and_nothing_like_them(value: object) -> None:
    """Requirement 21."""
    assert errors({**GOOD, "path_style": value}) == {"path_style": ["Must be true or false."]}


def test_a_flag_keeps_both_values() -> None:
    assert Sample().load({**GOOD, "path_style": False})["path_style"] is False
    assert Sample().load({**GOOD, "path_style": True})["path_style"] is True


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.example.com",
        "HTTPS://S3.EXAMPLE.COM/",
        "http://10.1.2.3:9000",
        "http://[::1]:9000/base/path",
        "https://minio.corp:65535/a-b_c.d/~e",
        "https://bücher.example/",
    ],
)
def test_an_endpoint_is_a_url_of_host_port_and_path(url: str) -> None:
    """Requirement 5."""
    assert Sample().load({**GOOD, "endpoint": url})["endpoint"] == url


@pytest.mark.parametrize(
    "url",
    [
        "s3.example.com",
        "//s3.example.com",
        "ftp://s3.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https:s3.example.com",
        "https:/s3.example.com",
        "https://",
        "https:///path",
        "https://:443",
        "https://user@s3.example.com",
        "https://user:pw@s3.example.com",
        "https://s3.example.com@evil.example",
        "https://s3.example.com?x=1",
        "https://s3.example.com/#x",
        "https://s3.example.com:",
        "https://s3.example.com:0",
        "https://s3.example.com:65536",
        "https://s3.example.com:-1",
        "https://s3.example.com:80x",
        "https://s3.example.com:\u0668\u0660",
        "https://s3.example .com",
        " https://s3.example.com",
        "https://s3.example.com\\@evil.example",
        "https://[::1",
        "https://[nonsense]",
        'https://s3.example.com/"x',
        "https://s3.example.com/{bucket}",
        "https://" + "a" * 2048,
    ],
)
def test_an_endpoint_is_nothing_else(url: str) -> None:
    """Requirement 5."""
    assert set(errors({**GOOD, "endpoint": url})) == {"endpoint"}


@given(st.text(max_size=60))
def test_no_text_at_all_breaks_the_url_rule(text: str) -> None:
    for value in (text, f"https://{text}", f"http://host:{text}"):
        try:
            require_url(value)
        except ValidationError as error:
            assert error.messages  # noqa: PT017 - refusing is right, raising anything else is not
        else:
            assert value.lower().startswith(("http://", "https://"))
            assert not set(value) & set("@?#\\")


def test_unknown_fields_are_refused_and_null_means_absent() -> None:
    assert errors({**GOOD, "extra": 1}) == {"extra": ["Unknown field."]}
    assert Sample().load({**GOOD, "note": None, "path_style": None, "extra": None}) == GOOD
    assert set(errors({"name": None, "secret": "s"})) == {"name"}


@pytest.mark.parametrize("sent", [None, [], "text", 5, True, [GOOD]])
def test_a_payload_is_an_object(sent: object) -> None:
    assert errors(sent) == {"_schema": ["Must be an object."]}


def test_what_the_wire_lacks_is_unknown_there() -> None:
    wire = Sample.for_wire(blank_secrets=False)
    assert Sample.off_wire() == {"hidden"}
    assert errors({**GOOD, "hidden": "x"}, wire) == {"hidden": ["Unknown field."]}
    assert Sample().load({**GOOD, "hidden": "x"})["hidden"] == "x"


def test_a_blank_secret_is_taken_only_where_it_means_keep() -> None:
    keeping = Sample.for_wire(blank_secrets=True)
    assert keeping.load({"name": "n", "secret": ""}) == {"name": "n", "secret": ""}
    assert errors({"name": "", "secret": ""}, keeping) == {"name": ["Must not be empty."]}
    # The permission is that schema's alone.
    for other in (Sample(), Sample.for_wire(blank_secrets=False)):
        assert errors({"name": "n", "secret": ""}, other) == {"secret": ["Must not be empty."]}


def test_a_kind_reads_off_its_schema_what_is_secret_and_what_chooses_a_host() -> None:
    kind = Kind(CloudProvider.AWS, "sample", "Sample", Sample)
    assert kind.secret_fields == ("secret", "hidden")
    assert kind.wire_secret_fields == ("secret",)
    assert kind.target_fields == ("endpoint",)
    sent: dict[str, Any] = {**GOOD, "endpoint": "https://a.example", "jobs_endpoint": "https://b.example"}
    payload = kind.split(Sample().load(sent))
    assert payload.target == "a.example"
    assert dict(payload.secret) == {"secret": "s"}
    assert "secret" not in payload.public
    assert payload["secret"] == "s"
    assert payload["note"] is None
    assert "'s'" not in repr(payload)
    assert kind.split({"name": "n", "jobs_endpoint": "https://b.example"}).target is None
