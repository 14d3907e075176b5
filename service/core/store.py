"""The store, as the core sees it: ciphertext and metadata. Every method is one transaction, all or nothing."""

from collections.abc import Callable
from typing import Final, Protocol

from service.core.audit import AuditRecord
from service.core.kept import (
    Due,
    Event,
    Filters,
    KeptReport,
    KeptVersion,
    Lease,
    ListedLease,
    Outgoing,
    Watch,
)
from service.core.model import ApiKey, Credential, Scope, Sealed, Timestamp, User

LEASE_KEPT_DAYS: Final = 30
"""How long a lease is listed after its end. The audit trail has it for good."""

REPORTS_KEPT: Final = 50
"""Verifications in the history of one credential; the oldest goes first."""


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

    async def create_credential(
        self, credential: Credential, sealed: Sealed, audit: AuditRecord, *, report: KeptReport | None = None
    ) -> None:
        """Add a credential. If it is its provider's default in its scope, the previous default loses the flag.

        An access credential is due for verification at once (a schedule spreads what is due). `report` is the
        verification that came before it, for its history: the credential has its verdict already.

        Raises:
            NameTaken: the scope has one of that name, or there is one of that id anywhere.
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
        """Credentials of a scope by family and name, from a place on.

        Args:
            workspace: whose.
            teamspace: where; empty for the workspace level.
            families: of which families, in the order of the list.
            filters: which of them.
            after: the family and name that the page before ended with; None for the first.
            limit: at most so many.

        Returns:
            The page, and where the next one goes on; None if nothing is left. A page may be short, even empty, and
            still have a next one: the work for one is bounded however few credentials fit the filters.
        """

    async def list_teamspaces(self, workspace: str) -> list[str]:
        """Where a workspace has credentials, by code point: its teamspaces, an empty text for the workspace level."""

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
        """Replace a record by its id, if its revision is still the expected one; False if it is not, or it is gone.

        `sealed` None leaves the envelope as it is; another one makes the credential due for verification at once.
        `keep_versions` keeps the payload that is replaced, with its envelope, and at most so many such; None keeps none
        and touches none. `report` is as for `create_credential`. Becoming its provider's default takes the flag from
        the previous one (whose revision and `updated_at` change too).

        Raises:
            NameTaken: the new name is another's.
        """

    async def delete_credential(
        self, credential: Credential, audit: AuditRecord, *, event: Event | None = None
    ) -> bool:
        """Remove a record and all that hangs on it, if its revision is still the one given; False if it is not, or it
        is gone. `event` is kept until it is delivered."""

    async def record_report(
        self,
        credential: Credential,
        report: KeptReport,
        audit: AuditRecord | None,
        *,
        watch: Watch | None,
        event: Event | None = None,
    ) -> bool | None:
        """Keep what a verification said, if the record still has the version that it was about.

        It goes into the history, of which the newest `REPORTS_KEPT` stay. A known verdict becomes the credential's
        `status` and `verification`, and its `attempt` is none any more; one that is `unknown` becomes its `attempt`
        alone. The revision goes up by one (the representation changes), `updated_at` stays.

        Args:
            credential: as it was read.
            report: what was said.
            audit: None for none.
            watch: when it is due next. Ignored if the claim is not its any more; a shared credential is watched from
                its first known verdict on. None leaves it as it is.
            event: kept until it is delivered, if the status changes by this.

        Returns:
            Whether the status changed; None if nothing was kept, because the record is gone or has another version.
        """

    async def list_reports(
        self, workspace: str, credential_id: str, *, before: int | None, limit: int
    ) -> list[KeptReport]:
        """The history of a credential, newest first: those of a smaller `seq` than `before`."""

    async def list_versions(self, workspace: str, credential_id: str) -> list[KeptVersion]:
        """The payloads of a credential that were rotated away and kept, newest first."""

    async def get_sealed_version(
        self, workspace: str, credential_id: str, version: int
    ) -> tuple[KeptVersion, Sealed] | None:
        """One of them, with its envelope, which is bound to that version."""

    async def count_watched(self, lane: str) -> int:
        """How many credentials of a lane are watched; may be rough."""

    async def claim_due(self, lane: str, *, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Due]:
        """Take credentials whose turn it is: longest due first, nobody else gets them before `until`.

        Args:
            lane: a provider's, or `shared`.
            now: what is due by then is due.
            until: when others may take them, should nothing come of it.
            claim: tells this taker from others.
            limit: at most so many. None at all while the lane is paused.
        """

    async def bring_forward(self, lane: str, *, beyond: Timestamp, to: Timestamp, limit: int) -> int:
        """Let turns of a lane that lie further ahead than `beyond` come at `to`: at most so many. How many it were."""

    async def put_off(self, credential_id: str, watch: Watch) -> bool:
        """Say when a claimed credential is due next, without a verdict; False if the claim is not its any more."""

    async def pause_lane(self, lane: str, until: Timestamp) -> None:
        """Let nobody take credentials of a lane until then; a later end stays."""

    async def claim_expiring(
        self, before: Timestamp, event: Callable[[Credential], Event | None], *, limit: int
    ) -> list[Credential]:
        """Credentials that end before a time and whose end nobody was warned of: each is given once.

        Args:
            before: when they end at the latest.
            event: makes the event that is kept until it is delivered; called in the transaction, must do nothing else.
            limit: at most so many.
        """

    async def append_event(self, event: Event) -> None:
        """Keep an event until it is delivered."""

    async def claim_events(self, *, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Outgoing]:
        """Take events that are to be delivered, oldest first; nobody else gets them before `until`."""

    async def finish_event(self, outgoing: Outgoing) -> bool:
        """Drop an event that was delivered or given up; False if the claim is not its any more."""

    async def retry_event(self, outgoing: Outgoing, due_at: Timestamp) -> bool:
        """Count a failed attempt and say when the next one is due; False if the claim is not its any more."""

    async def count_events(self) -> int:
        """How many events are not delivered yet."""

    async def get_secret(self, name: str) -> Sealed | None:
        """A sealed secret of the service itself."""

    async def add_secret(self, name: str, sealed: Sealed) -> bool:
        """Keep one, unless there is one of that name already: then False, and that one stays."""

    async def append_audit(self, audit: AuditRecord) -> None:
        """Keep a record of something that wrote nothing else."""

    async def create_lease(self, lease: Lease, audit: AuditRecord, *, made_of: Credential | None = None) -> bool:
        """Keep a lease; some that ended long before it (`LEASE_KEPT_DAYS`) are dropped in the same transaction.

        Args:
            lease: what was made.
            audit: that it was.
            made_of: the credential as it was read: False, and nothing is kept, if it has another payload now, is gone
                or not allowed in tasks any more, or if the API key or user that the lease is for has been revoked or
                has expired. None asks nothing.
        """

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
