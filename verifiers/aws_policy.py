"""The session policy that narrows a session of AWS to a lease's scope.

A session can do what its role's policies *and* this one allow, never more:
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session. The actions and the resource
each of them is about: https://docs.aws.amazon.com/AmazonS3/latest/userguide/list_amazons3.html; `s3:prefix`:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html.
"""

import json
import re
from typing import Any

from verifiers.lease_terms import LeaseScope, TermsRefused

LONGEST_POLICY = 2048
"""Characters that AssumeRole takes as `Policy`, at most.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""

# Versions of objects (s3:GetObjectVersion, s3:DeleteObjectVersion), ACLs and tags stay out: a job that reads and writes
# objects needs none of them.
READS = ("s3:GetObject",)
WRITES = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def session_policy(scope: LeaseScope, partition: str) -> str:
    """A policy that allows the scope and nothing else, as JSON in ASCII.

    Bucket names: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html.

    Args:
        scope: the bucket, the prefix (letter by letter) and the access.
        partition: of the bucket's ARN, such as `aws-cn`.

    Raises:
        TermsRefused: no bucket of S3 has that name, or no policy can say the prefix.
    """
    faults = scope.faults()
    if not _BUCKET.fullmatch(scope.bucket):
        faults.setdefault("scope.bucket", "Must be the name of an S3 bucket: 3 to 63 of a-z, 0-9, dots and hyphens.")
    if faults:
        raise TermsRefused(faults)
    text = json.dumps({"Version": "2012-10-17", "Statement": _statements(scope, partition)}, separators=(",", ":"))
    if len(text) > LONGEST_POLICY:
        raise TermsRefused(
            {"scope.prefix": "Too long for a session policy of AWS (letters beyond ASCII take 6 of its characters)."}
        )
    return text


def _statements(scope: LeaseScope, partition: str) -> list[dict[str, Any]]:
    bucket = f"arn:{partition}:s3:::{scope.bucket}"
    begins_so = f"{scope.prefix}*"
    actions = (READS if scope.access.reads else ()) + (WRITES if scope.access.writes else ())
    statements: list[dict[str, Any]] = [_allow(list(actions), f"{bucket}/{begins_so}")]
    if scope.access.reads:
        # A request without a prefix lists everything, and has no `s3:prefix` that the condition could hold for.
        narrowed = {"Condition": {"StringLike": {"s3:prefix": begins_so}}} if scope.prefix else {}
        statements.append(_allow("s3:ListBucket", bucket) | narrowed)
        statements.append(_allow("s3:GetBucketLocation", bucket))
    return statements


def _allow(actions: str | list[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}
