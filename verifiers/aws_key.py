"""AWS access keys, proved by STS GetCallerIdentity; keys of an S3 look-alike, by ListBuckets at its endpoint.

GetCallerIdentity needs no permission and works under an explicit deny:
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html. ListBuckets addresses no bucket, so
path style and virtual-host style are the same request:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html.

A lease is a session of the key (GetSessionToken), or of a role that the key assumes.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from verifiers.aws_lease import key_session, open_session, role_session
from verifiers.aws_role import AwsRoleSchema, endpoint_for, with_denial
from verifiers.aws_sts import Sts, endpoints
from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Step, Verifier
from verifiers.fields import Endpoint, Flag, PayloadSchema, Secret, Text
from verifiers.lease_terms import LeaseTerms, Material, NotLeasable, TermsRefused
from verifiers.sigv4 import (
    ACCESS_DENIED,
    CLOCK_CODES,
    Call,
    Keys,
    error_code,
    judge,
    prove_signature,
    require_key_id,
    require_visible,
    root,
    send,
    text_of,
)
from verifiers.verdict import WORKS, Fault, NotVerified, Outcome, Reason, Verdict, failed, unknown

T = TypeVar("T")

_ARN = r"arn:aws[a-z-]*:(?:iam|sts)::\d{12}:[!-~]{1,1024}"
_ACCOUNT = r"\d{12}"
_USER_ID = r"[\w:=,.@+-]{1,256}"
_REGION = r"[a-z0-9-]{1,64}"
_WRONG_REGION = "AuthorizationHeaderMalformed"


class AwsKeySchema(PayloadSchema):
    """`credential.aws` of the wire, and the session token of a shared-credentials file."""

    access_key_id = Text(required=True, longest=256, rule=require_key_id)
    secret_access_key = Secret(required=True)
    session_token = Secret(longest=8192, rule=require_visible, on_wire=False)
    endpoint = Endpoint()
    use_path_style = Flag(load_default=False)


KIND = Kind(CloudProvider.AWS, AccessCredentialType.KEY, "AWS access key", AwsKeySchema, slot=("credential", "aws"))

UNKNOWN_KEY = failed(
    Reason.UNKNOWN_KEY,
    Fault.CREDENTIAL,
    "The access key is unknown: it is missing, deleted or inactive, or a temporary one without its session token.",
    "Check the access key id, and that the key is active; a key made a few seconds ago may need a minute.",
)
BAD_SECRET = failed(
    Reason.BAD_SECRET,
    Fault.CREDENTIAL,
    "The access key is known, but the secret access key is not its secret.",
    "Register the secret access key that belongs to this access key id, or make a new pair.",
)
EXPIRED = failed(
    Reason.EXPIRED,
    Fault.CREDENTIAL,
    "The session that this temporary key belongs to has ended.",
    "Register a long-lived key, or the temporary one of a new session.",
)
REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        "InvalidClientTokenId": UNKNOWN_KEY,
        "InvalidAccessKeyId": UNKNOWN_KEY,
        "UnrecognizedClientException": UNKNOWN_KEY,
        "SignatureDoesNotMatch": BAD_SECRET,
        "ExpiredToken": EXPIRED,
        "ExpiredTokenException": EXPIRED,
        **CLOCK_CODES,
    }
)
"""STS: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html;
S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, "List of error codes"."""

DENIED_TO_ALL = unknown(
    Reason.DENIED,
    Fault.PROVIDER,
    "The endpoint refuses every signature alike, the right one and a wrong one: it says nothing about the key.",
    "Check that the endpoint is an S3 service, and that no proxy in front of it refuses vouch.",
)

SESSION_DENIED = failed(
    Reason.DENIED,
    Fault.POLICY,
    "The key authenticates, but a policy denies it a session (sts:GetSessionToken).",
    "Remove what denies the key's user sts:GetSessionToken, or name a role_arn that the key may assume.",
)
ROLE_DENIED = failed(
    Reason.DENIED,
    Fault.POLICY,
    "The key authenticates, but AWS does not let it assume the role. It does not say which of these is the cause: the "
    "role does not exist, its trust policy does not name the key's user, the external id differs, or a policy of the "
    "user or of an organization denies it.",
    "Check that the role's trust policy names the key's user and this external id, and that the user may call "
    "sts:AssumeRole on the role.",
)
ROLE_DENIED_WITH_SOURCE = replace(
    ROLE_DENIED,
    message=f"{ROLE_DENIED.message} Nor may it set a source identity unless the trust policy allows that too.",
    remedy="Check that both the role's trust policy (with this external id) and a policy of the key's user allow "
    "sts:AssumeRole and sts:SetSourceIdentity.",
)

LOOK_ALIKE = (
    "This key is for an S3 endpoint of its own, and nobody gives sessions there. Use a credential of AWS itself: a "
    "role, or a key without an endpoint."
)
TEMPORARY = (
    "This key is temporary already (it has a session token), and AWS gives no session of a session. Use a role, or a "
    "long-lived key."
)


async def probe(payload: Payload, run: Run) -> Verdict:
    """Ask whoever the key is for. One call where the key works."""
    keys = Keys(payload["access_key_id"], payload["secret_access_key"], payload["session_token"])
    with run.check("authenticates") as step:
        if payload["endpoint"]:
            await _list_buckets(payload["endpoint"], keys, run, step)
        else:
            await _ask_partitions(
                endpoints(run.settings.aws).values(), lambda sts: _caller_identity(sts, keys, run, step)
            )
    return WORKS


async def lease(payload: Payload, terms: LeaseTerms, run: Run) -> Material:
    """A session of the role that the terms name, or of the key itself, which can't be narrowed."""
    if payload["endpoint"]:
        raise NotLeasable(LOOK_ALIKE)
    if payload["session_token"]:
        raise NotLeasable(TEMPORARY)
    if terms.role_arn:
        _require_role(terms)
        request = role_session(terms.role_arn, terms.external_id, terms)
        partitions: Iterable[Sts] = (endpoint_for(terms.role_arn, run),)
        denied = ROLE_DENIED_WITH_SOURCE if terms.source_identity else ROLE_DENIED
    else:
        request = key_session(terms)
        partitions = endpoints(run.settings.aws).values()
        denied = SESSION_DENIED
    keys = Keys(payload["access_key_id"], payload["secret_access_key"])
    rejections = with_denial(REJECTIONS, denied)
    return await _ask_partitions(partitions, lambda sts: open_session(request, sts, keys, rejections, run))


VERIFIER = Verifier(KIND, probe, lease)


def _require_role(terms: LeaseTerms) -> None:
    """Hold the role that the terms name to the rules of a registered one, but that it may do without external id."""
    given = {name: value for name in ("role_arn", "external_id") if (value := getattr(terms, name))}
    faults = AwsRoleSchema(only=("role_arn", "external_id"), partial=("external_id",)).validate(given)
    if faults:
        raise TermsRefused({name: " ".join(messages) for name, messages in faults.items()})


async def _ask_partitions(partitions: Iterable[Sts], ask: Callable[[Sts], Awaitable[T]]) -> T:
    """Ask one partition after the other as long as nobody knows the key: they don't know each other's."""
    asked: list[str] = []
    unasked: dict[str, Verdict] = {}
    for sts in partitions:
        try:
            return await ask(sts)
        except NotVerified as stopped:
            if stopped.verdict.reason is Reason.UNKNOWN_KEY:
                asked.append(sts.partition)
            elif stopped.verdict.outcome is Outcome.FAILED or not asked:
                raise
            else:
                unasked[sts.partition] = stopped.verdict
    raise NotVerified(_nobody_knows(asked, unasked))


def _nobody_knows(asked: list[str], unasked: Mapping[str, Verdict]) -> Verdict:
    """What it means that no partition knew the key: nothing, as long as one of them has not said so."""
    known = ", ".join(asked)
    if not unasked:
        return replace(UNKNOWN_KEY, message=f"{UNKNOWN_KEY.message} Partitions asked: {known}.")
    first = next(iter(unasked.values()))
    return replace(
        first,
        message=f"The key is unknown to these partitions: {known}. No answer from these: {', '.join(unasked)}.",
    )


async def _caller_identity(sts: Sts, keys: Keys, run: Run, step: Step) -> None:
    call = sts.call("GetCallerIdentity")
    answer = await send(run.egress.operator, call, keys, run)
    if answer.status == 200 and root(answer) == "GetCallerIdentityResponse":
        found = {
            "arn": text_of(answer, "Arn", _ARN),
            "account": text_of(answer, "Account", _ACCOUNT),
            "user_id": text_of(answer, "UserId", _USER_ID),
        }
        if all(found.values()):
            run.identity.update(found)
            return
    if 400 <= answer.status < 500 and error_code(answer) in ACCESS_DENIED:
        step.warn(Reason.DENIED.value, "The key authenticates, but a policy denies it even the question who it is.")
        return
    raise NotVerified(judge(answer, call, REJECTIONS, run))


async def _list_buckets(endpoint: str, keys: Keys, run: Run, step: Step) -> None:
    call = Call("The endpoint", "GET", endpoint, "s3", run.settings.aws.region)
    session = run.egress.callers
    answer = await send(session, call, keys, run)
    if error_code(answer) == _WRONG_REGION and (region := text_of(answer, "Region", _REGION)):
        # S3 names the region that it wants; no signature has been judged yet.
        call = replace(call, region=region)
        answer = await send(session, call, keys, run)
    if answer.status == 200 and root(answer) == "ListAllMyBucketsResult":
        return
    if 400 <= answer.status < 500 and (code := error_code(answer)) in ACCESS_DENIED:
        if not _is_configured(endpoint, run):
            await prove_signature(session, call, keys, run, refusal=code, denied=DENIED_TO_ALL)
        step.warn(Reason.DENIED.value, "The key authenticates, but it may not list buckets.")
        return
    raise NotVerified(judge(answer, call, REJECTIONS, run))


def _is_configured(endpoint: str, run: Run) -> bool:
    """Whether the caller named the very endpoint that the operator's configuration vouches for."""
    aws = run.settings.aws
    return endpoint.rstrip("/") == aws.s3_endpoint.replace("{region}", aws.region).rstrip("/")
