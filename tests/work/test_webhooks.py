"""Deliveries to a receiver on loopback: again and again until they arrive, once each, and through the guard."""

import asyncio
import base64
import json
import os
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.core.kept import Event
from service.storage.sqlite import SqliteStore, open_sqlite
from service.work.signing import Signer
from service.work.webhooks import MOST_AT_ONCE, PATIENCE, Webhooks
from tests.contracts.records import an_event
from tests.peers.faults import FaultPeer
from tests.peers.webhook import HANG, RESET, WebhookReceiver
from tests.verifiers.ways_out import Zone
from tests.work.house import Clock, until
from verifiers.egress import Egress
from verifiers.settings import EgressSettings

KEY = os.urandom(32)
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Sender:
    """A replica's webhooks, and what they counted."""

    def __init__(self, store: SqliteStore, egress: Egress, url: str, clock: Clock, **options: Any) -> None:
        self.counted: Counter[str] = Counter()
        self.store = store
        self.webhooks = Webhooks(
            store,
            egress.callers,
            url,
            Signer.parse(SECRET),
            lambda result: self.counted.update([result]),
            now=clock,
            idle_seconds=0.01,
            **options,
        )

    async def keep(self, count: int = 1) -> list[Event]:
        """Events that are to be delivered."""
        events = [an_event(number) for number in range(count)]
        for event in events:
            await self.store.append_event(event)
        return events

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.webhooks.run())
        try:
            yield
        finally:
            assert not task.done(), task
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


Make = Callable[..., Any]


@pytest.fixture
async def sender(tmp_path: Path, clock: Clock, receiver: WebhookReceiver) -> AsyncIterator[Make]:
    """Makes a replica's webhooks, all of them on one database; to the receiver, if nothing else is said."""
    async with AsyncExitStack() as stack:

        async def make(url: str = "", allow: tuple[str, ...] | None = None, zone: Any = None, **options: Any) -> Sender:
            store = await open_sqlite(tmp_path / "vouch.db", lock_timeout=options.pop("lock_timeout", 2.0))
            stack.push_async_callback(store.close)
            # Any port: what is refused is refused for its address.
            ports = (443, int((url or receiver.url).split("/")[2].rpartition(":")[2] or 443))
            settings = EgressSettings(allow=(receiver.allowed,) if allow is None else allow, ports=ports)
            egress = Egress(settings, getaddrinfo=zone or socket.getaddrinfo)
            return Sender(store, await stack.enter_async_context(egress), url or receiver.url, clock, **options)

        yield make


# What goes out


async def test_a_delivery_is_the_event_signed(sender: Make, receiver: WebhookReceiver) -> None:
    one = await sender()
    (event,) = await one.keep()
    assert await one.webhooks.deliver() == 1
    (came,) = receiver.received
    assert (came.method, came.path, came.body.decode()) == ("POST", "/hooks", event.body)
    assert came.id == event.id
    assert came.headers["Content-Type"] == "application/json"
    assert came.headers["User-Agent"].startswith("vouch/")
    assert Webhook(SECRET).verify(came.body, dict(came.headers)) == json.loads(event.body)
    assert await one.store.count_events() == 0
    assert await one.webhooks.deliver() == 0
    assert one.counted == {"delivered": 1}


async def test_many_go_out_oldest_first_a_batch_at_a_time(sender: Make, receiver: WebhookReceiver) -> None:
    one = await sender()
    events = await one.keep(MOST_AT_ONCE + 5)
    assert [await one.webhooks.deliver() for _ in range(3)] == [MOST_AT_ONCE, 5, 0]
    assert {came.id for came in receiver.received[:MOST_AT_ONCE]} == {event.id for event in events[:MOST_AT_ONCE]}
    assert len({came.id for came in receiver.received}) == len(events)


# How it is answered


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_done(sender: Make, receiver: WebhookReceiver, status: int) -> None:
    receiver.answers = [status]
    one = await sender()
    await one.keep()
    await one.webhooks.deliver()
    assert await one.store.count_events() == 0


@pytest.mark.parametrize("answer", [300, 304, 400, 401, 404, 429, 500, 503, RESET])
async def test_anything_else_is_tried_again(
    sender: Make, receiver: WebhookReceiver, clock: Clock, lines: list[Any], answer: Any
) -> None:
    receiver.answers = [answer, 200]
    one = await sender()
    await one.keep()
    await one.webhooks.deliver()
    assert await one.webhooks.deliver() == 0, "not at once"
    clock.advance(PATIENCE[0] * 1.2)
    assert await one.webhooks.deliver() == 1
    first, second = receiver.received
    assert first.id == second.id, "a receiver can tell that it has it already"
    assert Webhook(SECRET).verify(second.body, dict(second.headers))
    assert one.counted == {"retried": 1, "delivered": 1}
    (line,) = lines
    assert line["log_level"] == "warning"
    assert line["trouble"] == ("unreachable" if answer == RESET else str(answer))


async def test_the_pauses_grow_and_in_the_end_it_is_given_up_and_told(
    sender: Make, receiver: WebhookReceiver, clock: Clock, tmp_path: Path, lines: list[Any]
) -> None:
    """Standard Webhooks, "Deliverability and reliability": ten attempts over three days."""
    receiver.answers = [500]
    one = await sender()
    (event,) = await one.keep()
    for seconds in PATIENCE:
        assert await one.webhooks.deliver() == 1
        with closing(sqlite3.connect(tmp_path / "vouch.db")) as db:
            ((due,),) = db.execute("SELECT due_at FROM event").fetchall()
        pause = (datetime.fromisoformat(due) - clock.at).total_seconds()
        assert seconds <= pause <= seconds * 1.2
        clock.advance(pause - 0.01)
        assert await one.webhooks.deliver() == 0
        clock.advance(0.02)
    assert await one.webhooks.deliver() == 1
    assert await one.store.count_events() == 0
    assert one.counted == {"retried": 9, "given_up": 1}
    assert {came.id for came in receiver.received} == {event.id}
    assert len(receiver.received) == 10
    assert lines[-1] == {
        "event": "an event was given up",
        "log_level": "error",
        "id": event.id,
        "type": event.type,
        "trouble": "500",
        "attempts": 10,
    }
    assert sum(PATIENCE) > 3 * 86_400 * 0.99


async def test_410_is_the_receivers_wish_to_hear_no_more_of_it(sender: Make, receiver: WebhookReceiver) -> None:
    receiver.answers = [410]
    one = await sender()
    await one.keep()
    await one.webhooks.deliver()
    assert (await one.store.count_events(), one.counted) == (0, {"given_up": 1})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    sender: Make, receiver: WebhookReceiver, fault_peer: FaultPeer, status: int
) -> None:
    """Requirement 4."""
    receiver.answers = [(status, {"Location": fault_peer.url})]
    one = await sender(allow=("127.0.0.0/8",))
    await one.keep()
    await one.webhooks.deliver()
    assert fault_peer.connections == 0
    assert (await one.store.count_events(), one.counted) == (1, {"retried": 1})


async def test_a_receiver_that_hangs_holds_nobody_up_for_long(
    sender: Make, receiver: WebhookReceiver, lines: list[Any]
) -> None:
    receiver.answers = [HANG, HANG, 200]
    one = await sender(attempt_seconds=0.3)
    await one.keep(5)
    async with asyncio.timeout(3):
        await one.webhooks.deliver()
    assert one.counted == {"delivered": 3, "retried": 2}
    assert [line["trouble"] for line in lines] == ["timeout"] * 2


async def test_a_receiver_that_is_away_gets_it_when_it_is_back(
    sender: Make, receiver: WebhookReceiver, clock: Clock, lines: list[Any]
) -> None:
    port = receiver.port
    one = await sender()
    (event,) = await one.keep()
    await receiver.stop()
    await one.webhooks.deliver()
    assert [line["trouble"] for line in lines] == ["unreachable"]
    await receiver.start(port)
    clock.advance(PATIENCE[0] * 1.2)
    await one.webhooks.deliver()
    assert [came.id for came in receiver.received] == [event.id]


# Restarts and replicas


async def test_an_event_is_kept_over_a_restart_until_it_is_delivered(
    sender: Make, receiver: WebhookReceiver, clock: Clock
) -> None:
    receiver.answers = [HANG, 200]
    before = await sender()
    (event,) = await before.keep()
    async with before.at_work():
        await receiver.wait_for(1)
    await before.store.close()
    after = await sender()
    assert await after.webhooks.deliver() == 0, "the one that was stopped may have got through"
    clock.advance(121)
    assert await after.webhooks.deliver() == 1
    assert [came.id for came in receiver.received] == [event.id] * 2


async def test_two_replicas_deliver_each_event_once(sender: Make, receiver: WebhookReceiver) -> None:
    one, two = await sender(), await sender()
    events = await one.keep(60)
    async with one.at_work(), two.at_work():
        await receiver.wait_for(60)
        await until(lambda: (one.counted + two.counted).total() == 60)
    assert Counter(came.id for came in receiver.received) == {event.id: 1 for event in events}
    assert min(one.counted.total(), two.counted.total()) > 0, "both had their part"


async def test_what_could_not_be_kept_of_a_delivery_is_delivered_again_under_the_same_id(
    sender: Make, receiver: WebhookReceiver, clock: Clock, tmp_path: Path, lines: list[Any]
) -> None:
    receiver.answers = [HANG, 200]
    one = await sender(attempt_seconds=0.2, lock_timeout=0.1)
    await one.keep()
    delivering = asyncio.create_task(one.webhooks.deliver())
    await receiver.wait_for(1)
    with closing(sqlite3.connect(tmp_path / "vouch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await delivering
        other.execute("ROLLBACK")
    assert [line["event"] for line in lines] == ["how a delivery went could not be kept"]
    clock.advance(121)
    await one.webhooks.deliver()
    assert len({came.id for came in receiver.received}) == 1
    assert await one.store.count_events() == 0


async def test_a_store_that_is_away_for_a_while_is_waited_for(
    sender: Make, receiver: WebhookReceiver, tmp_path: Path, lines: list[Any]
) -> None:
    one = await sender(lock_timeout=0.05)
    await one.keep()
    with closing(sqlite3.connect(tmp_path / "vouch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with one.at_work():
            await until(lambda: len(lines) > 1)
            assert not receiver.received
            other.execute("ROLLBACK")
            await receiver.wait_for(1)
    assert {line["event"] for line in lines} == {"the webhooks can't reach the store"}


# Through the guard


@pytest.mark.parametrize(
    ("url", "answers"),
    [
        ("https://127.0.0.1:{port}/hooks", []),
        ("https://[::ffff:127.0.0.1]:{port}/hooks", []),
        ("http://127.0.0.1:{port}/hooks", []),
        ("https://inside.example:{port}/hooks", [["127.0.0.1"]]),
        ("https://both.example:{port}/hooks", [["93.184.215.14", "127.0.0.1"]]),
        ("https://metadata.example:{port}/hooks", [["169.254.169.254"]]),
    ],
)
async def test_a_url_that_points_inside_never_gets_a_connection_and_the_event_waits(
    sender: Make, fault_peer: FaultPeer, clock: Clock, lines: list[Any], url: str, answers: list[list[str]]
) -> None:
    """Requirements 1 to 3 and 6: also one whose name points elsewhere than when the service started."""
    zone = Zone(both_example=answers, inside_example=answers)
    zone.names |= {"rebinding.example": answers, "metadata.example": answers}
    one = await sender(url.format(port=fault_peer.port), allow=(), zone=zone)
    await one.keep(2)
    async with one.at_work():
        await until(lambda: one.counted["retried"] == 2)
        clock.advance(6.1)
        await until(lambda: one.counted["retried"] == 4)
    assert fault_peer.connections == 0
    assert await one.store.count_events() == 2
    assert {line["trouble"] for line in lines} == {"blocked_endpoint"}


async def test_a_name_that_answers_something_else_after_a_while_is_judged_anew(
    sender: Make, fault_peer: FaultPeer, clock: Clock
) -> None:
    """Requirement 1, rebinding: the first answer is allowed, the second one points inside."""
    allowed = FaultPeer("127.0.0.2")
    allowed.headers["Connection"] = "close"  # or the next delivery would go over the one that is allowed
    await allowed.start(fault_peer.port)
    try:
        zone = Zone()
        zone.names["turns.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        one = await sender(f"http://turns.example:{fault_peer.port}/hooks", allow=("127.0.0.2/32",), zone=zone)
        for _ in range(2):
            await one.keep()
            await one.webhooks.deliver()
        assert (allowed.connections, fault_peer.connections) == (1, 0)
        assert one.counted == {"delivered": 1, "retried": 1}
    finally:
        await allowed.stop()


# Secrecy


async def test_neither_the_secret_nor_the_url_is_ever_told(
    sender: Make, receiver: WebhookReceiver, clock: Clock, lines: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30: a webhook's URL may carry a token of its own."""
    caplog.set_level("DEBUG")
    receiver.answers = [500, RESET, 404, 410]
    one = await sender(f"{receiver.url}?token=canary-in-url")
    await one.keep(4)
    await one.webhooks.deliver()
    assert len(lines) == 4
    told = f"{lines}{caplog.text}{one.webhooks!r}{vars(one.webhooks)['_signer']!r}"
    for secret in (SECRET, SECRET.removeprefix("whsec_"), KEY.hex(), repr(KEY), "canary-in-url", str(receiver.port)):
        assert secret not in told
