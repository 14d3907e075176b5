"""What every store does with credentials that end by themselves: somebody is warned, once."""

import asyncio

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.core.kept import Event
from service.core.model import Credential, Family, Scope
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    TEAM,
    AuditTrail,
    a_credential,
    a_report,
    a_seal,
    an_audit,
    an_event,
    at,
    changed,
    create,
    outgoing,
    report,
    rotated,
    update,
)

SHARED = Scope("ws_default", "", Family.SHARED.value)


def ending(name: str, seconds: float, scope: Scope = HERE) -> Credential:
    """A credential that ends so many seconds after `NOW`."""
    return a_credential(name, scope, expires_at=at(seconds))


async def warned(store: Store, seconds: float = 1000, limit: int = 1000) -> list[str]:
    """The names of those that end by then and that nobody was warned of; nothing goes out."""
    return [one.name for one in await store.claim_expiring(at(seconds), lambda _: None, limit=limit)]


class WarningsContract:
    """Ends that come near."""

    async def test_those_that_end_by_then_are_given_whole_the_next_end_first(self, store: Store) -> None:
        ones = [ending("c", 30, TEAM), ending("a", 10, ELSEWHERE), ending("b", 20, SHARED), ending("past", -5)]
        await create(store, *ones, ending("later", 30.001), a_credential("never"))
        assert await store.claim_expiring(at(30), lambda _: None, limit=9) == [ones[3], ones[1], ones[2], ones[0]]

    async def test_each_is_given_once(self, store: Store) -> None:
        await create(store, *(ending(f"n{number}", number) for number in range(5)))
        assert await warned(store, 2) == ["n0", "n1", "n2"]
        assert await warned(store, 2) == []
        assert await warned(store, limit=1) == ["n3"]
        assert await warned(store, limit=0) == await warned(store, limit=-1) == []
        assert await warned(store, limit=10**30) == ["n4"]

    async def test_of_many_who_ask_at_once_each_is_given_to_one_with_its_event(
        self, store: Store, replica: Store
    ) -> None:
        names = [f"n{number:02}" for number in range(40)]
        await create(store, *(ending(name, 10) for name in names))
        found: list[str] = []

        async def ask(each: Store) -> None:
            while ones := await each.claim_expiring(at(10), lambda one: an_event(body=one.name), limit=3):
                found.extend(one.name for one in ones)

        await asyncio.gather(*(ask(each) for each in [store, replica] * 4))
        assert sorted(found) == names
        assert sorted(sent.event.body for sent in await outgoing(store)) == names

    async def test_its_event_is_made_of_it_and_kept_with_the_claim(self, store: Store, audit_trail: AuditTrail) -> None:
        ones = [ending("told", 10), ending("untold", 20)]
        await create(store, *ones)
        events = {"told": an_event(), "untold": None}
        seen: list[Credential] = []

        def make(one: Credential) -> Event | None:
            seen.append(one)
            return events[one.name]

        assert await store.claim_expiring(at(99), make, limit=9) == ones == seen
        assert [sent.event for sent in await outgoing(store)] == [events["told"]]
        assert [await store.get_credential(HERE, one.name) for one in ones] == ones, "nothing that others see changes"
        assert len(await audit_trail()) == 2

    async def test_whose_event_is_refused_is_given_again(self, store: Store) -> None:
        await create(store, ending("one", 10), ending("two", 20))
        same = an_event()
        with pytest.raises(StoreUnavailable):
            await store.claim_expiring(at(99), lambda _: same, limit=9)
        assert await store.count_events() == 0
        assert await warned(store) == ["one", "two"]

    async def test_another_end_is_warned_of_again(self, store: Store) -> None:
        one, other = ending("one", 10), ending("other", 10)
        await create(store, one, other)
        assert await warned(store) == ["one", "other"]
        assert await update(store, rotated(one, expires_at=at(20)), a_seal("new"))
        assert await warned(store, 19) == []
        assert await warned(store, 20) == ["one"]

    async def test_an_end_that_stays_is_not_warned_of_again(self, store: Store) -> None:
        one = ending("one", 10)
        await create(store, one)
        assert await warned(store) == ["one"]
        renamed = changed(one, name="renamed")
        assert await update(store, renamed)
        assert await report(store, renamed, a_report(one))
        assert await update(store, rotated(renamed, revision=4), a_seal("same end"))
        assert await warned(store) == []

    async def test_an_end_is_warned_of_whatever_changes_before_it_comes_near(self, store: Store) -> None:
        one = ending("one", 10)
        await create(store, one)
        assert await update(store, changed(one, name="renamed"))
        assert await warned(store) == ["renamed"]

    async def test_an_end_that_is_taken_away_is_not_warned_of(self, store: Store) -> None:
        one, gone = ending("one", 10), ending("gone", 10)
        await create(store, one, gone)
        assert await update(store, rotated(one, expires_at=None), a_seal("new"))
        assert await store.delete_credential(gone, an_audit(gone, Action.DELETE))
        assert await warned(store) == []

    async def test_an_end_that_comes_later_is_warned_of_like_any_other(self, store: Store) -> None:
        one = a_credential("one")
        await create(store, one)
        assert await update(store, rotated(one, expires_at=at(10)), a_seal("new"))
        assert await warned(store) == ["one"]
