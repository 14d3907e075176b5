"""The schedule beside trouble: what vanishes, what is broken, a store that is away, and nothing to do."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from service.core.changes import Change
from tests.api.payloads import CANARY
from tests.peers.aws_stub import ASSUMED_ROLE, AwsStub, Scripted, sts_error
from tests.work.house import (
    BAD,
    CALLER,
    DAY,
    GOOD,
    Clock,
    House,
    a_while,
    asked,
    at,
    aws_key,
    payload,
    until,
    verifier,
)
from tests.work.test_schedule import Gate
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_role import make_verifier
from verifiers.registry import Registry
from verifiers.sigv4 import Keys

# Of the verified ones: how many there are, their events, their next turns, their reports; and the turns under way.
WHOLE = (
    "SELECT (SELECT count(*) FROM credential WHERE status = 'verified'), (SELECT count(*) FROM event), "
    "(SELECT count(*) FROM watch JOIN credential ON seq = credential WHERE claim IS NULL AND status = 'verified'), "
    "(SELECT count(*) FROM verification), (SELECT count(*) FROM watch WHERE claim NOT NULL)"
)


class Spy:
    """A store that remembers which of its methods were called."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.called.append(name)
        return getattr(self._store, name)


# What vanishes while its probe runs


@pytest.mark.parametrize("answer", [GOOD, BAD])
async def test_nothing_is_kept_of_what_was_deleted_meanwhile(house: House, aws_stub: AwsStub, answer: Scripted) -> None:
    gate = Gate(answer)
    aws_stub.script(gate, GOOD)
    replica = await house.replica(providers=at(aws_stub), deliver=True)
    await replica.add("one", aws_key())
    async with replica.at_work():
        await until(lambda: gate.arrived == 1)
        await replica.credentials.delete(CALLER, "", "one", None)
        await replica.add("one", aws_key("AKIANAMESAKE"))
        await until(lambda: replica.outcomes.total() == 1)
        gate.open()
        await until(lambda: replica.outcomes.total() == 2 and house.settled() and replica.events.total() == 2)
    assert await replica.history("one") == [("schedule", "verified")], "the namesake's own"
    assert house.rows("SELECT count(*) FROM verification") == [(1,)]
    assert replica.events == {"credential.deleted": 1, "credential.verdict_changed": 1}
    assert house.rows("SELECT type FROM event ORDER BY seq") == [
        ("credential.deleted",),
        ("credential.verdict_changed",),
    ]


async def test_nothing_is_kept_of_a_payload_that_was_replaced_meanwhile(house: House, aws_stub: AwsStub) -> None:
    gate = Gate(BAD)
    aws_stub.script(gate, GOOD)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add("one", aws_key())
    async with replica.at_work():
        await until(lambda: gate.arrived == 1)
        await replica.credentials.update(CALLER, "", "one", Change(payload=aws_key("AKIANEW")), None)
        await until(lambda: replica.outcomes.total() == 1 and house.settled())
        gate.open()
        await until(lambda: replica.outcomes.total() == 2)
        await a_while()
    assert asked(aws_stub) == {"AKIAEXAMPLE": 1, "AKIANEW": 1}
    assert await replica.history("one") == [("schedule", "verified")]
    assert house.due_in("one") == pytest.approx(DAY)


async def test_a_verdict_survives_a_rename_meanwhile(house: House, aws_stub: AwsStub) -> None:
    gate = Gate()
    aws_stub.script(gate)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add("one", aws_key())
    async with replica.at_work():
        await until(lambda: gate.arrived == 1)
        await replica.credentials.update(CALLER, "", "one", Change(name="two"), None)
        gate.open()
        await until(house.settled)
    assert await replica.status("two") == "verified"


async def test_a_change_is_told_even_if_somebody_said_the_opposite_while_the_probe_ran(
    house: House, clock: Clock, aws_stub: AwsStub, lines: list[Any]
) -> None:
    """What the record said when it was read is no measure of what the verdict changes."""
    gate = Gate()
    aws_stub.script(GOOD, gate, BAD)
    replica = await house.replica(providers=at(aws_stub), deliver=True)
    one = await replica.add("one", aws_key())
    async with replica.at_work():
        await until(lambda: replica.events.total() == 1)
        clock.advance(DAY + 1)
        await until(lambda: gate.arrived == 1)
        await replica.verification.verify_by_id(CALLER, one.id)
        assert await replica.status("one") == "failed"
        gate.open()
        await until(lambda: replica.events.total() == 3)
    changes = [(None, "verified"), ("verified", "failed"), ("failed", "verified")]
    assert [(line["from"], line["to"]) for line in lines] == changes
    kept = [json.loads(body)["data"] for (body,) in house.rows("SELECT body FROM event ORDER BY seq")]
    assert [(told["from"], told["to"]) for told in kept] == changes
    assert await replica.status("one") == "verified"


# What is broken


async def test_an_envelope_that_does_not_open_is_left_out_and_the_others_go_on(
    house: House, aws_stub: AwsStub, lines: list[Any]
) -> None:
    """Requirement 28."""
    aws_stub.script(*[GOOD] * 3)
    replica = await house.replica(providers=at(aws_stub))
    broken = await replica.add("broken", aws_key("AKIABROKEN"))
    house.write("UPDATE envelope SET sealed = zeroblob(length(sealed))")
    await replica.add_keys(3)
    async with replica.at_work():
        await until(house.settled)
        await a_while()
    (said,) = [line for line in lines if line["log_level"] != "info"]
    assert said == {
        "event": "a scheduled verification was left out",
        "log_level": "warning",
        "credential_id": broken.id,
        "error": "EnvelopeBroken",
    }
    assert (await replica.status("broken"), house.due_in("broken")) == (None, pytest.approx(DAY))
    assert len(aws_stub.received) == 3


async def test_a_kind_without_a_verifier_is_left_out(house: House, aws_stub: AwsStub, lines: list[Any]) -> None:
    before = await house.replica()
    await before.add("one", aws_key())
    replica = await house.replica(registry=Registry([verifier("GCP", "key")]))
    async with replica.at_work():
        await until(house.settled)
        await a_while()
    assert [line["error"] for line in lines] == ["UnsupportedKind"]
    assert await replica.history("one") == []


async def test_a_record_that_nobody_can_make_sense_of_stops_nothing(
    house: House, aws_stub: AwsStub, lines: list[Any]
) -> None:
    """A surprise is told by its type: its text may quote what it was given."""
    aws_stub.script(*[GOOD] * 2)
    replica = await house.replica(providers=at(aws_stub))
    odd = await replica.add("odd", aws_key())
    # Sealed as it should be, and not what a payload looks like.
    strange = odd._replace(public=f'["{CANARY}"]')
    sealed = await replica.records.seal(strange, {"secret_access_key": CANARY})
    with closing(sqlite3.connect(house.path)) as db, db:
        db.execute("UPDATE credential SET public = ?", (strange.public,))
        db.execute("UPDATE envelope SET key_id = ?, sealed = ?", (sealed.key_id, sealed.envelope))
    await replica.add_keys(2)
    async with replica.at_work():
        await until(house.settled)
    told = [line for line in lines if line["log_level"] in ("warning", "error")]
    assert [(line["log_level"], line["credential_id"]) for line in told] == [("warning", odd.id)]
    assert CANARY not in str(lines)
    assert len(aws_stub.received) == 2


async def test_a_store_that_is_away_for_a_while_is_waited_for(
    house: House, clock: Clock, aws_stub: AwsStub, lines: list[Any]
) -> None:
    gate = Gate()
    aws_stub.script(gate, GOOD, GOOD)
    replica = await house.replica(providers=at(aws_stub), lock_timeout=0.3)
    await replica.add("one", aws_key("AKIAONE"))
    async with replica.at_work():
        await until(lambda: gate.arrived == 1)
        with closing(sqlite3.connect(house.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            gate.open()
            await until(lambda: "the schedule can't reach the store" in [line["event"] for line in lines])
            await until(lambda: replica.outcomes.total() == 1)
            await asyncio.sleep(0.1)
            other.execute("ROLLBACK")
        assert await replica.status("one") is None, "what the provider said is lost: the claim has to run out"
        await replica.add("two", aws_key("AKIATWO"))
        await until(lambda: asked(aws_stub)["AKIATWO"] == 1)
        clock.advance(310)
        await until(lambda: replica.outcomes.total() == 3 and house.settled(), 20)
    assert [await replica.status(name) for name in ("one", "two")] == ["verified"] * 2
    assert asked(aws_stub) == {"AKIAONE": 2, "AKIATWO": 1}
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_cancelling_leaves_nothing_half_written(house: House, aws_stub: AwsStub) -> None:
    """Requirement 40: at any moment there is a claim, or a whole verdict with its event and its next turn."""
    aws_stub.script(*[GOOD] * 400)
    replica = await house.replica(providers=at(aws_stub), deliver=True, idle_seconds=0.001)
    await replica.add_keys(60)
    for number in range(12):
        async with replica.at_work():
            await asyncio.sleep(0.004 * number)
        ((verdicts, events, next_turns, reports, claims),) = house.rows(WHOLE)
        assert verdicts == events == next_turns == reports
        assert verdicts + claims <= 60
    assert verdicts > 0
    assert house.rows("PRAGMA integrity_check") == [("ok",)]


async def test_a_schedule_ends_at_once_whatever_its_probes_do(house: House, aws_stub: AwsStub) -> None:
    """Requirement 35."""
    gate = Gate()
    aws_stub.script(*[gate] * 5)
    replica = await house.replica(providers=at(aws_stub))
    await replica.add_keys(5)
    async with asyncio.timeout(5):
        async with replica.at_work():
            await until(lambda: gate.arrived == 5)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 1
    assert replica.lanes.busy() == {"AWS": 0}


# What a schedule does not do


async def test_scheduled_probes_make_no_call_that_is_meant_to_be_refused(
    house: House, clock: Clock, aws_stub: AwsStub
) -> None:
    role = make_verifier(ServiceIdentity(lambda: Keys("AKIASERVICE", CANARY, None)))
    replica = await house.replica(providers=at(aws_stub), registry=Registry([role]))
    aws_stub.script(Scripted(200, ASSUMED_ROLE))
    arn = "arn:aws:iam::123456789012:role/data/reader"
    one = await replica.add("role", payload("AWS", "arn", role_arn=arn, external_id="tenant:42"))
    async with replica.at_work():
        await until(lambda: replica.outcomes.total() == 1 and house.settled())
    assert len(aws_stub.received) == 1
    aws_stub.script(Scripted(200, ASSUMED_ROLE), sts_error("AccessDenied"))
    await replica.verification.verify_by_id(CALLER, one.id)
    assert len(aws_stub.received) == 3, "somebody who asks has the negative probe too"


async def test_with_an_interval_of_zero_nothing_is_verified_and_ends_are_still_warned_of(
    house: House, clock: Clock, aws_stub: AwsStub, lines: list[Any]
) -> None:
    replica = await house.replica(interval=0)
    sas = f"sv=2023-11-03&ss=b&srt=sco&sp=rl&se={clock.at + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}&sig=Y0FuQXJZ"
    one = await replica.add("sas", payload("AZURE", "azure_token", account_name="storageacct", sas_token=sas))
    await replica.add("key", aws_key())
    async with replica.at_work():
        await until(lambda: replica.events.total() == 1)
        await a_while()
    assert replica.events == {"credential.expiring": 1}
    assert not replica.outcomes
    assert not house.settled(), "they stay due for whoever turns the schedule on"
    (line,) = lines
    assert (line["event"], line["credential_id"], line["expires_at"]) == ("credential.expiring", one.id, one.expires_at)


async def test_an_empty_store_is_looked_at_and_not_written_to(house: House, lines: list[Any]) -> None:
    replica = await house.replica(over=Spy)
    async with replica.at_work():
        await until(lambda: replica.store.called.count("count_watched") > 20)
    assert set(replica.store.called) == {"count_watched", "claim_expiring"}
    assert replica.store.called.count("claim_expiring") == 1
    assert lines == []


async def test_with_nothing_at_all_to_do_it_rests(house: House, lines: list[Any]) -> None:
    replica = await house.replica(interval=0, warning=timedelta(0), over=Spy)
    await replica.add("one", aws_key())
    replica.store.called.clear()
    async with replica.at_work():
        await a_while()
    assert replica.store.called == []
    assert lines == []
