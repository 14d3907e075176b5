"""Lists with cursors in the embedded store: which index serves them, and what a page costs where none does."""

import sqlite3
from itertools import product

from service.core.kept import Filters
from service.core.model import Credential
from service.storage.scan_rows import VISITED_AT_MOST
from service.storage.sqlite import SqliteStore
from tests.contracts.records import a_credential, at, create
from tests.storage.costs import plan, steps, traced

BOTH = ("access", "shared")
MANY = 20_000
EVERY = [Filters(*each) for each in product((None, "AWS"), (None, "key"), (None, "unknown", "failed"), (None, at(9)))]


async def scan(
    store: SqliteStore, filters: Filters, after: tuple[str, str] | None = None, limit: int = 20
) -> tuple[list[Credential], tuple[str, str] | None]:
    """One page of both families."""
    return await store.scan_credentials("ws_default", "", BOTH, filters, after=after, limit=limit)


def fill(beside: sqlite3.Connection, count: int) -> None:
    """Add AWS keys that work and never end; the last ones end soon, and the very last has failed as well."""
    beside.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1) "
        "INSERT INTO credential (id, workspace, teamspace, family, name, provider, type, provider_default, "
        "allowed_in_tasks, version, revision, created_at, updated_at, public, status, payload_changed_at, expires_at) "
        "SELECT 'id-' || i, 'ws_default', '', 'access', format('n%05d', i), 'AWS', 'key', 0, 0, 1, 1, :now, :now, "
        "'{}', iif(i = :count - 1, 'failed', 'verified'), :now, iif(i >= :count - 10, :now, NULL) FROM n",
        {"count": count, "now": at(0)},
    )


async def test_every_list_walks_an_index_in_its_order(store: SqliteStore, beside: sqlite3.Connection) -> None:
    await create(store, *(a_credential(f"n{number}") for number in range(3)))
    statements = await traced(store._reader._connection)
    indexes = set()
    for filters in EVERY:
        statements.clear()
        await scan(store, filters, after=("access", "n0"))
        selects = [statement for statement in statements if statement.startswith("SELECT")]
        assert len(selects) >= len(BOTH)
        for statement in selects:
            lines = plan(beside, statement)
            assert not [line for line in lines if "TEMP B-TREE" in line], filters
            (walk,) = [line for line in lines if line.startswith("SEARCH")]
            assert "workspace=? AND teamspace=? AND family=?" in walk
            assert "name>?" in walk
            assert ("status=?" in walk) is (filters.status is not None)
            indexes.add(walk.split()[walk.split().index("INDEX") + 1])
    assert indexes == {
        "credential_by_name",
        "credential_by_provider",
        "credential_by_type",
        "credential_by_kind",
        "credential_by_status",
        "credential_that_ends",
    }


async def test_a_page_looks_at_a_bounded_number_of_entries_however_few_fit(
    store: SqliteStore, beside: sqlite3.Connection
) -> None:
    fill(beside, MANY)
    filters = Filters(provider="AWS", expires_before=at(9))
    await scan(store, filters)
    cost, (page, after) = await steps(store._reader._connection, scan(store, filters))
    assert (page, after) == ([], ("access", f"n{VISITED_AT_MOST - 1:05}"))
    assert cost < VISITED_AT_MOST * 40 / 100, "a few instructions for each entry that is looked at"


async def test_the_bound_is_for_a_page_not_for_each_family(store: SqliteStore, beside: sqlite3.Connection) -> None:
    half = VISITED_AT_MOST * 6 // 10
    fill(beside, 2 * half)
    beside.execute("UPDATE credential SET family = 'shared', expires_at = NULL WHERE name >= ?", (f"n{half:05}",))
    page, after = await scan(store, Filters(provider="AWS", expires_before=at(9)))
    assert (page, after) == ([], ("shared", f"n{VISITED_AT_MOST - 1:05}"))


async def test_short_pages_lead_to_all_that_fit(store: SqliteStore, beside: sqlite3.Connection) -> None:
    fill(beside, MANY)
    await create(store, a_credential("last", family="shared", provider="AWS", expires_at=at(1)))
    found, after, rounds = [], None, 0
    while rounds == 0 or after is not None:
        page, after = await scan(store, Filters(provider="AWS", expires_before=at(9)), after, limit=4)
        found += [one.name for one in page]
        rounds += 1
    assert found == [*(f"n{number}" for number in range(MANY - 10, MANY)), "last"]
    assert rounds <= MANY / VISITED_AT_MOST + 4


async def test_what_failed_or_ends_is_found_at_once_among_many(store: SqliteStore, beside: sqlite3.Connection) -> None:
    fill(beside, MANY)
    for filters, length in (
        (Filters(status="failed"), 1),
        (Filters(provider="AWS", type="key", status="failed", expires_before=at(9)), 1),
        (Filters(expires_before=at(9)), 10),
        (Filters(status="unknown"), 0),
        (Filters(provider="GCP"), 0),
    ):
        await scan(store, filters)
        cost, (page, after) = await steps(store._reader._connection, scan(store, filters))
        assert (len(page), after) == (length, None)
        assert cost < 20, filters


async def test_the_last_page_of_many_costs_what_the_first_does(store: SqliteStore, beside: sqlite3.Connection) -> None:
    fill(beside, MANY)
    for filters in (Filters(), Filters(provider="AWS"), Filters(type="key"), Filters("AWS", "key")):
        await scan(store, filters)
        first, (page, _) = await steps(store._reader._connection, scan(store, filters))
        assert len(page) == 20
        last, (page, _) = await steps(store._reader._connection, scan(store, filters, ("access", f"n{MANY - 25}")))
        assert len(page) == 20
        assert last <= first * 1.1 + 1
