"""Leases: a job uses a credential by short-lived material made from it, and never sees the credential itself."""

import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.core import audit
from service.core.applied import canonical
from service.core.changes import as_payload
from service.core.credentials import verifier_of
from service.core.errors import (
    Conflict,
    Invalid,
    LastVerdictFailed,
    NotAllowed,
    NotLeasable,
    verification_error,
)
from service.core.kept import Lease, ListedLease
from service.core.lanes import Lanes, Quota
from service.core.lease_results import NOBODY, Count, counted
from service.core.model import (
    Caller,
    Credential,
    Family,
    Identified,
    Permission,
    Principal,
    PrincipalKind,
    timestamp,
)
from service.core.names import is_label
from service.core.permissions import authorize, require
from service.core.probing import StartRun
from service.core.records import Records
from service.core.store import Store
from verifiers import lease_terms, leasing
from verifiers.base import Payload
from verifiers.lease_terms import LeaseScope, LeaseTerms, Material
from verifiers.registry import Registry

_UNFIT = re.compile(r"[^A-Za-z0-9_=,.@-]")
_MARK = 12
_LONGEST_SOURCE_IDENTITY = 64
_FAILED, _VERIFIED = "failed", "verified"
_SLACK_SECONDS = 60
"""By how much clocks may differ."""


@dataclass(frozen=True, slots=True)
class LeaseBounds:
    """What the operator allows. `source_identity`: whether AWS is told who asked (its trust policies must allow it)."""

    default_ttl_seconds: int
    max_ttl_seconds: int
    source_identity: bool


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a caller asks for. `force` takes a credential too whose last verdict is `failed`."""

    purpose: str = ""
    ttl_seconds: int | None = None
    scope: LeaseScope | None = None
    role_arn: str = ""
    external_id: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease, and what the job gets."""

    lease: Lease
    material: Material


class Leases:
    """The core service of leasing.

    Args:
        store: where leases are kept.
        records: where credentials are.
        registry: the kinds, and how each is leased.
        start_run: gives a leaser its way out.
        deadline: seconds for one lease.
        lanes: room at the providers.
        quota: leases per caller.
        bounds: what the operator allows.
        count: counts requests by provider and result.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        registry: Registry,
        *,
        start_run: StartRun,
        deadline: float,
        lanes: Lanes,
        quota: Quota,
        bounds: LeaseBounds,
        count: Count = lambda _provider, _result: None,
    ) -> None:
        self._store = store
        self._records = records
        self._registry = registry
        self._start_run = start_run
        self._deadline = deadline
        self._lanes = lanes
        self._quota = quota
        self._bounds = bounds
        self._count = count

    async def grant(self, caller: Caller, credential_id: str, request: LeaseRequest) -> Granted:
        """Make material of a credential for a job. That it was made is durable before it leaves (requirement 29).

        Raises:
            NotAllowed: the caller may not use credentials, or this one is not for tasks.
            RateLimited, Overloaded: before any outbound call.
            Invalid: the terms are wrong, or this kind can't meet them.
            NoSuchCredential: the caller's workspace has none of that id where the caller has access.
            NotLeasable: nothing short-lived can be made of it; the text says what to use instead.
            LastVerdictFailed: it is known not to work.
            VerificationFailed, VerificationUnknown: the provider refused it, or did not answer.
            Conflict: the credential was changed or removed, or the caller revoked, while the provider was asked.
            StoreUnavailable: the lease could not be recorded; no material leaves.
        """
        with counted(self._count) as attempt:
            principal = caller.principal
            require(principal, Permission.USE)
            self._quota.hit(f"{principal.kind}:{principal.id}")
            seconds = self._check(request)
            key = Identified(principal.workspace, credential_id, principal.teamspaces)
            credential, unseal = await self._records.find(key)
            attempt.provider = credential.provider or NOBODY
            self._require_usable(credential, request)
            lease_id = str(uuid.uuid4())
            terms = LeaseTerms(
                seconds=seconds,
                scope=request.scope,
                session=f"vouch-{lease_id}",
                source_identity=_source_identity(principal) if self._bounds.source_identity else "",
                role_arn=request.role_arn,
                external_id=request.external_id,
                proven=credential.status == _VERIFIED,
            )
            kind = verifier_of(self._registry, credential.provider, credential.type).kind
            payload = as_payload(kind, credential, await unseal())
            material = await self._lease(principal.workspace, payload, terms)
            self._require_bounded(material)
            lease = _lease(caller, lease_id, credential, request, material)
            record = audit.record(caller, credential.scope, audit.Action.LEASE, credential.id, _told(lease))
            # What was true before the provider was asked may not be any more: it has to hold as the lease is recorded.
            if not await self._store.create_lease(lease, record, made_of=credential):
                raise Conflict("The credential, or your right to it, changed meanwhile: nothing was handed out.")
            return Granted(lease, material)

    async def list(
        self,
        caller: Caller,
        *,
        teamspace: str | None,
        credential_id: str | None,
        live: bool,
        before: int | None,
        limit: int,
    ) -> list[ListedLease]:
        """Leases, newest first, with a note on those whose caller has been revoked since.

        Args:
            caller: who asks; needs to administer.
            teamspace: only those of this one, empty for the workspace level; None for all that the caller may see.
            credential_id: only those of this credential.
            live: only those that have not ended.
            before: only those of a smaller `seq`.
            limit: at most so many.

        Raises:
            NotAllowed: the caller may not.
        """
        principal = caller.principal
        require(principal, Permission.ADMINISTER)
        teamspaces = principal.teamspaces
        if teamspace is not None:
            teamspaces = frozenset({authorize(principal, Permission.ADMINISTER, teamspace).teamspace})
        return await self._store.list_leases(
            principal.workspace,
            teamspaces=teamspaces,
            credential_id=credential_id,
            live_at=timestamp(datetime.now(UTC)) if live else None,
            before=before,
            limit=limit,
        )

    def _check(self, request: LeaseRequest) -> int:
        """How long the lease is to live, in seconds, if nothing is wrong with the request."""
        wrong = {} if request.scope is None else request.scope.faults()
        bounds = self._bounds
        seconds = bounds.default_ttl_seconds if request.ttl_seconds is None else request.ttl_seconds
        if not 1 <= seconds <= bounds.max_ttl_seconds:
            wrong["ttl_seconds"] = f"Must be from 1 to {bounds.max_ttl_seconds}, the longest that is configured here."
        if request.purpose and not is_label(request.purpose):
            wrong["purpose"] = "Must be at most 255 characters long, without control characters."
        if wrong:
            raise Invalid(wrong)
        return seconds

    def _require_bounded(self, material: Material) -> None:
        """Refuse material that outlives what the operator allows: its end is the provider's word, not ours."""
        longest = timedelta(seconds=self._bounds.max_ttl_seconds + _SLACK_SECONDS)
        if material.expires_at > datetime.now(UTC) + longest:
            raise NotLeasable(
                "The provider's material would live longer than leases may here, so it was thrown away: ask the "
                "operator for a longer leases.max_ttl_seconds, or use a credential of another kind."
            )

    def _require_usable(self, credential: Credential, request: LeaseRequest) -> None:
        if credential.family != Family.ACCESS:
            raise NotLeasable(
                "A shared credential is a file and can't be leased: register what it holds as an access credential, "
                "or download it with a role that may."
            )
        verifier = verifier_of(self._registry, credential.provider, credential.type)
        if verifier.lease is None:
            raise NotLeasable(f"{verifier.kind.title}: this kind can't be leased. {verifier.instead}")
        if not credential.allowed_in_tasks:
            raise NotAllowed("This credential is not for tasks: its owner must set allowed_in_tasks first.")
        if credential.status == _FAILED and not request.force:
            raise LastVerdictFailed(
                "The credential did not work when it was last verified. Verify it again, mend it, or lease with force."
            )

    async def _lease(self, workspace: str, payload: Payload, terms: LeaseTerms) -> Material:
        verifier = verifier_of(self._registry, payload.kind.provider, payload.kind.type)
        try:
            async with self._lanes.enter(f"lease:{payload.kind.provider}"):
                run = await self._start_run(workspace)
                return await leasing.lease(verifier, payload, terms, run, self._deadline)
        except lease_terms.TermsRefused as refused:
            raise Invalid(refused.fields) from None
        except lease_terms.NotLeasable as refused:
            raise NotLeasable(str(refused)) from None
        except leasing.LeaseFailed as failed:
            error = verification_error(failed.report)
            if error is None:
                raise
            raise error from None


def _lease(caller: Caller, lease_id: str, credential: Credential, request: LeaseRequest, material: Material) -> Lease:
    scope = request.scope
    narrowed = None if scope is None else {"bucket": scope.bucket, "prefix": scope.prefix, "access": scope.access.value}
    return Lease(
        id=lease_id,
        workspace=credential.workspace,
        teamspace=credential.teamspace,
        credential_id=credential.id,
        credential_name=credential.name,
        provider=credential.provider,
        type=credential.type,
        purpose=request.purpose,
        narrowed_to=None if narrowed is None else canonical(narrowed),
        role_arn=request.role_arn,
        forced=request.force,
        caller_kind=caller.principal.kind.value,
        caller_id=caller.principal.id,
        caller_name=caller.principal.name,
        issued_at=timestamp(datetime.now(UTC)),
        expires_at=timestamp(material.expires_at),
    )


def _told(lease: Lease) -> str:
    """A lease in the audit trail, which outlives the list."""
    parts = [f"done: lease {lease.id} until {lease.expires_at}", f"scope {lease.narrowed_to or 'whole'}"]
    if lease.role_arn:
        parts.append(f"role {lease.role_arn}")
    if lease.forced:
        parts.append("forced")
    return "; ".join(parts)


def _source_identity(principal: Principal) -> str:
    """The caller, as AWS takes a `SourceIdentity`: what does not fit becomes a dash, and then a hash tells it apart.

    A workload is known by its subject, which two issuers may have: the hash is of both.
    """
    is_workload = principal.kind is PrincipalKind.WORKLOAD
    told = f"{principal.kind.value}-{principal.name if is_workload else principal.id}"
    fit = _UNFIT.sub("-", told)
    if fit == told and len(fit) <= _LONGEST_SOURCE_IDENTITY and not is_workload:
        return fit
    mark = hashlib.sha256(principal.id.encode()).hexdigest()[:_MARK]
    return f"{fit[: _LONGEST_SOURCE_IDENTITY - _MARK - 1]}-{mark}"
