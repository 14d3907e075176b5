"""Access credentials: every rule and every permission."""

from service.core.applied import Applied, Unseal
from service.core.changes import Change, Draft, Vet, as_payload, expiry, merge, require_version, vetted
from service.core.errors import Invalid, UnsupportedKind
from service.core.model import Caller, Credential, Key, Named, Permission, Scope
from service.core.names import require_name
from service.core.permissions import authorize
from service.core.records import Records, require_match
from verifiers.base import Payload, Verifier
from verifiers.registry import Registry


class Credentials:
    """The core service of access credentials."""

    def __init__(self, records: Records, registry: Registry) -> None:
        self._records = records
        self._registry = registry

    async def create(self, caller: Caller, teamspace: str, draft: Draft, vet: Vet | None = None) -> Credential:
        """Store a new credential.

        Args:
            caller: who asks.
            teamspace: where, empty for the workspace level.
            draft: what.
            vet: verifies it before it is saved; None saves it as it is.

        Raises:
            VerificationFailed: the provider refused it: nothing is saved.
            NotAllowed: the caller may not write there.
            Invalid: the name is not allowed.
            NameTaken: the scope has one of that name.
        """
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        require_name(draft.name)
        report = None if vet is None else await vetted(vet, draft.payload)
        return await self._records.add(caller, self.new(scope, draft)._replace(report=report))

    def new(self, scope: Scope, draft: Draft, id_: str | None = None) -> Applied:
        """The first revision of a credential; nothing is stored yet."""
        payload = draft.payload
        kind = payload.kind
        credential = self._records.new(
            scope, draft.name, provider=kind.provider, type_=kind.type, public=payload.public, id_=id_
        )._replace(
            provider_default=draft.provider_default,
            allowed_in_tasks=draft.allowed_in_tasks,
            expires_at=expiry(payload),
        )
        return Applied(credential, payload.secret)

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
        self,
        caller: Caller,
        teamspace: str,
        name: str,
        change: Change,
        if_match: frozenset[str] | None,
        vet: Vet | None = None,
    ) -> Credential:
        """Change a credential.

        Args:
            caller: who asks.
            teamspace: where, empty for the workspace level.
            name: its present name.
            change: what to change.
            if_match: tags of which one must be the record's; None for whatever it is.
            vet: verifies what it will be before it is saved; None saves it as it is.

        Raises:
            NotAllowed, NoSuchCredential, NameTaken: as for the others.
            Invalid: the change contradicts the record; fields of the payload are named `payload.…`.
            Stale: `if_match` does not hold any more.
            VerificationFailed: the provider refused it: nothing is saved.
            Conflict: the payload was changed by somebody else meanwhile: nothing is saved.
        """
        scope = authorize(caller.principal, Permission.WRITE, teamspace)
        return await self.change(caller, Named(scope, name), change, if_match, vet)

    async def change(
        self, caller: Caller, key: Key, change: Change, if_match: frozenset[str] | None, vet: Vet | None
    ) -> Credential:
        """The same wherever it is, for whoever has been authorized."""
        if change.name is not None:
            require_name(change.name)
        report, seen = None, None
        if vet is not None:
            # Before its turn: a provider that hangs must not hold up others who want the record.
            seen, unseal = await self._records.find(key)
            require_match(seen, if_match)
            applied = await merge(seen, unseal, change)
            secret = await unseal() if applied.secret is None else dict(applied.secret)
            report = await vetted(vet, self.payload(applied.credential, secret))

        async def apply(current: Credential, unseal: Unseal) -> Applied:
            require_version(current, seen)
            return (await merge(current, unseal, change))._replace(report=report)

        return await self._records.change(caller, key, apply, if_match)

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
        return credential, self.payload(credential, await unseal())

    def payload(self, credential: Credential, secret: dict[str, str]) -> Payload:
        """The payload of a credential whose secret is open.

        Raises:
            UnsupportedKind: its kind has no verifier any more.
        """
        return as_payload(verifier_of(self._registry, credential.provider, credential.type).kind, credential, secret)


def verifier_of(registry: Registry, provider: str, type_: str) -> Verifier:
    """The verifier for a provider and type.

    Raises:
        UnsupportedKind: there is none.
    """
    verifier = registry.get(provider, type_)
    if verifier is None:
        raise UnsupportedKind(f"Nothing here verifies {provider} credentials of the type {type_}.")
    return verifier
