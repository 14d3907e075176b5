"""Delivering events to a webhook, signed as Standard Webhooks has it, again and again until they arrive.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from service.core.errors import RefusesToStart, StoreUnavailable
from service.core.kept import Outgoing
from service.core.model import timestamp
from service.core.store import Store
from verifiers.egress import GuardedSession
from verifiers.verdict import NotVerified

log = structlog.get_logger("vouch.webhooks")

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64

PATIENCE: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between two attempts, as the specification recommends ("Deliverability and reliability"). After the last one
an event is given up."""

ATTEMPT_SECONDS = 15.0
CLAIM_SECONDS = 120.0
IDLE_SECONDS = 5.0
MOST_AT_ONCE = 20
_JITTER = 0.2
_GONE = 410


class Signer:
    """Signs deliveries with a shared secret (`v1`: HMAC-SHA256)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Of a secret's text.

        Raises:
            RefusesToStart: it is none.
        """
        try:
            key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not text.strip().startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
            raise RefusesToStart(
                f"webhooks.secret_file must hold {_PREFIX} and base64 of {_SHORTEST} to {_LONGEST} random bytes."
            )
        return cls(key)

    def headers(self, event_id: str, moment: int, body: bytes) -> dict[str, str]:
        """The three headers of a delivery.

        Args:
            event_id: the same for every attempt, so that a receiver knows a repeated one.
            moment: seconds since the epoch, of this attempt.
            body: what is sent, byte by byte.
        """
        signed = b".".join((event_id.encode(), str(moment).encode(), body))
        signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(moment),
            "webhook-signature": f"v1,{signature}",
            "Content-Type": "application/json",
        }


class Webhooks:
    """Takes events from the store and delivers them; of several replicas one delivers each.

    Args:
        store: keeps them until they are delivered.
        session: the way out that callers' endpoints take too: the guard has a say.
        url: where to.
        signer: signs them.
        count: counts a delivery by how it went: `delivered`, `retried` or `given_up`.
        patience: seconds between attempts.
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
    ) -> None:
        self._store = store
        self._session = session
        self._url = url
        self._signer = signer
        self._count = count
        self._patience = patience
        self._idle_seconds = idle_seconds
        self._claim = uuid.uuid4().hex

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            taken = 0
            try:
                taken = await self.deliver()
            except StoreUnavailable:
                log.warning("the webhooks can't reach the store")
            if taken < MOST_AT_ONCE:
                await asyncio.sleep(self._idle_seconds)

    async def deliver(self) -> int:
        """Attempt what is due, at most so many at a time; how many there were."""
        now = datetime.now(UTC)
        taken = await self._store.claim_events(
            now=timestamp(now),
            until=timestamp(now + timedelta(seconds=CLAIM_SECONDS)),
            claim=self._claim,
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
                return
            if trouble == str(_GONE) or outgoing.attempts >= len(self._patience):
                await self._store.finish_event(outgoing)
                self._count("given_up")
                log.error("an event was given up", id=event.id, type=event.type, attempts=outgoing.attempts + 1)
                return
            seconds = self._patience[outgoing.attempts] * (1 + _JITTER * random.random())  # noqa: S311 - no secret
            await self._store.retry_event(outgoing, timestamp(datetime.now(UTC) + timedelta(seconds=seconds)))
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
            async with asyncio.timeout(ATTEMPT_SECONDS):
                answer = await self._session.request("POST", self._url, headers=headers, data=body)
        except NotVerified as stopped:
            return stopped.verdict.reason.value
        except TimeoutError:
            return "timeout"
        return None if 200 <= answer.status < 300 else str(answer.status)
