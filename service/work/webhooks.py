"""Delivering events to a webhook, as Standard Webhooks has it, again and again until they arrive.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import math
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from service.core.errors import StoreUnavailable
from service.core.kept import Outgoing
from service.core.model import timestamp
from service.core.store import Store
from service.work.signing import Signer
from verifiers.egress import GuardedSession
from verifiers.verdict import NotVerified

log = structlog.get_logger("vouch.webhooks")

PATIENCE: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between two attempts, as the specification recommends ("Deliverability and reliability"). After the last one
an event is given up."""

ATTEMPT_SECONDS = 15.0
"""An attempt without an answer ends; within the 15 to 30 s that the specification recommends."""
CLAIM_SECONDS = 120.0
"""How long nobody else delivers an event: longer than an attempt and the keeping of how it went."""
IDLE_SECONDS = 5.0
COUNT_SECONDS = 15.0
"""Between two counts of what is not delivered yet."""
MOST_AT_ONCE = 20
_JITTER = 0.2
_GONE = "410"


class Webhooks:
    """Takes events from the store and delivers them; of several replicas one delivers each.

    A receiver may get an event twice, under the same id: if how an attempt went could not be kept, or a process died
    over it. It gets none before it was committed, and none is lost but by being given up, which is logged.

    Args:
        store: keeps them until they are delivered.
        session: the way out that callers' endpoints take too: the guard has a say.
        url: where to.
        signer: signs them.
        count: counts a delivery by how it went: `delivered`, `retried` or `given_up`.
        patience: seconds between attempts.
        idle_seconds: between two looks for something to deliver.
        attempt_seconds: how long an attempt may take.
        now: the time.
    """

    def __init__(
        self,
        store: Store,
        session: GuardedSession,
        url: str,
        signer: Signer,
        count: Callable[[str], None],
        *,
        patience: tuple[float, ...] = PATIENCE,
        idle_seconds: float = IDLE_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._session = session
        self._url = url
        self._signer = signer
        self._count = count
        self._patience = patience
        self._idle_seconds = idle_seconds
        self._attempt_seconds = attempt_seconds
        self._now = now
        self._counted_at = -math.inf
        self.undelivered: int | None = None
        """Events that were not delivered when they were last counted; None if the store could not be asked then."""

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            taken = 0
            try:
                taken = await self.deliver()
                await self._look_back()
            except StoreUnavailable:
                self.undelivered = None
                log.warning("the webhooks can't reach the store")
            if taken < MOST_AT_ONCE:
                await asyncio.sleep(self._idle_seconds)

    async def _look_back(self) -> None:
        """Count what is left, now and then: with a receiver that is gone it may be much."""
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            self.undelivered = await self._store.count_events()
            self._counted_at = time.monotonic()

    async def deliver(self) -> int:
        """Attempt what is due, at most so many at a time; how many there were."""
        now = self._now()
        taken = await self._store.claim_events(
            now=timestamp(now),
            until=timestamp(now + timedelta(seconds=CLAIM_SECONDS)),
            claim=uuid.uuid4().hex,  # a fresh one: who is late is a stranger to itself too
            limit=MOST_AT_ONCE,
        )
        await asyncio.gather(*(self._attempt(one) for one in taken))
        return len(taken)

    async def _attempt(self, outgoing: Outgoing) -> None:
        event = outgoing.event
        trouble = await self._send(outgoing)
        try:
            if trouble is None:
                await self._store.finish_event(outgoing)
                self._count("delivered")
            elif trouble == _GONE or outgoing.attempts >= len(self._patience):
                await self._store.finish_event(outgoing)
                self._count("given_up")
                attempts = outgoing.attempts + 1
                log.error("an event was given up", id=event.id, type=event.type, trouble=trouble, attempts=attempts)
            else:
                seconds = self._patience[outgoing.attempts] * (1 + _JITTER * random.random())  # noqa: S311 - no secret
                await self._store.retry_event(outgoing, timestamp(self._now() + timedelta(seconds=seconds)))
                self._count("retried")
                log.warning("a webhook did not take an event", id=event.id, type=event.type, trouble=trouble)
        except StoreUnavailable:
            # The claim runs out by itself; the receiver may get the event twice, under the same id.
            log.warning("how a delivery went could not be kept", id=event.id)

    async def _send(self, outgoing: Outgoing) -> str | None:
        """One attempt; what went wrong, in a word of ours, or None."""
        event = outgoing.event
        body = event.body.encode()
        headers = self._signer.headers(event.id, int(time.time()), body)
        try:
            async with asyncio.timeout(self._attempt_seconds):
                answer = await self._session.request("POST", self._url, headers=headers, data=body)
        except NotVerified as stopped:
            return stopped.verdict.reason.value
        except TimeoutError:
            return "timeout"
        except Exception as error:  # noqa: BLE001 - a surprise with one event must not hold up the others
            return type(error).__name__
        return None if 200 <= answer.status < 300 else str(answer.status)
