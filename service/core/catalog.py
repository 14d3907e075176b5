"""Credentials of both families by their ids: every rule and every permission."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.core.changes import Change, Draft, Vet, vetted
from service.core.credentials import Credentials
from service.core.errors import Invalid, NoSuchCredential, Stale
from service.core.kept import Filters
from service.core.model import Caller, Credential, Family, Identified, Key, Permission
from service.core.names import require_name
from service.core.permissions import authorize, require
from service.core.records import Applied, Records, Unseal, require_match
from service.core.shared import SharedCredentials, SharedFile
from verifiers.verdict import Report

VetFile = Callable[[bytes], Awaitable[Report]]
"""Asks the provider about the credential in a file before it is saved."""

_FIXED = "Can't be changed: delete the credential and create another."


@dataclass(frozen=True, slots=True)
class Item:
    """A credential as it is to be, whole: either `draft` or `file`."""

    teamspace: str
    draft: Draft | None = None
    file: SharedFile | None = field(default=None, repr=False)

    @property
    def family(self) -> Family:
        """Which of the two it is."""
        return Family.ACCESS if self.file is None else Family.SHARED


@dataclass(frozen=True, slots=True)
class Vets:
    """What verifies before saving."""

    payload: Vet
    file: VetFile


class Catalog:
    """The core service of credentials by id."""

    def __init__(self, records: Records, credentials: Credentials, shared: SharedCredentials) -> None:
        self._records = records
        self._credentials = credentials
        self._shared = shared

    async def scan(
        self,
        caller: Caller,
        teamspace: str,
        families: tuple[Family, ...],
        filters: Filters,
        *,
        after: tuple[str, str] | None,
        limit: int,
    ) -> tuple[list[Credential], tuple[str, str] | None]:
        """Credentials of a teamspace, or of the workspace level, by family and name from a place on.

        Returns:
            The page, which may be short, and where the next one goes on; None if nothing is left.

        Raises:
            NotAllowed: the caller may not read there.
        """
        scope = authorize(caller.principal, Permission.READ, teamspace)
        names = tuple(one.value for one in families)
        return await self._records.scan(scope.workspace, teamspace, names, filters, after=after, limit=limit)

    async def get(self, caller: Caller, credential_id: str) -> Credential:
        """The metadata of one.

        Raises:
            NotAllowed: the caller may not read.
            NoSuchCredential: there is none of that id where the caller has access.
        """
        return await self._records.get(_key(caller, Permission.READ, credential_id))

    async def put(
        self,
        caller: Caller,
        credential_id: str,
        item: Item,
        *,
        if_match: frozenset[str] | None,
        only_new: bool,
        vets: Vets | None,
    ) -> tuple[Credential, bool]:
        """Create one under that id, or replace it whole.

        Args:
            caller: who asks.
            credential_id: a UUID.
            item: what it is to be. An empty secret stands for the stored one, beside the same public fields.
            if_match: tags of which one must be the record's; None for whatever it is, also for none.
            only_new: refuse to replace one.
            vets: verify it before it is saved; None saves it as it is.

        Returns:
            The credential, and whether it is new.

        Raises:
            NotAllowed: the caller may not write there.
            Invalid: the item is wrong, or not of the record's family or teamspace.
            NameTaken: another one has its name, or another workspace's has its id.
            Stale: `if_match` or `only_new` does not hold.
            VerificationFailed: the provider refused it: nothing is saved.
            Conflict: somebody else changed the payload while it was verified: nothing is saved.
        """
        authorize(caller.principal, Permission.WRITE, item.teamspace, item.family)
        require_name(item.file.name if item.file else item.draft.name if item.draft else "")
        key = _key(caller, Permission.WRITE, credential_id)
        try:
            current = await self._records.get(key)
        except NoSuchCredential:
            if if_match is not None:
                raise Stale("There is no such credential any more.") from None
            return await self._create(caller, credential_id, item, vets), True
        if only_new:
            raise Stale("There is such a credential already.")
        require_match(current, if_match)
        wrong = {}
        if current.family != item.family:
            wrong["kind"] = _FIXED
        if current.teamspace != item.teamspace:
            wrong["teamspace_id"] = _FIXED
        if wrong:
            raise Invalid(wrong)
        return await self._replace(caller, key, item, if_match, vets), False

    async def delete(self, caller: Caller, credential_id: str, if_match: frozenset[str] | None) -> None:
        """Remove one, and all that hangs on it.

        Raises:
            NotAllowed: the caller may not write.
            NoSuchCredential: there is none of that id where the caller has access.
            Stale: `if_match` does not hold any more.
        """
        await self._records.remove(caller, _key(caller, Permission.WRITE, credential_id), if_match)

    async def _create(self, caller: Caller, credential_id: str, item: Item, vets: Vets | None) -> Credential:
        scope = authorize(caller.principal, Permission.WRITE, item.teamspace, item.family)
        if item.draft is not None:
            if blank := [name for name, value in item.draft.payload.secret.items() if not value]:
                raise Invalid({f"payload.{name}": "Nothing is stored for it: send the secret." for name in blank})
            new = self._credentials.new(scope, item.draft, credential_id)
        elif item.file is not None:
            new = self._shared.new(scope, item.file, credential_id)
        else:
            raise Invalid({"payload": "Send one."})
        report = None if vets is None else await _vet(vets, item)
        return await self._records.add(caller, new._replace(report=report))

    async def _replace(
        self, caller: Caller, key: Key, item: Item, if_match: frozenset[str] | None, vets: Vets | None
    ) -> Credential:
        if item.draft is not None:
            draft = item.draft
            change = Change(
                name=draft.name,
                provider=draft.payload.kind.provider,
                payload=draft.payload,
                provider_default=draft.provider_default,
                allowed_in_tasks=draft.allowed_in_tasks,
            )
            vet = None if vets is None else vets.payload
            return await self._credentials.change(caller, key, change, if_match, vet)
        report = None if vets is None else await _vet(vets, item)
        file = item.file

        async def apply(current: Credential, _unseal: Unseal) -> Applied:
            return self._shared.replaced(current, file)._replace(report=report) if file else Applied(current)

        return await self._records.change(caller, key, apply, if_match)


async def _vet(vets: Vets, item: Item) -> Report | None:
    if item.draft is not None:
        return await vetted(vets.payload, item.draft.payload)
    return await vetted(vets.file, item.file.content) if item.file is not None else None


def _key(caller: Caller, permission: Permission, credential_id: str) -> Identified:
    require(caller.principal, permission)
    return Identified(caller.principal.workspace, credential_id, caller.principal.teamspaces)
