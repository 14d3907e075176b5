"""What the store on PostgreSQL does with credentials, what was said of them, and their earlier payloads."""

from functools import partial

from service.core.audit import AuditRecord
from service.core.kept import Event, Filters, KeptReport, KeptVersion, Watch
from service.core.model import Credential, Scope, Sealed
from service.storage.postgres import credential_reads, credential_rows, history_rows, scan_rows, version_rows
from service.storage.postgres.connected import Connected


class CredentialMethods(Connected):
    """See `Store` for every one."""

    async def create_credential(
        self, credential: Credential, sealed: Sealed, audit: AuditRecord, *, report: KeptReport | None = None
    ) -> None:
        """See `Store`."""
        await self._database.write(
            partial(credential_rows.create, one=credential, sealed=sealed, audit=audit, report=report)
        )

    async def get_credential(self, scope: Scope, name: str) -> Credential | None:
        """See `Store`."""
        return await self._database.read(credential_reads.get, scope, name)

    async def get_sealed_credential(self, scope: Scope, name: str) -> tuple[Credential, Sealed] | None:
        """See `Store`."""
        return await self._database.read(credential_reads.get_sealed, scope, name)

    async def find_credential(self, workspace: str, credential_id: str) -> tuple[Credential, Sealed] | None:
        """See `Store`."""
        return await self._database.read(credential_reads.find, workspace, credential_id)

    async def get_default(self, scope: Scope, provider: str) -> Credential | None:
        """See `Store`."""
        return await self._database.read(credential_reads.get_default, scope, provider)

    async def list_credentials(
        self, scope: Scope, *, provider: str | None, type_: str | None, offset: int, limit: int
    ) -> tuple[list[Credential], int]:
        """See `Store`."""
        return await self._database.read(credential_reads.page, scope, provider, type_, offset, limit)

    async def scan_credentials(
        self,
        workspace: str,
        teamspace: str,
        families: tuple[str, ...],
        filters: Filters,
        *,
        after: tuple[str, str] | None,
        limit: int,
    ) -> tuple[list[Credential], tuple[str, str] | None]:
        """See `Store`."""
        return await self._database.read(scan_rows.page, workspace, teamspace, families, filters, after, limit)

    async def list_teamspaces(self, workspace: str) -> list[str]:
        """See `Store`."""
        return await self._database.read(scan_rows.teamspaces, workspace)

    async def update_credential(
        self,
        credential: Credential,
        sealed: Sealed | None,
        audit: AuditRecord,
        *,
        expected_revision: int,
        keep_versions: int | None = None,
        report: KeptReport | None = None,
    ) -> bool:
        """See `Store`."""
        change = credential_rows.Change(credential, sealed, audit, expected_revision, keep_versions, report)
        return await self._database.write(partial(credential_rows.update, change=change))

    async def delete_credential(
        self, credential: Credential, audit: AuditRecord, *, event: Event | None = None
    ) -> bool:
        """See `Store`."""
        return await self._database.write(partial(credential_rows.delete, one=credential, audit=audit, event=event))

    async def record_report(
        self,
        credential: Credential,
        report: KeptReport,
        audit: AuditRecord | None,
        *,
        watch: Watch | None,
        event: Event | None = None,
    ) -> bool | None:
        """See `Store`."""
        recorded = await self._database.write(
            partial(history_rows.record, one=credential, report=report, audit=audit, watch=watch, event=event)
        )
        return None if recorded is None else recorded.status_changed

    async def list_reports(
        self, workspace: str, credential_id: str, *, before: int | None, limit: int
    ) -> list[KeptReport]:
        """See `Store`."""
        return await self._database.read(history_rows.page, workspace, credential_id, before, limit)

    async def list_versions(self, workspace: str, credential_id: str) -> list[KeptVersion]:
        """See `Store`."""
        return await self._database.read(version_rows.every, workspace, credential_id)

    async def get_sealed_version(
        self, workspace: str, credential_id: str, version: int
    ) -> tuple[KeptVersion, Sealed] | None:
        """See `Store`."""
        return await self._database.read(version_rows.get_sealed, workspace, credential_id, version)
