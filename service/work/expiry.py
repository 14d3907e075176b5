"""Warning of credentials that end soon, each once for each of its ends."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from service.core.errors import StoreUnavailable
from service.core.events import Events, EventType
from service.core.kept import Event
from service.core.model import Credential, timestamp
from service.core.store import Store

log = structlog.get_logger("vouch.schedule")

LOOK_SECONDS = 60.0
MOST_AT_ONCE = 50


class ExpiryWarnings:
    """Tells of what ends soon; of several replicas one tells of each.

    Args:
        store: knows what was told already.
        events: tells.
        warning: how long before its end a credential is told of.
        now: the time.
        look_seconds: between two looks.
    """

    def __init__(
        self,
        store: Store,
        events: Events,
        warning: timedelta,
        *,
        now: Callable[[], datetime],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._events = events
        self._warning = warning
        self._now = now
        self._look_seconds = look_seconds

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                while len(await self.tell()) == MOST_AT_ONCE:
                    pass
            except StoreUnavailable:
                log.warning("the schedule can't reach the store")
            await asyncio.sleep(self._look_seconds)

    async def tell(self) -> list[Credential]:
        """Tell of those whose end has come near, at most so many at a time."""
        before = timestamp(self._now() + self._warning)
        ending = await self._store.claim_expiring(before, self._event, limit=MOST_AT_ONCE)
        for credential in ending:
            self._events.tell(EventType.EXPIRING, credential, expires_at=credential.expires_at)
        return ending

    def _event(self, credential: Credential) -> Event | None:
        return self._events.make(EventType.EXPIRING, credential, expires_at=credential.expires_at)
