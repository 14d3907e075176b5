"""Events: what is told of a credential, to whom, and what never is."""

from collections import Counter
from typing import Any

import orjson
import pytest
import structlog

from service.core.events import Events, EventType
from tests.api.payloads import CANARY
from tests.contracts.records import TEAM, a_credential

ONE = a_credential(
    "näme ✓",
    TEAM,
    public=f'{{"access_key_id":"{CANARY}"}}',
    verification=f'{{"identity":{{"arn":"{CANARY}"}}}}',
    attempt=CANARY,
)
IDS = {
    "credential_id": ONE.id,
    "workspace": "ws_default",
    "teamspace_id": "team-a",
    "kind": "access",
    "provider": "AWS",
    "credential_type": "key",
}
CHANGE = {"from": None, "to": "failed", "reason": "bad_secret"}


def made(**details: Any) -> Any:
    event = Events(deliver=True, count=lambda _: None).make(EventType.VERDICT_CHANGED, ONE, **details)
    assert event is not None
    return event


def test_a_body_has_the_form_of_standard_webhooks_and_says_which_credential() -> None:
    event = made(**CHANGE)
    body = orjson.loads(event.body)
    assert set(body) == {"type", "timestamp", "data"}
    assert (body["type"], body["timestamp"]) == (event.type, event.at) == ("credential.verdict_changed", event.at)
    assert body["data"] == IDS | {"name": "näme ✓"} | CHANGE
    assert event.at.endswith("Z")


def test_no_two_events_have_one_id() -> None:
    ids = {made().id for _ in range(100)}
    assert len(ids) == 100
    assert all(id_.startswith("evt_") for id_ in ids)


def test_nothing_of_the_payload_and_nothing_that_a_provider_said_is_in_a_body_or_a_line() -> None:
    """Requirement 30."""
    events = Events(deliver=True, count=lambda _: None)
    with structlog.testing.capture_logs() as lines:
        for type_ in EventType:
            event = events.make(type_, ONE, **CHANGE)
            events.tell(type_, ONE, **CHANGE)
            assert event is not None
            assert CANARY not in event.body
    assert len(lines) == len(EventType)
    assert CANARY not in str(lines)
    assert "näme" not in str(lines), "a line has ids alone: no text that callers chose"


def test_an_event_is_counted_and_logged_with_ids() -> None:
    counted: Counter[str] = Counter()
    with structlog.testing.capture_logs() as lines:
        Events(deliver=False, count=lambda type_: counted.update([type_])).tell(
            EventType.VERDICT_CHANGED, ONE, **CHANGE
        )
    assert counted == {"credential.verdict_changed": 1}
    assert lines == [{"event": "credential.verdict_changed", "log_level": "info", "event_id": None} | IDS | CHANGE]


@pytest.mark.parametrize("type_", EventType)
def test_nothing_is_made_to_be_kept_if_nobody_outside_wants_it(type_: EventType) -> None:
    assert Events(deliver=False, count=lambda _: None).make(type_, ONE) is None


def test_a_shared_credential_has_no_provider() -> None:
    shared = a_credential("file", family="shared", provider="", type="text")
    event = Events(deliver=True, count=lambda _: None).make(EventType.DELETED, shared)
    assert event is not None
    data = orjson.loads(event.body)["data"]
    assert (data["kind"], data["provider"], data["credential_type"]) == ("shared", None, "text")
