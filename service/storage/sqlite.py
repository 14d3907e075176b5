"""The embedded store: one SQLite file, one connection that writes and one that reads."""

import asyncio
import sqlite3
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.core.audit import AuditRecord
from service.core.errors import RefusesToStart
from service.core.kept import Lease, ListedLease
from service.core.model import ApiKey, Credential, Sealed, Timestamp, User, timestamp
from service.storage import audit_rows, canary_rows, lease_rows, principal_rows, secret_rows
from service.storage.connection import Condition, connect, error_name
from service.storage.credential_methods import CredentialMethods
from service.storage.migrations import Migration, load
from service.storage.opening import make_file, prepare_to_read, prepare_to_write
from service.storage.reader import Reader
from service.storage.schedule_methods import ScheduleMethods
from service.storage.writer import BUSY_SLICE, Writer


class SqliteStore(CredentialMethods, ScheduleMethods):
    """The `Store` protocol over SQLite. Other processes may read and write the same file meanwhile."""

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        await self._reader.close()
        await self._writer.close()

    async def ping(self) -> None:
        """Return if the store can read and write; within about a second, or `StoreUnavailable`."""
        await self._reader.read(canary_rows.get)
        await self._writer.probe()

    async def get_canary(self) -> Sealed | None:
        """See `Store`."""
        return await self._reader.read(canary_rows.get)

    async def put_canary(self, canary: Sealed) -> None:
        """See `Store`."""
        await self._writer.write(partial(canary_rows.put, canary=canary))

    async def holds_secrets(self) -> bool:
        """See `Store`."""
        return await self._reader.read(canary_rows.holds_secrets)

    async def get_secret(self, name: str) -> Sealed | None:
        """See `Store`."""
        return await self._reader.read(secret_rows.get, name)

    async def add_secret(self, name: str, sealed: Sealed) -> bool:
        """See `Store`."""
        return await self._writer.write(partial(secret_rows.add, name=name, sealed=sealed))

    async def append_audit(self, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._writer.write(partial(audit_rows.append, audit=audit))

    async def create_lease(self, lease: Lease, audit: AuditRecord, *, made_of: Credential | None = None) -> bool:
        """See `Store`."""
        return await self._writer.write(partial(lease_rows.create, lease=lease, audit=audit, made_of=made_of))

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
        return await self._reader.read(lease_rows.page, wanted, timestamp(datetime.now(UTC)))

    async def create_api_key(self, key: ApiKey, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._writer.write(partial(principal_rows.create_api_key, key=key, audit=audit))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        """See `Store`."""
        return await self._reader.read(principal_rows.get_api_key, key_id)

    async def list_api_keys(self) -> list[ApiKey]:
        """See `Store`."""
        return await self._reader.read(principal_rows.list_api_keys)

    async def revoke_api_key(self, key_id: str, audit: AuditRecord) -> bool:
        """See `Store`."""
        return await self._writer.write(partial(principal_rows.revoke_api_key, key_id=key_id, audit=audit))

    async def create_user(self, user: User, audit: AuditRecord) -> None:
        """See `Store`."""
        await self._writer.write(partial(principal_rows.create_user, one=user, audit=audit))

    async def get_user(self, name: str) -> User | None:
        """See `Store`."""
        return await self._reader.read(principal_rows.get_user, name)

    async def list_users(self) -> list[User]:
        """See `Store`."""
        return await self._reader.read(principal_rows.list_users)

    async def delete_user(self, name: str, audit: AuditRecord) -> bool:
        """See `Store`."""
        return await self._writer.write(partial(principal_rows.delete_user, name=name, audit=audit))


async def open_sqlite(
    path: Path, *, lock_timeout: float = 5.0, migrations: list[Migration] | None = None
) -> SqliteStore:
    """Open the embedded store: make the file (0600) and its folder (0700), bring the schema up to date.

    Args:
        path: the database's file.
        lock_timeout: seconds that a write waits for its turn, behind other processes' writes too.
        migrations: other ones than the package's own.

    Raises:
        RefusesToStart: the file is another program's or a newer version's, or can't be opened or brought up to date.
    """
    steps = load() if migrations is None else migrations
    await asyncio.to_thread(make_file, path)
    async with AsyncExitStack() as undo:
        try:
            writing = await connect(path, busy_timeout=BUSY_SLICE)
            undo.push_async_callback(writing.close)
            await writing.submit(partial(prepare_to_write, path, steps, time.monotonic() + lock_timeout))
            reading = await connect(path, busy_timeout=lock_timeout)
            undo.push_async_callback(reading.close)
            await reading.submit(prepare_to_read)
        except sqlite3.Error as error:
            raise RefusesToStart(f"{path} can't be opened as a vouch database ({error_name(error)}).") from None
        undo.pop_all()
    condition = Condition()
    return SqliteStore(Reader(reading, condition), Writer(writing, condition, lock_timeout, canary_rows.touch))
