"""What the disk can do to the store: never a false success, never SQLite's own words."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.core.errors import RefusesToStart, StoreUnavailable
from service.core.model import Sealed
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.contracts.records import HERE, a_credential, an_audit, create, listed
from tests.storage.files import content, log_size, overwrite


async def in_writer(store: SqliteStore, sql: str) -> int:
    """Run a pragma on the connection that writes."""
    return await store._writer._connection.submit(lambda raw: raw.execute(sql).fetchall()[0][0])


async def fill(store: SqliteStore, prefix: str) -> list[str]:
    """Create credentials of 20 KB until the store refuses; the names of those it acknowledged."""
    names: list[str] = []
    while True:
        one = a_credential(f"{prefix}{len(names):03}")
        try:
            await store.create_credential(one, Sealed("k1", b"x" * 20_000), an_audit(one))
        except StoreUnavailable:
            return names
        names.append(one.name)


async def test_a_full_disk_refuses_writes_and_recovers(
    store: SqliteStore, beside: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await create(store, a_credential("first"))
    pages = await in_writer(store, "PRAGMA page_count")
    await in_writer(store, f"PRAGMA max_page_count = {pages + 40}")
    names = await fill(store, "n")
    assert 0 < len(names) < 40
    with pytest.raises(StoreUnavailable):
        await fill_one(store, "refused")
    assert await listed(store) == (["first", *names], len(names) + 1)
    assert "SQLITE_FULL" in caplog.text
    await in_writer(store, "PRAGMA max_page_count = 100000")
    await fill_one(store, "room again")
    await store.ping()
    assert await listed(store) == (["first", *names, "room again"], len(names) + 2)
    assert beside.execute("SELECT count(*) FROM audit").fetchone() == (len(names) + 2,)
    assert beside.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def fill_one(store: SqliteStore, name: str) -> None:
    """Create one credential of 20 KB."""
    one = a_credential(name)
    await store.create_credential(one, Sealed("k1", b"x" * 20_000), an_audit(one))


@contextmanager
def no_file_may_grow_past(size: int) -> Iterator[None]:
    """The operating system refuses this process's writes past a size: a real I/O error (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_io_error_stops_writing_until_a_restart(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 37."""
    await create(store, a_credential("before"))
    wal = log_size(path)
    with no_file_may_grow_past(wal + 1000), pytest.raises(StoreUnavailable) as raised:
        await create(store, a_credential("lost"))
    assert "SQLITE_IOERR_WRITE" in caplog.text
    assert "I/O" not in str(raised.value)
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential("after"))
    with pytest.raises(StoreUnavailable):
        await store.ping()
    assert await listed(store) == (["before"], 1), "reads go on"
    again = await open_sqlite(path)
    await create(again, a_credential("restarted"))
    assert await listed(again) == (["before", "restarted"], 2)
    await again.close()


async def test_a_damaged_database_is_unavailable_and_not_written(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = await open_sqlite(path)
    await create(store, a_credential("one"))
    await store.close()
    with sqlite3.connect(path) as plain:
        (page,) = plain.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'credential_by_name'").fetchone()
        (size,) = plain.execute("PRAGMA page_size").fetchone()
    plain.close()
    overwrite(path, b"\xff" * size, at=(page - 1) * size)
    store = await open_sqlite(path)
    with pytest.raises(StoreUnavailable):
        await store.get_credential(HERE, "one")
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential("two", scope=HERE._replace(workspace="ws_other")))
    with pytest.raises(StoreUnavailable):
        await store.ping()
    assert "SQLITE_CORRUPT" in caplog.text
    await store.close()


async def test_a_database_that_turned_read_only_refuses_writes_and_recovers(store: SqliteStore) -> None:
    await store._writer._connection.submit(lambda raw: raw.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential("one"))
    await store._writer._connection.submit(lambda raw: raw.execute("PRAGMA query_only = OFF"))
    await create(store, a_credential("one"))


async def test_an_unexpected_refusal_of_the_database_says_nothing_about_it(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    beside.execute("CREATE TRIGGER odd BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'sqlite-text'); END")
    with pytest.raises(StoreUnavailable) as raised:
        await create(store, a_credential("one"))
    assert str(raised.value) == "The store is not available."
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert await listed(store) == ([], 0), "no audit, no write"


@pytest.mark.parametrize("garbage", [b"just a text file, longer than a header of SQLite " * 40, b"short"])
async def test_a_file_that_is_no_database_refuses_to_start_and_stays_as_it_is(path: Path, garbage: bytes) -> None:
    overwrite(path, garbage)
    with pytest.raises(RefusesToStart, match=r"vouch\.db.* \(SQLITE_NOTADB\)\.$"):
        await open_sqlite(path)
    assert content(path) == garbage


@pytest.mark.parametrize("mark", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 1196444487"])
async def test_another_programs_database_refuses_to_start_and_stays_as_it_is(path: Path, mark: str) -> None:
    overwrite(path, b"")
    other = sqlite3.connect(path)
    other.execute(mark)
    other.commit()
    other.close()
    before = content(path)
    with pytest.raises(RefusesToStart, match=r"vouch\.db is not a vouch database\.$"):
        await open_sqlite(path)
    assert content(path) == before
