"""What the store on PostgreSQL does when the database is down, slow, cut off, or gone read-only."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from service.core.errors import RefusesToStart, StoreUnavailable
from service.storage.postgres.connecting import Limits
from service.storage.postgres.store import PostgresStore, open_postgres
from tests.contracts.records import (
    HERE,
    a_credential,
    a_seal,
    an_audit,
    an_event,
    changed,
    create,
    listed,
    update,
)
from tests.peers.postgres import Postgres, running_postgres
from tests.peers.postgres_line import Line
from tests.storage.postgres_stores import SOON, beside, name_of, opened


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that may be stopped and killed."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def url(own: Postgres) -> str:
    """A new database there."""
    return own.url(await own.make_database())


async def recovers(store: PostgresStore) -> None:
    """Wait until the store works again, for a few seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return await store.ping()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


# The server goes away


async def test_a_restart_is_survived_without_one_of_ours(own: Postgres, url: str) -> None:
    async with opened(url, SOON) as store:
        await create(store, a_credential("before"))
        await asyncio.to_thread(own.stop)
        for _ in range(3):
            for call in (store.get_credential(HERE, "before"), create(store, a_credential("lost")), store.ping()):
                with pytest.raises(StoreUnavailable):
                    await call
        await asyncio.to_thread(own.start)
        assert (await store.get_credential(HERE, "before")).name == "before"
        await create(store, a_credential("after"))
        assert await listed(store) == (["after", "before"], 2)


async def test_connections_that_died_idle_are_replaced_and_no_caller_notices(own: Postgres, url: str) -> None:
    async with opened(url) as store:
        await asyncio.gather(*(create(store, a_credential(f"n{number}")) for number in range(4)))
        await asyncio.to_thread(own.restart)
        await create(store, a_credential("a write"))
        assert await listed(store) == (["a write", "n0", "n1", "n2", "n3"], 5)
        async with beside(url.replace("//vouch:", "//postgres:")) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        # Both at once, before the driver has read that its connections are gone.
        await asyncio.gather(*(listed(store) for _ in range(4)), create(store, a_credential("b write")))


async def test_a_killed_server_loses_nothing_that_was_acknowledged(own: Postgres, url: str) -> None:
    """And what was reported as not done is not there: a commit whose answer was lost is asked after."""
    acknowledged: set[str] = set()
    refused: set[str] = set()
    stop = asyncio.Event()

    async def write(store: PostgresStore, writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            one = a_credential(f"w{writer}-{number:05}")
            try:
                await create(store, one)
            except StoreUnavailable:
                refused.add(one.name)
                await asyncio.sleep(0.02)
            else:
                acknowledged.add(one.name)

    async with opened(url, Limits(pool_max=6)) as store:
        writers = [asyncio.create_task(write(store, writer)) for writer in range(8)]
        for _ in range(3):
            await asyncio.sleep(0.3)
            own.kill()
            await asyncio.to_thread(own.start)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*writers)
        found, total = await store.list_credentials(HERE, provider=None, type_=None, offset=0, limit=100_000)
        assert {one.name for one in found} == acknowledged
        assert total == len(acknowledged) > 50
    async with beside(url) as plain:
        assert await plain.fetchval("SELECT count(*) FROM audit") == total
        assert await plain.fetchval("SELECT sum(n) FROM credential_count") == total
        assert await plain.fetchval("SELECT sum(n) FROM watch_count") == total


async def test_a_server_that_is_not_there_refuses_the_start_in_one_line(own: Postgres, url: str) -> None:
    await asyncio.to_thread(own.stop)
    try:
        with pytest.raises(RefusesToStart, match=r"^The database of store\.url can't be used \(\w+Error[^)]*\)\.$"):
            await open_postgres(url, SOON)
    finally:
        await asyncio.to_thread(own.start)


async def test_a_server_that_is_still_starting_is_waited_for(own: Postgres, url: str) -> None:
    await asyncio.to_thread(own.stop)
    opening = asyncio.create_task(open_postgres(url))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(own.start)
    store = await opening
    await store.ping()
    await store.close()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda url: url.replace("//vouch:", "//vouch:not"), "InvalidPasswordError"),
        (lambda url: url.replace("//vouch:", "//nobody:"), "InvalidPasswordError"),
        (lambda url: url.replace("?", "_not_there?"), "InvalidCatalogNameError"),
    ],
)
async def test_a_wrong_address_refuses_the_start_and_quotes_nothing(
    database: str, change: Callable[[str], str], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30."""
    wrong = change(database)
    password = wrong.partition("@")[0].rpartition(":")[2]
    with pytest.raises(RefusesToStart, match=name) as refused:
        await open_postgres(wrong, SOON)
    assert password not in str(refused.value) + caplog.text


# The network


async def test_a_read_on_a_connection_that_was_dead_is_made_again(line: Line, database: str) -> None:
    async with opened(line.url(name_of(database))) as store:
        await create(store, one := a_credential())
        for _ in range(3):
            line.lose = b"one"
            assert await store.get_credential(HERE, "one") == one


@pytest.mark.parametrize("word", [b"BEGIN", b"ciphertext"])
async def test_a_write_whose_commit_was_not_even_sent_is_made_again_and_done_once(
    line: Line, database: str, word: bytes
) -> None:
    async with opened(line.url(name_of(database))) as store:
        one = a_credential()
        line.lose = word
        await store.create_credential(one, a_seal("ciphertext"), an_audit(one))
        assert line.lose is None, "it must have been cut off"
        assert await listed(store) == (["one"], 1)
    async with beside(database) as plain:
        assert await plain.fetchval("SELECT count(*) FROM audit") == 1


async def test_a_commit_that_is_lost_on_the_way_is_not_made_again(line: Line, database: str) -> None:
    """Whether the server heard it can't be known: that it is not there a moment later is what the caller is told."""
    async with opened(line.url(name_of(database))) as store:
        line.lose = b"COMMIT"
        with pytest.raises(StoreUnavailable):
            await create(store, a_credential())
        assert await listed(store) == ([], 0)


async def test_a_commit_whose_answer_is_lost_is_asked_after_and_not_made_again(line: Line, database: str) -> None:
    async with opened(line.url(name_of(database)), Limits(pool_min=1, pool_max=1)) as store:
        one = a_credential()
        line.lose_answer = b"COMMIT"
        await store.create_credential(one, a_seal("ciphertext"), an_audit(one))
        assert line.lose_answer is None, "it must have been cut off"
        line.lose_answer = b"COMMIT"
        assert await update(store, changed(one, name="two"))
        assert await listed(store) == (["two"], 1)
    async with beside(database) as plain:
        assert await plain.fetchval("SELECT count(*) FROM audit") == 2


async def test_a_commit_that_nothing_can_tell_of_is_not_made_again(line: Line, database: str) -> None:
    async with opened(line.url(name_of(database)), SOON) as store:
        line.lose_answer = b"COMMIT"
        with pytest.raises(StoreUnavailable):
            await store.append_event(an_event())
        assert await store.count_events() == 1


async def test_a_network_that_stays_down_is_unavailable_within_the_wait_and_then_works(
    line: Line, database: str
) -> None:
    limits = Limits(pool_max=3, pool_wait=0.3, statement=0.1, lock=0.1)
    async with opened(line.url(name_of(database)), limits) as store:
        await create(store, a_credential())
        line.silent = True
        began = time.monotonic()
        calls = (
            store.get_credential(HERE, "one"),
            create(store, a_credential("two")),
            store.get_canary(),
            store.ping(),
        )
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(ended, StoreUnavailable)
        assert time.monotonic() - began < 4
        line.silent = False
        await recovers(store)
        assert await listed(store) == (["one"], 1)


async def test_pinging_a_silent_server_takes_about_a_second(line: Line, database: str) -> None:
    async with opened(line.url(name_of(database))) as store:
        line.silent = True
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        assert time.monotonic() - began < 1.5
        line.cut()
