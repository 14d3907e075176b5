"""What the session policy of a lease allows: its scope, and nothing beside it.

Judged twice: by moto's evaluator, which knows actions and resources but no `StringLike`, and by the few rules of AWS's
language that such a policy uses:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
"""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.iam.access_control import IAMPolicy, PermissionResult

from verifiers.aws_policy import LONGEST_POLICY, READS, WRITES, session_policy
from verifiers.lease_terms import LeaseAccess, LeaseScope, TermsRefused

ACTIONS = {
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectAcl",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetBucketLocation",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:DeleteBucket",
    "s3:ListAllMyBuckets",
    "s3:CreateBucket",
    "iam:CreateUser",
    "sts:AssumeRole",
}
"""What is asked about: everything that a scope allows, and a good deal that none should."""


def like(pattern: str, text: str) -> bool:
    """`StringLike`, and how resources match: `*` is any text, `?` one character, all else itself."""
    assert "${" not in pattern, "a variable"
    form = "".join({"*": ".*", "?": "."}.get(one) or re.escape(one) for one in pattern)
    return re.fullmatch(form, text, re.DOTALL) is not None


def allows(policy: str, action: str, resource: str, prefix: str | None = None) -> bool:
    """What AWS would say. `prefix` is that of a listing; None for one without, and for all other actions."""
    for statement in json.loads(policy)["Statement"]:
        assert statement.keys() <= {"Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if action in actions and like(statement["Resource"], resource):
            condition = statement.get("Condition")
            if condition is None:
                return True
            assert list(condition) == ["StringLike"]
            assert list(condition["StringLike"]) == ["s3:prefix"]
            # A key that the request doesn't have matches nothing.
            if prefix is not None and like(condition["StringLike"]["s3:prefix"], prefix):
                return True
    return False


def moto_allows(policy: str, action: str, resource: str) -> bool:
    """What moto's evaluator says."""
    return IAMPolicy(policy).is_action_permitted(action, resource) is PermissionResult.PERMITTED


def allowed(policy: str, resource: str, prefix: str | None = None) -> set[str]:
    """The actions that are allowed on a resource; moto must say the same but for the condition."""
    found = {action for action in ACTIONS if allows(policy, action, resource, prefix)}
    by_moto = {action for action in ACTIONS if moto_allows(policy, action, resource)}
    assert by_moto - {"s3:ListBucket"} == found - {"s3:ListBucket"}
    assert found <= by_moto
    return found


READ = session_policy(LeaseScope("lake", "data/", LeaseAccess.READ), "aws")
WRITE = session_policy(LeaseScope("lake", "data/", LeaseAccess.WRITE), "aws")
BOTH = session_policy(LeaseScope("lake", "data/", LeaseAccess.READ_WRITE), "aws")
BUCKET = "arn:aws:s3:::lake"


@pytest.mark.parametrize(
    ("policy", "expected"), [(READ, set(READS)), (WRITE, set(WRITES)), (BOTH, set(READS) | set(WRITES))]
)
@pytest.mark.parametrize("key", ["data/", "data/a", "data/a/b c.parquet", "data//", "data/*", "data/é"])
def test_an_object_under_the_prefix_can_be_used_as_the_access_says(policy: str, expected: set[str], key: str) -> None:
    assert allowed(policy, f"{BUCKET}/{key}") == expected


@pytest.mark.parametrize("policy", [READ, WRITE, BOTH])
@pytest.mark.parametrize(
    "resource",
    [
        f"{BUCKET}/data",
        f"{BUCKET}/data2/a",
        f"{BUCKET}/data2",
        f"{BUCKET}/Data/a",
        f"{BUCKET}/other/data/a",
        f"{BUCKET}//data/a",
        f"{BUCKET}/",
        f"{BUCKET}2",
        f"{BUCKET}2/data/a",
        "arn:aws:s3:::my-lake/data/a",
        "arn:aws:s3:::other/data/a",
        "arn:aws:s3:::other",
        "arn:aws-cn:s3:::lake/data/a",
        "*",
    ],
)
def test_nothing_outside_the_prefix_can_be_touched(policy: str, resource: str) -> None:
    """A sibling's name may begin as the prefix does, but for its slash."""
    assert allowed(policy, resource) == set()


@pytest.mark.parametrize("prefix", ["data/", "data/a", "data/a/b"])
def test_a_reader_lists_under_the_prefix(prefix: str) -> None:
    for policy in (READ, BOTH):
        assert allowed(policy, BUCKET, prefix) == {"s3:ListBucket", "s3:GetBucketLocation"}


@pytest.mark.parametrize("prefix", [None, "", "d", "data", "data2/", "Data/", "/data/", "other/data/"])
def test_a_reader_lists_nowhere_else(prefix: str | None) -> None:
    for policy in (READ, BOTH):
        assert allowed(policy, BUCKET, prefix) == {"s3:GetBucketLocation"}


def test_a_writer_can_neither_read_nor_list() -> None:
    assert allowed(WRITE, BUCKET, "data/") == set()
    assert not allows(WRITE, "s3:GetObject", f"{BUCKET}/data/a")


def test_a_reader_can_not_write() -> None:
    for action in WRITES:
        assert not allows(READ, action, f"{BUCKET}/data/a")


def test_without_a_prefix_the_whole_bucket_and_no_other_is_allowed() -> None:
    policy = session_policy(LeaseScope("lake"), "aws")
    assert allowed(policy, f"{BUCKET}/any/thing") == set(READS)
    for prefix in (None, "", "any/"):
        assert allowed(policy, BUCKET, prefix) == {"s3:ListBucket", "s3:GetBucketLocation"}
    assert allowed(policy, f"{BUCKET}2") == set()
    assert allowed(policy, f"{BUCKET}2/any/thing") == set()


def test_a_prefix_beyond_ascii_is_meant_letter_by_letter_and_sent_in_ascii() -> None:
    policy = session_policy(LeaseScope("lake", "größe/数据/🦆"), "aws")
    assert policy.isascii()
    assert allowed(policy, f"{BUCKET}/größe/数据/🦆.csv") == set(READS)
    assert allowed(policy, f"{BUCKET}/grosse/数据/🦆.csv") == set()
    assert allows(policy, "s3:ListBucket", BUCKET, "größe/数据/🦆")
    assert not allows(policy, "s3:ListBucket", BUCKET, "größe/")


def test_the_partition_of_the_role_is_that_of_the_bucket() -> None:
    policy = session_policy(LeaseScope("lake", "data/"), "aws-us-gov")
    assert allowed(policy, "arn:aws-us-gov:s3:::lake/data/a") == set(READS)
    assert "arn:aws:" not in policy


SCOPES = st.builds(
    LeaseScope,
    bucket=st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True),
    prefix=st.text(max_size=20),
    access=st.sampled_from(LeaseAccess),
).filter(lambda scope: not scope.faults())


@settings(deadline=None)
@given(SCOPES, st.text(max_size=20), st.booleans())
def test_an_object_is_allowed_exactly_if_its_key_begins_with_the_prefix(
    scope: LeaseScope, rest: str, inside: bool
) -> None:
    policy = session_policy(scope, "aws")
    key = scope.prefix + rest if inside else rest
    begins = key.startswith(scope.prefix)
    resource = f"arn:aws:s3:::{scope.bucket}/{key}"
    assert allows(policy, "s3:GetObject", resource) is (begins and scope.access.reads)
    assert allows(policy, "s3:PutObject", resource) is (begins and scope.access.writes)
    listed = allows(policy, "s3:ListBucket", f"arn:aws:s3:::{scope.bucket}", key)
    assert listed is (begins and scope.access.reads)


@settings(deadline=None)
@given(SCOPES)
def test_a_policy_is_small_and_of_characters_that_aws_takes(scope: LeaseScope) -> None:
    policy = session_policy(scope, "aws")
    assert len(policy) <= LONGEST_POLICY
    assert re.fullmatch(r"[\t\n\r -\xff]+", policy)
    assert json.loads(policy)["Version"] == "2012-10-17"


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (LeaseScope("ab"), "scope.bucket"),
        (LeaseScope("x" * 64), "scope.bucket"),
        (LeaseScope("under_score"), "scope.bucket"),
        (LeaseScope("$web"), "scope.bucket"),
        (LeaseScope("Lake"), "scope.bucket"),
        (LeaseScope("lake/data"), "scope.bucket"),
        (LeaseScope("lake*"), "scope.bucket"),
        (LeaseScope("la..ke"), "scope.bucket"),
        (LeaseScope("*"), "scope.bucket"),
        (LeaseScope(""), "scope.bucket"),
        (LeaseScope("lake\n"), "scope.bucket"),
        (LeaseScope("lake", "*"), "scope.prefix"),
        (LeaseScope("lake", "da?a/"), "scope.prefix"),
        (LeaseScope("lake", "${aws:username}/"), "scope.prefix"),
        (LeaseScope("lake", "data/../secret/"), "scope.prefix"),
        (LeaseScope("lake", "/data/"), "scope.prefix"),
        (LeaseScope("lake", "a\x00b"), "scope.prefix"),
        (LeaseScope("lake", "\ud800"), "scope.prefix"),
        (LeaseScope("lake", "é" * 300), "scope.prefix"),
        (LeaseScope("lake", '"' * 500), "scope.prefix"),
        (LeaseScope("lake", "x" * 513), "scope.prefix"),
    ],
)
def test_a_scope_that_no_policy_can_say_is_refused(scope: LeaseScope, name: str) -> None:
    """Also what the lease's own rules refuse: nobody can have forgotten to ask them."""
    with pytest.raises(TermsRefused) as refused:
        session_policy(scope, "aws")
    assert list(refused.value.fields) == [name]


def test_the_longest_prefix_of_plain_letters_fits() -> None:
    policy = session_policy(LeaseScope("x" * 63, "x" * 512, LeaseAccess.READ_WRITE), "aws-us-gov")
    assert len(policy) <= LONGEST_POLICY
