"""Connections that are used again: a bound on how many, a bound on the wait, and none that is dead twice."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from service.core.errors import StoreUnavailable
from service.storage.postgres.connecting import Session
from service.storage.postgres.errors import DATABASE_ERRORS

IDLE_SECONDS: Final = 300.0
"""How long a connection beyond the least number is kept without work."""

LONGEST_LIFE: Final = 3600.0
"""Seconds after which a connection is replaced, so that in the end all are where the name now leads."""

_CLOSING_SECONDS: Final = 5.0


class Pool:
    """asyncpg's own pool resets every connection with a statement at each return; ours are never left in a state.

    Args:
        connect: makes a connection.
        least: connections that are kept open.
        most: connections at once.
        patience: seconds that `acquire` may take, connecting included.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]], *, least: int, most: int, patience: float) -> None:
        self._connect = connect
        self._least = least
        self._most = most
        self._patience = patience
        self._places = asyncio.Semaphore(most)
        self._idle: deque[Session] = deque()
        self._forgotten_at = -1.0
        self._closed = False

    async def acquire(self, patience: float | None = None) -> Session:
        """A connection for the caller alone, who must `release` it.

        Raises:
            StoreUnavailable: the pool is closed.
            TimeoutError: none was free in time, or the server did not answer.
            DATABASE_ERRORS: the server can't be reached, or refuses.
        """
        async with asyncio.timeout(self._patience if patience is None else patience):
            await self._places.acquire()
            try:
                return self._take() or await self._connect()
            except BaseException:
                self._places.release()
                raise

    def release(self, session: Session) -> None:
        """Give a connection back; one that is not as it was lent is dropped."""
        now = time.monotonic()
        aged = now - session.made_at > LONGEST_LIFE or session.made_at < self._forgotten_at
        if self._closed or aged or session.is_closed() or session.is_in_transaction():
            session.terminate()
        else:
            session.trace = None
            session.idle_since = now
            self._idle.append(session)
            if len(self._idle) > self._least and now - self._idle[0].idle_since > IDLE_SECONDS:
                self._idle.popleft().terminate()
        self._places.release()

    async def warm(self) -> None:
        """Open the least number of connections."""
        opened = [await self.acquire() for _ in range(self._least)]
        for session in opened:
            self.release(session)

    def forget(self) -> None:
        """Use no connection that was made before now again: the server has gone, or is no longer the one to ask."""
        self._forgotten_at = time.monotonic()
        while self._idle:
            self._idle.pop().terminate()

    async def close(self) -> None:
        """Close all connections; those that are lent when they come back."""
        self._closed = True
        while self._idle:
            with suppress(*DATABASE_ERRORS):
                await self._idle.pop().close(timeout=_CLOSING_SECONDS)

    def _take(self) -> Session | None:
        """The one that was used last, if any still lives."""
        if self._closed:
            raise StoreUnavailable
        while self._idle:
            session = self._idle.pop()
            if not session.is_closed():
                return session
        return None
