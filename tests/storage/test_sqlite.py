"""The embedded store: the contract of all stores, and how SQLite is set up for it."""

import asyncio
import logging
import sqlite3
import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest

from service.core.audit import Action, AuditRecord
from service.core.errors import RefusesToStart, StoreUnavailable
from service.core.model import Role, User, timestamp
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.contracts.records import (
    HERE,
    NOW,
    AuditTrail,
    a_credential,
    an_api_key,
    an_audit,
    create,
    listed,
)
from tests.contracts.store import StoreContract
from tests.storage.files import log_size, run


class TestSqlite(StoreContract):
    """The embedded store passes the suite of all stores."""

    @pytest.fixture
    def audit_trail(self, beside: sqlite3.Connection) -> AuditTrail:
        async def read() -> list[AuditRecord]:
            rows = beside.execute(
                "SELECT at, actor_kind, actor_id, actor_name, workspace, teamspace, family, action, target, outcome, "
                "request_id, address FROM audit ORDER BY seq"
            ).fetchall()
            return [AuditRecord(datetime.fromisoformat(row[0]), *row[1:7], Action(row[7]), *row[8:]) for row in rows]

        return read


async def pragma(connection: object, name: str) -> object:
    """The value of a pragma on one of the store's own connections."""
    return await connection.submit(lambda raw: raw.execute(f"PRAGMA {name}").fetchall()[0][0])


async def test_the_connections_are_durable_and_keep_foreign_keys(store: SqliteStore) -> None:
    """Requirement 37."""
    writing = store._writer._connection
    assert await pragma(writing, "journal_mode") == "wal"
    assert await pragma(writing, "synchronous") == 2, "FULL"
    assert await pragma(writing, "foreign_keys") == 1
    assert await pragma(store._reader._connection, "query_only") == 1


async def test_the_file_and_its_folder_are_the_owners_alone(store: SqliteStore, path: Path) -> None:
    await create(store, a_credential())
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["vouch.db", "vouch.db-shm", "vouch.db-wal"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    one = a_credential()
    store = await open_sqlite(path)
    await create(store, one)
    await store.close()
    again = await open_sqlite(path)
    assert await again.get_credential(HERE, "one") == one
    await again.close()


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    store = await open_sqlite(path)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get_credential(HERE, "one")
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential())
    await store.close()


async def test_closing_waits_for_the_write_under_way(path: Path) -> None:
    store = await open_sqlite(path)
    writing = asyncio.create_task(create(store, a_credential()))
    await asyncio.sleep(0)
    await store.close()
    await writing
    again = await open_sqlite(path)
    assert await listed(again) == (["one"], 1)
    await again.close()


async def test_a_folder_that_cannot_be_made_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RefusesToStart, match=r"vouch\.db can't be made: "):
        await open_sqlite(tmp_path / "file" / "vouch.db")


async def test_reads_see_another_programs_commit_at_once(store: SqliteStore, beside: sqlite3.Connection) -> None:
    """Requirement 23: what the command line writes holds at once."""
    await store.create_api_key(an_api_key("a"), an_audit())
    for second in range(20):
        at = NOW.replace(second=second)
        beside.execute("UPDATE api_key SET revoked_at = ?", (timestamp(at),))
        assert (await store.get_api_key("a")).revoked_at == at


async def test_the_audit_trail_can_only_grow(store: SqliteStore, beside: sqlite3.Connection) -> None:
    await create(store, a_credential())
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        beside.execute("UPDATE audit SET actor_name = 'nobody'")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        beside.execute("DELETE FROM audit")


async def test_no_list_sorts_or_reads_past_its_page(store: SqliteStore, beside: sqlite3.Connection) -> None:
    """A page costs the same whatever else the scope holds: every combination of filters has its index."""
    statements: list[str] = []
    await store._reader._connection.submit(lambda raw: raw.set_trace_callback(statements.append))
    for provider in (None, "AWS"):
        for type_ in (None, "key"):
            await store.list_credentials(HERE, provider=provider, type_=type_, offset=0, limit=20)
    pages = [one for one in statements if "ORDER BY" in one]
    assert len(pages) == 4
    for page in pages:
        (plan,) = beside.execute(f"EXPLAIN QUERY PLAN {page}").fetchall()
        assert "USING INDEX" in plan[3]
        assert plan[3].count("=?") == 3 + ("provider =" in page) + ("type =" in page)


# Reading together


def held(store: SqliteStore) -> tuple[asyncio.Task[None], threading.Event]:
    """Keep the reader's thread busy until the event is set."""
    release = threading.Event()
    return asyncio.create_task(store._reader.read(lambda _: release.wait(5) and None)), release


async def test_reads_that_wait_for_the_thread_go_into_it_together(store: SqliteStore) -> None:
    await create(store, a_credential())
    busy, release = held(store)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(store._reader.read(lambda raw: raw.in_transaction)) for _ in range(10)]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*waiting) == [True] * 10, "all in one transaction"
    await busy


async def test_an_error_of_one_read_is_its_own(store: SqliteStore) -> None:
    one = a_credential()
    await create(store, one)
    busy, release = held(store)
    await asyncio.sleep(0)
    waiting = [
        asyncio.create_task(store.get_credential(HERE, "one")),
        asyncio.create_task(store._reader.read(lambda raw: raw.execute("SELECT * FROM nothing").fetchall())),
        asyncio.create_task(store._reader.read(lambda _: {}["missing"])),
        asyncio.create_task(store.list_credentials(HERE, provider=None, type_=None, offset=0, limit=9)),
    ]
    await asyncio.sleep(0)
    release.set()
    first, second, third, last = await asyncio.gather(*waiting, return_exceptions=True)
    await busy
    assert (first, last) == (one, ([one], 1))
    assert isinstance(second, StoreUnavailable)
    assert isinstance(third, KeyError)


async def test_a_read_that_was_given_up_while_it_waited_never_runs(store: SqliteStore) -> None:
    ran: list[str] = []
    busy, release = held(store)
    await asyncio.sleep(0)
    given_up = asyncio.create_task(store._reader.read(lambda _: ran.append("given up")))
    kept = asyncio.create_task(store._reader.read(lambda _: ran.append("kept")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(busy, kept)
    assert ran == ["kept"]


async def test_no_read_leaves_a_transaction_open(store: SqliteStore, path: Path, beside: sqlite3.Connection) -> None:
    """An open one would keep the write-ahead log from ever being reset."""
    await create(store, a_credential("a"), a_credential("b"))
    await asyncio.gather(*(listed(store) for _ in range(50)), *(store.get_credential(HERE, "a") for _ in range(50)))
    busy, _, _ = beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert log_size(path) == 0


# What is written where


async def test_hashes_and_ciphertext_are_in_no_log(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30: aiosqlite logs every function that it runs, with its arguments if they are in its repr."""
    caplog.set_level(logging.DEBUG, logger="aiosqlite")
    await store.create_user(User("ann", "canary-hash", "ws_default", Role.ADMIN, timestamp(NOW)), an_audit())
    await create(store, a_credential("canary-envelope"))
    await asyncio.gather(store.get_user("ann"), store.get_sealed_credential(HERE, "canary-envelope"))
    assert "executing" in caplog.text, "aiosqlite must have logged something"
    assert "canary" not in caplog.text


async def test_a_second_opening_in_one_process_keeps_the_locks_of_the_first(store: SqliteStore, path: Path) -> None:
    """Opening and closing the file by itself would drop them: another process would take the log for its own."""
    await create(store, a_credential())
    second = await open_sqlite(path)
    await second.close()
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM canary'); c.close()"
    await asyncio.to_thread(run, script, path)
    assert log_size(path), "whoever closes last removes it"
    await create(store, a_credential("two"))
    assert await listed(store) == (["one", "two"], 2)
