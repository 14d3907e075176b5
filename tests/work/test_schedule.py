"""The schedule: who is asked about, when, and by which of two replicas on one database. A stub is the provider."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from service.core.changes import Change
from service.core.errors import Overloaded
from service.core.watching import RAREST
from tests.peers.aws_stub import AwsStub, Scripted, s3_error
from tests.work.house import (
    BAD,
    CALLER,
    DAY,
    DOWN,
    GOOD,
    HOUR,
    THROTTLED,
    Clock,
    House,
    Replica,
    a_while,
    asked,
    at,
    aws_file,
    aws_key,
    payload,
    until,
)


class Gate:
    """Answers that come only once it is opened."""

    def __init__(self, answer: Scripted = GOOD) -> None:
        self.answer = answer
        self.arrived = 0
        self._open = asyncio.Event()

    async def __call__(self) -> Scripted:
        self.arrived += 1
        await self._open.wait()
        return self.answer

    def open(self) -> None:
        self._open.set()


# Each once


async def test_of_two_replicas_one_verifies_each_and_each_is_verified_once(house: House, aws_stub: AwsStub) -> None:
    aws_stub.script(*[GOOD] * 60)
    one, two = [await house.replica(providers=at(aws_stub)) for _ in range(2)]
    names = await one.add_keys(40)
    async with one.at_work(), two.at_work():
        await until(lambda: sum((one.outcomes + two.outcomes).values()) == 40)
        await a_while()
    assert asked(aws_stub) == dict.fromkeys(names, 1)
    assert min(one.outcomes.total(), two.outcomes.total()) > 0, "both had their part"
    assert {await one.status(name) for name in names} == {"verified"}
    assert await two.history("AKIA0000") == [("schedule", "verified")]


async def test_every_one_comes_again_after_the_interval_give_or_take(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    aws_stub.script(*[GOOD] * 60)
    replica = await house.replica(providers=at(aws_stub), jitter=iter([0.0, 1.0] * 30).__next__)
    names = await replica.add_keys(10)
    async with replica.at_work():
        await until(house.settled)
        assert sorted({round(house.due_in(name) / DAY, 3) for name in names}) == [0.9, 1.1]
        clock.advance(DAY * 0.89)
        await a_while()
        assert len(aws_stub.received) == 10
        clock.advance(DAY * 0.02)
        await until(lambda: len(aws_stub.received) == 15)
        clock.advance(DAY * 0.2)
        await until(lambda: len(aws_stub.received) >= 20)
    assert set(asked(aws_stub)) == set(names)


async def test_a_burst_of_due_ones_is_spread(house: House, aws_stub: AwsStub) -> None:
    """Forty at once, and an interval in which a tenth of a second is one's."""
    aws_stub.script(*[GOOD] * 60)
    replica = await house.replica(providers=at(aws_stub), interval=4.0, idle_seconds=1.0)
    await replica.add_keys(40)
    started = time.monotonic()
    async with replica.at_work():
        while len(aws_stub.received) < 31:
            seconds = time.monotonic() - started
            assert len(aws_stub.received) <= 15 * (seconds + 1.01), "15 a second, a second's worth at a time"
            assert seconds < 8, "it does not keep up"
            await asyncio.sleep(0.01)


async def test_a_probe_that_hangs_holds_up_no_other(house: House, aws_stub: AwsStub) -> None:
    gate = Gate()
    aws_stub.script(gate, *[GOOD] * 20)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add_keys(20)
    async with replica.at_work():
        await until(lambda: replica.outcomes.total() == 19)
        gate.open()
        await until(lambda: replica.outcomes.total() == 20)


async def test_a_new_credential_and_a_changed_one_are_verified_soon(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    aws_stub.script(GOOD, BAD)
    replica = await house.replica(providers=at(aws_stub))
    async with replica.at_work():
        await replica.add("one", aws_key())
        await until(lambda: replica.outcomes.total() == 1)
        clock.advance(60)
        await replica.credentials.update(CALLER, "", "one", Change(payload=aws_key(access_key_id="AKIANEW")), None)
        await until(lambda: replica.outcomes.total() == 2)
        await until(house.settled)
    assert await replica.history("one") == [("schedule", "verified"), ("schedule", "failed")]
    assert await replica.status("one") == "failed"


# Who dies, and who is late


async def test_what_a_dead_replica_had_begun_is_anothers_turn_when_its_claim_has_run_out(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    gate = Gate()
    aws_stub.script(gate, gate, gate, *[GOOD] * 3)
    one, two = [await house.replica(providers=at(aws_stub)) for _ in range(2)]
    names = await one.add_keys(3)
    async with one.at_work():
        await until(lambda: gate.arrived == 3)
    assert house.rows("SELECT count(*) FROM verification") == [(0,)]
    async with two.at_work():
        clock.advance(300)
        await a_while()
        assert len(aws_stub.received) == 3, "the claims still hold"
        clock.advance(10)
        await until(house.settled)
        await until(lambda: two.outcomes.total() == 3)
    assert asked(aws_stub) == dict.fromkeys(names, 2)
    assert await two.history("AKIA0001") == [("schedule", "verified")]


async def test_who_is_late_has_no_say_any_more(house: House, clock: Clock, aws_stub: AwsStub) -> None:
    """Whoever took the turn when the claim had run out, its verdict stays, and the turn after it."""
    gate = Gate(GOOD)
    aws_stub.script(gate, BAD)
    one, two = [await house.replica(providers=at(aws_stub)) for _ in range(2)]
    await one.add("one", aws_key())
    async with one.at_work(), two.at_work():
        await until(lambda: gate.arrived == 1)
        clock.advance(320)
        await until(lambda: (one.outcomes + two.outcomes).total() == 1 and house.settled())
        due_in = house.due_in("one")
        gate.open()
        await until(lambda: (one.outcomes + two.outcomes).total() == 2)
        await a_while()
    assert await two.status("one") == "failed"
    assert await two.history("one") == [("schedule", "failed")]
    assert house.due_in("one") == due_in == pytest.approx(2 * DAY)


# What becomes of it


async def test_a_rejected_credential_is_asked_about_less_and_less_and_one_that_recovers_at_the_pace_of_the_others(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    replica = await house.replica(providers=at(aws_stub))
    await replica.add("one", aws_key())
    seen = []
    answers = [GOOD, BAD, BAD, BAD, BAD, BAD, DOWN, BAD, GOOD, DOWN, BAD]
    async with replica.at_work():
        for count, answer in enumerate(answers, 1):
            aws_stub.script(answer)
            clock.advance(max(house.due_in("one"), 0) + 0.001)
            await until(lambda wanted=count: replica.outcomes.total() == wanted and house.settled())
            seen.append(round(house.due_in("one") / DAY, 2))
    assert seen == [1, 2, 4, 8, 8, 8, 8, 8, 1, 1, 2]
    assert max(seen) == RAREST
    assert len(aws_stub.received) == len(answers)


async def test_an_unknown_flips_no_verdict_and_is_no_rejection(house: House, clock: Clock, aws_stub: AwsStub) -> None:
    aws_stub.script(GOOD, DOWN, DOWN, BAD)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add("one", aws_key())
    async with replica.at_work():
        for count in (1, 2, 3):
            await until(lambda wanted=count: replica.outcomes.total() == wanted and house.settled())
            assert await replica.status("one") == "verified"
            assert house.due_in("one") == pytest.approx(DAY)
            if count < 3:
                clock.advance(DAY + 1)
        assert (await replica.get("one")).attempt is not None
        assert replica.events["credential.verdict_changed"] == 1
        clock.advance(DAY + 1)
        await until(lambda: replica.outcomes.total() == 4 and house.settled())
        await until(lambda: replica.events["credential.verdict_changed"] == 2)
    assert house.due_in("one") == pytest.approx(2 * DAY)


async def test_a_request_brings_a_rejected_one_back_only_with_news(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    aws_stub.script(BAD, BAD)
    replica = await house.replica(providers=at(aws_stub))
    one = await replica.add("one", aws_key())
    async with replica.at_work():
        await until(lambda: replica.outcomes.total() == 1 and house.settled())
        clock.advance(2 * DAY + 1)
        await until(lambda: replica.outcomes.total() == 2 and house.settled())
    assert house.due_in("one") == pytest.approx(4 * DAY)
    for answer in (BAD, DOWN):
        aws_stub.script(answer)
        await replica.verification.verify_by_id(CALLER, one.id)
        assert house.due_in("one") == pytest.approx(4 * DAY)
    aws_stub.script(GOOD)
    await replica.verification.verify_by_id(CALLER, one.id)
    next_turn = datetime.fromisoformat(house.rows("SELECT due_at FROM watch")[0][0])
    assert (next_turn - datetime.now(UTC)).total_seconds() == pytest.approx(DAY, abs=60)


async def test_a_shared_file_is_watched_from_its_first_verdict_on(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    aws_stub.script(GOOD, BAD)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add_file("one", aws_file())
    async with replica.at_work():
        await a_while()
        assert not aws_stub.received, "most files are none of ours"
        await replica.verification.verify_shared(CALLER, "one", None)
        clock.advance(DAY * 1.2)
        await until(lambda: replica.events["credential.verdict_changed"] == 2)
    assert replica.outcomes.total() == 2


# Throttling and full lanes


async def test_a_provider_that_throttles_rests_in_its_own_lane_on_all_replicas(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    """Requirement 34."""
    aws_stub.script(Scripted(400, THROTTLED.body, {"Retry-After": "90"}), *[GOOD] * 9)
    one, two = [await house.replica(providers=at(aws_stub)) for _ in range(2)]
    await one.add("first", aws_key("AKIAFIRST"))
    async with one.at_work():
        await until(lambda: one.outcomes.total() == 1 and house.settled())
    assert one.outcomes == {("AWS", "unknown", "throttled"): 1}
    assert house.rows("SELECT lane FROM lane_pause") == [("AWS",)]
    await one.add_keys(3)
    await one.add("azure", expired_sas())
    async with one.at_work(), two.at_work():
        await until(lambda: (one.outcomes + two.outcomes).total() == 2)
        clock.advance(89)
        await a_while()
        assert len(aws_stub.received) == 1, "nobody asks meanwhile"
        clock.advance(2)
        await until(lambda: len(aws_stub.received) == 4)


async def test_without_a_word_on_how_long_a_lane_rests_for_a_minute_and_never_for_more_than_an_hour(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    replica = await house.replica(providers=at(aws_stub))
    for number, (said, seconds) in enumerate(
        ([{}, 60], [{"Retry-After": "0"}, 60], [{"Retry-After": "9999999"}, HOUR])
    ):
        aws_stub.script(Scripted(400, THROTTLED.body, said))
        await replica.add(f"n{number}", aws_key())
        async with replica.at_work():
            await until(lambda wanted=number + 1: replica.outcomes.total() == wanted and house.settled())
        ((ends,),) = house.rows("SELECT until FROM lane_pause")
        assert (datetime.fromisoformat(ends) - clock.at).total_seconds() == pytest.approx(seconds)
        clock.advance(seconds)


async def test_an_endpoint_that_a_caller_named_does_not_pause_the_providers_lane(
    house: House, aws_stub: AwsStub, aws_stubs: tuple[AwsStub, ...]
) -> None:
    elsewhere = aws_stubs[0]
    elsewhere.script(s3_error("SlowDown", 503, Retry_After="90"))
    aws_stub.script(*[GOOD] * 3)
    replica = await house.replica(providers=at(aws_stub), allow=(elsewhere.allowed,))
    await replica.add("minio", aws_key(endpoint=elsewhere.url))
    async with replica.at_work():
        await until(lambda: replica.outcomes == {("AWS", "unknown", "throttled"): 1})
        await replica.add_keys(3)
        await until(lambda: len(aws_stub.received) == 3)
    assert house.rows("SELECT * FROM lane_pause") == []


async def test_a_host_that_is_asked_often_enough_is_asked_a_little_later(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    """Requirement 13: the quota for a host counts the schedule's calls too."""
    aws_stub.script(*[s3_error("SignatureDoesNotMatch")] * 9)
    replica = await house.replica(allow=(aws_stub.allowed,), per_target=2)
    names = await replica.add_keys(4, aws_stub.url)
    async with replica.at_work():
        await until(house.settled)
        await a_while()
    assert len(aws_stub.received) == 2
    waiting = sorted(house.due_in(name) for name in names)[:2]
    assert 59 <= waiting[0] <= waiting[1] <= 120


async def test_a_full_lane_makes_the_schedule_wait_and_turns_requests_away_at_once(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    """Requirement 34; and half of a lane is the requests' own."""
    gate, other = Gate(), Gate()
    aws_stub.script(gate, gate, other, other, *[GOOD] * 9)
    replica = await house.replica(providers=at(aws_stub), capacity=4)
    await replica.add_keys(5)
    async with replica.at_work():
        await until(lambda: gate.arrived == 2)
        await a_while()
        assert replica.lanes.busy() == {"AWS": 2}, "the schedule takes no more than half of it"
        asks = [asyncio.create_task(replica.verification.verify_payload(CALLER, "", aws_key())) for _ in range(2)]
        await until(lambda: other.arrived == 2)
        started = time.monotonic()
        with pytest.raises(Overloaded):
            await replica.verification.verify_payload(CALLER, "", aws_key())
        assert time.monotonic() - started < 0.2
        gate.open()
        await until(lambda: replica.outcomes.total() == 2)
        await a_while()
        assert len(aws_stub.received) == 4, "the others' turns wait for room"
        other.open()
        await until(lambda: replica.outcomes.total() == 7 and house.settled())
        await asyncio.gather(*asks)
    assert await statuses(replica, 5) == {"verified"}


def expired_sas() -> object:
    """Something that is known to fail without a call."""
    sas = "sv=2023-11-03&ss=b&srt=sco&sp=rl&se=2020-01-01T00:00:00Z&spr=https&sig=Y0FuQXJZc0VjUmVU"
    return payload("AZURE", "azure_token", account_name="storageacct", sas_token=sas)


async def statuses(replica: Replica, count: int) -> set[str | None]:
    return {await replica.status(f"AKIA{number:04}") for number in range(count)}
