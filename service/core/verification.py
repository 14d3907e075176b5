"""Verify a payload or a stored credential, within quotas and lanes, and keep the verdict on what is stored."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from service.core import audit
from service.core.credentials import Credentials, verifier_of
from service.core.errors import StoreUnavailable
from service.core.lanes import CALLERS_LANE, Lanes, Quota
from service.core.model import Caller, Credential, Family, Permission
from service.core.permissions import authorize
from service.core.shared import SharedCredentials
from service.core.store import Store
from verifiers.base import Payload, Run, conclude, verify
from verifiers.files import DEFAULT_PROFILE, FileRefused, load, recognise
from verifiers.registry import Registry
from verifiers.verdict import Outcome, Report

log = logging.getLogger("vouch.verification")


@dataclass(frozen=True, slots=True)
class Quotas:
    """How often somebody may ask, and how often a host that callers name may be asked."""

    per_caller: Quota
    per_target: Quota


class Verification:
    """The core service of verifying."""

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        shared: SharedCredentials,
        registry: Registry,
        *,
        start_run: Callable[[], Run],
        deadline: float,
        lanes: Lanes,
        quotas: Quotas,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._shared = shared
        self._registry = registry
        self._start_run = start_run
        self._deadline = deadline
        self._lanes = lanes
        self._quotas = quotas

    async def verify_payload(self, caller: Caller, teamspace: str, payload: Payload) -> Report:
        """Ask the provider about a payload; nothing is stored.

        Raises:
            NotAllowed: the caller may not verify there.
            RateLimited, Overloaded: before any outbound call.
        """
        authorize(caller.principal, Permission.VERIFY, teamspace)
        self._count(caller)
        return await self._probe(payload)

    async def verify_stored(self, caller: Caller, teamspace: str, name: str, provider: str) -> Report:
        """Ask the provider about a stored credential, and keep what it said if it said something.

        Raises:
            NoSuchCredential: there is none of that name.
            Invalid: it is another provider's.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        authorize(caller.principal, Permission.VERIFY, teamspace)
        self._count(caller)
        credential, payload = await self._credentials.open(caller, teamspace, name, provider)
        return await self._keep(caller, credential, await self._probe(payload))

    async def verify_shared(self, caller: Caller, name: str, profile: str | None) -> Report:
        """Ask the provider about the credential that a shared file holds, and keep what it said if it said something.

        Args:
            caller: who asks.
            name: the shared credential's.
            profile: which one of an AWS shared-credentials file; None is its default one. The record's verdict is the
                default one's: that on another profile is answered, and not kept.

        Raises:
            NoSuchCredential: there is none of that name.
            UnsupportedKind: nothing here verifies what the file holds.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        authorize(caller.principal, Permission.VERIFY, "", Family.SHARED)
        self._count(caller)
        credential, content = await self._shared.open(caller, name)
        try:
            key, values = recognise(content, profile)
            payload = load(verifier_of(self._registry, *key).kind, values)
        except FileRefused as refused:
            report = conclude(refused.key, refused.verdict)
        else:
            report = await self._probe(payload)
        if profile not in (None, "", DEFAULT_PROFILE):
            return report
        return await self._keep(caller, credential, report)

    async def _keep(self, caller: Caller, credential: Credential, report: Report) -> Report:
        """Keep a verdict that says something, if the record still has the payload that it was reached on.

        The provider has been asked and has answered: that the answer can't be kept is no reason to withhold it.
        """
        if report.verdict.outcome is Outcome.UNKNOWN:
            return report
        outcome = f"{report.verdict.outcome}: {report.verdict.reason}"
        record = audit.record(caller, credential.scope, audit.Action.VERIFY, credential.id, outcome)
        told = orjson.dumps(report.to_dict()).decode()
        try:
            await self._store.record_verdict(credential, report.verdict.outcome.value, told, record)
        except StoreUnavailable:
            log.warning("the verdict on credential %s could not be kept (%s)", credential.id, outcome)
        return report

    def _count(self, caller: Caller) -> None:
        """Every verification counts, also one that ends before anybody is asked: it costs us, and may write."""
        self._quotas.per_caller.hit(f"{caller.principal.kind}:{caller.principal.id}")

    async def _probe(self, payload: Payload) -> Report:
        kind = payload.kind
        verifier = verifier_of(self._registry, kind.provider, kind.type)
        target = payload.target
        if target:
            self._quotas.per_target.hit(target)
        async with self._lanes.enter(CALLERS_LANE if target else kind.provider):
            return await verify(verifier, payload, self._start_run(), self._deadline)
