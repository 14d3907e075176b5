"""How PostgreSQL goes about the statements of the store: by an index, whatever else the tables hold."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.core.kept import Filters
from service.core.model import Scope, timestamp
from service.storage.postgres.connecting import Limits
from service.storage.postgres.store import PostgresStore
from tests.contracts.records import NOW, Action, an_audit
from tests.peers.postgres import Postgres
from tests.storage.postgres_stores import beside, opened

ROWS = 20_000
TEAM = Scope("ws_default", "t1")
_FILL = f"""
INSERT INTO credential (id, workspace, teamspace, family, name, provider, type, provider_default, allowed_in_tasks,
    version, revision, created_at, updated_at, public, status, payload_changed_at, expires_at, warn_of)
SELECT 'id' || n, 'ws_' || n % 3, 't' || n % 5, 'access', 'n' || lpad(n::text, 6, '0'),
    (ARRAY['AWS', 'GCP', 'AZURE'])[n % 3 + 1], (ARRAY['key', 'arn'])[n / 7 % 2 + 1], false, true, 1, 1,
    '2026', '2026', '{{}}', CASE WHEN n % 11 = 0 THEN 'failed' WHEN n % 2 = 0 THEN 'verified' END, '2026',
    CASE WHEN n % 13 = 0 THEN '2026-05' END, CASE WHEN n % 26 = 0 THEN '2026-05' END
FROM generate_series(1, {ROWS}) AS n;
UPDATE credential SET workspace = 'ws_default' WHERE workspace = 'ws_0';
INSERT INTO envelope SELECT seq, 'k', '\\x00' FROM credential;
INSERT INTO watch SELECT seq, provider, updated_at, NULL, 0 FROM credential;
INSERT INTO verification (credential, version, checked_at, trigger, outcome, report)
    SELECT seq, 1, '2026', 'request', 'verified', '{{}}' FROM credential, generate_series(1, 3);
INSERT INTO credential_version SELECT seq, 0, 'AWS', 'key', '{{}}', NULL, '2026', '2026', 'k', '\\x00' FROM credential;
INSERT INTO lease (id, workspace, teamspace, credential_id, credential_name, provider, type, purpose, role_arn, forced,
    caller_kind, caller_id, caller_name, issued_at, expires_at)
    SELECT id, workspace, teamspace, 'id' || seq % 100, name, provider, type, '', '', false, 'api_key', 'k', '',
    '2026', CASE WHEN seq > {ROWS - 50} THEN '2027' ELSE '2026-01-02' END FROM credential;
INSERT INTO event (id, type, at, body, attempts, due_at) SELECT id, '', '2026', '', 0, '2026' FROM credential;
INSERT INTO api_key SELECT id, name, '\\x00', workspace, 'viewer', NULL, '2026', NULL, NULL FROM credential;
INSERT INTO user_account SELECT id, 'hash', workspace, 'viewer', '2026' FROM credential;
INSERT INTO audit (at, actor_kind, actor_id, actor_name, workspace, teamspace, family, action, target, outcome,
    request_id, address) SELECT '2026', '', '', '', workspace, '', '', '', id, '', '', '' FROM credential;
ANALYZE;
"""
LARGE = (
    "credential",
    "envelope",
    "watch",
    "verification",
    "credential_version",
    "lease",
    "event",
    "api_key",
    "user_account",
    "audit",
)


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> dict[str, str]:
    """Where the filled database is, once somebody has made it."""
    return {}


@pytest.fixture
async def url(postgres: Postgres, filled: dict[str, str]) -> str:
    """The address of a database with twenty thousand of everything."""
    if not filled:
        name = await postgres.make_database()
        async with beside(postgres.url(name, "postgres")) as plain:
            # Without triggers: what counts row by row is slow when it is all in one transaction.
            await plain.execute(f"SET session_replication_role = replica; {_FILL}")
        filled["url"] = postgres.url(name)
    return filled["url"]


class Heard:
    """The statements that a store has sent, and their values."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    def __call__(self, query: asyncpg.connection.LoggedQuery) -> None:
        if query.query.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")) and query.args:
            self.statements.append((query.query, query.args))


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def store(url: str, heard: Heard) -> AsyncIterator[PostgresStore]:
    """A store with one connection, which is listened to."""
    async with opened(url, Limits(pool_min=1, pool_max=1)) as store:
        (session,) = store._database._pool._idle
        session.add_query_logger(heard)
        yield store


def literal(value: Any) -> str:
    """A value as SQL writes it."""
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, list):
        return (
            f"ARRAY[{', '.join(map(literal, value))}]::{'bigint' if value and isinstance(value[0], int) else 'text'}[]"
        )
    return "'" + value.replace("'", "''") + "'"


async def plans(url: str, heard: Heard) -> str:
    """How the statements would be gone about, the values known and not: no walk through a large table, no long sort."""
    found = []
    async with beside(url) as plain:
        for mode in ("force_generic_plan", "force_custom_plan"):
            await plain.execute(f"SET plan_cache_mode = {mode}")
            for number, (statement, values) in enumerate(heard.statements):
                name = f"{mode}_{number}"
                await plain.execute(f"PREPARE {name} AS {statement}")
                given = f"({', '.join(map(literal, values))})"
                rows = await plain.fetch(f"EXPLAIN EXECUTE {name} {given}")
                plan = "\n".join(row[0] for row in rows)
                for table in LARGE:
                    assert f"Seq Scan on {table} " not in plan, f"{statement}\n{plan}"
                found.append(plan)
    assert found
    return "\n".join(found)


NO_FILTER: dict[str, str | None] = {"provider": None, "type_": None}


async def test_a_point_read_is_by_its_index(store: PostgresStore, url: str, heard: Heard) -> None:
    assert await store.get_credential(TEAM, "n000006")
    assert await store.get_sealed_credential(TEAM, "n000006")
    assert await store.find_credential("ws_default", "id6")
    await store.get_default(TEAM, "AWS")
    assert await store.get_api_key("id1")
    assert await store.get_user("id1")
    plan = await plans(url, heard)
    for index in ("credential_by_name", "credential_id", "credential_default", "api_key_pkey", "user_account_pkey"):
        assert f"Index Scan using {index} " in plan


@pytest.mark.parametrize(
    ("provider", "type_", "index"),
    [
        (None, None, "credential_by_name"),
        ("AWS", None, "credential_by_provider"),
        (None, "key", "credential_by_type"),
        ("AWS", "key", "credential_by_kind"),
    ],
)
async def test_no_page_sorts_or_reads_past_its_end(
    store: PostgresStore, url: str, heard: Heard, provider: str | None, type_: str | None, index: str
) -> None:
    """A page costs the same whatever else the scope holds: every combination of filters has its index."""
    page, _ = await store.list_credentials(TEAM, provider=provider, type_=type_, offset=0, limit=20)
    assert len(page) == 20
    plan = await plans(url, heard)
    assert plan.count(f"using {index} on credential") == 2, plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(), "credential_by_name"),
        (Filters(status="failed"), "credential_by_status"),
        (Filters(status="unknown"), "credential_without_status"),
        (Filters(status="unknown", provider="AWS"), "credential_without_status"),
        (Filters(provider="AWS"), "credential_by_provider"),
        (Filters(type="key"), "credential_by_type"),
        (Filters(provider="AWS", type="key"), "credential_by_kind"),
        (Filters(provider="AWS", status="failed"), "credential_by_status"),
        (Filters(expires_before="2027"), "credential_that_ends"),
    ],
)
async def test_a_list_that_goes_on_is_by_the_index_of_its_filters(
    store: PostgresStore, url: str, heard: Heard, filters: Filters, index: str
) -> None:
    page, _ = await store.scan_credentials("ws_default", "t1", ("access",), filters, after=("access", "n00"), limit=20)
    assert page
    plan = await plans(url, heard)
    assert f"using {index} on credential" in plan, plan


async def test_a_page_of_leases_is_by_the_index_of_its_filters(store: PostgresStore, url: str, heard: Heard) -> None:
    for teamspaces in (None, frozenset({"t1", "t2"})):
        for credential_id in (None, "id6"):
            for live_at in (None, "2026-06"):
                await store.list_leases(
                    "ws_default",
                    teamspaces=teamspaces,
                    credential_id=credential_id,
                    live_at=live_at,
                    before=10_000,
                    limit=20,
                )
    plan = await plans(url, heard)
    for index in ("lease_by_workspace", "lease_by_teamspace", "lease_by_both", "lease_live"):
        assert f"using {index} on lease" in plan, plan


async def test_histories_turns_and_events_are_by_their_indexes(store: PostgresStore, url: str, heard: Heard) -> None:
    await store.list_reports("ws_default", "id6", before=None, limit=20)
    await store.list_versions("ws_default", "id6")
    assert await store.claim_due("AWS", now="2026-01", until="2026-02", claim="c", limit=5)
    assert await store.claim_events(now="2026-01", until="2026-02", claim="c", limit=5)
    assert await store.claim_expiring("2026-06", lambda _: None, limit=5)
    plan = await plans(url, heard)
    for index in ("verification_by_credential", "watch_due", "event_due", "credential_to_warn_of"):
        assert f"using {index} on" in plan, plan


async def test_a_change_is_by_the_indexes(store: PostgresStore, url: str, heard: Heard) -> None:
    found = await store.find_credential("ws_default", "id9")
    assert found
    one = found[0]
    audit = an_audit(one, Action.UPDATE)
    new = one._replace(name="renamed", revision=2, version=2, provider_default=True, updated_at=timestamp(NOW))
    assert await store.update_credential(new, found[1], audit, expected_revision=1, keep_versions=1)
    assert await store.delete_credential(new, an_audit(one, Action.DELETE))
    heard.statements = [
        each for each in heard.statements if "hashtextextended" not in each[0] and b"\x00" not in each[1]
    ]
    await plans(url, heard)
