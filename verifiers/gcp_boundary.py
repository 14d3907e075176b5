"""The Credential Access Boundary that narrows an access token of Google's to a lease's scope.

What a boundary is made of: https://cloud.google.com/iam/docs/downscoping-short-lived-credentials. A token can do what
the service account *and* its boundary allow, never more. The permissions of each role:
https://cloud.google.com/storage/docs/access-control/iam-roles.
"""

import json
import re

from verifiers.lease_terms import LeaseScope, TermsRefused

LONGEST_BOUNDARY = 2048
"""Characters that `accessBoundary` may have.

https://cloud.google.com/iam/docs/reference/sts/rest/v1/Options"""

READER = "inRole:roles/storage.objectViewer"
"""Gets and lists objects, and does nothing else to them; the role of that page's own examples."""
WRITER = "inRole:roles/storage.legacyBucketWriter"
"""The only role that creates and deletes objects without reading them. It lists them too, and reads the bucket's
metadata: a condition on the names of objects leaves both out, for they are asked of the bucket itself."""

_BUCKET = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_LONGEST_UNDOTTED = 63
_LONGEST = 222


def scope_faults(scope: LeaseScope) -> dict[str, str]:
    """What is wrong with a scope for Cloud Storage, by the field's dotted path.

    Bucket names: https://cloud.google.com/storage/docs/buckets#naming.
    """
    faults = scope.faults()
    if not _is_bucket(scope.bucket):
        faults.setdefault(
            "scope.bucket",
            "Must be the name of a Cloud Storage bucket: 3 to 63 of a-z, 0-9, dashes, underscores and dots "
            "(222 with dots), from a letter or digit to a letter or digit, and no IP address.",
        )
    return faults


def _is_bucket(name: str) -> bool:
    return (
        bool(_BUCKET.fullmatch(name))
        and 3 <= len(name) <= (_LONGEST if "." in name else _LONGEST_UNDOTTED)
        and name[0] not in "_-"
        and name[-1] not in "_-"
        and not _ADDRESS.fullmatch(name)
    )


def access_boundary(scope: LeaseScope) -> str:
    """The `options` of a token exchange that allow the scope and nothing else, as JSON.

    It imports google-auth, which takes some 40 ms the first time: call it in a thread.

    Args:
        scope: one in which `scope_faults` finds nothing.

    Raises:
        TermsRefused: the prefix is too long for a boundary.
    """
    from google.auth.downscoped import AccessBoundaryRule, AvailabilityCondition, CredentialAccessBoundary

    bucket = f"//storage.googleapis.com/projects/_/buckets/{scope.bucket}"
    rules = []
    for roles, condition in _parts(scope):
        when = AvailabilityCondition(condition) if condition else None  # type: ignore[no-untyped-call] # unannotated
        rules.append(AccessBoundaryRule(bucket, roles, when))  # type: ignore[no-untyped-call] # unannotated
    boundary = CredentialAccessBoundary(rules).to_json()  # type: ignore[no-untyped-call] # unannotated
    text = json.dumps(boundary, separators=(",", ":"), ensure_ascii=False)
    if len(text) > LONGEST_BOUNDARY:
        raise TermsRefused({"scope.prefix": "Too long for an access boundary of Google together with this bucket."})
    return text


def _parts(scope: LeaseScope) -> list[tuple[list[str], str]]:
    """Roles, and the condition under which they hold, if any."""
    objects = f"projects/_/buckets/{scope.bucket}/objects/"
    named = f"resource.name.startsWith({cel_string(objects + scope.prefix)})"
    if not scope.prefix:
        # A condition on an empty list prefix would hold for every request, the bucket's metadata included.
        reading = [([READER], "")] if scope.access.reads else []
        return reading + ([([WRITER], named)] if scope.access.writes else [])
    # Listing is asked of the bucket, so it is told by the prefix that it asks for: the page's example "Limit
    # permissions when listing objects".
    listed = f"api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith({cel_string(scope.prefix)})"
    roles = ([READER] if scope.access.reads else []) + ([WRITER] if scope.access.writes else [])
    return [(roles, f"{named} || {listed}" if scope.access.reads else named)]


def cel_string(text: str) -> str:
    """A string literal of CEL (https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values).

    Raises:
        ValueError: it has a line end or another control character, which no scope has.
    """
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError("a control character")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
