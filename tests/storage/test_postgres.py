"""The store on PostgreSQL: the contract of all stores, and how it is set up for it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest

from service.core.audit import Action, AuditRecord
from service.core.errors import StoreUnavailable
from service.core.kept import Filters
from service.core.model import Role, Scope, User, timestamp
from service.storage.postgres.store import PostgresStore, open_postgres
from tests.contracts.records import (
    HERE,
    NOW,
    AuditTrail,
    a_credential,
    a_lease,
    an_api_key,
    an_audit,
    create,
    lease,
    leased,
    leases,
    listed,
)
from tests.contracts.store import StoreContract
from tests.peers.postgres import Postgres
from tests.storage.postgres_stores import FEW, beside, opened


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """An open store on an empty database."""
    async with opened(database) as store:
        yield store


@pytest.fixture
async def replica(store: PostgresStore, database: str) -> AsyncIterator[PostgresStore]:
    """Another store on the same database."""
    async with opened(database) as replica:
        yield replica


@pytest.fixture
async def plain(store: PostgresStore, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the same database."""
    async with beside(database) as connection:
        yield connection


class TestPostgres(StoreContract):
    """The store on PostgreSQL passes the suite of all stores."""

    @pytest.fixture
    def audit_trail(self, plain: asyncpg.Connection) -> AuditTrail:
        async def read() -> list[AuditRecord]:
            rows = await plain.fetch(
                "SELECT at, actor_kind, actor_id, actor_name, workspace, teamspace, family, action, target, outcome, "
                "request_id, address FROM audit ORDER BY seq"
            )
            return [AuditRecord(datetime.fromisoformat(row[0]), *row[1:7], Action(row[7]), *row[8:]) for row in rows]

        return read


async def test_every_connection_has_its_limits_and_says_whose_it_is(
    store: PostgresStore, plain: asyncpg.Connection
) -> None:
    """Requirement 37, on this database: every wait is bounded."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit", "jit")
    assert [
        await store._database.read(lambda session, name=name: session.fetchval(f"SHOW {name}")) for name in names
    ] == [
        "10s",
        "5s",
        "10s",
        "on",
        "off",
    ]
    others = await plain.fetch(
        "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert [row[0] for row in others] == ["vouch"] * FEW.pool_min


async def test_commits_are_durable_whatever_the_servers_default_is(database: str) -> None:
    name = database.rpartition("/")[2].partition("?")[0]
    async with beside(database) as plain:
        await plain.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        try:
            async with opened(database) as store:
                shown = await store._database.read(lambda session: session.fetchval("SHOW synchronous_commit"))
        finally:
            await plain.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
    assert shown == "on"


async def test_what_was_written_is_there_after_reopening(database: str) -> None:
    one = a_credential()
    async with opened(database) as store:
        await create(store, one)
    async with opened(database) as again:
        assert await again.get_credential(HERE, "one") == one


async def test_a_closed_store_is_unavailable(database: str) -> None:
    store = await open_postgres(database)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get_credential(HERE, "one")
    with pytest.raises(StoreUnavailable):
        await create(store, a_credential())
    await store.close()


async def test_closing_waits_for_the_write_under_way(database: str) -> None:
    store = await open_postgres(database)
    writing = asyncio.create_task(create(store, a_credential()))
    await asyncio.sleep(0)
    await store.close()
    await writing
    async with opened(database) as again:
        assert await listed(again) == (["one"], 1)


async def test_reads_see_another_replicas_commit_at_once(store: PostgresStore, replica: PostgresStore) -> None:
    """Requirement 23."""
    for number in range(20):
        key = f"k{number}"
        await store.create_api_key(an_api_key(key), an_audit())
        assert (await replica.get_api_key(key)).revoked_at is None
        assert await replica.revoke_api_key(key, an_audit())
        assert (await store.get_api_key(key)).revoked_at is not None


async def test_the_audit_trail_can_only_grow(store: PostgresStore, plain: asyncpg.Connection) -> None:
    await create(store, a_credential())
    for statement in ("UPDATE audit SET actor_name = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await plain.execute(statement)
    assert await plain.fetchval("SELECT count(*) FROM audit") == 1


async def test_the_longest_names_fit_the_indexes(store: PostgresStore) -> None:
    """PostgreSQL's B-trees take 2,704 bytes; these are of four bytes a character."""
    longest = Scope("ws_" + "w" * 61, "".join(chr(0x1F400 + number) for number in range(255)))
    name = "".join(chr(0x20000 + number * 7) for number in range(255))
    one = a_credential(name, longest, provider_default=True, status="verified", expires_at=timestamp(NOW))
    await create(store, one)
    assert await store.get_credential(longest, name) == one
    await lease(store, kept := a_lease(one))
    assert await leased(store, longest.workspace, teamspaces=frozenset({longest.teamspace})) == [kept]


async def test_nothing_is_found_by_a_text_that_postgresql_cannot_hold(store: PostgresStore) -> None:
    one = a_credential("a")
    await create(store, one, a_credential("b"))
    await lease(store, kept := a_lease(one))
    assert await store.get_credential(HERE, "a\0") is None
    assert await store.get_sealed_credential(Scope("ws_default\0"), "a") is None
    assert await store.find_credential("ws_default", f"{one.id}\0") is None
    assert await store.get_default(HERE, "\0") is None
    assert await store.get_api_key("\0") is await store.get_user("\0") is await store.get_secret("\0") is None
    assert await listed(store, Scope("\0")) == ([], 0)
    assert await listed(store, provider="\0") == ([], 0)
    assert await store.list_reports("ws_default", "\0", before=None, limit=9) == []
    assert await store.count_watched("\0") == 0
    assert await leases(store, teamspaces=frozenset({"\0"})) == []
    assert await leased(store, teamspaces=frozenset({"", "\0"})) == [kept]
    assert await leases(store, credential_id="\0") == []
    page, _ = await store.scan_credentials("ws_default", "", ("access",), Filters(), after=("access", "a\0z"), limit=9)
    assert [found.name for found in page] == ["b"], "a place is a place"


async def test_a_record_of_what_cannot_be_stored_exactly_is_kept_all_the_same(
    store: PostgresStore, plain: asyncpg.Connection
) -> None:
    await store.append_audit(an_audit(target="a\0b"))
    assert await plain.fetchval("SELECT target FROM audit") == "a\ufffdb"


async def test_defaults_that_two_replicas_give_to_each_other_leave_one(
    store: PostgresStore, replica: PostgresStore
) -> None:
    """Two credentials that change providers crosswise, each becoming the default: nobody waits for ever."""
    for number in range(20):
        scope = Scope("ws_default", f"t{number}")
        aws = a_credential("aws", scope, provider_default=True)
        gcp = a_credential("gcp", scope, provider="GCP", provider_default=True)
        await create(store, aws, gcp)
        moved = [aws._replace(provider="GCP", revision=2), gcp._replace(provider="AWS", revision=2)]
        audits = [an_audit(one, Action.UPDATE) for one in moved]
        done = await asyncio.gather(
            store.update_credential(moved[0], None, audits[0], expected_revision=1),
            replica.update_credential(moved[1], None, audits[1], expected_revision=1),
        )
        assert True in done
        page, total = await store.list_credentials(scope, provider=None, type_=None, offset=0, limit=9)
        assert total == 2
        for provider in ("AWS", "GCP"):
            assert sum(one.provider_default for one in page if one.provider == provider) <= 1


async def test_creates_deletes_and_claims_at_once_keep_every_count(
    store: PostgresStore, replica: PostgresStore, postgres: Postgres
) -> None:
    """No order of locks makes two of them wait for each other."""
    ones = [a_credential(f"n{number:02}", type=("key", "arn")[number % 2]) for number in range(40)]

    async def live(each: PostgresStore, mine: list) -> None:
        for one in mine:
            await create(each, one)
            await each.claim_due("AWS", now=timestamp(NOW), until="9", claim="c", limit=2)
            moved = one._replace(provider="GCP", revision=2)
            assert await each.update_credential(moved, None, an_audit(one, Action.UPDATE), expected_revision=1)
            if one.name < "n20":
                assert await each.delete_credential(moved, an_audit(one, Action.DELETE))

    before = len(postgres.log)
    await asyncio.gather(*(live((store, replica)[part % 2], ones[part::8]) for part in range(8)))
    assert "deadlock detected" not in postgres.log[before:]
    assert await listed(store) == ([one.name for one in ones[20:]], 20)
    assert await listed(store, provider="GCP", type_="arn") == ([one.name for one in ones[21::2]], 10)
    assert [await store.count_watched(lane) for lane in ("AWS", "GCP")] == [0, 20]


async def test_hashes_and_ciphertext_are_in_no_log(store: PostgresStore, caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    await store.create_user(User("ann", "canary-hash", "ws_default", Role.ADMIN, timestamp(NOW)), an_audit())
    await create(store, a_credential("canary-envelope"))
    with pytest.raises(StoreUnavailable):
        await store.create_api_key(an_api_key("canary-key", name=None), an_audit())
    await asyncio.gather(store.get_user("ann"), store.get_sealed_credential(HERE, "canary-envelope"))
    assert "NotNullViolationError (23502)" in caplog.text
    assert "canary" not in caplog.text
    assert "INSERT" not in caplog.text
