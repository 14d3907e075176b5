"""Requirement 38: migrations are numbered, transactional, run once, and refuse a newer schema."""

import hashlib
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.core.errors import RefusesToStart
from service.core.kept import Due
from service.core.model import Credential
from service.storage.migrations import APPLICATION_ID, Migration, load, migrate, statements
from service.storage.opening import make_file, prepare_to_write
from service.storage.sqlite import open_sqlite
from tests.contracts.records import (
    HERE,
    a_credential,
    a_lease,
    a_seal,
    an_audit,
    an_event,
    at,
    create,
    history,
    lease,
    leased,
    listed,
    take,
)
from tests.storage import releases
from tests.storage.files import Dump, dump, query

FIRST = load()[0]


async def test_a_fresh_database_gets_every_migration_once(path: Path) -> None:
    before = datetime.now(UTC)
    for _ in range(2):
        store = await open_sqlite(path)
        await store.close()
    rows = query(path, "SELECT version, applied_at FROM schema_version")
    assert [row[0] for row in rows] == [one.version for one in load()]
    assert before <= datetime.fromisoformat(rows[0][1]) <= datetime.now(UTC)
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]


async def test_an_older_database_gets_what_is_missing_and_keeps_its_rows(path: Path) -> None:
    await (await open_sqlite(path, migrations=[FIRST])).close()
    with sqlite3.connect(path) as plain:
        plain.execute("INSERT INTO canary VALUES (1, 'k1', x'00')")
    plain.close()
    second = Migration(2, "0002_more.sql", "CREATE TABLE more (x); ALTER TABLE canary ADD COLUMN note TEXT;")
    await (await open_sqlite(path, migrations=[FIRST, second])).close()
    assert query(path, "SELECT key_id, note FROM canary") == [("k1", None)]
    assert query(path, "SELECT version FROM schema_version") == [(1,), (2,)]


async def test_a_database_of_the_first_schema_gets_leases_and_keeps_all_that_it_has(path: Path) -> None:
    one, *_ = releases.fill(path, 1)
    before = dump(path)
    assert all(before.values()), "every table must have something to lose"
    await (await open_sqlite(path, migrations=load()[:2])).close()
    after = dump(path)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"lease"}
    store = await open_sqlite(path)
    assert await store.find_credential("ws_default", one.id) == (one, a_seal("one"))
    assert await store.get_default(HERE, "AWS") == one
    await lease(store, kept := a_lease(one, caller_id="key"))
    await create(store, a_credential("three"))
    assert await leased(store) == [kept]
    assert await listed(store) == (["one", "three"], 2)
    await store.close()
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "SELECT version FROM schema_version") == [(one.version,) for one in load()]


async def test_a_database_of_the_second_schema_gets_histories_and_turns_and_keeps_all_that_it_has(path: Path) -> None:
    ones = releases.fill(path, 2)
    before = dump(path)
    assert all(before.values()), "every table must have something to lose"
    store = await open_sqlite(path)
    holds_what_it_held(before, path)
    sealed = [await store.get_sealed_credential(one.scope, one.name) for one in ones]
    assert sealed == [(one, a_seal(one.name)) for one in ones]
    for one in ones:
        assert await history(store, one) == await store.list_versions("ws_default", one.id) == []
    await store.close()
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []


async def test_what_an_older_version_stored_is_watched_from_the_migration_on(path: Path) -> None:
    ones = releases.fill(path, 2)
    store = await open_sqlite(path)
    for lane in ("AWS", "GCP", "shared"):
        (one,) = [one for one in ones if watched_in(one) == lane]
        assert await store.count_watched(lane) == 1
        assert await take(store, lane=lane) == [Due(one, a_seal(one.name), "c", 0)]
    assert await store.count_watched("") == 0
    assert await store.delete_credential(ones[0], an_audit(ones[0]))
    assert await store.count_watched("AWS") == 0
    assert await store.claim_expiring(at(10**9), lambda _: None, limit=9) == [], "none of them said when it ends"
    await store.append_event(an_event())
    assert await store.count_events() == 1
    await store.close()


def watched_in(one: Credential) -> str | None:
    """In which lane a credential of an older version is watched."""
    if one.family == "access":
        return one.provider
    return None if one.status is None else "shared"


def holds_what_it_held(before: Dump, path: Path) -> None:
    """Every row of every table is there, and at most has more columns."""
    after = dump(path)
    for name, rows in before.items():
        assert [row[: len(old)] for row, old in zip(after[name], rows, strict=True)] == rows, name


async def test_the_first_release_refuses_a_database_with_leases(path: Path) -> None:
    await (await open_sqlite(path)).close()
    with pytest.raises(RefusesToStart, match="and this version of vouch knows 1: start a newer vouch"):
        await open_sqlite(path, migrations=[FIRST])


async def test_a_newer_schema_is_refused_in_one_clear_line(path: Path) -> None:
    second = Migration(2, "0002_more.sql", "CREATE TABLE more (x);")
    await (await open_sqlite(path, migrations=[FIRST, second])).close()
    with pytest.raises(RefusesToStart) as refused:
        await open_sqlite(path, migrations=[FIRST])
    assert str(refused.value) == f"{path} has schema 2, and this version of vouch knows 1: start a newer vouch."


@pytest.mark.parametrize("last", ["INSERT INTO nothing VALUES (1);", "COMMIT;", "CREATE TABLE unfinished ("])
async def test_a_failing_migration_leaves_nothing_behind(path: Path, last: str) -> None:
    await (await open_sqlite(path, migrations=[FIRST])).close()
    bad = Migration(2, "0002_bad.sql", f"CREATE TABLE half (x); INSERT INTO half VALUES (1); {last}")
    with pytest.raises(RefusesToStart, match=r"migration 0002_bad\.sql failed .*rolled back"):
        await open_sqlite(path, migrations=[FIRST, bad])
    assert query(path, "SELECT name FROM sqlite_schema WHERE name IN ('half', 'unfinished')") == []
    assert query(path, "SELECT version FROM schema_version") == [(1,)]
    await (await open_sqlite(path, migrations=[FIRST])).close()


@pytest.mark.parametrize("released", [0, 1, 2])
def test_processes_that_start_together_migrate_once(path: Path, released: int) -> None:
    if released:
        releases.fill(path, released)
        before = dump(path)
    command = [sys.executable, "-c", _OPEN, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) for _ in range(4)]
    assert [one.stdout.readline() for one in running] == ["ready\n"] * 4
    for one in running:
        one.stdin.write("\n")
        one.stdin.flush()
    ended = [one.communicate(timeout=30) for one in running]
    assert ended == [("opened\n", "")] * 4
    assert query(path, "SELECT version FROM schema_version") == [(one.version,) for one in load()]
    if released:
        holds_what_it_held(before, path)


_OPEN = """
import asyncio, sys
from pathlib import Path
from service.storage.sqlite import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    print("opened", flush=True)
    await store.close()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def start_in_threads(path: Path, count: int) -> list[Exception | None]:
    """Open a new database in several threads in the same instant; how each of them fared."""
    barrier = threading.Barrier(count)

    def start(_: int) -> Exception | None:
        connection = sqlite3.connect(path, timeout=0.05, isolation_level=None)
        try:
            barrier.wait(5)
            prepare_to_write(path, load(), time.monotonic() + 5, connection)
        except (RefusesToStart, sqlite3.Error) as error:
            return error
        finally:
            connection.close()
        return None

    make_file(path)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(start, range(count)))


def test_threads_that_start_in_the_same_instant_migrate_once(tmp_path: Path) -> None:
    for attempt in range(10):
        path = tmp_path / str(attempt) / "vouch.db"
        assert start_in_threads(path, 4) == [None] * 4
        assert query(path, "SELECT version FROM schema_version") == [(one.version,) for one in load()]


async def test_a_start_gives_up_on_a_database_that_stays_locked(path: Path) -> None:
    make_file(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(RefusesToStart, match="SQLITE_BUSY"):
        await open_sqlite(path, lock_timeout=0.2)
    assert time.monotonic() - started < 2
    holder.close()


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    names = [one.name for one in load()]
    assert [one.version for one in load()] == list(range(1, len(names) + 1))
    assert names == sorted(names)


def test_a_gap_in_the_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1;")
    (tmp_path / "0003_three.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="without a gap"):
        load(tmp_path)


def test_a_script_is_cut_where_sqlite_ends_a_statement() -> None:
    script = """
        -- it's a comment; with a semicolon
        CREATE TABLE a (x DEFAULT ';'); INSERT INTO a VALUES ('it''s; one');
        CREATE TRIGGER t AFTER INSERT ON a BEGIN
            DELETE FROM a WHERE x = 'END;'; /* ; */ SELECT 1;
        END;
        CREATE TABLE "b;" (y)
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    cut = list(statements(script))
    for statement in cut:
        connection.execute(statement)
    assert len(cut) == 4
    assert connection.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall() == [("a",), ("b;",), ("t",)]
    connection.close()


def test_applying_in_another_thread_waits_only_until_its_deadline(tmp_path: Path) -> None:
    path = tmp_path / "vouch.db"
    make_file(path)
    first, second = (sqlite3.connect(path, timeout=0.05, isolation_level=None) for _ in range(2))
    prepare_to_write(path, [], time.monotonic() + 1, first)
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        migrate(second, load(), time.monotonic() + 0.2, "it")
    first.execute("ROLLBACK")
    migrate(second, load(), time.monotonic() + 0.2, "it")
    first.close()
    second.close()


RELEASED = {
    "0001_initial.sql": "0ed3b4d2889ee181df3bb2876c23de26de178656a86b68cbb62bea98dc00c432",
    "0002_leases.sql": "a6c0577f8f75aeee86ec6aaf73999bc2ba61c0606c4bba9da56af810ef32bace",
    "0003_verdicts.sql": "cf674ef9e28f84a7af0d7f25d7e157a54632f2b060175409fa5d451fa0f191e3",
}


def test_a_migration_that_was_handed_out_never_changes() -> None:
    """Requirement 38: each runs once, so a database that has it would never get what was added to it later."""
    found = {one.name: hashlib.sha256(one.sql.encode()).hexdigest() for one in load()}
    assert {name: found[name] for name in RELEASED} == RELEASED
