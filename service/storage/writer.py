"""Writing: one transaction at a time, whole or not at all, and never waiting without a bound."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from service.core.errors import StoreUnavailable
from service.storage.connection import Condition, Connection, is_busy

T = TypeVar("T")

Change = Callable[[sqlite3.Connection], T]
"""What a write does between BEGIN and COMMIT. A false result (False, None, an empty list) says that nothing changed: it
rolls back."""

BUSY_SLICE: Final = 0.05
"""Seconds that SQLite waits for another process's lock before the deadline is looked at again."""

PROOF_LASTS: Final = 1.0
"""Seconds for which a commit proves that writing works, and that a probe may wait at most."""


class Writer:
    """The connection that writes, behind a lock.

    On a shared connection a second request's statements would join the open transaction, be acknowledged, and be lost
    with its rollback. So a transaction is one function that runs in the thread from BEGIN to COMMIT.

    Args:
        lock_timeout: seconds that a write may wait: for its turn, and then for another process's lock, together.
        proof: a change that alters nothing and yet has to be written: on a full disk only a commit tells.
    """

    def __init__(self, connection: Connection, condition: Condition, lock_timeout: float, proof: Change[Any]) -> None:
        self._connection = connection
        self._condition = condition
        self._lock_timeout = lock_timeout
        self._proof = proof
        self._lock = asyncio.Lock()
        self._last_commit = -PROOF_LASTS

    async def write(self, change: Change[T]) -> T:
        """Run a change in a transaction, and return what it returns.

        A caller that is cancelled while it waits for its turn writes nothing; after that the transaction goes on to its
        end without the caller, and the next one waits for it.

        Raises:
            StoreUnavailable: nothing was written.
            VouchError: what the change itself raised; nothing was written.
        """
        result = await self._run(change, self._lock_timeout)
        if result:
            self._last_commit = time.monotonic()
        return result

    async def probe(self) -> None:
        """Prove that writing is possible.

        Raises:
            StoreUnavailable: it is not, or not within a second.
        """
        # Under many writes the queue may be longer than the probe's patience, though each of them succeeds.
        proven = time.monotonic() - self._last_commit < PROOF_LASTS
        if self._condition.doubtful or not proven:
            await self._run(self._proof, min(PROOF_LASTS, self._lock_timeout))

    async def close(self) -> None:
        """Wait for the transaction under way, and close the connection."""
        async with self._lock:
            await self._connection.close()

    async def _run(self, change: Change[T], patience: float) -> T:
        deadline = time.monotonic() + patience
        try:
            async with asyncio.timeout(patience):
                await self._lock.acquire()
        except TimeoutError:
            raise StoreUnavailable from None
        # No await from here to the callback: a cancellation could leave the lock held for ever.
        try:
            running = self._submit(change, deadline)
        except StoreUnavailable:
            self._lock.release()
            raise
        running.add_done_callback(self._finished)
        try:
            return await asyncio.shield(running)
        except sqlite3.Error:
            raise StoreUnavailable from None

    def _submit(self, change: Change[T], deadline: float) -> "asyncio.Future[T]":
        if self._condition.doubtful:
            raise StoreUnavailable
        return self._connection.submit(partial(_transaction, change, deadline))

    def _finished(self, running: "asyncio.Future[Any]") -> None:
        """The thread is done, whether or not anybody still waits for it."""
        self._lock.release()
        error = running.exception()
        if isinstance(error, sqlite3.Error):
            self._last_commit = -PROOF_LASTS
            self._condition.translate(error, "writing")


def begin(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a transaction that holds the write lock, waiting for another process's until the deadline.

    Args:
        connection: in autocommit mode, with a short busy timeout of its own.
        deadline: on `time.monotonic()`.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise


def _transaction(change: Change[T], deadline: float, connection: sqlite3.Connection) -> T:
    """In the thread: all of it, or nothing."""
    begin(connection, deadline)
    try:
        result = change(connection)
        connection.execute("COMMIT" if result else "ROLLBACK")
        return result
    finally:
        # Some errors (a full disk, an I/O error) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
