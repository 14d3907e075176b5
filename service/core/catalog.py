"""Credentials of both families by their ids: every rule and every permission."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.core.applied import Applied, Unseal
from service.core.changes import (
    NOTHING_STORED,
    SEND_AGAIN,
    Change,
    Draft,
    Vet,
    holds,
    require_nothing_blank,
    require_version,
    vetted,
)
from service.core.credentials import Credentials
from service.core.errors import Conflict, Invalid, NameTaken, NoSuchCredential, Stale, StoreUnavailable
from service.core.kept import Filters
from service.core.model import Caller, Credential, Family, Identified, Key, Permission
from service.core.names import require_name
from service.core.permissions import authorize, require
from service.core.records import Records, require_match
from service.core.shared import SharedCredentials, SharedFile
from service.core.turns import CROWDED
from verifiers.verdict import Report

VetFile = Callable[[bytes], Awaitable[Report]]
"""Asks the provider about the credential in a file before it is saved."""

_FIXED = "Can't be changed: delete the credential and create another."
_ROUNDS = 16
_REVISION_BITS = 40


@dataclass(frozen=True, slots=True)
class Item:
    """A credential as it is to be, whole: either `draft` or `file`. An empty file stands for the stored one."""

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


class Preconditions(NamedTuple):
    """What must hold of the record that a PUT is about (RFC 9110 section 13.1).

    `if_match` are tags of which one must be its; None for whatever it is. `exists` says whether there must be one, or
    must be none; None for either.
    """

    if_match: frozenset[str] | None = None
    exists: bool | None = None

    def require(self, current: Credential | None) -> None:
        """Refuse where they don't hold.

        Raises:
            Stale: they don't.
        """
        if current is None and (self.exists or self.if_match is not None):
            raise Stale("There is no such credential any more.")
        if current is not None and self.exists is False:
            raise Stale("There is such a credential already.")
        if current is not None:
            require_match(current, self.if_match)


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
        conditions: Preconditions,
        vets: Vets | None,
    ) -> tuple[Credential, bool]:
        """Create one under that id, or replace it whole.

        Args:
            caller: who asks.
            credential_id: a UUID.
            item: what it is to be. An empty secret stands for the stored one, beside the same public fields.
            conditions: what must hold of the one that is there, or is not.
            vets: verify it before it is saved; None saves it as it is.

        Returns:
            The credential, and whether it is new.

        Raises:
            NotAllowed: the caller may not write there.
            Invalid: the item is wrong, or not of the record's family or teamspace.
            NameTaken: another one has its name, or another workspace's has its id.
            Stale: the conditions don't hold.
            VerificationFailed: the provider refused it: nothing is saved.
            Conflict: somebody else changed the payload while it was verified: nothing is saved.
        """
        authorize(caller.principal, Permission.WRITE, item.teamspace, item.family)
        require_name(item.file.name if item.file else item.draft.name if item.draft else "")
        key = _key(caller, Permission.WRITE, credential_id)
        for _ in range(_ROUNDS):
            current = await self._find(key)
            conditions.require(current)
            try:
                if current is None:
                    return await self._create(caller, credential_id, item, vets), True
                _require_fixed(current, item)
                return await self._replace(caller, key, item, conditions.if_match, vets), False
            except NameTaken:
                if current is not None or await self._find(key) is None:
                    raise
            except NoSuchCredential:
                pass
            # Somebody else has made it, or deleted it, since we looked.
            if vets is not None:
                raise Conflict("Somebody else put or deleted the credential meanwhile: nothing was saved.")
        raise StoreUnavailable(CROWDED)

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
            item = replace(item, draft=replace(item.draft, payload=require_nothing_blank(item.draft.payload)))
        if item.draft is not None:
            new = self._credentials.new(scope, item.draft, credential_id)
        elif item.file is not None:
            if not item.file.content:
                raise Invalid({"payload.content": NOTHING_STORED})
            new = self._shared.new(scope, item.file, credential_id)
        else:
            raise Invalid({"payload": "Send one."})
        report = None if vets is None else await _vet(vets, item)
        # Under an id that clients choose there may have been one before: no tag of that one is this one's.
        fresh = new.credential._replace(revision=1 + secrets.randbits(_REVISION_BITS))
        return await self._records.add(caller, new._replace(credential=fresh, report=report))

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
        if item.file is None:
            raise Invalid({"payload": "Send one."})
        return await self._replace_file(caller, key, item.file, if_match, vets)

    async def _replace_file(
        self, caller: Caller, key: Key, file: SharedFile, if_match: frozenset[str] | None, vets: Vets | None
    ) -> Credential:
        report, seen = None, None
        if vets is not None:
            # Before its turn, as for the others.
            seen, unseal = await self._records.find(key)
            require_match(seen, if_match)
            await self._merged(seen, unseal, file)
            report = await vetted(vets.file, file.content or self._shared.content(await unseal()))

        async def apply(current: Credential, unseal: Unseal) -> Applied:
            require_version(current, seen)
            return (await self._merged(current, unseal, file))._replace(report=report)

        return await self._records.change(caller, key, apply, if_match)

    async def _merged(self, current: Credential, unseal: Unseal, file: SharedFile) -> Applied:
        """The record as it will be, with its new content if that changes."""
        same_type = file.type == current.type
        if not file.content and not same_type:
            raise Invalid({"payload.content": SEND_AGAIN})
        changed = self._shared.replaced(current, file)
        if same_type and (not file.content or await holds(unseal, changed.secret or {})):
            return changed._replace(secret=None)
        return changed

    async def _find(self, key: Key) -> Credential | None:
        try:
            return await self._records.get(key)
        except NoSuchCredential:
            return None


def _require_fixed(current: Credential, item: Item) -> None:
    wrong = {}
    if current.family != item.family:
        wrong["kind"] = _FIXED
    if current.teamspace != item.teamspace:
        wrong["teamspace_id"] = _FIXED
    if wrong:
        raise Invalid(wrong)


async def _vet(vets: Vets, item: Item) -> Report | None:
    if item.draft is not None:
        return await vetted(vets.payload, item.draft.payload)
    return await vetted(vets.file, item.file.content) if item.file is not None else None


def _key(caller: Caller, permission: Permission, credential_id: str) -> Identified:
    require(caller.principal, permission)
    return Identified(caller.principal.workspace, credential_id, caller.principal.teamspaces)
