"""One SQLite connection in a thread of its own, and what its errors mean."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from service.core.errors import StoreUnavailable

log = logging.getLogger("vouch.storage")

T = TypeVar("T")

_BUSY = sqlite3.SQLITE_BUSY
_PRIMARY_CODE = 0xFF
_DOUBTFUL_CODES = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# These concern locks and the shared-memory index, no page of the file: a full disk can cause them, and they pass.
_PASSING = frozenset(
    {
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_SHMMAP",
        "SQLITE_IOERR_SHMOPEN",
        "SQLITE_IOERR_SHMLOCK",
        "SQLITE_IOERR_LOCK",
        "SQLITE_IOERR_RDLOCK",
        "SQLITE_IOERR_CHECKRESERVEDLOCK",
        "SQLITE_IOERR_NOMEM",
    }
)


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function in its thread: one hop for many statements.

    aiosqlite's public calls take one hop each. A transaction spread over several could be cut in half by a
    cancellation, and every hop costs more than the statement it carries.
    """

    def submit(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Run a function in the connection's thread, after what was submitted before.

        Cancelling the future does not stop the function.

        Raises:
            StoreUnavailable: the connection is closed.
        """
        connection = self._connection
        if not self._running or connection is None:
            raise StoreUnavailable
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # What aiosqlite's own `_execute` does, without the coroutine around it that only a task could drive; and with
        # a lambda instead of a `partial`, whose repr would put every argument into aiosqlite's debug log.
        self._tx.put_nowait((future, lambda: function(connection)))
        return future


async def connect(path: Path, *, busy_timeout: float) -> Connection:
    """Open a connection in autocommit mode; every transaction is begun by name.

    Args:
        path: the database's file.
        busy_timeout: seconds that SQLite itself waits for another process's lock.

    Raises:
        sqlite3.Error: it could not be opened.
    """

    def open_here() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, cached_statements=256)

    connection = Connection(open_here, iter_chunk_size=64)
    await connection
    return connection


class Condition:
    """Whether the file may still be written: one per store, shared by its connections."""

    def __init__(self) -> None:
        self.doubtful = False

    def translate(self, error: sqlite3.Error, doing: str) -> StoreUnavailable:
        """Log an error by its name and turn it into the one that callers see; SQLite's text goes nowhere.

        An I/O error leaves the state of the file in doubt: from then on nothing is written.
        """
        name = error_name(error)
        if is_doubtful(error):
            self.doubtful = True
        log.error("database: %s: %s%s", doing, name, "; writing stops until a restart" if self.doubtful else "")
        return StoreUnavailable()


def error_name(error: sqlite3.Error) -> str:
    """SQLite's name of an error, such as `SQLITE_FULL`; the type's for one that Python's module raised itself."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection's lock was in the way."""
    return _primary(error) == _BUSY


def is_doubtful(error: sqlite3.Error) -> bool:
    """Whether the state of the file is in doubt after this error."""
    return _primary(error) in _DOUBTFUL_CODES and error_name(error) not in _PASSING


def _primary(error: sqlite3.Error) -> int:
    # The low byte is the primary result code: https://www.sqlite.org/rescode.html
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY_CODE
