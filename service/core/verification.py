"""Verify a payload or a stored credential, within quotas and lanes, and keep the verdict on what is stored."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import orjson

from service.core import audit
from service.core.credentials import Credentials
from service.core.errors import Invalid, Overloaded, UnsupportedKind
from service.core.model import Caller, Permission
from service.core.permissions import authorize
from service.core.store import Store
from verifiers.base import Payload, Run, verify
from verifiers.registry import Registry
from verifiers.verdict import Outcome, Report

CALLERS_LANE = "callers"


class Quota(Protocol):
    """Counts what a key does in a while."""

    def hit(self, key: str) -> None:
        """Count one more; raises RateLimited if that is too many."""


class Lanes:
    """Room for so many probes at once, for every provider its own: one that hangs fills only its own lane.

    Full is said at once, nobody queues.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._busy: Counter[str] = Counter()

    @contextmanager
    def enter(self, lane: str) -> Iterator[None]:
        """Take a place for the length of a probe.

        Raises:
            Overloaded: the lane is full.
        """
        if self._busy[lane] >= self._capacity:
            raise Overloaded("Too many verifications of this provider are under way.")
        self._busy[lane] += 1
        try:
            yield
        finally:
            self._busy[lane] -= 1


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
        registry: Registry,
        *,
        start_run: Callable[[], Run],
        deadline: float,
        lanes: Lanes,
        quotas: Quotas,
    ) -> None:
        self._store = store
        self._credentials = credentials
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
        return await self._probe(caller, payload)

    async def verify_stored(self, caller: Caller, teamspace: str, name: str, provider: str) -> Report:
        """Ask the provider about a stored credential, and keep what it said if it said something.

        Raises:
            NoSuchCredential: there is none of that name.
            Invalid: it is another provider's.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        scope = authorize(caller.principal, Permission.VERIFY, teamspace)
        credential, payload = await self._credentials.open(scope, name)
        if credential.provider != provider:
            raise Invalid({"provider": f"The stored credential belongs to {credential.provider}."})
        report = await self._probe(caller, payload)
        if report.verdict.outcome is not Outcome.UNKNOWN:
            outcome = f"{report.verdict.outcome}: {report.verdict.reason}"
            await self._store.record_verdict(
                credential,
                report.verdict.outcome.value,
                orjson.dumps(report.to_dict()).decode(),
                audit.record(caller, scope, audit.Action.VERIFY, credential.id, outcome),
            )
        return report

    async def _probe(self, caller: Caller, payload: Payload) -> Report:
        kind = payload.kind
        verifier = self._registry.get(kind.provider, kind.type)
        if verifier is None:
            raise UnsupportedKind(f"Nothing here verifies {kind.provider} credentials of the type {kind.type}.")
        target = urlsplit(payload.target or "").hostname
        self._quotas.per_caller.hit(f"{caller.principal.kind}:{caller.principal.id}")
        if target:
            self._quotas.per_target.hit(target)
        with self._lanes.enter(CALLERS_LANE if target else kind.provider):
            return await verify(verifier, payload, self._start_run(), self._deadline)
