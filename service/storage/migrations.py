"""Bringing the embedded database's schema up to date: numbered steps, each in a transaction of its own, each once."""

import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from service.core.errors import RefusesToStart
from service.core.model import timestamp
from service.storage.connection import error_name
from service.storage.writer import begin

APPLICATION_ID: Final = 0x766F7563
"""What a database of ours has in its header (the first migration sets it)."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Migration(NamedTuple):
    """One numbered step."""

    version: int
    name: str
    sql: str


def load(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of a folder in order; by default those that the package brings for SQLite.

    Raises:
        ValueError: the numbers are not 1, 2, 3, …
    """
    source = files("service.storage.schema") / "sqlite" if folder is None else folder
    found = []
    for entry in source.iterdir():
        matched = _FILE_NAME.fullmatch(entry.name)
        if matched:
            found.append(Migration(int(matched[1]), entry.name, entry.read_text(encoding="utf-8")))
    found.sort()
    if [one.version for one in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered 0001, 0002, … without a gap")
    return found


def require_ours(connection: sqlite3.Connection, label: str) -> None:
    """Refuse a database of another program, before anything in it is changed.

    Args:
        label: what to call the database in the refusal.

    Raises:
        RefusesToStart: it has content, and not our mark.
    """
    # In this order: another process may be making the database, and its mark and its tables come in one commit.
    empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    mark = connection.execute("PRAGMA application_id").fetchall()[0][0]
    if mark != APPLICATION_ID and not (empty and mark == 0):
        raise RefusesToStart(f"{label} is not a vouch database.")


def migrate(connection: sqlite3.Connection, migrations: list[Migration], deadline: float, label: str) -> None:
    """Apply what is missing. Several processes may do so at once: each step is done by one of them.

    Args:
        connection: in autocommit mode.
        migrations: all that this version knows, in order.
        deadline: on `time.monotonic()`, for waiting for another process.
        label: what to call the database in a refusal.

    Raises:
        RefusesToStart: the schema is newer than this version, or a step failed and was rolled back.
        sqlite3.OperationalError: another process held the lock past the deadline.
    """
    while _version(connection, migrations, label) < len(migrations):
        begin(connection, deadline)
        try:
            # Again, now that nobody else can change it.
            done = _version(connection, migrations, label)
            if done < len(migrations):
                _apply(connection, migrations[done], label)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one.

    `executescript` is no use here: it commits first, and then runs outside any transaction. A semicolon ends a
    statement where SQLite itself says so, not within a text, a comment or a trigger's body.
    """
    statement = ""
    for piece in sql.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    statement += sql.rpartition(";")[2]
    if statement.strip():
        yield statement


def _apply(connection: sqlite3.Connection, migration: Migration, label: str) -> None:
    try:
        if migration.version == 1:
            connection.execute(
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT"
            )
        connection.set_authorizer(_allow_all_but_transactions)
        try:
            for statement in statements(migration.sql):
                connection.execute(statement)
        finally:
            connection.set_authorizer(None)
        now = timestamp(datetime.now(UTC))
        connection.execute("INSERT INTO schema_version VALUES (?, ?)", (migration.version, now))
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise RefusesToStart(
            f"{label}: migration {migration.name} failed ({error_name(error)}) and was rolled back."
        ) from None


def _version(connection: sqlite3.Connection, migrations: list[Migration], label: str) -> int:
    """How many migrations the database has."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchall():
        return 0
    version: int = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()[0][0]
    if version > len(migrations):
        raise RefusesToStart(
            f"{label} has schema {version}, and this version of vouch knows {len(migrations)}: start a newer vouch."
        )
    return version


def _allow_all_but_transactions(action: int, *_: str | None) -> int:
    """A migration that committed by itself could not be rolled back."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
