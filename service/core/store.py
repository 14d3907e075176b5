"""The store, as the core sees it: ciphertext and metadata. Every method is one transaction, all or nothing."""

from typing import Final, Protocol

from service.core.audit import AuditRecord
from service.core.model import ApiKey, Credential, Lease, ListedLease, Scope, Sealed, Timestamp, User

LEASE_KEPT_DAYS: Final = 30
"""How long a lease is listed after its end. The audit trail has it for good."""


class Store(Protocol):
    """What every database must do; `tests/contracts/store.py` is its suite.

    Every method may raise `StoreUnavailable`: then nothing was written. An audit record given to a write is
    in the write's transaction: neither is ever there without the other. A cancelled write is done wholly or not at all.
    """

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""

    async def ping(self) -> None:
        """Return if the store can read and write."""

    async def get_canary(self) -> Sealed | None:
        """The sealed record that proves the key ring is the right one; None in a new store."""

    async def put_canary(self, canary: Sealed) -> None:
        """Keep the canary; an older one is replaced."""

    async def holds_secrets(self) -> bool:
        """Whether any sealed record is there: then a missing canary is no new store."""

    async def create_credential(self, credential: Credential, sealed: Sealed, audit: AuditRecord) -> None:
        """Add a credential. If it is its provider's default in its scope, the previous default loses the flag.

        Raises:
            NameTaken: the scope has one of that name.
        """

    async def get_credential(self, scope: Scope, name: str) -> Credential | None:
        """The metadata of one credential."""

    async def get_sealed_credential(self, scope: Scope, name: str) -> tuple[Credential, Sealed] | None:
        """One credential with its envelope."""

    async def find_credential(self, workspace: str, credential_id: str) -> tuple[Credential, Sealed] | None:
        """One credential of a workspace by its id, of either family and any teamspace, with its envelope."""

    async def get_default(self, scope: Scope, provider: str) -> Credential | None:
        """The metadata of a provider's default in a scope."""

    async def list_credentials(
        self, scope: Scope, *, provider: str | None, type_: str | None, offset: int, limit: int
    ) -> tuple[list[Credential], int]:
        """Credentials of a scope by name (by code point), and how many match in all."""

    async def update_credential(
        self, credential: Credential, sealed: Sealed | None, audit: AuditRecord, *, expected_revision: int
    ) -> bool:
        """Replace a record by its id, if its revision is still the expected one; False if it is not, or it is gone.

        `sealed` None leaves the envelope as it is. Becoming its provider's default takes the flag from the previous one
        (whose revision and `updated_at` change too).

        Raises:
            NameTaken: the new name is another's.
        """

    async def delete_credential(self, credential: Credential, audit: AuditRecord) -> bool:
        """Remove a record, if its revision is still the one given; False if it is not, or it is gone."""

    async def record_verdict(self, credential: Credential, status: str, verification: str, audit: AuditRecord) -> bool:
        """Keep the last known verdict on a payload, if the record still has the version it was reached on.

        The revision goes up by one (the representation changes), `updated_at` stays.
        """

    async def append_audit(self, audit: AuditRecord) -> None:
        """Keep a record of something that wrote nothing else."""

    async def create_lease(self, lease: Lease, audit: AuditRecord) -> None:
        """Keep a lease; some that ended long before it (`LEASE_KEPT_DAYS`) are dropped in the same transaction."""

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
        """Leases of a workspace, newest first.

        Args:
            workspace: whose.
            teamspaces: only those of these; None for all of them and the workspace level.
            credential_id: only those of this credential.
            live_at: only those that end after this.
            before: only those of a smaller `seq`: where the page before ended.
            limit: at most so many.
        """

    async def create_api_key(self, key: ApiKey, audit: AuditRecord) -> None:
        """Add an API key."""

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        """One API key, revoked and expired ones too."""

    async def list_api_keys(self) -> list[ApiKey]:
        """All API keys, oldest first."""

    async def revoke_api_key(self, key_id: str, audit: AuditRecord) -> bool:
        """Revoke a key as of the audit record's time; False if there is no such live key."""

    async def create_user(self, user: User, audit: AuditRecord) -> None:
        """Add a user.

        Raises:
            NameTaken: there is one of that name.
        """

    async def get_user(self, name: str) -> User | None:
        """One user; names are unique over all workspaces."""

    async def list_users(self) -> list[User]:
        """All users by name."""

    async def delete_user(self, name: str, audit: AuditRecord) -> bool:
        """Remove a user; False if there is none."""
