"""What the store on PostgreSQL does when things take long, others are in the way, or no write is taken."""

import asyncio
import time

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.storage.postgres.connecting import Limits
from service.storage.postgres.store import PostgresStore
from tests.contracts.records import (
    HERE,
    a_credential,
    a_lease,
    a_report,
    a_seal,
    an_api_key,
    an_audit,
    changed,
    create,
    leased,
    listed,
    rotated,
    update,
)
from tests.peers.postgres import Postgres
from tests.storage.postgres_stores import SOON, beside, name_of, opened


async def sleep_there(store: PostgresStore, seconds: float) -> None:
    """Keep a connection busy."""
    await store._database.read(lambda session: session.execute(f"SELECT pg_sleep({seconds})"))


# Too slow, too many


async def test_a_statement_that_takes_too_long_is_unavailable_and_its_connection_goes_on(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database, Limits(pool_min=1, pool_max=1, statement=0.1)) as store:
        pid = await store._database.read(lambda session: session.fetchval("SELECT pg_backend_pid()"))
        with pytest.raises(StoreUnavailable):
            await sleep_there(store, 5)
        assert "database: reading: QueryCanceledError (57014)" in caplog.text
        assert await store._database.read(lambda session: session.fetchval("SELECT pg_backend_pid()")) == pid


async def test_a_lock_that_is_held_is_waited_for_with_a_bound(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A writer lock held for long: bounded 503, and the loop stays live."""
    async with opened(database, SOON) as store, beside(database) as plain:
        await create(store, one := a_credential())
        async with plain.transaction():
            await plain.execute("SELECT 1 FROM credential FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await update(store, changed(one, name="two"))
            assert 0.2 < time.monotonic() - began < 1.5
            assert await store.get_credential(HERE, "one") == one, "reads wait for nobody"
        assert "database: writing: LockNotAvailableError (55P03)" in caplog.text
        assert await update(store, changed(one, name="two"))


async def test_a_full_pool_is_unavailable_after_a_bounded_wait(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(database, Limits(pool_min=0, pool_max=2, pool_wait=0.2)) as store:
        busy = [asyncio.create_task(sleep_there(store, 1)) for _ in range(2)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        ended = await asyncio.gather(
            *(listed(store) for _ in range(20)), create(store, a_credential()), return_exceptions=True
        )
        assert all(isinstance(one, StoreUnavailable) for one in ended)
        assert time.monotonic() - began < 0.6
        assert "database: a connection for writing: TimeoutError" in caplog.text
        await asyncio.gather(*busy)
        assert await listed(store) == ([], 0)


async def test_a_server_without_a_place_left_is_unavailable(postgres: Postgres, database: str) -> None:
    name = name_of(database)
    async with opened(database, Limits(pool_min=1)) as store, opened(database, Limits(pool_min=0)) as other:
        await postgres.administer(f"ALTER DATABASE {name} CONNECTION LIMIT 1")  # not for superusers
        try:
            with pytest.raises(StoreUnavailable):
                await other.get_canary()
            assert await store.get_canary() is None
        finally:
            await postgres.administer(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        assert await other.get_canary() is None


async def test_a_pool_that_is_busy_with_what_succeeds_is_ready(database: str) -> None:
    """Under overload every replica would turn unready otherwise, one after another."""
    async with opened(database, Limits(pool_min=1, pool_max=1, pool_wait=3)) as store:
        await create(store, a_credential())
        await listed(store)
        busy = asyncio.create_task(sleep_there(store, 0.5))
        await asyncio.sleep(0)
        began = time.monotonic()
        await store.ping()
        assert time.monotonic() - began < 0.3
        await busy


async def test_who_waits_for_a_connection_and_goes_away_takes_none_along(database: str) -> None:
    async with opened(database, Limits(pool_min=0, pool_max=2, pool_wait=3)) as store:
        for _ in range(20):
            tasks = [asyncio.create_task(sleep_there(store, 0.01)) for _ in range(8)]
            await asyncio.sleep(0.005)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert store._database._pool._places._value == 2
        await asyncio.gather(*(listed(store) for _ in range(10)))


# A server that takes no writes


async def test_a_server_that_went_read_only_is_left_for_the_one_that_takes_writes(
    postgres: Postgres, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a fail-over the connections may still lead to what has become a standby."""
    name = name_of(database)
    async with opened(database) as store:
        await create(store, a_credential("one"))
        await postgres.administer(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        store._database._pool.forget()
        try:
            with pytest.raises(StoreUnavailable):
                await create(store, a_credential("two"))
            assert "ReadOnlySQLTransactionError (25006)" in caplog.text
            await asyncio.sleep(1)  # what the last commit proved has lapsed by then
            with pytest.raises(StoreUnavailable):
                await store.ping()
            assert (await listed(store))[1] == 1
        finally:
            await postgres.administer(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        # The connections that are read-only still are: they are not used again.
        await create(store, a_credential("two"))


# Others in the way


async def test_a_deadlock_is_resolved_by_running_the_transaction_again(database: str, postgres: Postgres) -> None:
    async with opened(database) as store, beside(database) as plain:
        await create(store, one := a_credential("one"), two := a_credential("two", provider="GCP"))
        # The other one holds the count that `update` needs last, and wants the row that `update` holds.
        before = len(postgres.log)
        async with plain.transaction():
            await plain.execute("SELECT 1 FROM credential_count WHERE provider = 'GCP' FOR UPDATE")
            moving = asyncio.create_task(update(store, rotated(one, provider="GCP"), a_seal("new")))
            await asyncio.sleep(0.05)
            # Whoever has waited longer finds it, and is the one to give up.
            await plain.execute("SELECT 1 FROM credential WHERE name = 'one' FOR UPDATE")
        assert "deadlock detected" in postgres.log[before:]
        assert await moving
        assert await listed(store, provider="GCP") == (["one", two.name], 2)


async def test_a_lease_waits_for_a_revocation_under_way(database: str) -> None:
    """Requirement 23: nothing is made for a key of which the revocation is acknowledged."""
    async with opened(database) as store, beside(database) as plain:
        await create(store, one := a_credential())
        await store.create_api_key(an_api_key("id-1"), an_audit())
        made = a_lease(one)
        async with plain.transaction():
            await plain.execute("UPDATE api_key SET revoked_at = '2026'")
            leasing = asyncio.create_task(store.create_lease(made, an_audit(one, Action.LEASE), made_of=one))
            await asyncio.sleep(0.1)
            assert not leasing.done()
        assert not await leasing
        assert await leased(store) == []


async def test_a_lease_waits_for_a_rotation_under_way(database: str) -> None:
    async with opened(database) as store, beside(database) as plain:
        await create(store, one := a_credential())
        await store.create_api_key(an_api_key("id-1"), an_audit())
        made = a_lease(one)
        async with plain.transaction():
            await plain.execute("UPDATE credential SET version = 2")
            leasing = asyncio.create_task(store.create_lease(made, an_audit(one, Action.LEASE), made_of=one))
            await asyncio.sleep(0.1)
            assert not leasing.done()
        assert not await leasing
        assert await store.create_lease(made, an_audit(one, Action.LEASE), made_of=one._replace(version=2))


async def test_a_table_that_another_release_changes_is_asked_anew(database: str, postgres: Postgres) -> None:
    """The statements that a connection keeps prepared are of the table as it was."""
    changing = postgres.url(await postgres.make_database())
    async with opened(changing) as store, beside(changing) as plain:
        await create(store, one := a_credential())
        await store.record_report(one, a_report(one), None, watch=None)
        await plain.execute("ALTER TABLE credential ALTER COLUMN revision TYPE numeric(20, 0)")
        await plain.execute("ALTER TABLE credential ALTER COLUMN revision TYPE bigint, ADD COLUMN more text")
        assert (await store.get_credential(HERE, "one")).revision == 2
        assert await store.record_report(one, a_report(one), None, watch=None) is False
