"""What every store does with events until they are delivered."""

import asyncio
from collections import Counter

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.core.kept import Outgoing
from service.core.store import Store
from tests.contracts.records import AuditTrail, a_credential, an_audit, an_event, at, create, outgoing


def told(sent: list[Outgoing]) -> list[str]:
    """What the events say."""
    return [one.event.body for one in sent]


class EventsContract:
    """The outbox: written with what happened, taken by one, dropped when it is out."""

    async def test_an_event_goes_out_exactly_as_it_was_kept(self, store: Store) -> None:
        event = an_event(body='{"näme":"✓ \U0001f511"}')
        await store.append_event(event)
        assert await outgoing(store, -1) == [], "not before it happened"
        assert await outgoing(store, 0, "a") == [Outgoing(event, "a", 0)]

    async def test_the_oldest_go_first_and_no_more_than_wanted(self, store: Store) -> None:
        for seconds in (3, 1, 4, 1.5, 2):
            await store.append_event(an_event(seconds, body=str(seconds)))
        assert told(await outgoing(store, 3, limit=2)) == ["1", "1.5"]
        assert await outgoing(store, limit=0) == await outgoing(store, limit=-1) == []
        assert told(await outgoing(store, 3)) == ["2", "3"]
        assert told(await outgoing(store, 4, limit=10**30)) == ["4"]

    async def test_events_of_one_moment_go_in_the_order_they_were_kept_in(self, store: Store) -> None:
        for number in range(20):
            await store.append_event(an_event(body=str(number)))
        assert told(await outgoing(store)) == [str(number) for number in range(20)]

    async def test_a_claim_keeps_others_away_until_it_ends(self, store: Store, replica: Store) -> None:
        await store.append_event(event := an_event())
        await outgoing(store, 0, "a")
        for each in (store, replica):
            assert await outgoing(each, 59.999, "b") == []
        assert await outgoing(replica, 60, "b") == [Outgoing(event, "b", 0)], "no attempt was counted"

    async def test_of_many_takers_each_event_is_ones(self, store: Store, replica: Store) -> None:
        bodies = [str(number) for number in range(60)]
        for body in bodies:
            await store.append_event(an_event(body=body))
        taken: Counter[str] = Counter()

        async def taker(each: Store, claim: str) -> None:
            while sent := await outgoing(each, claim=claim, limit=7):
                assert {one.claim for one in sent} == {claim}
                taken.update(told(sent))

        await asyncio.gather(*(taker(each, str(n)) for n, each in enumerate([store, replica] * 4)))
        assert taken == Counter(bodies)

    async def test_a_delivered_event_is_dropped_once(self, store: Store) -> None:
        for number in range(3):
            await store.append_event(an_event(number))
        assert await store.count_events() == 3
        first, second, third = await outgoing(store)
        assert await store.count_events() == 3, "claimed is not delivered"
        assert await store.finish_event(second)
        assert not await store.finish_event(second)
        assert not await store.retry_event(second, at(9))
        assert await store.count_events() == 2
        assert [one.event for one in await outgoing(store, 9000)] == [first.event, third.event]

    async def test_a_failed_attempt_is_counted_and_made_again_when_it_is_due(self, store: Store) -> None:
        await store.append_event(event := an_event())
        for number, seconds in enumerate((0, 100, 300)):
            (sent,) = await outgoing(store, seconds, f"c{number}")
            assert sent == Outgoing(event, f"c{number}", number)
            assert await store.retry_event(sent, at(seconds * 2 + 100))
            assert not await store.retry_event(sent, at(1)), "its claim has ended by that"
            assert await outgoing(store, seconds * 2 + 99) == []
        assert await store.count_events() == 1

    async def test_who_is_late_does_not_touch_what_another_has_claimed(self, store: Store, replica: Store) -> None:
        await store.append_event(event := an_event())
        (late,) = await outgoing(store, 0, "late")
        (other,) = await outgoing(replica, 60, "other")
        assert not await store.finish_event(late)
        assert not await store.retry_event(late, at(1))
        assert await store.count_events() == 1
        assert await outgoing(store, 119) == []
        assert await replica.finish_event(other)
        assert other == Outgoing(event, "other", 0)

    async def test_one_that_fails_over_and_over_holds_up_no_other(self, store: Store) -> None:
        await store.append_event(an_event(body="stubborn"))
        for seconds in (10, 20, 30):
            (sent,) = await outgoing(store, seconds, limit=1)
            assert sent.event.body == "stubborn"
            await store.retry_event(sent, at(seconds + 10))
        await store.append_event(an_event(35, body="new"))
        assert told(await outgoing(store, 50, limit=1)) == ["new"]

    # Together with what it is about

    async def test_the_event_of_a_deletion_outlives_its_credential(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        event = an_event()
        assert await store.delete_credential(one, an_audit(one, Action.DELETE), event=event)
        assert [sent.event for sent in await outgoing(store)] == [event]

    async def test_a_deletion_that_is_not_done_tells_nobody(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        stale = one._replace(revision=7)
        assert not await store.delete_credential(stale, an_audit(one, Action.DELETE), event=an_event())
        assert await store.count_events() == 0

    async def test_a_deletion_whose_event_is_refused_is_not_done(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_credential()
        await create(store, one)
        await store.append_event(event := an_event())
        with pytest.raises(StoreUnavailable):
            await store.delete_credential(one, an_audit(one, Action.DELETE), event=event)
        assert await store.get_credential(one.scope, "one") == one
        assert await store.count_events() == len(await audit_trail()) == 1
