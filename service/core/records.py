"""What access and shared credentials have in common: a sealed record, changed by revisions, every write audited."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from service.core import audit
from service.core.applied import Applied, Apply, Secret, Unseal, canonical
from service.core.envelope import Envelope, binding
from service.core.errors import EnvelopeBroken, NoSuchCredential, Stale, StoreUnavailable
from service.core.events import Events, EventType
from service.core.kept import Filters
from service.core.model import Caller, Credential, Key, Named, Scope, Sealed, timestamp
from service.core.store import Store
from service.core.turns import CROWDED, Turns
from service.core.verdicts import Trigger, judged, kept_report

# Writers in other processes collide with ours rarely; each round lets at least one of all through.
_ROUNDS = 16


def _now() -> datetime:
    return datetime.now(UTC)


class Records:
    """Sealed records in a store. Whoever calls has been authorized: the scope says for what.

    Args:
        store: where they are kept.
        envelope: seals and opens them.
        events: who is told.
        now: the time.
        turn_seconds: how long a change waits for others of the same record.
    """

    def __init__(
        self,
        store: Store,
        envelope: Envelope,
        events: Events,
        now: Callable[[], datetime] = _now,
        turn_seconds: float = 5.0,
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._events = events
        self._now = now
        self._turns = Turns(turn_seconds)

    def new(
        self, scope: Scope, name: str, *, provider: str, type_: str, public: Mapping[str, Any], id_: str | None = None
    ) -> Credential:
        """The first revision of a record, under an id of its own if none is given; nothing is stored yet."""
        now = timestamp(self._now())
        return Credential(
            id=id_ or str(uuid.uuid4()),
            workspace=scope.workspace,
            teamspace=scope.teamspace,
            family=scope.family,
            name=name,
            provider=provider,
            type=type_,
            provider_default=False,
            allowed_in_tasks=False,
            version=1,
            revision=1,
            created_at=now,
            updated_at=now,
            public=canonical(public),
            status=None,
            verification=None,
            attempt=None,
            payload_changed_at=now,
            expires_at=None,
        )

    async def add(self, caller: Caller, new: Applied) -> Credential:
        """Store a new record.

        Raises:
            NameTaken: the scope has one of that name.
        """
        credential = new.credential
        kept = None
        if new.report is not None:
            credential = judged(credential, new.report)
            kept = kept_report(credential, new.report, Trigger.WRITE)
        sealed = await self.seal(credential, new.secret or {})
        record = audit.record(caller, credential.scope, audit.Action.CREATE, credential.id)
        await self._store.create_credential(credential, sealed, record, report=kept)
        return credential

    async def get(self, key: Key) -> Credential:
        """The metadata of a record; no envelope is opened.

        Raises:
            NoSuchCredential: there is none where the key points.
        """
        if isinstance(key, Named):
            credential = await self.look_up(key.scope, key.name)
            if credential is None:
                raise NoSuchCredential
            return credential
        return (await self._stored(key))[0]

    async def look_up(self, scope: Scope, name: str) -> Credential | None:
        """The metadata of a record, if the scope has one of that name."""
        return await self._store.get_credential(scope, name)

    async def default(self, scope: Scope, provider: str) -> Credential | None:
        """The metadata of a provider's default, if the scope has one."""
        return await self._store.get_default(scope, provider)

    async def page(
        self, scope: Scope, *, provider: str | None = None, type_: str | None = None, offset: int, limit: int
    ) -> tuple[list[Credential], int]:
        """A scope's records by name, and how many match in all."""
        return await self._store.list_credentials(scope, provider=provider, type_=type_, offset=offset, limit=limit)

    async def scan(
        self,
        workspace: str,
        teamspace: str,
        families: tuple[str, ...],
        filters: Filters,
        *,
        after: tuple[str, str] | None,
        limit: int,
    ) -> tuple[list[Credential], tuple[str, str] | None]:
        """See `Store.scan_credentials`."""
        return await self._store.scan_credentials(workspace, teamspace, families, filters, after=after, limit=limit)

    async def open(self, key: Key) -> tuple[Credential, dict[str, str]]:
        """A record with its secret fields.

        Raises:
            NoSuchCredential: there is none where the key points.
            EnvelopeBroken: it does not open.
        """
        credential, unseal = await self.find(key)
        return credential, await unseal()

    async def find(self, key: Key) -> tuple[Credential, Unseal]:
        """A record, and a function that opens its secret; the errors are those of `open`."""
        credential, sealed = await self._stored(key)
        return credential, partial(self.unseal, credential, sealed)

    async def reveal(self, caller: Caller, key: Key) -> tuple[Credential, dict[str, str]]:
        """The same, for a caller's eyes: the audit record is durable before the secret leaves (requirement 29).

        Raises:
            StoreUnavailable: the record could not be written; nothing leaves.
        """
        credential, secret = await self.open(key)
        await self._store.append_audit(audit.record(caller, credential.scope, audit.Action.REVEAL, credential.id))
        return credential, secret

    async def change(
        self,
        caller: Caller,
        key: Key,
        apply: Apply,
        if_match: frozenset[str] | None = None,
    ) -> Credential:
        """Change a record, again if somebody else was faster.

        Args:
            caller: who asks.
            key: where it is.
            apply: given the record, and a function that opens its secret, says what becomes of it. Revision, times,
                and for a new secret the version and the verdict, follow by themselves.
            if_match: tags of which one must be the record's; None for whatever it is.

        Raises:
            NoSuchCredential: there is none where the key points.
            Stale: `if_match` does not hold any more.
            NameTaken: the new name is another's.
        """
        for _ in range(_ROUNDS):
            async with self._turns.take(key):
                changed = await self._change_once(caller, key, apply, if_match)
            if changed is not None:
                return changed
        raise StoreUnavailable(CROWDED)

    async def _change_once(
        self, caller: Caller, key: Key, apply: Apply, if_match: frozenset[str] | None
    ) -> Credential | None:
        """The changed record; None if somebody else changed it in between."""
        current, unseal = await self.find(key)
        require_match(current, if_match)
        changed, secret, report, keep_versions = await apply(current, unseal)
        now = timestamp(self._now())
        changed = changed._replace(revision=current.revision + 1, updated_at=now)
        resealed, kept = None, None
        if secret is not None:
            changed = changed._replace(
                version=current.version + 1, status=None, verification=None, attempt=None, payload_changed_at=now
            )
            resealed = await self.seal(changed, secret)
        if report is not None:
            changed = judged(changed, report)
            kept = kept_report(changed, report, Trigger.WRITE if keep_versions is None else Trigger.ROTATION)
        record = audit.record(caller, current.scope, audit.Action.UPDATE, current.id)
        done = await self._store.update_credential(
            changed,
            resealed,
            record,
            expected_revision=current.revision,
            keep_versions=keep_versions,
            report=kept,
        )
        if done and report is not None and changed.status not in (None, current.status):
            # The change is saved: that telling somebody fails does not undo it.
            event = self._events.tell_verdict(current, changed, report)
            with suppress(StoreUnavailable):
                await self._store.append_event(event) if event else None
        return changed if done else None

    async def remove(self, caller: Caller, key: Key, if_match: frozenset[str] | None = None) -> None:
        """Remove a record; the arguments and errors are those of `change`."""
        for _ in range(_ROUNDS):
            async with self._turns.take(key):
                current = await self.get(key)
                require_match(current, if_match)
                record = audit.record(caller, current.scope, audit.Action.DELETE, current.id)
                event = self._events.make(EventType.DELETED, current)
                if await self._store.delete_credential(current, record, event=event):
                    self._events.tell(EventType.DELETED, current, event)
                    return
        raise StoreUnavailable(CROWDED)

    async def _stored(self, key: Key) -> tuple[Credential, Sealed]:
        if isinstance(key, Named):
            found = await self._store.get_sealed_credential(key.scope, key.name)
        else:
            found = await self._store.find_credential(key.workspace, key.id)
            # An id says nothing about where a record is, so nothing is said of that either.
            if found is not None and key.teamspaces is not None and found[0].teamspace not in key.teamspaces:
                found = None
        if found is None:
            raise NoSuchCredential
        return found

    async def seal(self, credential: Credential, secret: Secret) -> Sealed:
        """Its secret fields, bound to it."""
        return await self._envelope.seal(canonical(secret).encode(), binding(credential))

    async def unseal(self, credential: Credential, sealed: Sealed) -> dict[str, str]:
        """Secret fields that were sealed for this very record and version.

        Raises:
            EnvelopeBroken: they were not.
        """
        plaintext = await self._envelope.open(sealed, binding(credential))
        try:
            secret: dict[str, str] = orjson.loads(plaintext)
        except orjson.JSONDecodeError:
            raise EnvelopeBroken from None
        return secret


def require_match(credential: Credential, if_match: frozenset[str] | None) -> None:
    """Refuse a change of what the caller has not read.

    Raises:
        Stale: none of the tags is the record's.
    """
    if if_match is not None and credential.tag not in if_match:
        raise Stale("The credential has changed since you read it: read it again.")
