"""What the store on PostgreSQL does for work beside requests: turns, warnings, events."""

from collections.abc import Callable
from functools import partial

from service.core.kept import Due, Event, Outgoing, Watch
from service.core.model import Credential, Timestamp
from service.storage.postgres import event_rows, watch_rows
from service.storage.postgres.connected import Connected


class ScheduleMethods(Connected):
    """See `Store` for every one."""

    async def count_watched(self, lane: str) -> int:
        """See `Store`."""
        return await self._database.read(watch_rows.count, lane)

    async def claim_due(self, lane: str, *, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Due]:
        """See `Store`."""
        return await self._database.write(
            partial(watch_rows.claim_due, lane=lane, now=now, until=until, claim=claim, limit=limit)
        )

    async def bring_forward(self, lane: str, *, beyond: Timestamp, to: Timestamp, limit: int) -> int:
        """See `Store`."""
        return await self._database.write(
            partial(watch_rows.bring_forward, lane=lane, beyond=beyond, to=to, limit=limit)
        )

    async def put_off(self, credential_id: str, watch: Watch) -> bool:
        """See `Store`."""
        return await self._database.write(partial(watch_rows.put_off, credential_id=credential_id, watch=watch))

    async def pause_lane(self, lane: str, until: Timestamp) -> None:
        """See `Store`."""
        await self._database.write(partial(watch_rows.pause, lane=lane, until=until))

    async def claim_expiring(
        self, before: Timestamp, event: Callable[[Credential], Event | None], *, limit: int
    ) -> list[Credential]:
        """See `Store`."""
        return await self._database.write(partial(watch_rows.claim_expiring, before=before, event=event, limit=limit))

    async def append_event(self, event: Event) -> None:
        """See `Store`."""
        await self._database.write(partial(event_rows.append, event=event))

    async def claim_events(self, *, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Outgoing]:
        """See `Store`."""
        return await self._database.write(partial(event_rows.claim, now=now, until=until, claim=claim, limit=limit))

    async def finish_event(self, outgoing: Outgoing) -> bool:
        """See `Store`."""
        return await self._database.write(partial(event_rows.finish, outgoing=outgoing))

    async def retry_event(self, outgoing: Outgoing, due_at: Timestamp) -> bool:
        """See `Store`."""
        return await self._database.write(partial(event_rows.retry, outgoing=outgoing, due_at=due_at))

    async def count_events(self) -> int:
        """See `Store`."""
        return await self._database.read(event_rows.count)
