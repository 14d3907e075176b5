"""Warnings of ends that come near: once for each end, by one of two replicas."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

from service.core.changes import Change
from service.core.model import timestamp
from service.work.expiry import MOST_AT_ONCE, ExpiryWarnings
from tests.api.payloads import CANARY
from tests.work.house import CALLER, DAY, Clock, House, Replica, aws_key, payload, until

EXPIRING = "credential.expiring"
WEEK = timedelta(days=7)


def sas(clock: Clock, days: float) -> Any:
    """A SAS that ends after so many days."""
    end = clock.at + timedelta(days=days)
    token = f"sv=2023-11-03&ss=b&srt=sco&sp=rl&se={end:%Y-%m-%dT%H:%M:%SZ}&sig=Y0FuQXJZ"
    return payload("AZURE", "azure_token", account_name="storageacct", sas_token=token)


def bodies(house: House) -> list[Any]:
    return [json.loads(body)["data"] for (body,) in house.rows("SELECT body FROM event ORDER BY seq")]


async def look(replica: Replica) -> int:
    """One look; how many were told of."""
    before = replica.events[EXPIRING]
    await vars(replica.schedule)["_warnings"].tell()
    return replica.events[EXPIRING] - before


async def test_an_end_is_told_of_once_when_it_comes_near(house: House, clock: Clock, lines: list[Any]) -> None:
    replica = await house.replica(interval=0, warning=WEEK, deliver=True)
    one = await replica.add("one", sas(clock, 10))
    await replica.add("never", aws_key())
    assert await look(replica) == 0
    clock.advance(2.9 * DAY)
    assert await look(replica) == 0
    clock.advance(0.2 * DAY)
    assert await look(replica) == 1
    clock.advance(30 * DAY)
    assert await look(replica) == 0
    (told,) = bodies(house)
    assert (told["credential_id"], told["name"], told["expires_at"]) == (one.id, "one", one.expires_at)
    assert one.expires_at == timestamp((clock.at - timedelta(days=33.1) + timedelta(days=10)).replace(microsecond=0))
    (line,) = lines
    assert (line["event"], line["credential_id"], line["expires_at"]) == (EXPIRING, one.id, one.expires_at)
    assert "Y0FuQXJZ" not in str(lines) + str(bodies(house))


async def test_another_end_is_told_of_again_and_the_same_one_is_not(house: House, clock: Clock) -> None:
    replica = await house.replica(interval=0, warning=WEEK)
    await replica.add("one", sas(clock, 1))
    assert await look(replica) == 1
    await replica.credentials.update(CALLER, "", "one", Change(name="renamed"), None)
    assert await look(replica) == 0
    await replica.credentials.update(CALLER, "", "renamed", Change(payload=sas(clock, 1)), None)
    assert await look(replica) == 0, "another secret with the same end"
    await replica.credentials.update(CALLER, "", "renamed", Change(payload=sas(clock, 2)), None)
    assert await look(replica) == 1
    await replica.credentials.update(CALLER, "", "renamed", Change(payload=sas(clock, 100)), None)
    assert await look(replica) == 0
    clock.advance(94 * DAY)
    assert await look(replica) == 1


async def test_one_that_has_ended_already_is_told_of_too(house: House, clock: Clock) -> None:
    replica = await house.replica(interval=0, warning=WEEK)
    await replica.add("one", sas(clock, -3))
    assert await look(replica) == 1


async def test_many_ends_are_told_of_each_once_by_two_replicas(house: House, clock: Clock, lines: list[Any]) -> None:
    one, two = [await house.replica(interval=0, warning=WEEK, deliver=True) for _ in range(2)]
    count = 2 * MOST_AT_ONCE + 7
    for number in range(count):
        await one.add(f"n{number}", sas(clock, 1 + number / 1000))
    async with one.at_work(), two.at_work():
        await until(lambda: one.events[EXPIRING] + two.events[EXPIRING] == count)
        await asyncio.sleep(0.05)
    assert one.events[EXPIRING] + two.events[EXPIRING] == count
    assert sorted(told["name"] for told in bodies(house)) == sorted(f"n{number}" for number in range(count))
    assert len({line["credential_id"] for line in lines}) == len(lines) == count
    assert CANARY not in str(lines)


async def test_a_store_that_is_away_loses_no_warning(house: House, clock: Clock, lines: list[Any]) -> None:
    replica = await house.replica(interval=0, warning=WEEK, lock_timeout=0.05)
    await replica.add("one", sas(clock, 1))
    warnings = ExpiryWarnings(replica.store, vars(replica.records)["_events"], WEEK, now=clock, look_seconds=0.01)
    task = asyncio.create_task(warnings.run())
    with closing(sqlite3.connect(house.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await until(lambda: len(lines) > 0)
        other.execute("ROLLBACK")
    await until(lambda: replica.events[EXPIRING] == 1)
    task.cancel()
    assert "the schedule can't reach the store" in [line["event"] for line in lines]
