"""What others are told of a credential: a log line and a count; and an event to be delivered, if somebody wants it."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

import orjson
import structlog

from service.core.kept import Event
from service.core.model import Credential, timestamp
from verifiers.verdict import Report

log = structlog.get_logger("vouch.events")


class EventType(StrEnum):
    """What happened."""

    VERDICT_CHANGED = "credential.verdict_changed"
    EXPIRING = "credential.expiring"
    DELETED = "credential.deleted"
    FALLBACK = "credential.fallback"


class Events:
    """Makes events, and tells of them once what they are about is committed.

    Args:
        deliver: whether somebody outside wants them: only then is one made for the store to keep.
        count: counts one of a type.
    """

    def __init__(self, *, deliver: bool, count: Callable[[str], None]) -> None:
        self._deliver = deliver
        self._count = count

    def make(self, type_: EventType, credential: Credential, **details: str | None) -> Event | None:
        """An event for the store to keep until it is delivered; None if nobody outside wants any.

        The body has the form of Standard Webhooks: `type`, `timestamp`, `data`
        (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Payload").
        """
        if not self._deliver:
            return None
        at = timestamp(datetime.now(UTC))
        data = _facts(credential) | {"name": credential.name} | details
        body = orjson.dumps({"type": type_.value, "timestamp": at, "data": data}).decode()
        return Event(id=f"evt_{uuid.uuid4().hex}", type=type_.value, at=at, body=body)

    def tell(self, type_: EventType, credential: Credential, event: Event | None = None, **details: str | None) -> None:
        """Log and count what happened. Ids alone: a log line carries no names that callers chose.

        Args:
            type_: what.
            credential: to which.
            event: what was made of it for others: the line has its id, by which a delivery's lines name it.
            details: what else is to be known.
        """
        self._count(type_.value)
        log.info(type_.value, **_facts(credential), **details, event_id=None if event is None else event.id)

    def tell_verdict(self, before: Credential, after: Credential, report: Report) -> Event | None:
        """Tell of a verdict that came with a change of the credential; the event for the store to keep."""
        told = {"from": before.status, "to": after.status, "reason": report.verdict.reason.value}
        event = self.make(EventType.VERDICT_CHANGED, after, **told)
        self.tell(EventType.VERDICT_CHANGED, after, event, **told)
        return event


def _facts(credential: Credential) -> dict[str, str | None]:
    return {
        "credential_id": credential.id,
        "workspace": credential.workspace,
        "teamspace_id": credential.teamspace,
        "kind": credential.family,
        "provider": credential.provider or None,
        "credential_type": credential.type,
    }
