"""Bringing the schema on PostgreSQL up to date: numbered steps, each in a transaction of its own, each once.

How to write one, so that replicas of the release before go on working until they are replaced:

- Only add: tables, columns that may be NULL or have a constant default, indexes. Nothing that the release before reads
  or writes is renamed, dropped, made narrower, or given a constraint that its writes could break. What is no longer
  used is dropped in a later release, when none that uses it is left.
- Say in the first line with which schema the oldest release was made that still works on the new one
  (`-- works with: 0001`); the step's own number, if none does. A replica of that release that is started again in the
  middle of a rollout then starts, and an older one refuses to.
- No BEGIN or COMMIT. A step that has to wait for others' locks gives up soon, and is tried again: while it waits, all
  who come after it wait too.
"""

import asyncio
import re
import time
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

import asyncpg

from service.core.errors import RefusesToStart
from service.core.model import timestamp
from service.storage.migrations import Migration, load
from service.storage.postgres.connecting import SCHEMA, Session
from service.storage.postgres.errors import error_name

OLDEST_SERVER: Final = 14
LOCK: Final = 0x766F7563_00000001
"""The advisory lock that whoever migrates holds: "vouc" in ASCII, and a number."""

_FIRST_LINE = re.compile(r"-- works with: (\d{4})\n")
_LOCK_SECONDS: Final = 2.0
_PAUSE: Final = 0.5
_LONGEST_STEP: Final = 3600.0

# A query, and not `to_regclass`: that one remembers through a whole transaction that a name was not there, although
# another replica, which had the lock before, has made it.
_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)"
_VERSION_TABLE = """
CREATE TABLE schema_version (
    version    integer PRIMARY KEY,
    works_with integer NOT NULL, -- the schema of the oldest release that still works on this one
    applied_at text    NOT NULL
)
"""


def steps() -> list[Migration]:
    """The migrations that the package brings for PostgreSQL, in order.

    Raises:
        ValueError: the numbers are not 1, 2, 3, …
    """
    return load(files("service.storage.schema") / "postgres")


def works_with(migration: Migration) -> int:
    """With which schema the oldest release was made that still works after a migration.

    Raises:
        ValueError: it does not say so, or says what can't be.
    """
    found = _FIRST_LINE.match(migration.sql)
    if found is None or not 1 <= int(found[1]) <= migration.version:
        raise ValueError(f"{migration.name} must begin with a line `-- works with: NNNN`")
    return int(found[1])


async def migrate(session: Session, migrations: list[Migration], patience: float) -> None:
    """Apply what is missing. Several replicas may do so at once: each step is done by one of them.

    Args:
        session: a connection of its own: its limits are changed.
        migrations: all that this version knows, in order.
        patience: seconds for waiting, for other replicas and for locks.

    Raises:
        RefusesToStart: the database is another program's, or too old, or of a newer version; or a step failed and was
            rolled back.
        DATABASE_ERRORS: it was not possible for another reason.
    """
    await _require_usable(session)
    deadline = time.monotonic() + patience
    while await _version(session, migrations) < len(migrations):
        try:
            await _next(session, migrations, max(0.001, deadline - time.monotonic()))
        except asyncpg.LockNotAvailableError:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(_PAUSE)


async def _next(session: Session, migrations: list[Migration], patience: float) -> None:
    """Apply the next step, unless somebody else has meanwhile."""
    async with session.transaction():
        await session.execute("SET LOCAL statement_timeout = 0")
        await session.execute(f"SET LOCAL lock_timeout = {max(1, round(patience * 1000))}")
        await session.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=patience + 1)
        done = await _version(session, migrations)
        if done < len(migrations):
            await session.execute(f"SET LOCAL lock_timeout = {round(_LOCK_SECONDS * 1000)}")
            await _apply(session, migrations[done])


async def _apply(session: Session, migration: Migration) -> None:
    try:
        if migration.version == 1:
            if not await session.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", SCHEMA):
                await session.execute(f"CREATE SCHEMA {SCHEMA}")
            await session.execute(_VERSION_TABLE)
        number = await session.fetchval("SELECT pg_current_xact_id()::text")
        # With no arguments a text of many statements is run as it is.
        await session.execute(migration.sql, timeout=_LONGEST_STEP)
        if await session.fetchval("SELECT pg_current_xact_id()::text") != number:
            raise RefusesToStart(f"Migration {migration.name} ends its transaction: what it did can't be taken back.")
        await session.execute(
            "INSERT INTO schema_version VALUES ($1, $2, $3)",
            migration.version,
            works_with(migration),
            timestamp(datetime.now(UTC)),
        )
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        raise RefusesToStart(
            f"The database: migration {migration.name} failed ({error_name(error)}) and was rolled back."
        ) from None


async def _require_usable(session: Session) -> None:
    """Refuse what can't be ours, before anything in it is changed.

    Raises:
        RefusesToStart: it is too old, has another encoding, or its schema `vouch` is another program's.
    """
    if session.get_server_version().major < OLDEST_SERVER:
        raise RefusesToStart(f"The database: vouch needs PostgreSQL {OLDEST_SERVER} or newer.")
    if await session.fetchval("SELECT current_setting('server_encoding')") != "UTF8":
        raise RefusesToStart("The database must have the encoding UTF8.")
    if await session.fetchval("SHOW transaction_read_only") == "on":
        raise RefusesToStart("The database is a standby, or takes no writes for another reason: name the primary.")
    # In one statement: another replica may be making the schema.
    names = [row["relname"] for row in await session.fetch(_TABLES, SCHEMA)]
    if names and "schema_version" not in names:
        raise RefusesToStart(f"The database has a schema {SCHEMA} that is not vouch's: name another database.")


async def _version(session: Session, migrations: list[Migration]) -> int:
    """How many of the migrations the database has; all, if it has newer ones that this version works with."""
    if not await session.fetch(_TABLES, SCHEMA):
        return 0
    known = len(migrations)
    rows = await session.fetch("SELECT version, works_with FROM schema_version")
    version = max((row["version"] for row in rows), default=0)
    if any(row["works_with"] > known for row in rows):
        raise RefusesToStart(
            f"The database has schema {version}, and this version of vouch knows {known}: start a newer vouch."
        )
    return min(version, known)
