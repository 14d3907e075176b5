"""A fresh embedded store, and another program's view of its file."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.storage.sqlite import SqliteStore, open_sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is; its folder is not there yet."""
    return tmp_path / "data" / "vouch.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """An open store that gives up on a lock soon."""
    store = await open_sqlite(path, lock_timeout=2.0)
    yield store
    await store.close()


@pytest.fixture
async def replica(store: SqliteStore, path: Path) -> AsyncIterator[SqliteStore]:
    """Another store on the same file."""
    replica = await open_sqlite(path, lock_timeout=2.0)
    yield replica
    await replica.close()


@pytest.fixture
def beside(store: SqliteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection to the same file, in autocommit mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()
