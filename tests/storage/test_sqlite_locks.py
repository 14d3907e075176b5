"""Waiting for the write lock is bounded, whoever holds it, and nothing else waits with it."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.core.errors import StoreUnavailable
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.contracts.records import HERE, a_credential, create, listed

LOCK_TIMEOUT = 0.4
SLACK = 1.0

_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("free", flush=True)
"""


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """A store with little patience."""
    store = await open_sqlite(path, lock_timeout=LOCK_TIMEOUT)
    await create(store, a_credential("before"))
    yield store
    await store.close()


@contextmanager
def lock_held_by_another_process(path: Path) -> Iterator[None]:
    """Another process holds the write lock inside the block."""
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert holder.stdout.readline() == "free\n"


async def longest_gap(seconds: float) -> float:
    """The longest time that the loop did not come round, while it was watched."""
    longest, last = 0.0, time.monotonic()
    end = last + seconds
    while last < end:
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


async def test_a_lock_held_by_another_process_is_waited_for_only_so_long(store: SqliteStore, path: Path) -> None:
    """Requirement 37: a bounded refusal, a live loop, and reads that go on."""
    with lock_held_by_another_process(path):
        started = time.monotonic()
        writes = [asyncio.create_task(create(store, a_credential(f"n{number}"))) for number in range(20)]
        gap = asyncio.create_task(longest_gap(LOCK_TIMEOUT))
        reads = 0
        while not all(write.done() for write in writes):
            assert await listed(store) == (["before"], 1)
            reads += 1
        took = time.monotonic() - started
        ended = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(one) for one in ended] == [StoreUnavailable] * 20
        assert LOCK_TIMEOUT * 0.9 <= took <= LOCK_TIMEOUT + SLACK, "all of them within one bound, not one after another"
        assert await gap < LOCK_TIMEOUT * 0.75, "the loop must not wait for the lock"
        assert reads > 20
    await create(store, a_credential("after"))
    assert await listed(store) == (["after", "before"], 2)


async def test_a_lock_that_is_let_go_in_time_is_no_error(store: SqliteStore, path: Path) -> None:
    with lock_held_by_another_process(path):
        write = asyncio.create_task(create(store, a_credential("patient")))
        await asyncio.sleep(LOCK_TIMEOUT / 4)
        assert not write.done()
    await write
    assert await store.get_credential(HERE, "patient")


async def test_a_ping_fails_within_its_bound_while_nothing_can_be_written(store: SqliteStore, path: Path) -> None:
    store._writer._last_commit -= 10  # as if nothing had been written for a while
    await store.ping()
    with lock_held_by_another_process(path):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        assert time.monotonic() - started < LOCK_TIMEOUT + SLACK
    await store.ping()


async def test_a_write_that_hangs_bounds_the_others_and_keeps_its_turn(store: SqliteStore) -> None:
    """The lock is let go when the thread is done, not when the caller gives up."""
    release = threading.Event()
    hanging = asyncio.create_task(store._writer.write(lambda _: release.wait(5) and False))
    await asyncio.sleep(0.01)
    hanging.cancel()
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential("blocked"))
    release.set()
    await create(store, a_credential("after"))
    assert hanging.cancelled()
    assert await listed(store) == (["after", "before"], 2)


async def test_a_write_cancelled_while_it_waits_for_its_turn_never_begins(store: SqliteStore) -> None:
    """Requirement 40."""
    release = threading.Event()
    first = asyncio.create_task(store._writer.write(lambda _: release.wait(5) and False))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(create(store, a_credential("cancelled")))
    await asyncio.sleep(0.01)
    second.cancel()
    release.set()
    await asyncio.gather(first, second, return_exceptions=True)
    await create(store, a_credential("after"))
    assert await listed(store) == (["after", "before"], 2)
