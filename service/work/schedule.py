"""The schedule: verifies by itself what is due, spread over the interval, and warns of what ends soon."""

import asyncio
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from service.core.errors import StoreUnavailable, VouchError
from service.core.events import Events, EventType
from service.core.kept import Due, Event
from service.core.model import Caller, Credential, Principal, PrincipalKind, Role, timestamp
from service.core.records import Records
from service.core.store import Store
from service.core.verdicts import Trigger
from service.core.verification import Verification
from service.core.watching import Pace
from verifiers.verdict import Reason, Report

log = structlog.get_logger("vouch.schedule")

SHARED_LANE = "shared"
MOST_AT_ONCE = 50
"""Turns that are taken at a time in one lane: no more than these wait for their claims to end if a process dies."""
CLAIM_SECONDS = 300.0
"""How long nobody else takes a turn: longer than a probe can take, with all of a batch's before it."""
PAUSE_SECONDS = 60.0
"""How long a lane rests whose provider throttles and does not say how long."""
LONGEST_PAUSE_SECONDS = 3600.0
EXPIRY_SECONDS = 60.0
"""Between two looks for what ends soon."""
_HEADROOM = 1.5

_SELF = Principal(PrincipalKind.SERVICE, "schedule", "schedule", "", Role.VERIFIER)


class Schedule:
    """Takes turns from the store, so that of several replicas one verifies each.

    Args:
        store: has the turns.
        records: opens what is due.
        verification: asks and keeps.
        events: tells of what ends soon.
        pace: the interval, in seconds; 0 verifies nothing by itself.
        lanes: the providers, as lanes.
        warning: how long before its end a credential is told of; zero never.
        idle_seconds: the longest pause between two looks.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        verification: Verification,
        events: Events,
        pace: Pace,
        *,
        lanes: tuple[str, ...],
        warning: timedelta,
        idle_seconds: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._records = records
        self._verification = verification
        self._events = events
        self._pace = pace
        self._lanes = (*lanes, SHARED_LANE)
        self._warning = warning
        self._idle_seconds = idle_seconds
        self._now = now
        self._claim = uuid.uuid4().hex

    async def run(self) -> None:
        """Work until cancelled. Nothing that goes wrong with one credential, or with the store, ends it."""
        async with asyncio.TaskGroup() as group:
            if self._pace.interval > 0:
                for lane in self._lanes:
                    group.create_task(self._keep_up(lane))
            if self._warning > timedelta(0):
                group.create_task(self._warn())

    async def _keep_up(self, lane: str) -> None:
        while True:
            pause = self._idle_seconds
            try:
                pause = await self.take_turns(lane)
            except StoreUnavailable:
                log.warning("the schedule can't reach the store", lane=lane)
            await asyncio.sleep(pause)

    async def take_turns(self, lane: str) -> float:
        """Verify what is due in a lane, at most so many that all of it is spread over the interval.

        Returns:
            Seconds to rest.
        """
        watched = await self._store.count_watched(lane)
        rate = watched * _HEADROOM / self._pace.interval  # turns a second
        rest = min(max(1.0 / rate if rate else math.inf, 1.0), self._idle_seconds)
        limit = min(max(math.ceil(rate * rest), 1), MOST_AT_ONCE)
        now = self._now()
        due = await self._store.claim_due(
            lane,
            now=timestamp(now),
            until=timestamp(now + timedelta(seconds=CLAIM_SECONDS)),
            claim=self._claim,
            limit=limit,
        )
        if due:
            await asyncio.gather(*(self._verify(one, lane) for one in due))
        return rest

    async def _verify(self, due: Due, lane: str) -> None:
        credential = due.credential
        try:
            report = await self._ask(due)
            if report is None:
                again = self._pace.again(self._now(), rejections=due.rejections, claim=due.claim)
                await self._store.put_off(credential.id, again)
                return
            if self._verification.asks_provider(credential):
                await self._pause_if_throttled(report, lane)
            turn = self._pace.after(report, self._now(), rejections=due.rejections, claim=due.claim)
            caller = Caller(_SELF)
            await self._verification.keep(caller, credential, report, Trigger.SCHEDULE, turn)
        except StoreUnavailable:
            # The claim runs out by itself, and then it is anybody's turn again.
            log.warning("a scheduled verification could not be kept", credential_id=credential.id)

    async def _ask(self, due: Due) -> Report | None:
        """What the provider says; None if it could not be asked."""
        credential = due.credential
        try:
            secret = await self._records.unseal(credential, due.sealed)
            return await self._verification.ask(credential, secret, scheduled=True)
        except VouchError as error:
            # Its own host is asked too often, its kind is gone, its envelope is broken, the service stops.
            what = type(error).__name__
            log.warning("a scheduled verification was left out", credential_id=credential.id, error=what)
        return None

    async def _pause_if_throttled(self, report: Report, lane: str) -> None:
        if report.verdict.reason is not Reason.THROTTLED:
            return
        seconds = min(max(report.retry_after or PAUSE_SECONDS, 1.0), LONGEST_PAUSE_SECONDS)
        await self._store.pause_lane(lane, timestamp(self._now() + timedelta(seconds=seconds)))
        log.warning("a provider throttles: its lane rests", lane=lane, seconds=seconds)

    async def _warn(self) -> None:
        while True:
            try:
                while len(await self.warn_of_ends()) == MOST_AT_ONCE:
                    pass
            except StoreUnavailable:
                log.warning("the schedule can't reach the store")
            await asyncio.sleep(EXPIRY_SECONDS)

    async def warn_of_ends(self) -> list[Credential]:
        """Tell of credentials that end soon, each once; at most so many at a time."""
        before = timestamp(self._now() + self._warning)
        ending = await self._store.claim_expiring(before, self._ending, limit=MOST_AT_ONCE)
        for credential in ending:
            self._events.tell(EventType.EXPIRING, credential, expires_at=credential.expires_at)
        return ending

    def _ending(self, credential: Credential) -> Event | None:
        return self._events.make(EventType.EXPIRING, credential, expires_at=credential.expires_at)
