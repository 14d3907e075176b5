"""Asking providers: within quotas for who asks, lanes for who is asked, and a deadline."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.core.credentials import verifier_of
from service.core.lanes import CALLERS_LANE, Lanes, Quota
from service.core.model import Caller
from verifiers.base import Payload, Run, conclude, verify
from verifiers.files import FileRefused, load, recognise
from verifiers.registry import Registry
from verifiers.verdict import Report

EVERYBODY = "everybody"

StartRun = Callable[[str], Awaitable[Run]]
"""A fresh run for a workspace."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How often somebody may ask, a host that callers name may be asked, and all of them together may ask."""

    per_caller: Quota
    per_target: Quota
    overall: Quota

    def count(self, caller: Caller) -> None:
        """Every verification counts, also one that ends before anybody is asked: it costs us, and may write.

        Raises:
            RateLimited: before anything is done.
        """
        self.per_caller.hit(f"{caller.principal.kind}:{caller.principal.id}")
        self.overall.hit(EVERYBODY)


class Probing:
    """Runs probes.

    Args:
        registry: the kinds.
        start_run: gives a probe its way out.
        deadline: seconds for one probe.
        lanes: room at the providers.
        quotas: who may ask how often.
        count: counts a verification by provider, outcome and reason.
        clock: counts the seconds that a provider's probe took.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        start_run: StartRun,
        deadline: float,
        lanes: Lanes,
        quotas: Quotas,
        count: Callable[[str | None, str, str], None],
        clock: Callable[[str, float], None] = lambda _provider, _seconds: None,
    ) -> None:
        self._registry = registry
        self._start_run = start_run
        self._lanes = lanes
        self._deadline = deadline
        self._count = count
        self._clock = clock
        self.quotas = quotas

    async def ask(self, workspace: str, payload: Payload, *, scheduled: bool = False) -> Report:
        """What the provider says of a credential.

        Args:
            workspace: whose credential it is.
            payload: the credential.
            scheduled: nobody is waiting for it: it makes no calls that are meant to be refused, and waits for room in
                its lane where a request is turned away.

        Raises:
            RateLimited: the host that the payload names has been asked too often.
            Overloaded: the lane is full.
            UnsupportedKind: nothing here verifies it.
        """
        kind = payload.kind
        verifier = verifier_of(self._registry, kind.provider, kind.type)
        target = payload.target
        if target:
            self.quotas.per_target.hit(target)
        run = await self._start_run(workspace)
        run.thorough = not scheduled
        async with self._lanes.enter(CALLERS_LANE if target else kind.provider, wait=scheduled):
            report = await verify(verifier, payload, run, self._deadline)
        self._clock(kind.provider, report.duration_ms / 1000)
        return self._counted(report)

    async def ask_about_file(
        self, workspace: str, content: bytes, profile: str | None = None, *, scheduled: bool = False
    ) -> Report:
        """What the provider says of the credential that a file holds; the errors are those of `ask`.

        Args:
            workspace: whose file it is.
            content: its bytes.
            profile: which one of an AWS shared-credentials file; None is its default one.
            scheduled: see `ask`.
        """
        try:
            key, values = recognise(content, profile)
            payload = load(verifier_of(self._registry, *key).kind, values)
        except FileRefused as refused:
            return self._counted(conclude(refused.key, refused.verdict))
        return await self.ask(workspace, payload, scheduled=scheduled)

    def _counted(self, report: Report) -> Report:
        self._count(report.provider, report.verdict.outcome.value, report.verdict.reason.value)
        return report
