"""One writer of a record at a time in this process."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from service.core.errors import StoreUnavailable

CROWDED = "Too many writers want this record at once."


class Turns:
    """Locks by what they are for: behind them, only writers of other processes can be faster.

    Args:
        seconds: how long a writer waits for its turn.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncIterator[None]:
        """Have the turn for as long as the block lasts.

        Raises:
            StoreUnavailable: it would be too long a wait; behind a locked store each of those before waits for seconds.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._seconds):
                await turn.acquire()
        except TimeoutError:
            raise StoreUnavailable(CROWDED) from None
        try:
            yield
        finally:
            turn.release()
