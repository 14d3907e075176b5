"""The Credential Access Boundary of a lease: what it says, and that no bucket or prefix can make it say more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.google_storage import SCOPES, Malformed, Rights, parse_boundary
from verifiers.gcp_boundary import LONGEST_BOUNDARY, access_boundary, cel_string, scope_faults
from verifiers.lease_terms import LONGEST_PREFIX, LeaseAccess, LeaseScope, TermsRefused

VIEWER = "inRole:roles/storage.objectViewer"
WRITER = "inRole:roles/storage.legacyBucketWriter"
BUCKET = "//storage.googleapis.com/projects/_/buckets/lake"
NAMED = "resource.name.startsWith('projects/_/buckets/lake/objects/a/')"
LISTED = "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('a/')"


def rule(*permissions: str, when: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"availablePermissions": list(permissions), "availableResource": BUCKET}
    return {**made, "availabilityCondition": {"expression": when}} if when else made


@pytest.mark.parametrize(
    ("scope", "rules"),
    [
        (LeaseScope("lake"), [rule(VIEWER)]),
        (LeaseScope("lake", "a/"), [rule(VIEWER, when=f"{NAMED} || {LISTED}")]),
        (LeaseScope("lake", "a/", LeaseAccess.WRITE), [rule(WRITER, when=NAMED)]),
        (LeaseScope("lake", "a/", LeaseAccess.READ_WRITE), [rule(VIEWER, WRITER, when=f"{NAMED} || {LISTED}")]),
        (LeaseScope("lake", "", LeaseAccess.WRITE), [rule(WRITER, when=NAMED.replace("a/'", "'"))]),
        (
            LeaseScope("lake", "", LeaseAccess.READ_WRITE),
            [rule(VIEWER), rule(WRITER, when=NAMED.replace("a/'", "'"))],
        ),
    ],
)
def test_a_boundary_has_the_least_roles_for_the_access(scope: LeaseScope, rules: list[dict[str, Any]]) -> None:
    assert json.loads(access_boundary(scope)) == {"accessBoundary": {"accessBoundaryRules": rules}}


def rights(scope: LeaseScope) -> Rights:
    """What the peer, which reads CEL for itself, lets the holder do."""
    return Rights("etl@x", f"{SCOPES}read_write", 0.0, parse_boundary(access_boundary(scope)))


ATTACKS = [
    "x') || true || ('",
    "') || resource.name.startsWith('",
    "' + '",
    "a'b",
    "''",
    '"',
    "a/\u2028b",
    "\U0001f600/",
    "%27) || true",
    "#{1}",
    "a//b",
]


@pytest.mark.parametrize("prefix", ATTACKS)
@pytest.mark.parametrize("access", LeaseAccess)
def test_a_prefix_cannot_leave_its_literal(prefix: str, access: LeaseAccess) -> None:
    scope = LeaseScope("lake", prefix, access)
    assert scope_faults(scope) == {}
    held = rights(scope)
    for permission, fits in (("objects.get", access.reads), ("objects.delete", access.writes)):
        assert held.allow(permission, "lake", name=f"{prefix}z") is fits
        assert not held.allow(permission, "lake", name="other")
    assert held.allow("objects.list", "lake", list_prefix=prefix) is access.reads
    assert not held.allow("objects.list", "lake", list_prefix="")
    assert not held.allow("buckets.get", "lake")


# What means something to CEL comes often enough to be tried.
TEXT = st.text(st.one_of(st.sampled_from("'\"()|&./ a\\%"), st.characters()), max_size=40)


@given(prefix=TEXT, name=TEXT, access=st.sampled_from(LeaseAccess))
@settings(max_examples=300, deadline=None)
def test_whatever_the_prefix_exactly_the_names_that_begin_so_are_reached(
    prefix: str, name: str, access: LeaseAccess
) -> None:
    scope = LeaseScope("lake", prefix, access)
    if scope_faults(scope):
        return
    held = rights(scope)
    for one in (name, prefix + name, prefix[:-1] + name, name + prefix):
        if one:
            assert held.allow("objects.get", "lake", name=one) is (access.reads and one.startswith(prefix))
            assert held.allow("objects.create", "lake", name=one) is (access.writes and one.startswith(prefix))
        assert held.allow("objects.list", "lake", list_prefix=one) is (access.reads and one.startswith(prefix))


@pytest.mark.parametrize("text", ["\n", "a\rb", "\x00", "\x7f", "\x85", "\ud800"])
def test_a_control_character_has_no_literal(text: str) -> None:
    with pytest.raises(ValueError):
        cel_string(text)
    assert "scope.prefix" in scope_faults(LeaseScope("lake", text))


def test_a_backslash_stays_one_in_a_literal() -> None:
    assert cel_string("a\\'b") == r"'a\\\'b'"


@pytest.mark.parametrize(
    "bucket",
    ["abc", "a" * 63, "data.example.com", "a_b-c", "0lake9", "1.2.3.4.5", ".".join(["a" * 63] * 3) + ".b"],
)
def test_a_name_of_cloud_storage_is_taken(bucket: str) -> None:
    assert scope_faults(LeaseScope(bucket)) == {}
    assert rights(LeaseScope(bucket)).allow("objects.get", bucket, name="x")


@pytest.mark.parametrize(
    "bucket",
    [
        "",
        "ab",
        "a" * 64,
        "Lake",
        "lake/",
        "lake/raw",
        "gs://lake",
        "-lake",
        "lake-",
        "_lake",
        "lake_",
        ".lake",
        "lake.",
        "la..ke",
        "10.1.2.3",
        "a" * 64 + ".com",
        ".".join(["a" * 55] * 4),
        "lake'",
        "l\u00e4ke",
        "lake\n",
        "*",
        "$root",
        "la ke",
    ],
)
def test_what_is_no_name_of_cloud_storage_is_refused(bucket: str) -> None:
    assert set(scope_faults(LeaseScope(bucket))) == {"scope.bucket"}


def test_every_plain_prefix_that_a_lease_may_have_fits_in_a_boundary() -> None:
    longest_bucket = ".".join(["a" * 63] * 3) + "." + "b" * 30
    scope = LeaseScope(longest_bucket, "p" * LONGEST_PREFIX, LeaseAccess.READ_WRITE)
    assert scope_faults(scope) == {}
    assert len(access_boundary(scope)) <= LONGEST_BOUNDARY
    assert rights(LeaseScope("lake", "\u6f22" * LONGEST_PREFIX)).allow(
        "objects.get", "lake", name="\u6f22" * LONGEST_PREFIX
    )


def test_a_prefix_too_long_for_google_is_refused_by_us() -> None:
    with pytest.raises(TermsRefused) as refused:
        access_boundary(LeaseScope("lake", "'" * LONGEST_PREFIX))
    assert set(refused.value.fields) == {"scope.prefix"}


@pytest.mark.parametrize(
    "condition", ["true", f"{NAMED} && true", f"{NAMED}||{LISTED}", NAMED.replace("'", '"'), f"{NAMED} || true"]
)
def test_the_peer_takes_no_condition_that_it_does_not_understand(condition: str) -> None:
    with pytest.raises(Malformed):
        parse_boundary(json.dumps({"accessBoundary": {"accessBoundaryRules": [rule(VIEWER, when=condition)]}}))


def test_making_a_boundary_loads_no_http_client() -> None:
    """Requirement 1: one way out."""
    code = (
        "import sys\n"
        "from verifiers.gcp_boundary import access_boundary\n"
        "from verifiers.lease_terms import LeaseScope\n"
        "assert 'google.auth' not in sys.modules\n"
        "access_boundary(LeaseScope('lake', 'a/'))\n"
        "print([name for name in ('requests', 'urllib3', 'aiohttp', 'httpx', 'grpc') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
