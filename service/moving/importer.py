"""Takes what a source holds into a store, as the native API's PUT would; what is there already is left alone."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.core.applied import Applied, Unseal
from service.core.catalog import Catalog, Item, Preconditions
from service.core.changes import NOTHING_STORED, require_nothing_blank, vetted
from service.core.credentials import Credentials
from service.core.errors import (
    Conflict,
    EnvelopeBroken,
    Invalid,
    NameTaken,
    NoSuchCredential,
    Stale,
    StoreUnavailable,
    VerificationFailed,
    VouchError,
)
from service.core.model import Caller, Credential, Identified, Named, Scope
from service.core.names import require_name
from service.core.records import Records
from service.core.shared import SharedCredentials
from service.moving.asking import Asking, Pause, is_verifiable
from service.moving.comparison import applied, as_is, differences
from service.moving.entries import Entry, Incoming, Line, Rejected, Result, told

_TRIES = 3
_MEANWHILE = (
    "Somebody else changed it meanwhile, or its id is another workspace's: run the import again, or leave out the id."
)


@dataclass(frozen=True, slots=True)
class Into:
    """The core's services that take it in."""

    records: Records
    credentials: Credentials
    shared: SharedCredentials
    catalog: Catalog


class _Became(NamedTuple):
    """What became of an entry, under which id."""

    result: Result
    id: str
    why: str = ""


class Importer:
    """Takes entries in, one after another.

    Args:
        into: where they go.
        caller: who brings them.
        replace: change those that are there already and differ.
        dry_run: write nothing, and say what would become of each.
        ask: makes what verifies before something is saved in a teamspace; None verifies nothing.
        pause: waits.
    """

    def __init__(
        self,
        into: Into,
        caller: Caller,
        *,
        replace: bool,
        dry_run: bool,
        ask: Callable[[str], Asking] | None,
        pause: Pause,
    ) -> None:
        self._into = into
        self._caller = caller
        self._replace = replace
        self._dry_run = dry_run
        self._ask = ask
        self._pause = pause
        self._seen: dict[tuple[str, ...], str] = {}

    async def take(self, entry: Entry) -> Line:
        """Take one in.

        Raises:
            StoreUnavailable: it could not be saved; nor can the next one.
        """
        if isinstance(entry, Rejected):
            return Line(entry.result, entry.where, entry.name, entry.why)
        item = entry.item
        line = Line(Result.REFUSED, entry.where, entry.name, kind=item.family.value, teamspace=item.teamspace)
        asking = None if self._ask is None or not is_verifiable(item) else self._ask(item.teamspace)
        try:
            require_name(entry.name)
            self._require_single(entry)
            became = await self._persistently(entry, asking)
        except StoreUnavailable:
            raise
        except VouchError as error:
            became = _Became(Result.REFUSED, entry.credential_id or "", _sentence(error))
        line = replace(line, result=became.result, credential_id=became.id, why=became.why)
        if asking is None or asking.report is None:
            return line
        verdict = asking.report.verdict
        return replace(line, outcome=verdict.outcome.value, reason=verdict.reason.value)

    def _require_single(self, entry: Incoming) -> None:
        """Refuse what the source has already had: whichever came later would win, and so would the other next time."""
        item = entry.item
        marks: dict[tuple[str, ...], str] = {("name", item.family, item.teamspace, entry.name): "this name"}
        if entry.credential_id is not None:
            marks["id", entry.credential_id] = "this id"
        if item.draft is not None and item.draft.provider_default:
            provider = item.draft.payload.kind.provider
            marks["default", item.teamspace, provider] = f"the default of {provider}"
        for mark, told_as in marks.items():
            if mark in self._seen:
                raise Conflict(f"{self._seen[mark]} has {told_as} already.")
        self._seen |= dict.fromkeys(marks, entry.where)

    async def _persistently(self, entry: Incoming, asking: Asking | None) -> _Became:
        for _ in range(_TRIES - 1):
            try:
                return await self._take(entry, asking)
            except StoreUnavailable as error:
                await self._pause(error.retry_after)
        return await self._take(entry, asking)

    async def _take(self, entry: Incoming, asking: Asking | None) -> _Became:
        found = await self._find(entry)
        if found is None:
            return await self._create(entry, asking)
        current, unseal = found
        item = as_is(entry, current)
        try:
            becomes = await applied(current, unseal, item, self._into.shared)
            differing = await differences(current, unseal, becomes)
        except Invalid as error:
            if self._replace:
                raise
            differing = sorted(error.fields)
        if not differing:
            return _Became(Result.UNCHANGED, current.id)
        if not self._replace:
            why = f"It is there already, and differs in {', '.join(differing)}: --replace replaces it."
            return _Became(Result.SKIPPED, current.id, why)
        return await self._change(current, unseal, becomes, item, asking)

    async def _find(self, entry: Incoming) -> tuple[Credential, Unseal] | None:
        item, workspace = entry.item, self._caller.principal.workspace
        named = Named(Scope(workspace, item.teamspace, item.family.value), entry.name)
        if entry.credential_id is not None:
            other = await self._into.records.look_up(named.scope, named.name)
            if other is not None and other.id != entry.credential_id:
                raise NameTaken(f"Another credential has the name, under the id {other.id}.")
        key = named if entry.credential_id is None else Identified(workspace, entry.credential_id, None)
        try:
            return await self._into.records.find(key)
        except NoSuchCredential:
            return None

    async def _create(self, entry: Incoming, asking: Asking | None) -> _Became:
        item, id_ = entry.item, entry.credential_id or str(uuid.uuid4())
        holder = await self._default(item, id_)
        if holder and not self._replace:
            why = f"{holder} is this provider's default there: --replace takes that from it."
            return _Became(Result.SKIPPED, "", why)
        if self._dry_run:
            await self._rehearse(item, asking)
            return _Became(Result.TAKEN, entry.credential_id or "", self._why(holder, asking))
        await self._put(id_, item, Preconditions(exists=False), asking)
        return _Became(Result.TAKEN, id_, self._why(holder, asking))

    async def _change(
        self, current: Credential, unseal: Unseal, becomes: Applied, item: Item, asking: Asking | None
    ) -> _Became:
        holder = await self._default(item, current.id)
        if not self._dry_run:
            await self._put(current.id, item, Preconditions(frozenset({current.tag})), asking)
        elif asking is not None:
            secret = await unseal() if becomes.secret is None else dict(becomes.secret)
            if item.draft is None:
                await vetted(asking.file, self._into.shared.content(secret))
            else:
                await vetted(asking.payload, self._into.credentials.payload(becomes.credential, secret))
        return _Became(Result.REPLACED, current.id, self._why(holder, asking))

    async def _rehearse(self, item: Item, asking: Asking | None) -> None:
        """Raise what creating it would."""
        if item.draft is not None:
            payload = require_nothing_blank(item.draft.payload)
            if asking is not None:
                await vetted(asking.payload, payload)
        elif item.file is not None:
            if not item.file.content:
                raise Invalid({"payload.content": NOTHING_STORED})
            if asking is not None:
                await vetted(asking.file, item.file.content)

    async def _default(self, item: Item, id_: str) -> str:
        """Who loses the flag of its provider's default by this; empty for nobody."""
        draft = item.draft
        if draft is None or not draft.provider_default:
            return ""
        scope = Scope(self._caller.principal.workspace, item.teamspace, item.family.value)
        held = await self._into.records.default(scope, draft.payload.kind.provider)
        return "" if held is None or held.id == id_ else held.name

    async def _put(self, id_: str, item: Item, conditions: Preconditions, asking: Asking | None) -> None:
        vets = None if asking is None else asking.vets
        try:
            await self._into.catalog.put(self._caller, id_, item, conditions=conditions, vets=vets)
        except (Stale, Conflict, NameTaken):
            raise Conflict(_MEANWHILE) from None

    def _why(self, holder: str, asking: Asking | None) -> str:
        told_of = [f"It takes the provider's default from {holder}."] if holder else []
        if self._ask is not None:
            told_of.append("Not verified: nobody can be asked about such a file." if asking is None else asking.doubt)
        return " ".join(one for one in told_of if one)


def _sentence(error: VouchError) -> str:
    if isinstance(error, VerificationFailed):
        verdict = error.report.verdict
        return f"{verdict.message} {verdict.remedy}"
    if isinstance(error, EnvelopeBroken):
        return "What is stored does not open: send every secret."
    return told(error)
