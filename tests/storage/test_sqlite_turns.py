"""Histories, turns and events in the embedded store: what they cost beside many others; no half of a write stays."""

import re
import sqlite3
from collections.abc import Awaitable, Callable

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.core.kept import Outgoing, Watch
from service.core.model import Credential
from service.storage.connection import Connection
from service.storage.sqlite import SqliteStore
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    a_credential,
    a_report,
    a_seal,
    an_audit,
    an_event,
    at,
    create,
    history,
    outgoing,
    report,
    rotated,
    take,
    update,
)
from tests.storage.costs import plan, steps, traced
from tests.storage.files import Dump

MANY = 20_000
EARLY, SOON, LATE = at(-1000), at(100), at(10**9)


def fill(beside: sqlite3.Connection, count: int) -> None:
    """Add credentials of another workspace in the same lane: half of them due, half of them warned of, all ending.

    Each has two reports and an earlier payload; and there are as many events, half of them due.
    """
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
    for statement in (
        "INSERT INTO credential (seq, id, workspace, teamspace, family, name, provider, type, provider_default, "
        "allowed_in_tasks, version, revision, created_at, updated_at, public, status, payload_changed_at, expires_at, "
        "warn_of) SELECT 1000000 + i, 'id-' || i, 'ws_many', '', 'access', 'n' || i, 'AWS', 'key', 0, 0, 2, 1, :early, "
        ":early, '{}', 'verified', :early, iif(i % 2, :early, :late), iif(i % 2, NULL, :late) FROM n",
        "INSERT INTO envelope SELECT 1000000 + i, 'k1', x'00' FROM n",
        "INSERT INTO credential_count SELECT 'ws_many', '', 'access', 'AWS', 'key', :count",
        "INSERT INTO watch SELECT 1000000 + i, 'AWS', iif(i % 2, :early, :late), NULL, 0 FROM n",
        "INSERT INTO verification (credential, version, checked_at, trigger, outcome, report) "
        "SELECT 1000000 + i / 2 + 1, 1, :early, 'schedule', 'verified', '{}' FROM n",
        "INSERT INTO credential_version "
        "SELECT 1000000 + i, 1, 'AWS', 'key', '{}', NULL, :early, :early, 'k1', x'00' FROM n",
        "INSERT INTO event (id, type, at, body, attempts, due_at) "
        "SELECT 'evt_' || i, 'x', :early, '{}', 0, iif(i % 2, :early, :late) FROM n",
    ):
        beside.execute(numbers + statement, {"count": count, "early": EARLY, "late": LATE})


class Day:
    """One of everything that the store does for a credential, as calls that can be measured one by one."""

    def __init__(self, store: SqliteStore, name: str) -> None:
        self.store = store
        self.one = a_credential(name, expires_at=SOON)
        self.event = an_event()

    async def claimed(self) -> str:
        """A claim on ours, whoever else is due."""
        await self.store.put_off(self.one.id, Watch(at(-5000)))
        (due,) = await take(self.store, 0, limit=1)
        assert due.credential.id == self.one.id
        return due.claim

    async def measured(self) -> dict[str, int]:
        """What each takes, in hundreds of instructions."""
        store, one, costs = self.store, self.one, {}

        async def measure(name: str, connection: Connection, call: Awaitable[object], expected: object) -> None:
            costs[name], result = await steps(connection, call)
            assert result == expected, name

        writing, reading = store._writer._connection, store._reader._connection
        await measure("create", writing, store.create_credential(one, a_seal(), an_audit(one)), None)
        claim = await self.claimed()
        await measure("put off", writing, store.put_off(one.id, Watch(LATE, claim)), True)
        await self.claimed()
        await measure("report", writing, report(store, one, a_report(one), Watch(LATE), an_event()), True)
        new = rotated(one, revision=3, expires_at=EARLY)
        await measure("rotate", writing, update(store, new, a_seal("new"), 3), True)
        await measure("warn", writing, store.claim_expiring(at(-500), lambda _: an_event(), limit=9), [new])
        await measure("history", reading, history(store, one), await history(store, one))
        await measure("versions", reading, store.list_versions("ws_default", one.id), await self.versions())
        await measure("count", reading, store.count_watched("AWS"), await store.count_watched("AWS"))
        costs["turn"], turns = await steps(writing, take(store, limit=5))
        assert turns
        costs["outbox"], sent = await steps(writing, outgoing(store, limit=5))
        assert sent
        await measure("retry", writing, store.retry_event(sent[0], LATE), True)
        await store.append_event(self.event)
        await measure("late", writing, store.finish_event(Outgoing(self.event, "not mine", 0)), False)
        delete = store.delete_credential(new, an_audit(new, Action.DELETE), event=an_event())
        await measure("delete", writing, delete, True)
        return costs

    async def versions(self) -> object:
        found = await self.store.list_versions("ws_default", self.one.id)
        assert [kept.version for kept in found] == [1]
        return found


async def test_nothing_costs_more_beside_many_others(store: SqliteStore, beside: sqlite3.Connection) -> None:
    """A million credentials: no step of watching one walks the others."""
    fill(beside, 40)
    await Day(store, "first").measured()
    before = await Day(store, "before").measured()
    beside.execute("DELETE FROM credential WHERE workspace = 'ws_many'")
    for table in ("event", "verification", "watch", "envelope", "credential_version", "credential_count"):
        beside.execute(f"DELETE FROM {table}")
    fill(beside, MANY)
    after = await Day(store, "after").measured()
    assert before.keys() == after.keys()
    for name, cost in after.items():
        assert cost <= before[name] * 1.2 + 2, name


async def test_no_statement_scans_a_table_or_sorts(store: SqliteStore, beside: sqlite3.Connection) -> None:
    fill(beside, 10)
    statements = await traced(store._writer._connection)
    read = await traced(store._reader._connection)
    await Day(store, "one").measured()
    walked = {one for one in statements + read if re.match(r"(SELECT|INSERT|UPDATE|DELETE)\b", one)}
    assert len(walked) > 30
    for statement in walked:
        for line in plan(beside, statement):
            if "event_count" in statement and line == "SCAN event_count":
                continue  # a table of one row
            assert not re.match("SCAN (?!CONSTANT ROW)|USE TEMP", line), statement


# All or nothing


async def left(store: SqliteStore, beside: sqlite3.Connection) -> Dump:
    """All that the store has."""
    tables = beside.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    return {name: beside.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables.fetchall()}


Write = Callable[[SqliteStore, Credential], Awaitable[object]]

WRITES: dict[str, tuple[Write, tuple[str, ...]]] = {
    "create": (
        lambda store, one: store.create_credential(
            two := a_credential("two"), a_seal(), an_audit(two), report=a_report(two)
        ),
        ("INSERT ON credential", "INSERT ON envelope", "INSERT ON watch", "INSERT ON verification", "INSERT ON audit"),
    ),
    "rotate": (
        lambda store, one: update(store, rotated(one, provider="GCP"), a_seal("new"), 1, a_report(one)),
        (
            "INSERT ON credential_version",
            "UPDATE ON credential",
            "UPDATE ON watch",
            "UPDATE ON envelope",
            "INSERT ON verification",
            "INSERT ON audit",
        ),
    ),
    "report": (
        lambda store, one: report(store, one, a_report(one, "failed"), Watch(LATE), an_event()),
        ("INSERT ON verification", "UPDATE ON credential", "UPDATE ON watch", "INSERT ON event", "INSERT ON audit"),
    ),
    "warn": (
        lambda store, one: store.claim_expiring(LATE, lambda _: an_event(), limit=9),
        ("INSERT ON event", "UPDATE ON credential"),
    ),
    "delete": (
        lambda store, one: store.delete_credential(one, an_audit(one), event=an_event()),
        ("DELETE ON credential", "DELETE ON watch", "DELETE ON verification", "INSERT ON event", "INSERT ON audit"),
    ),
}


@pytest.mark.parametrize(("what", "where"), [(what, where) for what, (_, places) in WRITES.items() for where in places])
async def test_a_write_that_fails_at_any_point_leaves_all_as_it_was(
    store: SqliteStore, beside: sqlite3.Connection, what: str, where: str
) -> None:
    """Requirement 40: history, verdict, turn, event and audit record together, or none of them."""
    one = a_credential(expires_at=SOON, status="verified")
    await store.create_credential(one, a_seal(), an_audit(one), report=a_report(one))
    before = await left(store, beside)
    beside.execute(f"CREATE TRIGGER odd AFTER {where} BEGIN SELECT RAISE(ABORT, 'sqlite-text'); END")
    write, _ = WRITES[what]
    with pytest.raises(StoreUnavailable) as raised:
        await write(store, one)
    assert str(raised.value) == "The store is not available."
    assert await left(store, beside) == before
    beside.execute("DROP TRIGGER odd")
    await write(store, one)
    assert await left(store, beside) != before


async def test_counts_agree_with_what_is_counted(store: SqliteStore, beside: sqlite3.Connection) -> None:
    ones = [a_credential(f"n{number}", (HERE, ELSEWHERE)[number % 2]) for number in range(6)]
    await create(store, *ones)
    assert await update(store, rotated(ones[0], provider="GCP"), a_seal("new"))
    assert await store.delete_credential(ones[1], an_audit(ones[1]), event=an_event())
    with pytest.raises(StoreUnavailable):
        await store.append_event((await outgoing(store))[0].event)
    counted = beside.execute("SELECT lane, count(*) FROM watch GROUP BY lane ORDER BY lane").fetchall()
    assert counted == [("AWS", 4), ("GCP", 1)]
    assert [(lane, await store.count_watched(lane)) for lane, _ in counted] == counted
    assert await store.count_events() == 1


async def test_a_claim_that_finds_nothing_writes_nothing(store: SqliteStore, beside: sqlite3.Connection) -> None:
    """Whoever waits for work asks all the time: each time would be a commit."""
    await create(store, a_credential())
    (before,) = beside.execute("PRAGMA data_version").fetchone()
    assert await take(store, -1) == await outgoing(store) == []
    assert await store.claim_expiring(LATE, lambda _: an_event(), limit=9) == []
    await store.pause_lane("AWS", at(5))
    (paused,) = beside.execute("PRAGMA data_version").fetchone()
    await store.pause_lane("AWS", at(4))
    assert beside.execute("PRAGMA data_version").fetchone() == (paused,)
    assert paused == before + 1
