"""Reading and writing: every write one transaction, whole or not at all, and never run again once it may have been."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from service.core.audit import AuditRecord
from service.core.errors import StoreUnavailable
from service.storage.postgres import audit_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.errors import (
    DATABASE_ERRORS,
    TryAgain,
    is_elsewhere,
    is_in_the_way,
    is_lost,
    unavailable,
)
from service.storage.postgres.pool import Pool

T = TypeVar("T")

Change = Callable[[Session], Coroutine[Any, Any, T]]
"""What a write does between BEGIN and COMMIT. A false result (False, None, an empty list) says that nothing changed: it
rolls back. It may be run more than once, each time in a transaction of its own."""

TRIES: Final = 6
"""How often a transaction is run that others are in the way of."""

_LONGEST_PAUSE: Final = 0.02
_PROOF_LASTS: Final = 1.0
_LOOKED_FOR: Final = 0.5
"""Seconds for which a commit proves that writing works; and for how long one that was not confirmed is looked for on a
server that answers."""


class _Unanswered(Exception):
    """COMMIT was sent, and no answer came. `result` is what was to be returned; see `Session` for `trace`."""

    def __init__(self, error: BaseException, result: Any, trace: tuple[int, AuditRecord] | None) -> None:
        super().__init__()
        self.error = error
        self.result = result
        self.trace = trace


class Database:
    """The transactions of a store.

    Args:
        patience: seconds for which a commit whose answer was lost is asked after.
    """

    def __init__(self, pool: Pool, patience: float) -> None:
        self._pool = pool
        self._patience = patience
        self._running: set[asyncio.Task[Any]] = set()
        self._last_read = self._last_commit = -_PROOF_LASTS
        self._last_error = -1.0

    async def read(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run `function(session, *arguments)`, of one statement; again, if the connection turns out to be dead.

        Raises:
            StoreUnavailable: the database could not be read.
        """
        once_more = True
        while True:
            session = await self._acquire("reading")
            try:
                found = await function(session, *arguments)
                self._last_read = time.monotonic()
                return found
            except DATABASE_ERRORS as error:
                self._drop(session, error)
                if not (once_more and is_lost(error)):
                    raise self._unavailable(error, "reading") from None
                once_more = False
            except BaseException:
                # Cancelled: the answer that is still to come must not meet the next reader.
                session.terminate()
                raise
            finally:
                self._pool.release(session)

    async def write(self, change: Change[T], patience: float | None = None) -> T:
        """Run a change in a transaction, and return what it returns.

        A caller that is cancelled while it waits for a connection writes nothing; after that it is held until the
        transaction has ended, so that what it does next does not meet it.

        Raises:
            StoreUnavailable: nothing was written.
            VouchError: what the change itself raised; nothing was written.
        """
        session = await self._acquire("writing", patience)
        running = self._start(self._until_done(session, change))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    async def probe(self, look: Callable[[Session], Coroutine[Any, Any, Any]], change: Change[Any]) -> None:
        """Prove that reading and writing are possible, by a change that alters nothing.

        What somebody has just done need not be proven: under many requests a probe may wait for long, though each of
        them succeeds.

        Raises:
            StoreUnavailable: it is not, or not within a second.
        """
        if not self._is_proven(self._last_read):
            await self._within_a_second(self.read(look))
        if not self._is_proven(self._last_commit):
            await self._within_a_second(self.write(change, _PROOF_LASTS))

    async def close(self) -> None:
        """Wait for the transactions under way, and close the connections."""
        while self._running:
            await asyncio.wait(self._running)
        await self._pool.close()

    def _is_proven(self, at: float) -> bool:
        """Whether what was done at a time still proves that it can be done."""
        return at > self._last_error and time.monotonic() - at < _PROOF_LASTS

    async def _within_a_second(self, attempt: Coroutine[Any, Any, Any]) -> None:
        running = self._start(attempt)
        done, _ = await asyncio.wait({running}, timeout=_PROOF_LASTS)
        if not done:
            raise self._unavailable(TimeoutError(), "a probe")
        await running

    async def _acquire(self, doing: str, patience: float | None = None) -> Session:
        try:
            return await self._pool.acquire(patience)
        except DATABASE_ERRORS as error:
            raise self._unavailable(error, f"a connection for {doing}") from None

    async def _until_done(self, session: Session, change: Change[T]) -> T:
        """Run a transaction until it is done, or failed for good."""
        reconnected = False
        for number in range(TRIES):
            try:
                try:
                    return await self._transaction(session, change)
                finally:
                    self._pool.release(session)
            except _Unanswered as lost:
                if lost.trace is not None and await self._was_committed(*lost.trace):
                    result: T = lost.result
                    return result
                raise self._unavailable(lost.error, "a commit") from None
            except (*DATABASE_ERRORS, TryAgain) as error:
                # COMMIT was not even sent.
                gone = is_lost(error) or is_elsewhere(error)
                if (gone and reconnected) or not (gone or is_in_the_way(error)) or number == TRIES - 1:
                    raise self._unavailable(error, "writing") from None
                reconnected = reconnected or gone
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE * number))  # noqa: S311 - no secret
            session = await self._acquire("writing")
        raise StoreUnavailable

    async def _transaction(self, session: Session, change: Change[T]) -> T:
        """All of it, or nothing.

        Raises:
            _Unanswered: nobody knows which.
            DATABASE_ERRORS, TryAgain: nothing.
        """
        session.trace = None
        try:
            await session.execute("BEGIN")
            result = await change(session)
            if not result:
                await session.execute("ROLLBACK")
                return result
        except BaseException as error:
            await self._roll_back(session, error)
            raise
        try:
            done = await session.execute("COMMIT")
        except DATABASE_ERRORS as error:
            trace = session.trace
            self._drop(session, error)
            session.terminate()
            raise _Unanswered(error, result, trace) from None
        if done != "COMMIT":
            raise TryAgain
        self._last_commit = time.monotonic()
        return result

    async def _roll_back(self, session: Session, error: BaseException) -> None:
        """End a transaction that failed; the server does it, where the connection is of no use for that."""
        if isinstance(error, DATABASE_ERRORS):
            self._drop(session, error)
        if session.is_closed() or isinstance(error, asyncio.CancelledError):
            session.terminate()
            return
        try:
            await session.execute("ROLLBACK")
        except DATABASE_ERRORS:
            session.terminate()

    def _drop(self, session: Session, error: BaseException) -> None:
        """After an error: use neither this connection again, nor the others, if the error says so.

        A time-out is one of a server that does not even say that it has given up.
        """
        if is_lost(error) or is_elsewhere(error) or isinstance(error, TimeoutError):
            session.terminate()
            self._pool.forget()

    async def _was_committed(self, *trace: Any) -> bool:
        """Whether a transaction is there whose COMMIT was sent and never answered.

        Its audit record tells. Not `pg_xact_status`: after a fail-over the number may be another transaction's.
        """
        deadline = time.monotonic() + self._patience
        answered_by = None
        while (now := time.monotonic()) < deadline and (answered_by is None or now < answered_by):
            try:
                if await self.read(audit_rows.is_kept, *trace):
                    return True
                # The server may still be at it, should only the connection have been lost.
                answered_by = answered_by or now + _LOOKED_FOR
            except StoreUnavailable:
                answered_by = None
            await asyncio.sleep(0.05)
        return False

    def _unavailable(self, error: BaseException, doing: str) -> StoreUnavailable:
        self._last_error = time.monotonic()
        return unavailable(error, doing)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let something run to its end, whoever still waits for it."""
        running = asyncio.ensure_future(work)
        self._running.add(running)
        running.add_done_callback(self._finished)
        return running

    def _finished(self, running: asyncio.Task[Any]) -> None:
        """Its caller may be gone: then nobody else asks for its error."""
        self._running.discard(running)
        if not running.cancelled():
            running.exception()
