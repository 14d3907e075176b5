"""Access credentials: every rule and every permission."""

from dataclasses import dataclass

import orjson

from service.core.errors import Invalid, UnsupportedKind
from service.core.model import Caller, Credential, Permission
from service.core.names import require_name
from service.core.permissions import authorize
from service.core.records import Applied, Named, Records, Unseal, canonical
from verifiers.base import Payload, Verifier
from verifiers.registry import Registry


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


class Credentials:
    """The core service of access credentials."""

    def __init__(self, records: Records, registry: Registry) -> None:
        self._records = records
        self._registry = registry

    async def create(self, caller: Caller, teamspace: str, draft: Draft) -> Credential:
        """Store a new credential.

        Raises:
            NotAllowed: the caller may not write there.
            Invalid: the name is not allowed.
            NameTaken: the scope has one of that name.
        """
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        require_name(draft.name)
        kind = draft.payload.kind
        credential = self._records.new(
            scope, draft.name, provider=kind.provider, type_=kind.type, public=draft.payload.public
        )._replace(provider_default=draft.provider_default, allowed_in_tasks=draft.allowed_in_tasks)
        await self._records.add(caller, credential, draft.payload.secret)
        return credential

    async def get(self, caller: Caller, teamspace: str, name: str) -> Credential:
        """The metadata of one credential; no envelope is opened.

        Raises:
            NotAllowed: the caller may not read there.
            NoSuchCredential: the scope has none of that name.
        """
        return await self._records.get(Named(authorize(caller.principal, Permission.READ, teamspace), name))

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
        return await self._records.page(scope, provider=provider, type_=type_, offset=offset, limit=limit)

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

        async def apply(current: Credential, unseal: Unseal) -> Applied:
            return await _apply(current, unseal, change)

        return await self._records.change(caller, Named(scope, name), apply, if_match)

    async def delete(self, caller: Caller, teamspace: str, name: str, if_match: frozenset[str] | None) -> None:
        """Remove a credential; the arguments and errors are those of `update`."""
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        await self._records.remove(caller, Named(scope, name), if_match)

    async def open(self, caller: Caller, teamspace: str, name: str, provider: str) -> tuple[Credential, Payload]:
        """A stored credential with its secret, for a probe.

        Raises:
            NotAllowed: the caller may not verify there.
            NoSuchCredential: the scope has none of that name.
            Invalid: it is another provider's.
            UnsupportedKind: its kind has no verifier any more.
        """
        scope = authorize(caller.principal, Permission.VERIFY, teamspace)
        credential, unseal = await self._records.find(Named(scope, name))
        if credential.provider != provider:
            raise Invalid({"provider": f"The stored credential belongs to {credential.provider}."})
        kind = verifier_of(self._registry, credential.provider, credential.type).kind
        return credential, Payload(kind, orjson.loads(credential.public), await unseal())


def verifier_of(registry: Registry, provider: str, type_: str) -> Verifier:
    """The verifier for a provider and type.

    Raises:
        UnsupportedKind: there is none.
    """
    verifier = registry.get(provider, type_)
    if verifier is None:
        raise UnsupportedKind(f"Nothing here verifies {provider} credentials of the type {type_}.")
    return verifier


async def _apply(current: Credential, unseal: Unseal, change: Change) -> Applied:
    """The record as it will be, and its new secret if the payload changes."""
    changed = current._replace(
        name=current.name if change.name is None else change.name,
        provider_default=_either(change.provider_default, current.provider_default),
        allowed_in_tasks=_either(change.allowed_in_tasks, current.allowed_in_tasks),
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
        _require_same(current, payload, blank)
        public = current.public
    if len(blank) == len(secret) and _is_same(current, payload):
        return changed, None
    if blank:
        stored = await unseal()
        if missing := [name for name in blank if name not in stored]:
            raise Invalid({f"payload.{name}": "Nothing is stored for it: send the secret." for name in missing})
        secret |= {name: stored[name] for name in blank}
    return changed._replace(provider=payload.kind.provider, type=payload.kind.type, public=public), secret


def _either(new: bool | None, old: bool) -> bool:
    return old if new is None else new


def _is_same(current: Credential, payload: Payload) -> bool:
    """Whether a payload is of the stored one's kind and has its public fields; derived ones follow from the secret."""
    kind = payload.kind
    stored = orjson.loads(current.public)
    kept = {name: value for name, value in stored.items() if name not in kind.derived_fields}
    return (current.provider, current.type) == (kind.provider, kind.type) and dict(payload.public) == kept


def _require_same(current: Credential, payload: Payload, blank: list[str]) -> None:
    """An empty secret stands for the stored one only beside the same public fields (requirement 12)."""
    if _is_same(current, payload):
        return
    raise Invalid({f"payload.{name}": "Send the secret again: the other fields have changed." for name in blank})
