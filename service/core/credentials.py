"""Access credentials: every rule and every permission."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from service.core import audit
from service.core.envelope import Envelope, binding
from service.core.errors import EnvelopeBroken, Invalid, NoSuchCredential, Stale, StoreUnavailable
from service.core.model import Caller, Credential, Permission, Scope, Sealed
from service.core.names import require_name
from service.core.permissions import authorize
from service.core.store import Store
from verifiers.base import Payload
from verifiers.registry import Registry

# Two writers of one record collide rarely; each round lets at least one of them through.
_UPDATE_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class Draft:
    """A credential to be created."""

    name: str
    payload: Payload
    provider_default: bool = False
    allowed_in_tasks: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What to change; None leaves a thing as it is. An empty secret in the payload means the stored one."""

    name: str | None = None
    provider: str | None = None
    payload: Payload | None = None
    provider_default: bool | None = None
    allowed_in_tasks: bool | None = None


def canonical(values: Any) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()


def _now() -> datetime:
    return datetime.now(UTC)


class Credentials:
    """The core service of access credentials."""

    def __init__(
        self, store: Store, envelope: Envelope, registry: Registry, now: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._registry = registry
        self._now = now

    async def create(self, caller: Caller, teamspace: str, draft: Draft) -> Credential:
        """Store a new credential.

        Raises:
            NotAllowed: the caller may not write there.
            Invalid: the name is not allowed.
            NameTaken: the scope has one of that name.
        """
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        require_name(draft.name)
        now = self._now()
        kind = draft.payload.kind
        credential = Credential(
            id=str(uuid.uuid4()),
            workspace=scope.workspace,
            teamspace=scope.teamspace,
            name=draft.name,
            provider=kind.provider,
            type=kind.type,
            provider_default=draft.provider_default,
            allowed_in_tasks=draft.allowed_in_tasks,
            version=1,
            revision=1,
            created_at=now,
            updated_at=now,
            public=canonical(draft.payload.public),
            status=None,
            verification=None,
        )
        sealed = await self._seal(credential, dict(draft.payload.secret))
        await self._store.create_credential(
            credential, sealed, audit.record(caller, scope, audit.Action.CREATE, credential.id)
        )
        return credential

    async def get(self, caller: Caller, teamspace: str, name: str) -> Credential:
        """The metadata of one credential; no envelope is opened.

        Raises:
            NotAllowed: the caller may not read there.
            NoSuchCredential: the scope has none of that name.
        """
        scope = authorize(caller.principal, Permission.READ, teamspace)
        credential = await self._store.get_credential(scope, name)
        if credential is None:
            raise NoSuchCredential
        return credential

    async def list(
        self,
        caller: Caller,
        teamspace: str,
        *,
        provider: str | None,
        type_: str | None,
        offset: int,
        limit: int,
    ) -> tuple[list[Credential], int]:
        """One page of a scope's credentials by name, and how many match in all."""
        scope = authorize(caller.principal, Permission.READ, teamspace)
        return await self._store.list_credentials(scope, provider=provider, type_=type_, offset=offset, limit=limit)

    async def update(
        self, caller: Caller, teamspace: str, name: str, change: Change, if_match: frozenset[str] | None
    ) -> Credential:
        """Change a credential.

        Args:
            caller: who asks.
            teamspace: where, empty for the workspace level.
            name: its present name.
            change: what to change.
            if_match: tags of which one must be the record's; None for whatever it is.

        Raises:
            NotAllowed, NoSuchCredential, NameTaken: as for the others.
            Invalid: the change contradicts the record; fields of the payload are named `payload.…`.
            Stale: `if_match` does not hold any more.
        """
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        if change.name is not None:
            require_name(change.name)
        for _ in range(_UPDATE_ROUNDS):
            current, sealed = await self._stored(scope, name)
            _require_match(current, if_match)
            changed, resealed = await self._apply(current, sealed, change)
            record = audit.record(caller, scope, audit.Action.UPDATE, current.id)
            if await self._store.update_credential(changed, resealed, record, expected_revision=current.revision):
                return changed
        raise StoreUnavailable("Too many writers want this record at once.")

    async def delete(self, caller: Caller, teamspace: str, name: str, if_match: frozenset[str] | None) -> None:
        """Remove a credential; the arguments and errors are those of `update`."""
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        for _ in range(_UPDATE_ROUNDS):
            current = await self._store.get_credential(scope, name)
            if current is None:
                raise NoSuchCredential
            _require_match(current, if_match)
            record = audit.record(caller, scope, audit.Action.DELETE, current.id)
            if await self._store.delete_credential(current, record):
                return
        raise StoreUnavailable("Too many writers want this record at once.")

    async def open(self, scope: Scope, name: str) -> tuple[Credential, Payload]:
        """A stored credential with its secret, for a probe; the caller has been authorized.

        Raises:
            NoSuchCredential: the scope has none of that name.
            Invalid: its kind has no verifier any more.
        """
        credential, sealed = await self._stored(scope, name)
        verifier = self._registry.get(credential.provider, credential.type)
        if verifier is None:
            raise Invalid({"name": f"Nothing here can use a credential of the type {credential.type}."})
        secret = await self._open(credential, sealed)
        return credential, Payload(verifier.kind, orjson.loads(credential.public), secret)

    async def _stored(self, scope: Scope, name: str) -> tuple[Credential, Sealed]:
        found = await self._store.get_sealed_credential(scope, name)
        if found is None:
            raise NoSuchCredential
        return found

    async def _apply(self, current: Credential, sealed: Sealed, change: Change) -> tuple[Credential, Sealed | None]:
        """The record as it will be, and its new envelope if the payload changes."""
        changed = current._replace(
            name=current.name if change.name is None else change.name,
            provider_default=_either(change.provider_default, current.provider_default),
            allowed_in_tasks=_either(change.allowed_in_tasks, current.allowed_in_tasks),
            revision=current.revision + 1,
            updated_at=self._now(),
        )
        payload = change.payload
        if payload is None:
            if change.provider not in (None, current.provider):
                raise Invalid({"provider": f"Changing the provider to {change.provider} needs its payload too."})
            return changed, None
        if payload.kind.provider != (change.provider or current.provider):
            raise Invalid({"payload": f"Belongs to {payload.kind.provider}: send that as the provider too."})
        public = canonical(payload.public)
        secret = dict(payload.secret)
        if blank := [name for name, value in secret.items() if not value]:
            _require_same(current, payload, public, blank)
            if len(blank) == len(secret):
                return changed, None
            stored = await self._open(current, sealed)
            if missing := [name for name in blank if name not in stored]:
                raise Invalid({f"payload.{name}": "Nothing is stored for it: send the secret." for name in missing})
            secret |= {name: stored[name] for name in blank}
        changed = changed._replace(
            provider=payload.kind.provider,
            type=payload.kind.type,
            public=public,
            version=current.version + 1,
            status=None,
            verification=None,
        )
        return changed, await self._seal(changed, secret)

    async def _seal(self, credential: Credential, secret: dict[str, str]) -> Sealed:
        return await self._envelope.seal(canonical(secret).encode(), binding(credential))

    async def _open(self, credential: Credential, sealed: Sealed) -> dict[str, str]:
        plaintext = await self._envelope.open(sealed, binding(credential))
        try:
            secret: dict[str, str] = orjson.loads(plaintext)
        except orjson.JSONDecodeError:
            raise EnvelopeBroken from None
        return secret


def _either(new: bool | None, old: bool) -> bool:
    return old if new is None else new


def _require_match(credential: Credential, if_match: frozenset[str] | None) -> None:
    if if_match is not None and credential.tag not in if_match:
        raise Stale("The credential has changed since you read it: read it again.")


def _require_same(current: Credential, payload: Payload, public: str, blank: list[str]) -> None:
    """An empty secret stands for the stored one only beside the same public fields (requirement 12)."""
    if (current.provider, current.type) == (
        payload.kind.provider,
        payload.kind.type,
    ) and public == current.public:
        return
    raise Invalid({f"payload.{name}": "Send the secret again: the other fields have changed." for name in blank})
