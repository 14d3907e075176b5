"""What the tests of stores are about: credentials, envelopes, leases, API keys, audit records, made short."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

from service.core.audit import Action, AuditRecord, record
from service.core.kept import Due, Event, KeptReport, Lease, ListedLease, Outgoing, Watch
from service.core.model import (
    ApiKey,
    Caller,
    Credential,
    Principal,
    PrincipalKind,
    Role,
    Scope,
    Sealed,
    Timestamp,
    timestamp,
)
from service.core.store import Store

HERE = Scope("ws_default")
TEAM = Scope("ws_default", "team-a")
ELSEWHERE = Scope("ws_other")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CALLER = Caller(Principal(PrincipalKind.API_KEY, "id-1", "tests", "ws_default", Role.ADMIN), "request-1", "127.0.0.1")

_NUMBERS = count(1)

AuditTrail = Callable[[], Awaitable[list[AuditRecord]]]
"""Reads all audit records of a store, oldest first, however the store keeps them."""


def a_credential(name: str = "one", scope: Scope = HERE, **changes: object) -> Credential:
    """A credential that is new and has never been verified."""
    return Credential(
        id=str(uuid4()),
        workspace=scope.workspace,
        teamspace=scope.teamspace,
        family=scope.family,
        name=name,
        provider="AWS",
        type="key",
        provider_default=False,
        allowed_in_tasks=True,
        version=1,
        revision=1,
        created_at=timestamp(NOW),
        updated_at=timestamp(NOW),
        public='{"access_key_id":"AKIAEXAMPLE"}',
        status=None,
        verification=None,
        attempt=None,
        payload_changed_at=timestamp(NOW),
        expires_at=None,
    )._replace(**changes)


def a_seal(text: str = "ciphertext") -> Sealed:
    """Something that looks like ciphertext to a store."""
    return Sealed("k1", text.encode())


def an_audit(one: Credential | None = None, action: Action = Action.CREATE, target: str = "") -> AuditRecord:
    """The record of something done to a credential."""
    return record(CALLER, one.scope if one else HERE, action, one.id if one else target)


def changed(one: Credential, **changes: object) -> Credential:
    """The next revision of a record, as the core would write it."""
    later = datetime.fromisoformat(one.updated_at) + timedelta(seconds=1)
    return one._replace(revision=one.revision + 1, updated_at=timestamp(later), **changes)


async def create(store: Store, *ones: Credential) -> None:
    """Add credentials, each with an envelope that says its name."""
    for one in ones:
        await store.create_credential(one, a_seal(one.name), an_audit(one))


async def update(
    store: Store,
    one: Credential,
    sealed: Sealed | None = None,
    keep_versions: int | None = None,
    kept: KeptReport | None = None,
) -> bool:
    """Write the next revision of a record."""
    return await store.update_credential(
        one,
        sealed,
        an_audit(one, Action.UPDATE),
        expected_revision=one.revision - 1,
        keep_versions=keep_versions,
        report=kept,
    )


def rotated(one: Credential, **changes: object) -> Credential:
    """The next revision of a record with another payload, as the core would write it."""
    new = changed(one, version=one.version + 1, status=None, verification=None, attempt=None)
    return new._replace(payload_changed_at=new.updated_at)._replace(**changes)


async def listed(store: Store, scope: Scope = HERE, **filters: str | int | None) -> tuple[list[str], int]:
    """The names of one page, and the total."""
    wanted = {"provider": None, "type_": None, "offset": 0, "limit": 100, **filters}
    page, total = await store.list_credentials(scope, **wanted)
    return [one.name for one in page], total


def an_api_key(key_id: str, **changes: object) -> ApiKey:
    """A live API key for everything in a workspace."""
    key = ApiKey(key_id, f"key {key_id}", b"\x00hash\xff", "ws_default", Role.EDITOR, None, timestamp(NOW), None, None)
    return key._replace(**changes)


def at(seconds: float) -> Timestamp:
    """A time so many seconds after `NOW`."""
    return timestamp(NOW + timedelta(seconds=seconds))


def a_report(one: Credential, outcome: str = "verified", **changes: object) -> KeptReport:
    """What a verification of a credential's payload said. Each says something else."""
    said = f'{{"outcome":"{outcome}","n":{next(_NUMBERS)}}}'
    return KeptReport(0, one.version, at(60), "request", outcome, said)._replace(**changes)


async def report(
    store: Store, one: Credential, kept: KeptReport, watch: Watch | None = None, event: Event | None = None
) -> bool | None:
    """Keep a report with the audit record that the core would write."""
    return await store.record_report(one, kept, an_audit(one, Action.VERIFY), watch=watch, event=event)


async def history(store: Store, one: Credential, **page: int | None) -> list[KeptReport]:
    """One page of a credential's history, as it was given: without the numbers."""
    wanted = {"before": None, "limit": 1000, **page}
    return [kept._replace(seq=0) for kept in await store.list_reports(one.workspace, one.id, **wanted)]


def an_event(seconds: float = 0, **changes: object) -> Event:
    """Something that happened so many seconds after `NOW`."""
    return Event(f"evt_{uuid4().hex}", "credential.deleted", at(seconds), '{"näme":"✓"}')._replace(**changes)


async def take(
    store: Store, seconds: float = 3600, claim: str = "c", lane: str = "AWS", limit: int = 1000
) -> list[Due]:
    """Claim what is due so many seconds after `NOW`, for a minute."""
    return await store.claim_due(lane, now=at(seconds), until=at(seconds + 60), claim=claim, limit=limit)


async def outgoing(store: Store, seconds: float = 3600, claim: str = "c", limit: int = 1000) -> list[Outgoing]:
    """Claim the events that are due so many seconds after `NOW`, for a minute."""
    return await store.claim_events(now=at(seconds), until=at(seconds + 60), claim=claim, limit=limit)


def a_lease(one: Credential, issued_at: datetime = NOW, seconds: int = 900, **changes: object) -> Lease:
    """A lease of a credential, to an API key that no store knows."""
    return Lease(
        id=str(uuid4()),
        workspace=one.workspace,
        teamspace=one.teamspace,
        credential_id=one.id,
        credential_name=one.name,
        provider=one.provider,
        type=one.type,
        purpose="nightly load",
        narrowed_to=None,
        role_arn="",
        forced=False,
        caller_kind="api_key",
        caller_id="id-1",
        caller_name="tests",
        issued_at=timestamp(issued_at),
        expires_at=timestamp(issued_at + timedelta(seconds=seconds)),
    )._replace(**changes)


async def lease(store: Store, *leases: Lease) -> None:
    """Keep leases, each with the audit record that the core would write."""
    for one in leases:
        scope = Scope(one.workspace, one.teamspace)
        await store.create_lease(one, record(CALLER, scope, Action.LEASE, one.credential_id, f"done: lease {one.id}"))


async def leases(store: Store, workspace: str = HERE.workspace, **filters: object) -> list[ListedLease]:
    """One page of a workspace's leases."""
    wanted = {"teamspaces": None, "credential_id": None, "live_at": None, "before": None, "limit": 1000, **filters}
    return await store.list_leases(workspace, **wanted)


async def leased(store: Store, workspace: str = HERE.workspace, **filters: object) -> list[Lease]:
    """The same, without what the store knows besides."""
    return [one.lease for one in await leases(store, workspace, **filters)]
