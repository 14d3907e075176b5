"""Ask the provider about what comes in, before it is saved: as often as the quotas allow, and no more."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.core.catalog import Item, Vets
from service.core.errors import Overloaded, RateLimited
from verifiers.base import Payload
from verifiers.files import FileRefused, recognise
from verifiers.verdict import Outcome, Report

Pause = Callable[[float], Awaitable[None]]
"""Waits so many seconds; raises what ends the import if it is to end meanwhile."""

T = TypeVar("T")


class Asking:
    """What verifies one credential. `report` is what was said of it, None before anybody was asked.

    Args:
        vets: what verifies.
        pause: waits.
    """

    def __init__(self, vets: Vets, pause: Pause) -> None:
        self._vets = vets
        self._pause = pause
        self.report: Report | None = None

    async def payload(self, payload: Payload) -> Report:
        """Ask about a payload."""
        return await self._patiently(self._vets.payload, payload)

    async def file(self, content: bytes) -> Report:
        """Ask about the credential in a file."""
        return await self._patiently(self._vets.file, content)

    @property
    def vets(self) -> Vets:
        """The same, as a PUT takes it."""
        return Vets(self.payload, self.file)

    @property
    def doubt(self) -> str:
        """A sentence on a credential that is saved although nobody said that it works; empty for none."""
        if self.report is None or self.report.verdict.outcome is Outcome.VERIFIED:
            return ""
        return f"Not verified: {self.report.verdict.message}"

    async def _patiently(self, ask: Callable[[T], Awaitable[Report]], what: T) -> Report:
        while True:
            try:
                self.report = await ask(what)
                return self.report
            except (RateLimited, Overloaded) as busy:
                await self._pause(busy.retry_after)


def is_verifiable(item: Item) -> bool:
    """Whether there is anybody to ask: a shared file may hold what no provider knows."""
    if item.file is None:
        return True
    try:
        recognise(item.file.content)
    except FileRefused as refused:
        return refused.key is not None
    return True
