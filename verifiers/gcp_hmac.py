"""Cloud Storage HMAC keys (interoperability), proved by a bucket list that is signed with AWS4-HMAC-SHA256.

The call is "GET Service" (https://cloud.google.com/storage/docs/xml-api/get-service). Signature, scope and the
`x-amz-project-id` header: https://cloud.google.com/storage/docs/aws-simple-migration. It needs a project: a key of
a service account has its account's own by default, a key of a person the "default project for interoperable
access" if one was chosen (same page, "Set a default project"); `[providers.gcp] project` names one for every key.

No project and no permission is needed to prove a key. Cloud Storage refuses a wrong signature as
`SignatureDoesNotMatch` whatever was asked; so a refusal for another reason is settled by asking once more with the
signature spoilt: if *that* is refused as `SignatureDoesNotMatch`, the right one had been accepted. A refusal that
names the missing permission is its own proof: it names who asked.
"""

from collections.abc import Mapping
from types import MappingProxyType

from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.fields import PayloadSchema, Secret, Text
from verifiers.sigv4 import CLOCK_CODES, Call, Keys, error_code, judge, prove_signature, require_key_id, root, send
from verifiers.verdict import WORKS, Fault, NotVerified, Reason, Verdict, failed, unknown

REGION = "auto"
PERMISSION = b"storage.buckets.list"


class GcpHmacSchema(PayloadSchema):
    """`credential.gcp` of the wire."""

    access_key_id = Text(required=True, longest=256, rule=require_key_id)
    secret_access_key = Secret(required=True)


KIND = Kind(
    CloudProvider.GCP,
    AccessCredentialType.KEY,
    "Cloud Storage HMAC key",
    GcpHmacSchema,
    slot=("credential", "gcp"),
)

UNKNOWN_KEY = failed(
    Reason.UNKNOWN_KEY,
    Fault.CREDENTIAL,
    "Cloud Storage does not know this access id as an HMAC key: it is missing, deleted or inactive.",
    "Check the access id (it starts with GOOG) and that the key is active; a key just made may need a minute.",
)
BAD_SECRET = failed(
    Reason.BAD_SECRET,
    Fault.CREDENTIAL,
    "Cloud Storage knows the access id, but the secret is not its secret.",
    "Register the secret that was shown when this HMAC key was made, or make a new key.",
)
REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        "InvalidAccessKeyId": UNKNOWN_KEY,
        "InvalidSecurity": UNKNOWN_KEY,
        "SignatureDoesNotMatch": BAD_SECRET,
        **CLOCK_CODES,
    }
)
"""https://cloud.google.com/storage/docs/xml-api/reference-status"""

REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "AccessDenied": "The key authenticates, but it may not list the buckets of its project.",
        "InvalidArgument": "The key authenticates, but no project is set for it to list buckets in.",
        "UserProjectMissing": "The key authenticates, but no project is set for it to list buckets in.",
        "UserProjectInvalid": "The key authenticates, but the project that is set is not a valid one.",
        "UserProjectAccessDenied": "The key authenticates, but it may not use the project.",
        "UserProjectAccountProblem": "The key authenticates, but Google reports a problem with the project.",
    }
)
"""Refusals that are about the project or a permission (same page, and "HTTP status and error codes for JSON"). Each
is believed only once it is settled that the signature had been accepted."""

DENIED_TO_ALL = unknown(
    Reason.DENIED,
    Fault.PROVIDER,
    "Cloud Storage refuses every signature alike, the right one and a wrong one: it says nothing about the key.",
    "Check whether an organization policy restricts HMAC keys, and that no proxy refuses vouch.",
)


async def probe(payload: Payload, run: Run) -> Verdict:
    """List the buckets of the key's project. One call where the key may do so."""
    keys = Keys(payload["access_key_id"], payload["secret_access_key"])
    settings = run.settings.gcp
    headers = {"x-amz-project-id": settings.project} if settings.project else {}
    call = Call("Cloud Storage", "GET", settings.storage_endpoint, "s3", REGION, headers=headers)
    with run.check("authenticates") as step:
        answer = await send(run.egress.operator, call, keys, run)
        if answer.status == 200 and root(answer) == "ListAllMyBucketsResult":
            return WORKS
        code = error_code(answer)
        if not 400 <= answer.status < 500 or code not in REFUSALS:
            raise NotVerified(judge(answer, call, REJECTIONS, run))
        if code != "AccessDenied" or PERMISSION not in answer.body:
            await prove_signature(run.egress.operator, call, keys, run, refusal=code, denied=DENIED_TO_ALL)
        step.warn(Reason.DENIED.value, REFUSALS[code])
    return WORKS


VERIFIER = Verifier(
    KIND,
    probe,
    instead="Register a key file of a service account instead: Cloud Storage makes nothing short-lived of an HMAC key.",
)
