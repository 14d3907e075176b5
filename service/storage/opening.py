"""Opening the embedded database: the file and its modes, the settings of a connection, the schema."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from service.core.errors import RefusesToStart
from service.storage.connection import is_busy
from service.storage.migrations import Migration, migrate, require_ours


def make_file(path: Path) -> None:
    """Make an empty database file for the owner alone, and its folder likewise, if they are not there.

    A file that is there is not even opened: closing it would drop the locks that this process holds on it
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).

    Raises:
        RefusesToStart: the operating system does not let us.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise RefusesToStart(f"{path} can't be made: {error.strerror}.") from None


def prepare_to_write(path: Path, migrations: list[Migration], deadline: float, connection: sqlite3.Connection) -> None:
    """In the writer's thread: make sure that the file is ours, durable and up to date.

    Another process may be starting on the same file: SQLite says busy at once to a change of the journal mode.

    Raises:
        RefusesToStart: not ours, of a newer version, or on a file system that can't do it.
        sqlite3.Error: it could not be read or written, or another process held it past the deadline.
    """
    while True:
        try:
            return _prepare_to_write(path, migrations, deadline, connection)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _prepare_to_write(path: Path, migrations: list[Migration], deadline: float, connection: sqlite3.Connection) -> None:
    require_ours(connection, str(path))
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0]
    if mode != "wal":
        raise RefusesToStart(f"{path} is on a file system that can't do write-ahead logging: use a local disk.")
    # FULL syncs the log at every commit: what was acknowledged survives a power cut (https://sqlite.org/pragma.html).
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection, migrations, deadline, str(path))


def prepare_to_read(connection: sqlite3.Connection) -> None:
    """In the reader's thread: a connection that can't write, whatever it is told.

    Raises:
        sqlite3.Error: the database could not be read.
    """
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT 1 FROM schema_version").fetchall()
