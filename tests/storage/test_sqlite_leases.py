"""Leases in the embedded store: what a list costs, what a new lease drops, and that no half of a write stays."""

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from service.core.errors import StoreUnavailable
from service.core.model import timestamp
from service.core.store import LEASE_KEPT_DAYS
from service.storage.lease_rows import DROPPED_AT_ONCE
from service.storage.sqlite import SqliteStore
from tests.contracts.records import HERE, NOW, a_credential, a_lease, create, lease, leased, leases
from tests.storage.costs import plan, steps, traced

MANY = 20_000
LONG_AGO = NOW - timedelta(days=3 * LEASE_KEPT_DAYS)
TEAMS = frozenset({"t1", "t2"})
FILTERS = [
    {"teamspaces": teamspaces, "credential_id": one, "live_at": live}
    for teamspaces, one, live in product((None, TEAMS), (None, "c1"), (None, timestamp(NOW)))
]


# Using a credential


async def test_a_credential_is_found_by_id_and_a_default_by_its_flag_in_one_statement_each(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    statements = await traced(store._reader._connection)
    await store.find_credential("ws_default", "an id")
    await store.get_default(HERE, "AWS")
    find, default = statements
    by_id, envelope = plan(beside, find)
    assert by_id == "SEARCH credential USING INDEX sqlite_autoindex_credential_1 (id=?)"
    assert envelope == "SEARCH envelope USING INTEGER PRIMARY KEY (rowid=?)"
    assert [line.partition(" (")[0] for line in plan(beside, default)] == [
        "SEARCH credential USING INDEX credential_default"
    ]


# What a list costs


async def test_no_list_of_leases_sorts_or_reads_what_its_filters_exclude(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    statements = await traced(store._reader._connection)
    for filters in FILTERS:
        await leases(store, **filters, before=7, limit=20)
    assert len(set(statements)) == len(FILTERS) == 8, "one statement for each"
    for statement, filters in zip(statements, FILTERS, strict=True):
        lines = plan(beside, statement)
        assert not [line for line in lines if "TEMP B-TREE" in line]
        assert not [line for line in lines if line.startswith("SCAN") and "VIRTUAL TABLE" not in line]
        (walk,) = [line for line in lines if line.startswith("SEARCH one ")]
        given = filters["teamspaces"] is not None, filters["credential_id"] is not None
        assert [name in walk for name in ("teamspace=?", "credential_id=?")] == list(given)
        assert "workspace=?" in walk
        assert "rowid<?" in walk
        assert ("rowid>?" in walk) is (filters["live_at"] is not None)


def fill(beside: sqlite3.Connection, count: int, *, live: int = 0) -> None:
    """Add leases of one workspace, in 5 teamspaces with 5 credentials each; the last of them live."""
    beside.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1) "
        "INSERT INTO lease (id, workspace, teamspace, credential_id, credential_name, provider, type, purpose, "
        "role_arn, forced, caller_kind, caller_id, caller_name, issued_at, expires_at) "
        "SELECT 'id-' || i, 'ws_default', 't' || (i % 5), 'c' || (i % 25), 'one', 'AWS', 'key', '', "
        "'', 0, 'api_key', 'k', 'k', :now, iif(i < :count - :live, :ended, :ends) FROM n",
        {
            "count": count,
            "live": live,
            "now": timestamp(NOW),
            "ended": timestamp(NOW),
            "ends": timestamp(NOW + timedelta(hours=1)),
        },
    )


async def work(store: SqliteStore, **filters: object) -> tuple[int, int]:
    """What the second of two equal pages costs, in hundreds of instructions; its length."""
    await leases(store, **filters)
    cost, page = await steps(store._reader._connection, leases(store, **filters))
    return cost, len(page)


async def test_the_last_page_of_many_leases_costs_what_the_first_does(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    fill(beside, MANY)
    for filters in ({}, {"teamspaces": frozenset({"t1"})}, {"credential_id": "c1"}):
        first, length = await work(store, **filters, limit=100)
        assert length == 100
        every = await leases(store, **filters, limit=MANY)
        last, length = await work(store, **filters, limit=100, before=every[-101].seq)
        assert length == 100
        assert last <= first * 1.1 + 1


async def test_a_page_costs_the_same_beside_many_leases_of_others(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    one = a_credential("rare", HERE._replace(teamspace="rare"))
    await lease(store, a_lease(one))
    wanted = [
        {"teamspaces": frozenset({"rare"})},
        {"credential_id": one.id},
        {"teamspaces": frozenset({"rare"}), "credential_id": one.id},
        {"teamspaces": frozenset({"another"}), "credential_id": one.id},
    ]
    before = [await work(store, **filters) for filters in wanted]
    fill(beside, MANY)
    for filters, (cost, length) in zip(wanted, before, strict=True):
        after = await work(store, **filters)
        assert after[1] == length
        assert after[0] <= cost + 1


async def test_a_list_of_live_leases_costs_nothing_for_those_that_ended(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    live_at = timestamp(NOW)
    fill(beside, MANY, live=10)
    cost, length = await work(store, live_at=live_at, limit=100)
    assert length == 10
    assert cost < 40, "less than one instruction for each that ended"
    assert (await work(store, live_at=timestamp(NOW + timedelta(days=1)), limit=100))[0] <= 1


# What a new lease drops


async def test_a_lease_drops_a_bounded_number_of_old_ones_the_oldest_first(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    old = [a_lease(a_credential(), LONG_AGO - timedelta(minutes=number)) for number in range(DROPPED_AT_ONCE + 5)]
    await lease(store, *old)
    statements = await traced(store._writer._connection)
    await lease(store, new := a_lease(a_credential()))
    assert await leased(store) == [new, *old[4::-1]]
    (drop,) = [one for one in statements if one.startswith("DELETE")]
    assert "SEARCH lease USING COVERING INDEX lease_ended (expires_at<?)" in plan(beside, drop)


async def test_a_number_is_never_given_twice(store: SqliteStore, beside: sqlite3.Connection) -> None:
    await lease(store, a_lease(a_credential()))
    (first,) = await leases(store)
    beside.execute("DELETE FROM lease")
    await lease(store, a_lease(a_credential()))
    (second,) = await leases(store)
    assert second.seq > first.seq


@pytest.mark.parametrize("table", ["audit", "lease"])
async def test_without_its_audit_record_no_lease_is_kept_nor_any_dropped(
    store: SqliteStore, beside: sqlite3.Connection, table: str
) -> None:
    """Requirement 29: then no material leaves."""
    await lease(store, old := a_lease(a_credential(), LONG_AGO))
    beside.execute(f"CREATE TRIGGER odd BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'sqlite-text'); END")
    with pytest.raises(StoreUnavailable) as raised:
        await lease(store, a_lease(a_credential()))
    assert str(raised.value) == "The store is not available."
    assert await leased(store) == [old]
    assert beside.execute("SELECT count(*) FROM audit").fetchone() == (1,)


# What is written where


async def test_the_leases_of_a_deleted_credential_hold_up_no_delete(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    one = a_credential()
    await create(store, one)
    await lease(store, kept := a_lease(one))
    beside.execute("PRAGMA foreign_keys = ON")
    beside.execute("DELETE FROM credential")
    assert await leased(store) == [kept]
    assert beside.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_a_lease_has_no_column_for_anything_but_text_and_a_flag(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    """Requirement 30: nowhere to keep material, or an envelope."""
    await lease(store, a_lease(a_credential(), datetime.now(UTC)))
    columns = beside.execute("SELECT name, type FROM pragma_table_info('lease')").fetchall()
    assert [name for name, type_ in columns if type_ != "TEXT"] == ["seq", "forced"]
    assert not [name for name, _ in columns if re.search("secret|sealed|material|token|password|value", name)]
