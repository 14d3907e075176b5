"""Lanes: room for so many questions to providers at once, and a way to end them all when the service stops."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from service.core.errors import Overloaded

CALLERS_LANE = "callers"
STOPPING = "The service is shutting down."


class Quota(Protocol):
    """Counts what a key does in a while."""

    def hit(self, key: str) -> None:
        """Count one more; raises RateLimited if that is too many."""


class Lanes:
    """Every lane has the same room: a provider that hangs fills only its own.

    Full is said at once to a request. What nobody waits for waits itself, and keeps half of the lane free for requests:
    it must not be the reason why one of them is turned away.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._busy: Counter[str] = Counter()
        self._freed = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()
        self._stopped = False

    @asynccontextmanager
    async def enter(self, lane: str, *, wait: bool = False) -> AsyncIterator[None]:
        """Take a place for as long as a question is open.

        Args:
            lane: whose.
            wait: until half of the lane is free, instead of being turned away from a full one.

        Raises:
            Overloaded: the lane is full, or the service stops meanwhile.
        """
        room = max(self._capacity // 2, 1) if wait else self._capacity
        while self._busy[lane] >= room and not self._stopped:
            if not wait:
                raise Overloaded("Too many requests to this provider are under way.")
            self._freed.clear()
            await self._freed.wait()
        if self._stopped:
            raise Overloaded(STOPPING)
        self._busy[lane] += 1
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Overloaded(STOPPING) from None
        finally:
            self._limits.discard(limit)
            self._busy[lane] -= 1
            self._freed.set()

    def busy(self) -> dict[str, int]:
        """Open questions by lane."""
        return dict(self._busy)

    def stop(self) -> None:
        """End every question under way, before its deadline, and let in no more: all are told why."""
        self._stopped = True
        self._freed.set()
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)
