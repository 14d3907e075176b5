"""What PostgreSQL's errors mean. Their texts quote statements and values, so only their names ever go anywhere."""

import logging
from typing import Final

import asyncpg

from service.core.errors import StoreUnavailable

log = logging.getLogger("vouch.storage")

DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
)
"""What a statement or an attempt to connect may raise. TLS errors and time-outs are OSErrors."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html: classes 08 and 57P, and 25P03.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,  # the driver has lost count of what the server says, as when it says good-bye
    OSError,
    EOFError,
)
# 40P01 and 40001: somebody else's transaction was in the way. The last two: another release has changed a table.
_IN_THE_WAY = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,  # an InternalClientError too
)


class TryAgain(Exception):
    """A transaction found that another one was in its way, and nothing of it is to be kept."""


def error_name(error: BaseException) -> str:
    """What an error may be called in a log: its type, and its SQLSTATE if it has one."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({state})" if state else type(error).__name__


def unavailable(error: BaseException, doing: str) -> StoreUnavailable:
    """Log an error by its name and turn it into the one that callers see."""
    log.error("database: %s: %s", doing, error_name(error))
    return StoreUnavailable()


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no more use. A time-out is no loss: what took too long would do so again."""
    if isinstance(error, asyncpg.InterfaceError):
        # It is closed, or in disorder; but for a value that is refused before it is sent, which is a ValueError too.
        return not isinstance(error, ValueError)
    return isinstance(error, _LOST) and not isinstance(error, (TimeoutError, asyncpg.OutdatedSchemaCacheError))


def is_elsewhere(error: BaseException) -> bool:
    """Whether the server takes no writes: after a fail-over the one that does is another."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def is_in_the_way(error: BaseException) -> bool:
    """Whether the same transaction may succeed if it is run again."""
    return isinstance(error, (*_IN_THE_WAY, TryAgain))
