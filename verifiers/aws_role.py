"""AWS roles, proved by assuming them as the service with STS AssumeRole; and whether they insist on the external id.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html; the confused deputy:
https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html. The answer holds temporary credentials: a probe
never reads, keeps, logs or shows them; a lease is made of them. The role's `endpoint` is for the jobs that use it: no
probe contacts it, and a lease hands it on.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from marshmallow import ValidationError

from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_lease import open_session, role_session
from verifiers.aws_sts import Sts, endpoints
from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.egress import Answer
from verifiers.fields import Endpoint, Flag, PayloadSchema, Text
from verifiers.lease_terms import LeaseTerms, Material, TermsRefused
from verifiers.sigv4 import ACCESS_DENIED, CLOCK_CODES, Call, Keys, error_code, judge, root, send, text_of
from verifiers.verdict import TIMED_OUT, WORKS, Fault, NotVerified, Reason, Verdict, failed, unknown

SESSION_NAME = "vouch-verify"
SESSION_SECONDS = 900
"""The shortest session that AssumeRole gives."""

NEGATIVE_SECONDS = 3.0
"""What the question without an external id may take: the role has been proven by then."""

_ROLE_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):iam::(?P<account>\d{12}):role/(?:[!-.0-~]{1,510}/)*[\w+=,.@-]{1,64}",
    re.ASCII,
)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_ASSUMED_ARN = r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/[!-~]{1,1024}"


def require_role_arn(value: str) -> None:
    """Refuse what is not the ARN of an IAM role.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    """
    if not _ROLE_ARN.fullmatch(value):
        raise ValidationError(
            "Must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/path/name, "
            "with the 12 digits of the account."
        )


def require_external_id(value: str) -> None:
    """Refuse what AssumeRole would not take as `ExternalId`."""
    if not _EXTERNAL_ID.fullmatch(value):
        raise ValidationError("Must be 2 to 1224 letters, digits and characters of _+=,.@:/- and nothing else.")


class AwsRoleSchema(PayloadSchema):
    """`role.aws` of the wire."""

    role_arn = Text(required=True, longest=2048, rule=require_role_arn)
    external_id = Text(required=True, longest=1224, rule=require_external_id)
    endpoint = Endpoint(probed=False)
    use_path_style = Flag(load_default=False)


KIND = Kind(CloudProvider.AWS, AccessCredentialType.ARN, "AWS role", AwsRoleSchema, slot=("role", "aws"))

DENIED = failed(
    Reason.DENIED,
    Fault.POLICY,
    "AWS does not let vouch assume the role. It does not say which of these is the cause: the role does not exist, its "
    "trust policy does not name vouch, the external id differs, or a policy of vouch or of an organization denies it.",
    "Check that the role's trust policy names vouch's identity and this external id, then that no policy denies it.",
)
OWN_IDENTITY = unknown(
    Reason.SERVICE_IDENTITY,
    Fault.SERVICE,
    "AWS refused the identity that vouch itself called with; it says nothing about the role.",
    "Check the AWS identity that vouch runs with (environment, container or instance role) in the role's partition.",
)
REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        "AccessDenied": DENIED,
        "AccessDeniedException": DENIED,
        "InvalidClientTokenId": OWN_IDENTITY,
        "InvalidAccessKeyId": OWN_IDENTITY,
        "UnrecognizedClientException": OWN_IDENTITY,
        "SignatureDoesNotMatch": OWN_IDENTITY,
        "ExpiredToken": OWN_IDENTITY,
        "ExpiredTokenException": OWN_IDENTITY,
        **CLOCK_CODES,
    }
)
"""https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and the errors of AssumeRole itself."""

DENIED_WITH_SOURCE = replace(
    DENIED,
    message=f"{DENIED.message} Nor may vouch set a source identity unless the trust policy allows that too.",
    remedy="Check that the role's trust policy allows vouch's identity both sts:AssumeRole with this external id and "
    "sts:SetSourceIdentity, then that no policy denies it.",
)
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html"""

NOT_ENFORCED = (
    "The role can be assumed without the external id, so another user of vouch could reach it (the confused deputy): "
    "add a condition on sts:ExternalId to its trust policy."
)


NOT_ISSUED = unknown(
    Reason.UNSUPPORTED,
    Fault.POLICY,
    "The role asks for another external id than the one that vouch issued to this workspace, so it could be another "
    "workspace's role.",
    "Let the role's trust policy ask for the external id that GET /v1/external-id gives, and register it so.",
)
NOT_ENFORCED_REFUSED = unknown(
    Reason.UNSUPPORTED,
    Fault.POLICY,
    "The role can be assumed without its external id, and this vouch uses no role that could be any workspace's.",
    "Add a condition on sts:ExternalId to the role's trust policy, then verify again.",
)


class _Roles:
    """Assumes roles as `identity`: to prove them, and to lease them."""

    def __init__(self, identity: ServiceIdentity, negative_seconds: float) -> None:
        self._identity = identity
        self._negative_seconds = negative_seconds

    async def probe(self, payload: Payload, run: Run) -> Verdict:
        """Assume the role, and then ask whether it insists on the external id."""
        role, external_id = payload["role_arn"], payload["external_id"]
        with run.check("authenticates"):
            require_issued(external_id, run)
            sts = endpoint_for(role, run)
            keys = await self._identity.keys()
            call = _assume(sts, role, ExternalId=external_id)
            answer = await send(run.egress.operator, call, keys, run)
            if not (assumed := _assumed(answer)):
                verdict = judge(answer, call, REJECTIONS, run)
                if verdict is OWN_IDENTITY:
                    self._identity.forget()
                raise NotVerified(verdict)
            run.identity.update(arn=assumed, account=assumed.split(":")[4])
        if run.issued_external_id:
            with run.check("external_id_issued") as issued:
                if external_id != run.issued_external_id:
                    issued.warn("not_issued", NOT_ISSUED.message)
        # Who insists on issued ids takes no role for proven that any workspace could use: asked on schedule too.
        if run.thorough or run.settings.aws.require_issued_external_id:
            await self._ask_for_enforcement(sts, role, keys, run)
        else:
            with run.check("external_id_enforced") as unasked:
                unasked.skip(
                    "not_asked", "Whether the role insists on its external id is asked when a person verifies it."
                )
        return WORKS

    async def lease(self, payload: Payload, terms: LeaseTerms, run: Run) -> Material:
        """A session of the role."""
        role, external_id = payload["role_arn"], payload["external_id"]
        _refuse_other_role(terms)
        require_issued(external_id, run)
        request = role_session(role, external_id, terms)
        sts = endpoint_for(role, run)
        rejections = with_denial(REJECTIONS, DENIED_WITH_SOURCE if terms.source_identity else DENIED)
        keys = await self._identity.keys()
        try:
            if run.settings.aws.require_issued_external_id:
                await self._ask_for_enforcement(sts, role, keys, run)
            material = await open_session(request, sts, keys, rejections, run)
        except NotVerified as stopped:
            if stopped.verdict is OWN_IDENTITY:
                self._identity.forget()
            raise
        return replace(material, values={**material.values, **_place(payload)})

    async def _ask_for_enforcement(self, sts: Sts, role: str, keys: Keys, run: Run) -> None:
        """Raises NotVerified if AWS did not refuse the role without it, and the operator insists on that."""
        call = _assume(sts, role)
        doubt = await _ask_without_external_id(call, keys, run, self._negative_seconds)
        if doubt is not None and run.settings.aws.require_issued_external_id:
            raise NotVerified(doubt)


def make_verifier(identity: ServiceIdentity, negative_seconds: float = NEGATIVE_SECONDS) -> Verifier:
    """The verifier of AWS roles, which assumes them as `identity`."""
    roles = _Roles(identity, negative_seconds)
    return Verifier(KIND, roles.probe, roles.lease)


IDENTITY = ServiceIdentity()
"""The service's own, of boto3's default chain: one for the whole process, so that its keys are loaded once."""

VERIFIER = make_verifier(IDENTITY)


def with_denial(rejections: Mapping[str, Verdict], denied: Verdict) -> Mapping[str, Verdict]:
    """The table with what it means that AWS denies access."""
    return {**rejections, **dict.fromkeys(ACCESS_DENIED, denied)}


def _refuse_other_role(terms: LeaseTerms) -> None:
    """The credential names its role and external id itself.

    Raises:
        TermsRefused: the terms name others.
    """
    given = {"role_arn": terms.role_arn, "external_id": terms.external_id}
    faults = {name: f"The credential is a role and has its own: leave {name} out." for name in given if given[name]}
    if faults:
        raise TermsRefused(faults)


def _place(payload: Payload) -> dict[str, str]:
    """Where the credential says that its jobs find S3."""
    given = {"endpoint": payload["endpoint"], "use_path_style": "true" if payload["use_path_style"] else ""}
    return {name: value for name, value in given.items() if value}


def endpoint_for(role: str, run: Run) -> Sts:
    """The endpoint of the partition that the ARN names: no other knows the role.

    Raises:
        NotVerified: that partition is not configured.
    """
    partition = role.split(":")[1]
    sts = endpoints(run.settings.aws).get(partition)
    if sts is None:
        raise NotVerified(
            unknown(
                Reason.UNSUPPORTED,
                Fault.SERVICE,
                f"The role is in the partition {partition}, and vouch is not configured to ask there.",
                f"Add {partition} to `other_sts_endpoints` of `[providers.aws]` in the configuration of vouch.",
            )
        )
    return sts


def _assume(sts: Sts, role: str, **fields: str) -> Call:
    return sts.call(
        "AssumeRole",
        RoleArn=role,
        RoleSessionName=SESSION_NAME,
        DurationSeconds=str(SESSION_SECONDS),
        **fields,
    )


def _assumed(answer: Answer) -> str:
    """The ARN of the session that was opened; empty if none was."""
    if answer.status != 200 or root(answer) != "AssumeRoleResponse":
        return ""
    return text_of(answer, "Arn", _ASSUMED_ARN)


async def _ask_without_external_id(call: Call, keys: Keys, run: Run, seconds: float) -> Verdict | None:
    """The negative probe: the role must be refused without the external id. It never spoils the verdict by itself.

    Returns:
        Why it is not known to be refused: it is not, or nobody could say. None: AWS said that it is.
    """
    with run.check("external_id_enforced") as step:
        try:
            async with asyncio.timeout(seconds):
                answer = await send(run.egress.operator, call, keys, run)
        except NotVerified as stopped:
            verdict = stopped.verdict
        except TimeoutError:
            verdict = TIMED_OUT
        else:
            if _assumed(answer):
                step.warn("not_enforced", NOT_ENFORCED)
                return NOT_ENFORCED_REFUSED
            if 400 <= answer.status < 500 and error_code(answer) in ACCESS_DENIED:
                return None
            verdict = judge(answer, call, REJECTIONS, run)
        step.skip(verdict.reason.value, verdict.message)
        return verdict


def require_issued(external_id: str, run: Run) -> None:
    """Refuse a role that asks for another external id than its workspace's own, if the operator wants that.

    Raises:
        NotVerified: it does.
    """
    if run.settings.aws.require_issued_external_id and run.issued_external_id != external_id:
        raise NotVerified(NOT_ISSUED)
