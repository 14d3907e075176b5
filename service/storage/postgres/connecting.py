"""One connection to PostgreSQL: its limits, its settings, and how long to wait for a server that is starting."""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from service.core.audit import AuditRecord
from service.storage.postgres.errors import DATABASE_ERRORS, is_lost

SCHEMA: Final = "vouch"
"""Where everything of ours is: it may share a database, and collides with nobody's names."""

_STATEMENTS_KEPT: Final = 256
_PAUSE: Final = 0.1


@dataclass(frozen=True)
class Limits:
    """Bounds of a store, in seconds where they are times.

    Args:
        pool_min: connections that are kept open.
        pool_max: connections at once.
        pool_wait: how long a request waits for one, the time for connecting included.
        statement: how long the server works on one statement.
        lock: how long it waits there for another transaction's lock.
    """

    pool_min: int = 2
    pool_max: int = 10
    pool_wait: float = 5.0
    statement: float = 10.0
    lock: float = 5.0


if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection  # generic for the type checker alone


class Session(_Connection):
    """A connection, and what the store remembers of it.

    Attributes:
        made_at, idle_since: on `time.monotonic()`.
        trace: the number of the audit record of the transaction under way, and the record: proof that it was committed,
            should the answer be lost.
    """

    made_at: float
    idle_since: float
    trace: tuple[int, AuditRecord] | None


async def connect(url: str, limits: Limits) -> Session:
    """Connect, once.

    Raises:
        DATABASE_ERRORS: it was not possible.
    """
    session: Session = await asyncpg.connect(
        url,
        connection_class=Session,
        timeout=limits.pool_wait,
        # The server gives up first, and says why; this is for one that does not answer at all.
        command_timeout=limits.statement + limits.lock + 1.0,
        statement_cache_size=_STATEMENTS_KEPT,
        max_cached_statement_lifetime=0,
        server_settings=_settings(limits),
    )
    session.made_at = session.idle_since = time.monotonic()
    session.trace = None
    try:
        if await session.fetchval("SELECT current_setting('synchronous_commit')") == "off":
            await session.execute("SET synchronous_commit = on")  # what was acknowledged survives a crash
    except BaseException:
        session.terminate()
        raise
    return session


async def connect_patiently(url: str, limits: Limits, patience: float) -> Session:
    """Connect to a server that may be starting up at the moment.

    Args:
        patience: for how many seconds to try again.

    Raises:
        DATABASE_ERRORS: it was not possible.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return await connect(url, limits)
        except DATABASE_ERRORS as error:
            if not is_lost(error) or time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_PAUSE)


def _settings(limits: Limits) -> dict[str, str]:
    """https://www.postgresql.org/docs/current/runtime-config-client.html; times in milliseconds."""
    milliseconds: dict[str, Any] = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        # Our transactions never wait for anything but the server: one that does has lost its process.
        "idle_in_transaction_session_timeout": limits.statement,
    }
    return {
        "application_name": "vouch",
        "search_path": SCHEMA,
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
        # A replica whose machine died without a word gives back what it had locked.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "jit": "off",  # compiling takes longer than any statement of ours
        **{name: str(max(1, round(seconds * 1000))) for name, seconds in milliseconds.items()},
    }
