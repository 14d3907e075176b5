"""The schedule: verifies by itself what is due, spread over the interval, and warns of what ends soon."""

import asyncio
import math
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog

from service.core.errors import StoreUnavailable
from service.core.events import Events
from service.core.kept import Due
from service.core.model import timestamp
from service.core.records import Records
from service.core.store import Store
from service.core.verification import Verification
from service.core.watching import Pace
from service.work.expiry import ExpiryWarnings
from service.work.pacing import MOST_AT_ONCE, beat
from service.work.watcher import Watcher

log = structlog.get_logger("vouch.schedule")

SHARED_LANE = "shared"
PATIENCE_SECONDS = 240.0
"""How long a turn waits for room in its lane, beside the probe's own deadline."""
CLAIM_SECONDS = 300.0
"""How long nobody else takes a turn, beside the probe's deadline: longer than all that the one who has it does."""


FAR_SECONDS = 3600.0
"""Between two looks for turns that lie too far ahead."""


class _Claimed(NamedTuple):
    """Turns that are ours until then, and the seconds to rest after them."""

    turns: list[Due]
    until: datetime
    rest: float


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
        deadline: seconds for one probe.
        idle_seconds: the longest pause between two looks.
        now: the time.
        count: counts turns by lane and what became of them.
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
        deadline: float,
        idle_seconds: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        count: Callable[[str, str], None] = lambda _lane, _result: None,
    ) -> None:
        self._store = store
        self._interval = pace.interval
        self._longest = pace.longest
        patience = PATIENCE_SECONDS + deadline
        self._watcher = Watcher(store, records, verification, pace, patience=patience, now=now, count=count)
        self._warnings = ExpiryWarnings(store, events, warning, now=now) if warning > timedelta(0) else None
        self._claim_seconds = CLAIM_SECONDS + deadline
        self.lanes = (*lanes, SHARED_LANE) if pace.interval > 0 else ()
        """In which it takes turns."""
        self._caught_up: dict[str, float] = {}
        self._watched: dict[str, int] = {}
        self._idle_seconds = idle_seconds
        self._now = now

    async def run(self) -> None:
        """Work until cancelled. Nothing that goes wrong with one credential, or with the store, ends it."""
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes:
                group.create_task(self._keep_up(lane))
            if self._warnings is not None:
                group.create_task(self._warnings.run())
            # With nothing to do it is at rest, and not at an end.
            await asyncio.Event().wait()

    def lag(self) -> dict[str, float]:
        """By lane, the seconds since nothing more was due in it; known from what its looks brought, not asked."""
        return {lane: time.monotonic() - then for lane, then in self._caught_up.items()}

    def watched(self) -> dict[str, int]:
        """By lane, the credentials that were watched when it was last looked at; may be rough."""
        return dict(self._watched)

    async def _keep_up(self, lane: str) -> None:
        """Take the lane's turns as they come due. One that takes long holds up no other."""
        self._caught_up.setdefault(lane, time.monotonic())
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            looked = -math.inf
            while True:
                if loop.time() - looked > FAR_SECONDS:
                    looked = loop.time()
                    await self._bring_forward(lane)
                if len(under_way) >= MOST_AT_ONCE:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                started = loop.time()
                try:
                    claimed = await self._claim(lane, MOST_AT_ONCE - len(under_way))
                except StoreUnavailable:
                    log.warning("the schedule can't reach the store", lane=lane)
                    claimed = _Claimed([], self._now(), self._idle_seconds)
                for due in claimed.turns:
                    task = group.create_task(self._watcher.take(due, lane, claimed.until))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(max(claimed.rest - (loop.time() - started), 0.0))

    async def _bring_forward(self, lane: str) -> None:
        """Have turns at once that lie further ahead than any can: the interval was longer when they were set, or the
        clock had jumped. The beat spreads them."""
        now = self._now()
        beyond, to = timestamp(now + self._longest), timestamp(now)
        with suppress(StoreUnavailable):
            if not await self._store.count_watched(lane):
                return
            while await self._store.bring_forward(lane, beyond=beyond, to=to, limit=MOST_AT_ONCE) == MOST_AT_ONCE:
                pass

    async def _claim(self, lane: str, room: int) -> _Claimed:
        """Take turns, no more than there is room for."""
        watched = await self._store.count_watched(lane)
        limit, rest = beat(watched, self._interval, self._idle_seconds)
        self._watched[lane] = watched
        now = self._now()
        until = now + timedelta(seconds=self._claim_seconds)
        if not watched:
            self._caught_up[lane] = time.monotonic()
            return _Claimed([], until, rest)  # a look is a read; a claim would have to wait for the store's one writer
        turns = await self._store.claim_due(
            lane,
            now=timestamp(now),
            until=timestamp(until),
            claim=uuid.uuid4().hex,  # a fresh one: who is late is a stranger to itself too
            limit=min(limit, room),
        )
        if len(turns) < min(limit, room):
            self._caught_up[lane] = time.monotonic()
        return _Claimed(turns, until, rest)
