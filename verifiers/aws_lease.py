"""Sessions of AWS for leases, opened by STS AssumeRole or GetSessionToken.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html,
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html. What an answer means to a role and to a
key is in the tables of `aws_role` and `aws_key`; what it means to the terms is here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from verifiers.aws_policy import session_policy
from verifiers.aws_sts import Sts
from verifiers.base import Run
from verifiers.egress import Answer
from verifiers.lease_terms import LeaseTerms, Material, MaterialForm, TermsRefused
from verifiers.sigv4 import Keys, error_code, judge, root, send, text_of
from verifiers.verdict import NotVerified, Verdict

SHORTEST_SECONDS = 900
LONGEST_SECONDS: Mapping[str, int] = MappingProxyType({"AssumeRole": 43200, "GetSessionToken": 129600})
"""What any session may live. A role's own maximum can be less, and is AWS's to tell."""

POLICY_REJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "PackedPolicyTooLarge": "AWS can't pack a session policy for this scope: give a shorter prefix.",
        "MalformedPolicyDocument": "AWS doesn't take a session policy for this scope: give a prefix of plain letters.",
    }
)
"""Errors of AssumeRole that are about `Policy`, by their codes."""

TTL_REJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "The requested DurationSeconds exceeds the MaxSessionDuration": (
            "The role's maximum session duration is shorter: ask for less, or raise it at the role."
        ),
        "The requested DurationSeconds exceeds the 1 hour session limit": (
            "AWS gives at most 3600 seconds where a role assumes another, and vouch itself runs with a role."
        ),
    }
)
"""How the message of a `ValidationError` begins that is about `DurationSeconds`: that code has no finer ones.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_roles.html and, on role chaining,
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining"""
_MESSAGE = r"[\w .,:;()'-]{1,500}"

ROLE_UNSCOPED = "The session can do everything that the role can: no scope was asked for."
ROLE_SCOPED = (
    "The session policy allows S3 alone: objects under a customer managed key of KMS need a lease without a scope."
)
KEY_UNSCOPED = (
    "The session can do everything that the key can, but for IAM and most of STS: AWS narrows a key's session by no "
    "policy."
)

_BEGIN, _END = b"<Credentials>", b"</Credentials>"
# STS sets no bounds to the secrets' forms ("make no assumptions about the maximum size"): whatever a header can carry.
_FIELDS: Mapping[str, re.Pattern[bytes]] = MappingProxyType(
    {
        name: re.compile(rb"<%s>\s*(%s)\s*</%s>" % (element, form, element))
        for name, element, form in (
            ("access_key_id", b"AccessKeyId", rb"[A-Za-z0-9_]{16,128}"),
            ("secret_access_key", b"SecretAccessKey", rb"[!-%'-;=?-~]{16,1024}"),
            ("session_token", b"SessionToken", rb"[!-%'-;=?-~]{16,16384}"),
        )
    }
)
_EXPIRATION = re.compile(rb"<Expiration>\s*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)\s*</Expiration>")


@dataclass(frozen=True)
class SessionRequest:
    """A question for a session whose terms AWS could take, as far as one can tell without asking.

    Attributes:
        action: of STS.
        fields: its parameters.
        narrowed: whether a session policy is among them.
        notes: for the material's holder.
    """

    action: Literal["AssumeRole", "GetSessionToken"]
    fields: Mapping[str, str]
    narrowed: bool = False
    notes: tuple[str, ...] = ()


def role_session(role_arn: str, external_id: str, terms: LeaseTerms) -> SessionRequest:
    """The question for a session of a role.

    Args:
        role_arn: the role, a proper ARN.
        external_id: what its trust policy asks for, if anything.
        terms: of the lease.

    Raises:
        TermsRefused: AWS gives no session on such terms.
    """
    fields = {
        "RoleArn": role_arn,
        "RoleSessionName": terms.session,
        "DurationSeconds": str(terms.seconds),
        "ExternalId": external_id,
        "SourceIdentity": terms.source_identity,
    }
    faults = _ttl_faults("AssumeRole", terms.seconds)
    if terms.scope is not None:
        try:
            fields["Policy"] = session_policy(terms.scope, role_arn.split(":")[1])
        except TermsRefused as refused:
            faults |= refused.fields
    if faults:
        raise TermsRefused(faults)
    narrowed = terms.scope is not None
    given = {name: value for name, value in fields.items() if value}
    return SessionRequest("AssumeRole", given, narrowed, (ROLE_SCOPED if narrowed else ROLE_UNSCOPED,))


def key_session(terms: LeaseTerms) -> SessionRequest:
    """The question for a session of a key itself.

    Raises:
        TermsRefused: AWS gives no session on such terms.
    """
    faults = _ttl_faults("GetSessionToken", terms.seconds)
    if terms.scope is not None:
        faults["scope"] = "AWS can't narrow the session of a key: name a role_arn for it to assume, or leave scope out."
    if terms.external_id:
        faults["external_id"] = "It belongs to a role: name the role_arn too, or leave external_id out."
    if faults:
        raise TermsRefused(faults)
    return SessionRequest("GetSessionToken", {"DurationSeconds": str(terms.seconds)}, notes=(KEY_UNSCOPED,))


def _ttl_faults(action: str, seconds: int) -> dict[str, str]:
    if seconds < SHORTEST_SECONDS:
        return {"ttl_seconds": f"AWS gives sessions of at least {SHORTEST_SECONDS} seconds."}
    if seconds > (longest := LONGEST_SECONDS[action]):
        return {"ttl_seconds": f"AWS gives sessions of this kind of at most {longest} seconds."}
    return {}


async def open_session(
    request: SessionRequest, sts: Sts, keys: Keys, rejections: Mapping[str, Verdict], run: Run
) -> Material:
    """Ask for a session, once.

    Args:
        request: what to ask for.
        sts: whom to ask.
        keys: as whom.
        rejections: what each error code means to those who asked.
        run: the run under way.

    Raises:
        NotVerified: AWS refused, or gave no answer that can be read.
        TermsRefused: AWS would have given a session on other terms.
    """
    call = sts.call(request.action, **request.fields)
    answer = await send(run.egress.operator, call, keys, run)
    material = _read(answer, request)
    if material is not None and material.expires_at > run.now():
        return material
    if refused := _refused_terms(answer, request):
        raise TermsRefused(refused)
    raise NotVerified(judge(answer, call, rejections, run))


def _read(answer: Answer, request: SessionRequest) -> Material | None:
    """The session in an answer; None if it isn't all there, each field once and in its form."""
    if answer.status != 200 or not answer.complete or root(answer) != f"{request.action}Response":
        return None
    if answer.body.count(_BEGIN) != 1:
        return None
    block, end, _ = answer.body.partition(_BEGIN)[2].partition(_END)
    found = {name: form.findall(block) for name, form in _FIELDS.items()}
    times = _EXPIRATION.findall(block) if end else []
    if any(len(texts) != 1 for texts in (*found.values(), times)):
        return None
    try:
        expires_at = datetime.fromisoformat(times[0].decode("ascii"))
    except ValueError:
        return None
    values = {name: texts[0].decode("ascii") for name, texts in found.items()}
    return Material(MaterialForm.AWS_SESSION, values, expires_at, request.narrowed, request.notes)


def _refused_terms(answer: Answer, request: SessionRequest) -> dict[str, str]:
    """What about the terms AWS did not take, by the request's fields; empty if it said nothing of them."""
    if answer.status != 400:
        return {}
    code = error_code(answer)
    if request.narrowed and code in POLICY_REJECTIONS:
        return {"scope": POLICY_REJECTIONS[code]}
    if code == "ValidationError":
        message = text_of(answer, "Message", _MESSAGE)
        said = next((said for start, said in TTL_REJECTIONS.items() if message.startswith(start)), "")
        return {"ttl_seconds": said} if said else {}
    return {}
