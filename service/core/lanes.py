"""Lanes: room for so many questions to providers at once, and a way to end them all when the service stops."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from service.core.errors import Overloaded

CALLERS_LANE = "callers"


class Quota(Protocol):
    """Counts what a key does in a while."""

    def hit(self, key: str) -> None:
        """Count one more; raises RateLimited if that is too many."""


class Lanes:
    """Every lane has the same room: a provider that hangs fills only its own.

    Full is said at once to a request; what nobody waits for waits itself.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._busy: Counter[str] = Counter()
        self._freed = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def enter(self, lane: str, *, wait: bool = False) -> AsyncIterator[None]:
        """Take a place for as long as a question is open.

        Args:
            lane: whose.
            wait: for room, instead of being turned away.

        Raises:
            Overloaded: the lane is full, or the service stops meanwhile.
        """
        while self._busy[lane] >= self._capacity:
            if not wait:
                raise Overloaded("Too many requests to this provider are under way.")
            self._freed.clear()
            await self._freed.wait()
        self._busy[lane] += 1
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Overloaded("The service is shutting down.") from None
        finally:
            self._limits.discard(limit)
            self._busy[lane] -= 1
            self._freed.set()

    def busy(self) -> dict[str, int]:
        """Open questions by lane."""
        return dict(self._busy)

    def stop(self) -> None:
        """End every question under way, before its deadline: its caller is told that the service is shutting down."""
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)
