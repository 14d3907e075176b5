"""The store on PostgreSQL: any number of replicas on one database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from service.core.audit import AuditRecord
from service.core.errors import RefusesToStart
from service.core.kept import Lease, ListedLease
from service.core.model import ApiKey, Credential, Sealed, Timestamp, User, timestamp
from service.storage.migrations import Migration
from service.storage.postgres import audit_rows, lease_rows, simple_rows
from service.storage.postgres.connecting import Limits, Session, connect, connect_patiently
from service.storage.postgres.credential_methods import CredentialMethods
from service.storage.postgres.database import Database
from service.storage.postgres.errors import DATABASE_ERRORS, error_name
from service.storage.postgres.migrations import LOCK, migrate, steps
from service.storage.postgres.pool import Pool
from service.storage.postgres.schedule_methods import ScheduleMethods

PATIENCE: Final = 30.0
"""Seconds that the start waits for other replicas that start, and for locks."""

_CLOSING_SECONDS: Final = 2.0
_DEFAULT_LIMITS: Final = Limits()


class PostgresStore(CredentialMethods, ScheduleMethods):
    """The `Store` protocol over PostgreSQL."""

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        await self._database.close()

    async def ping(self) -> None:
        """Return if the store can read and write; within about a second, or `StoreUnavailable`."""
        await self._database.probe(simple_rows.get_canary, simple_rows.touch_canary)

    async def get_canary(self) -> Sealed | None:
        """See `Store`."""
        return await self._database.read(simple_rows.get_canary)

    async def put_canary(self, canary: Sealed) -> None:
        """See `Store`."""
        await self._database.write(partial(simple_rows.put_canary, canary=canary))

    async def holds_secrets(self) -> bool:
        """See `Store`."""
        return await self._database.read(simple_rows.holds_secrets)

    async def get_secret(self, name: str) -> Sealed | None:
        """See `Store`."""
        return await self._database.read(simple_rows.get_secret, name)

    async def add_secret(self, name: str, sealed: Sealed) -> bool:
        """See `Store`."""
        return await self._database.write(partial(simple_rows.add_secret, name=name, sealed=sealed))

    async def append_audit(self, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._database.write(partial(audit_rows.append, audit=audit))

    async def create_lease(self, lease: Lease, audit: AuditRecord, *, made_of: Credential | None = None) -> bool:
        """See `Store`."""
        return await self._database.write(partial(lease_rows.create, lease=lease, audit=audit, made_of=made_of))

    async def list_leases(
        self,
        workspace: str,
        *,
        teamspaces: frozenset[str] | None,
        credential_id: str | None,
        live_at: Timestamp | None,
        before: int | None,
        limit: int,
    ) -> list[ListedLease]:
        """See `Store`."""
        wanted = lease_rows.Wanted(workspace, teamspaces, credential_id, live_at, before, limit)
        return await self._database.read(lease_rows.page, wanted, timestamp(datetime.now(UTC)))

    async def create_api_key(self, key: ApiKey, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._database.write(partial(simple_rows.create_api_key, key=key, audit=audit))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        """See `Store`."""
        return await self._database.read(simple_rows.get_api_key, key_id)

    async def list_api_keys(self) -> list[ApiKey]:
        """See `Store`."""
        return await self._database.read(simple_rows.list_api_keys)

    async def revoke_api_key(self, key_id: str, audit: AuditRecord) -> bool:
        """See `Store`."""
        return await self._database.write(partial(simple_rows.revoke_api_key, key_id=key_id, audit=audit))

    async def create_user(self, user: User, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._database.write(partial(simple_rows.create_user, one=user, audit=audit))

    async def get_user(self, name: str) -> User | None:
        """See `Store`."""
        return await self._database.read(simple_rows.get_user, name)

    async def list_users(self) -> list[User]:
        """See `Store`."""
        return await self._database.read(simple_rows.list_users)

    async def delete_user(self, name: str, audit: AuditRecord) -> bool:
        """See `Store`."""
        return await self._database.write(partial(simple_rows.delete_user, name=name, audit=audit))


async def open_postgres(
    url: str,
    limits: Limits = _DEFAULT_LIMITS,
    *,
    migrations: list[Migration] | None = None,
    patience: float = PATIENCE,
) -> PostgresStore:
    """Open the store on PostgreSQL, and bring its schema up to date.

    Args:
        url: `postgresql://…`, as `[store] url` has it.
        limits: of its connections.
        migrations: other ones than the package's own.
        patience: seconds to wait for other replicas that migrate, and for locks.

    Raises:
        RefusesToStart: it can't be reached, is another program's or a newer version's, or can't be brought up to date.
    """
    pool = Pool(partial(connect, url, limits), least=limits.pool_min, most=limits.pool_max, patience=limits.pool_wait)
    try:
        async with _connected(url, limits) as session:
            await migrate(session, steps() if migrations is None else migrations, patience)
        await pool.warm()
    except DATABASE_ERRORS as error:
        await pool.close()
        raise _refusal(error) from None
    return PostgresStore(Database(pool, limits.pool_wait))


@asynccontextmanager
async def alone(url: str, limits: Limits = _DEFAULT_LIMITS, *, patience: float = PATIENCE) -> AsyncIterator[None]:
    """Keep other replicas that start on the same database waiting: together they would make two first keys.

    Raises:
        RefusesToStart: the database can't be reached, or another replica takes too long.
    """
    async with _connected(url, limits) as session:
        try:
            await session.execute(f"SET statement_timeout = {round(patience * 1000)}; SET lock_timeout = 0")
            await session.execute("SELECT pg_advisory_lock($1)", LOCK + 1, timeout=patience + 1)
        except DATABASE_ERRORS as error:
            raise _refusal(error) from None
        yield


@asynccontextmanager
async def _connected(url: str, limits: Limits) -> AsyncIterator[Session]:
    """A connection apart from the pool's, which ends with everything that it holds."""
    try:
        session = await connect_patiently(url, limits, limits.pool_wait)
    except DATABASE_ERRORS as error:
        raise _refusal(error) from None
    try:
        yield session
    finally:
        try:
            await session.close(timeout=_CLOSING_SECONDS)
        except DATABASE_ERRORS:
            session.terminate()


def _refusal(error: BaseException) -> RefusesToStart:
    return RefusesToStart(f"The database of store.url can't be used ({error_name(error)}).")
