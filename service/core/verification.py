"""Verify a payload or a stored credential, and keep what was said of the stored one."""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from service.core import audit
from service.core.applied import Applied, Unseal
from service.core.catalog import Vets
from service.core.changes import require_version
from service.core.credentials import Credentials
from service.core.errors import Conflict, NoSuchCredential, StoreUnavailable
from service.core.events import Events, EventType
from service.core.kept import KeptReport, Watch
from service.core.model import Caller, Credential, Family, Identified, Permission, timestamp
from service.core.permissions import authorize, require
from service.core.probing import Probing
from service.core.records import Records
from service.core.shared import SharedCredentials
from service.core.store import Store
from service.core.verdicts import Trigger, is_known, kept_report
from service.core.watching import Pace
from verifiers.base import Payload
from verifiers.files import DEFAULT_PROFILE
from verifiers.verdict import Outcome, Report

log = logging.getLogger("vouch.verification")


class Verification:
    """The core service of verifying."""

    def __init__(
        self,
        store: Store,
        records: Records,
        credentials: Credentials,
        shared: SharedCredentials,
        probing: Probing,
        events: Events,
        pace: Pace,
    ) -> None:
        self._store = store
        self._records = records
        self._credentials = credentials
        self._shared = shared
        self._probing = probing
        self._events = events
        self._pace = pace

    async def verify_payload(self, caller: Caller, teamspace: str, payload: Payload) -> Report:
        """Ask the provider about a payload; nothing is stored.

        Raises:
            NotAllowed: the caller may not verify there.
            RateLimited, Overloaded: before any outbound call.
        """
        authorize(caller.principal, Permission.VERIFY, teamspace)
        self._probing.quotas.count(caller)
        return await self._probing.ask(caller.principal.workspace, payload)

    def vets(self, caller: Caller, teamspace: str) -> Vets:
        """What verifies for a caller before something is saved in a teamspace, or at the workspace level."""

        async def vet_file(content: bytes) -> Report:
            authorize(caller.principal, Permission.VERIFY, teamspace, Family.SHARED)
            self._probing.quotas.count(caller)
            return await self._probing.ask_about_file(caller.principal.workspace, content)

        return Vets(partial(self.verify_payload, caller, teamspace), vet_file)

    async def verify_stored(self, caller: Caller, teamspace: str, name: str, provider: str) -> Report:
        """Ask the provider about a stored credential, and keep what it said.

        Raises:
            NoSuchCredential: there is none of that name.
            Invalid: it is another provider's.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        authorize(caller.principal, Permission.VERIFY, teamspace)
        self._probing.quotas.count(caller)
        credential, payload = await self._credentials.open(caller, teamspace, name, provider)
        return await self.keep(caller, credential, await self._probing.ask(credential.workspace, payload))

    async def verify_by_id(self, caller: Caller, credential_id: str) -> Report:
        """The same for a credential of either family, by its id.

        Raises:
            NoSuchCredential: there is none of that id where the caller has access.
            UnsupportedKind: its kind has no verifier any more.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        principal = caller.principal
        require(principal, Permission.VERIFY)
        self._probing.quotas.count(caller)
        credential, unseal = await self._records.find(
            Identified(principal.workspace, credential_id, principal.teamspaces)
        )
        report = await self.ask(credential, await unseal())
        return await self.keep(caller, credential, report)

    async def verify_shared(self, caller: Caller, name: str, profile: str | None) -> Report:
        """Ask the provider about the credential that a shared file holds, and keep what it said.

        Args:
            caller: who asks.
            name: the shared credential's.
            profile: which one of an AWS shared-credentials file; None is its default one. The record's verdict is the
                default one's: that on another profile is answered, and not kept.

        Raises:
            NoSuchCredential: there is none of that name.
            UnsupportedKind: nothing here verifies what the file holds.
            NotAllowed, RateLimited, Overloaded: as above.
        """
        authorize(caller.principal, Permission.VERIFY, "", Family.SHARED)
        self._probing.quotas.count(caller)
        credential, content = await self._shared.open(caller, name)
        report = await self._probing.ask_about_file(credential.workspace, content, profile)
        if profile not in (None, "", DEFAULT_PROFILE):
            return report
        return await self.keep(caller, credential, report)

    async def ask(self, credential: Credential, secret: dict[str, str], *, scheduled: bool = False) -> Report:
        """What the provider says of a stored credential whose secret is open; nothing is kept.

        Raises:
            RateLimited, Overloaded, UnsupportedKind: see `Probing.ask`.
        """
        if credential.family == Family.SHARED:
            content = self._shared.content(secret)
            return await self._probing.ask_about_file(credential.workspace, content, scheduled=scheduled)
        payload = self._credentials.payload(credential, secret)
        return await self._probing.ask(credential.workspace, payload, scheduled=scheduled)

    def asks_provider(self, credential: Credential) -> bool:
        """Whether its probe asks the provider itself, and not a host that the caller named."""
        return credential.family == Family.SHARED or self._credentials.payload(credential, {}).target is None

    async def keep(
        self,
        caller: Caller,
        credential: Credential,
        report: Report,
        trigger: Trigger = Trigger.REQUEST,
        watch: Watch | None = None,
    ) -> Report:
        """Keep what was said, if the record still has the payload that it was said of.

        The provider has been asked and has answered: that the answer can't be kept is no reason to withhold it.

        Args:
            caller: who asked.
            credential: as it was read.
            report: what was said.
            trigger: who wanted it.
            watch: when it is due next; None for as after a request.
        """
        turn = watch or self._turn_after_request(credential, report)
        outcome = f"{report.verdict.outcome}: {report.verdict.reason}"
        told = {**_change(credential, report), "reason": report.verdict.reason.value}
        event = self._events.make(EventType.VERDICT_CHANGED, credential, **told) if is_known(report) else None
        # A schedule's verdict that changes nothing is in the history; the trail is for what people and changes did.
        record = None
        if is_known(report) and (trigger is Trigger.REQUEST or credential.status != told["to"]):
            record = audit.record(caller, credential.scope, audit.Action.VERIFY, credential.id, outcome)
        try:
            changed = await self._store.record_report(
                credential, kept_report(credential, report, trigger), record, watch=turn, event=event
            )
        except StoreUnavailable:
            log.warning("the report on credential %s could not be kept (%s)", credential.id, outcome)
        else:
            await self._learn_end(caller, credential, report)
            if changed:
                self._events.tell(EventType.VERDICT_CHANGED, credential, event, **told)
        return report

    async def _learn_end(self, caller: Caller, credential: Credential, report: Report) -> None:
        """Keep when a credential ends, if only its verification told: what was stored before this was kept lacks it."""
        if credential.expires_at is not None or report.expires_at is None:
            return
        ends = timestamp(report.expires_at)

        async def apply(current: Credential, _unseal: Unseal) -> Applied:
            require_version(current, credential)
            return Applied(current._replace(expires_at=ends))

        key = Identified(credential.workspace, credential.id, None)
        with suppress(NoSuchCredential, Conflict, StoreUnavailable):
            await self._records.change(caller, key, apply)

    def _turn_after_request(self, credential: Credential, report: Report) -> Watch | None:
        """When the schedule's turn comes; None to leave it where it is.

        Whoever asks about a rejected credential over and over, and hears nothing new, does not bring it back to the
        pace of one that works.
        """
        if not is_known(report) or credential.status == report.verdict.outcome == Outcome.FAILED:
            return None
        return self._pace.after(report, datetime.now(UTC), rejections=0)

    async def history(self, caller: Caller, credential_id: str, *, before: int | None, limit: int) -> list[KeptReport]:
        """What was said of a credential, newest first.

        Raises:
            NotAllowed: the caller may not read.
            NoSuchCredential: there is none of that id where the caller has access.
        """
        principal = caller.principal
        require(principal, Permission.READ)
        key = Identified(principal.workspace, credential_id, principal.teamspaces)
        await self._records.get(key)
        return await self._store.list_reports(principal.workspace, credential_id, before=before, limit=limit)


_OTHER = {Outcome.VERIFIED.value: Outcome.FAILED.value, Outcome.FAILED.value: Outcome.VERIFIED.value}


def _change(credential: Credential, report: Report) -> dict[str, str | None]:
    """From which status to which a known verdict leads, if the store finds that it changes anything.

    One that says what the record said when it was read changes it only if somebody has said the opposite since.
    """
    was, now = credential.status, report.verdict.outcome.value
    return {"from": was if was != now else _OTHER.get(now), "to": now}
