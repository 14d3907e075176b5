"""Requirement 38 on PostgreSQL: migrations are numbered, transactional, run once, and refuse a newer schema."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from service.core.errors import RefusesToStart
from service.storage.migrations import Migration
from service.storage.postgres.connecting import Limits
from service.storage.postgres.migrations import LOCK, steps, works_with
from service.storage.postgres.store import open_postgres
from tests.contracts.records import a_credential, create, listed
from tests.peers.postgres import Postgres
from tests.storage.postgres_stores import FEW, beside, name_of, opened

FIRST = steps()[0]
_OPEN = """
import asyncio, sys
from service.storage.postgres.store import open_postgres
async def main():
    await (await open_postgres(sys.argv[1])).close()
asyncio.run(main())
"""


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    name = await postgres.make_database("template1")
    yield postgres.url(name)
    await postgres.administer(f"DROP DATABASE {name} WITH (FORCE)")


def a_step(number: int, sql: str, works: int) -> Migration:
    return Migration(number, f"{number:04}_more.sql", f"-- works with: {works:04}\n{sql}")


async def migrated(url: str, *migrations: Migration) -> None:
    """Open and close a store that knows these."""
    store = await open_postgres(url, FEW, migrations=list(migrations), patience=3.0)
    await store.close()


async def versions(url: str) -> list[tuple[int, int]]:
    async with beside(url) as plain:
        rows = await plain.fetch("SELECT version, works_with FROM schema_version ORDER BY version")
        return [tuple(row) for row in rows]


async def test_a_fresh_database_gets_every_migration_once(empty: str) -> None:
    before = datetime.now(UTC)
    for _ in range(2):
        async with opened(empty) as store:
            await store.ping()
    assert await versions(empty) == [(one.version, works_with(one)) for one in steps()]
    async with beside(empty) as plain:
        at = datetime.fromisoformat(await plain.fetchval("SELECT applied_at FROM schema_version WHERE version = 1"))
        assert before <= at <= datetime.now(UTC)
        assert await plain.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_processes_that_start_together_migrate_once(empty: str) -> None:
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OPEN, empty, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    await asyncio.gather(*(migrated(empty, *steps()) for _ in range(6)))
    ended = await asyncio.gather(*(process.communicate() for process in started))
    assert [process.returncode for process in started] == [0] * 3, ended
    assert [version for version, _ in await versions(empty)] == [one.version for one in steps()]


async def test_an_older_database_gets_what_is_missing_and_keeps_its_rows(empty: str) -> None:
    await migrated(empty, FIRST)
    async with beside(empty) as plain:
        await plain.execute("INSERT INTO canary VALUES (true, 'k1', '\\x00')")
    await migrated(empty, FIRST, a_step(2, "CREATE TABLE more (x int); ALTER TABLE canary ADD COLUMN note text;", 1))
    async with beside(empty) as plain:
        assert tuple(await plain.fetchrow("SELECT key_id, note FROM canary")) == ("k1", None)
    assert await versions(empty) == [(1, 1), (2, 1)]


async def test_the_release_before_works_on_a_schema_that_says_so(empty: str) -> None:
    """A replica of it that is started again in the middle of a rollout."""
    second = a_step(2, "ALTER TABLE credential ADD COLUMN more text;", 1)
    async with opened(empty) as running:
        await create(running, a_credential("before"))
        await migrated(empty, *steps(), second)
        await create(running, a_credential("meanwhile"))
        async with opened(empty) as restarted:
            await create(restarted, a_credential("after"))
            assert await listed(running) == (["after", "before", "meanwhile"], 3)


async def test_a_schema_that_is_too_new_is_refused_and_left_as_it_is(empty: str) -> None:
    second = a_step(2, "ALTER TABLE canary RENAME TO bird;", 2)
    await migrated(empty, FIRST, second)
    with pytest.raises(RefusesToStart, match=r"has schema 2, and this version of vouch knows 1: start a newer vouch"):
        await migrated(empty, FIRST)
    await migrated(empty, FIRST, second, a_step(3, "CREATE TABLE more (x int);", 3))
    with pytest.raises(RefusesToStart, match=r"has schema 3, and this version of vouch knows 1"):
        await migrated(empty, FIRST)
    assert await versions(empty) == [(1, 1), (2, 2), (3, 3)]


async def test_a_step_that_fails_leaves_nothing_and_is_done_again_once_it_is_mended(empty: str) -> None:
    await migrated(empty, FIRST)
    broken = a_step(2, "CREATE TABLE more (x int); INSERT INTO more VALUES (1 / 0);", 1)
    with pytest.raises(RefusesToStart, match=r"0002_more\.sql failed \(DivisionByZeroError \(22012\)\) and was rolled"):
        await migrated(empty, FIRST, broken)
    assert await versions(empty) == [(1, 1)]
    await migrated(empty, FIRST, a_step(2, "CREATE TABLE more (x int);", 1))
    assert await versions(empty) == [(1, 1), (2, 1)]


async def test_a_step_that_must_wait_for_a_table_gives_way_and_is_tried_again(empty: str) -> None:
    """While it waited for the lock, every read that came after it would wait too."""
    await migrated(empty, FIRST)
    async with beside(empty) as plain:
        transaction = plain.transaction()
        await transaction.start()
        await plain.execute("SELECT 1 FROM canary")
        began = time.monotonic()
        with pytest.raises(RefusesToStart, match=r"LockNotAvailableError"):
            await open_postgres(
                empty, migrations=[FIRST, a_step(2, "ALTER TABLE canary ADD COLUMN x int;", 1)], patience=0.1
            )
        assert time.monotonic() - began < 3
        await transaction.rollback()
    assert await versions(empty) == [(1, 1)]


async def test_a_step_may_take_longer_than_a_statement_of_a_request(empty: str) -> None:
    limits = Limits(pool_min=0, statement=0.1, lock=0.1)
    slow = a_step(2, "SELECT pg_sleep(1.4);", 1)
    store = await open_postgres(empty, limits, migrations=[FIRST, slow])
    await store.close()
    assert await versions(empty) == [(1, 1), (2, 1)]


async def test_who_waits_too_long_for_another_replica_refuses_to_start(empty: str) -> None:
    async with beside(empty) as plain:
        await plain.execute(f"SELECT pg_advisory_lock({LOCK})")
        with pytest.raises(RefusesToStart, match="LockNotAvailableError"):
            await open_postgres(empty, patience=0.2)


async def test_another_programs_schema_is_refused_and_left_as_it_is(empty: str) -> None:
    async with beside(empty) as plain:
        await plain.execute("CREATE SCHEMA vouch; CREATE TABLE vouch.theirs (x int)")
        with pytest.raises(RefusesToStart, match="schema vouch that is not vouch's"):
            await migrated(empty, *steps())
        assert await plain.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'vouch'") == 1


async def test_an_empty_schema_made_by_an_administrator_is_used(postgres: Postgres, empty: str) -> None:
    """Where vouch may not make schemas by itself."""
    await postgres.administer(
        f"ALTER DATABASE {name_of(empty)} OWNER TO postgres",
        f"REVOKE ALL ON DATABASE {name_of(empty)} FROM vouch",
    )
    with pytest.raises(RefusesToStart, match=r"InsufficientPrivilegeError \(42501\)"):
        await migrated(empty, *steps())
    await postgres.administer("CREATE SCHEMA vouch AUTHORIZATION vouch", database=name_of(empty))
    await migrated(empty, *steps())


async def test_a_database_of_another_encoding_is_refused(postgres: Postgres) -> None:
    await postgres.administer(
        "CREATE DATABASE latin OWNER vouch TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'",
    )
    with pytest.raises(RefusesToStart, match="encoding UTF8"):
        await migrated(postgres.url("latin"), *steps())
    await postgres.administer("DROP DATABASE latin")


@pytest.mark.parametrize("ending", ["COMMIT;", "ROLLBACK; BEGIN;"])
async def test_a_step_that_ends_its_own_transaction_is_refused(empty: str, ending: str) -> None:
    with pytest.raises(RefusesToStart, match="ends its transaction"):
        await migrated(empty, FIRST._replace(sql=FIRST.sql + ending))


@pytest.mark.parametrize(
    "sql", ["", "CREATE TABLE x (y int);", "-- works with: 0000\n", "-- works with: 0003\n", "-- works with: 2\n"]
)
def test_a_step_must_say_with_what_it_works(sql: str) -> None:
    with pytest.raises(ValueError, match="must begin with a line"):
        works_with(Migration(2, "0002_more.sql", sql))


def test_the_packages_own_steps_keep_to_the_rules() -> None:
    for one in steps():
        assert works_with(one) >= 1
        plain = re.sub(r"\$\$.*?\$\$|--.*", "", one.sql, flags=re.DOTALL if "$$" in one.sql else 0)
        assert not re.search(r"(?im)^\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\b", plain)


async def test_every_text_that_is_compared_is_by_code_point(database: str) -> None:
    """An operating system's upgrade changes what other collations mean, and breaks their indexes."""
    async with beside(database) as plain:
        indexed = await plain.fetch(
            "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "JOIN pg_attribute a ON a.attrelid = i.indexrelid "
            "WHERE c.relnamespace = 'vouch'::regnamespace AND a.atttypid = 'text'::regtype "
            "AND a.attcollation <> '\"C\"'::regcollation"
        )
        assert [tuple(row) for row in indexed] == []
        compared = ("due_at", "expires_at", "warn_of", "until", "created_at", "claim", "status", "name")
        others = await plain.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'vouch' "
            "AND column_name = ANY($1) AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'",
            list(compared),
        )
        assert [tuple(row) for row in others] == [("api_key", "name")]


async def test_a_standby_is_refused(empty: str, postgres: Postgres) -> None:
    await postgres.administer(f"ALTER DATABASE {name_of(empty)} SET default_transaction_read_only = on")
    with pytest.raises(RefusesToStart, match="takes no writes"):
        await migrated(empty, *steps())
