"""Files of a database as the operating system sees them, and other programs that use them."""

import sqlite3
import subprocess
import sys
from pathlib import Path

Dump = dict[str, list[tuple[object, ...]]]
"""Rows by table."""


def log_size(path: Path) -> int | None:
    """Bytes of a database's write-ahead log; None if there is none."""
    log = Path(f"{path}-wal")
    return log.stat().st_size if log.exists() else None


def overwrite(path: Path, content: bytes, at: int = 0) -> None:
    """Write over part of a file, or make it with its folder."""
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(at)
        file.write(content)


def content(path: Path) -> bytes:
    """What is in a database and its log, read by another process.

    Opening and closing a database's file in this process would drop the locks that SQLite holds on it.
    """
    files = [file for file in (path, Path(f"{path}-wal")) if file.exists()]
    return subprocess.check_output(["cat", *files])


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another program reads."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def dump(path: Path) -> Dump:
    """All rows of all tables but the migrations' own."""
    names = [str(name) for (name,) in query(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: query(path, f"SELECT * FROM {name}") for name in names if name != "schema_version"}


def run(script: str, path: Path) -> None:
    """Run a Python script in another process, with the database's path as its argument."""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
