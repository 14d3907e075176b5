"""What every store does with turns: whose credential is verified next, by whom, and not by two at once."""

import asyncio
from collections import Counter

from service.core.audit import Action
from service.core.kept import Due, Watch
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
    at,
    changed,
    create,
    history,
    report,
    rotated,
    take,
    update,
)

SHARED = Scope("ws_default", "", Family.SHARED.value)


def born(seconds: float, name: str, scope: Scope = HERE, **changes: object) -> Credential:
    """A credential that was made so many seconds after `NOW`."""
    return a_credential(name, scope, created_at=at(seconds), updated_at=at(seconds), **changes)


def names(turns: list[Due]) -> list[str]:
    """Whose turns they are."""
    return [due.credential.name for due in turns]


class TurnsContract:
    """Watching: due, claimed by one, done or put off."""

    # Whose turn it is

    async def test_a_turn_too_far_ahead_is_brought_forward_and_the_others_stay(self, store: Store) -> None:
        ones = [born(0, name) for name in ("a", "b", "c")]
        await create(store, *ones, born(0, "d", provider="GCP"))
        for due, seconds in zip(await take(store, 1), (50, 5000, 9000), strict=True):
            assert await store.put_off(due.credential.id, Watch(at(seconds), due.claim))
        moved = [await store.bring_forward("AWS", beyond=at(100), to=at(10), limit=1) for _ in range(3)]
        assert moved == [1, 1, 0]
        assert sorted(names(await take(store, 20))) == ["b", "c"]
        assert names(await take(store, 60)) == ["a"]

    async def test_a_new_access_credential_is_due_at_once_in_its_providers_lane(self, store: Store) -> None:
        ones = [born(0, "a"), born(0, "b", TEAM), born(0, "c", ELSEWHERE, provider="GCP"), born(0, "d", SHARED)]
        await create(store, *ones)
        assert await take(store, -1) == []
        found = await take(store, 0)
        assert sorted(found) == sorted(Due(one, a_seal(one.name), "c", 0) for one in ones[:2])
        assert names(await take(store, 0, lane="GCP")) == ["c"]
        assert await take(store, lane="shared") == await take(store, lane="AZURE") == []

    async def test_the_longest_due_come_first_and_no_more_than_wanted(self, store: Store) -> None:
        await create(store, *(born(seconds, f"n{seconds}") for seconds in (3, 1, 4, 2)))
        assert names(await take(store, limit=3)) == ["n1", "n2", "n3"]
        assert await take(store, limit=0) == await take(store, limit=-1) == []
        assert names(await take(store, limit=10**30)) == ["n4"]

    async def test_a_claim_keeps_others_away_until_it_ends(self, store: Store, replica: Store) -> None:
        await create(store, born(0, "one"))
        assert names(await store.claim_due("AWS", now=at(0), until=at(60), claim="a", limit=9)) == ["one"]
        for each in (store, replica):
            assert await take(each, 59.999, "b") == []
        (again,) = await take(replica, 60, "b")
        assert (again.credential.name, again.claim) == ("one", "b")

    async def test_a_claim_changes_nothing_that_others_see(self, store: Store, audit_trail: AuditTrail) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store)
        assert await store.put_off(one.id, Watch(at(9), due.claim))
        assert await store.get_credential(HERE, "one") == one
        assert len(await audit_trail()) == 1

    async def test_of_many_takers_each_turn_is_ones(self, store: Store, replica: Store) -> None:
        """Two replicas never ask about the same credential."""
        await create(store, *(born(0, f"n{number:02}") for number in range(60)))
        taken: Counter[str] = Counter()

        async def taker(each: Store, claim: str) -> None:
            while turns := await take(each, claim=claim, limit=7):
                assert {due.claim for due in turns} == {claim}
                taken.update(names(turns))

        await asyncio.gather(*(taker(each, f"{n}") for n, each in enumerate([store, replica] * 4)))
        assert taken == Counter({f"n{number:02}": 1 for number in range(60)})

    # What becomes of it

    async def test_a_report_says_when_it_is_due_next(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        for seconds, outcome, rejections in ((100, "failed", 1), (200, "failed", 2), (300, "unknown", 2)):
            (due,) = await take(store, seconds - 100)
            watch = Watch(at(seconds), due.claim, rejections)
            await report(store, due.credential, a_report(one, outcome), watch)
            assert await take(store, seconds - 0.001) == []
        (due,) = await take(store, 300, "d")
        assert (due.rejections, due.claim, due.credential.status) == (2, "d", "failed")

    async def test_a_turn_is_put_off_without_a_verdict(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await store.put_off(one.id, Watch(at(500), due.claim, 3))
        assert await take(store, 499) == []
        (due,) = await take(store, 500)
        assert due.rejections == 3
        assert await history(store, one) == []

    async def test_who_is_late_does_not_move_the_turn_of_another(self, store: Store, replica: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (late,) = await take(store, 0, "late")
        (other,) = await take(replica, 60, "other")
        assert not await store.put_off(one.id, Watch(at(9), late.claim))
        assert await report(store, one, a_report(one), Watch(at(9), late.claim, 7)) is True, "what it said is kept"
        assert await take(store, 119) == []
        assert await replica.put_off(one.id, Watch(at(1000), other.claim, 1))
        assert not await replica.put_off(one.id, Watch(at(9), other.claim)), "once"
        (due,) = await take(store, 1000)
        assert due.rejections == 1

    async def test_who_is_late_with_nobody_after_it_still_has_its_say(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await store.put_off(one.id, Watch(at(5000), due.claim))
        assert await take(store, 4999) == []

    async def test_a_request_moves_the_turn_whoever_has_claimed_it(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await report(store, one, a_report(one), Watch(at(500))) is True
        assert not await store.put_off(one.id, Watch(at(9), due.claim))
        assert await take(store, 499) == []
        assert names(await take(store, 500)) == ["one"]

    async def test_a_report_without_a_turn_leaves_it_as_it_is(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await report(store, one, a_report(one)) is True
        assert await take(store, 59) == []
        assert await store.put_off(one.id, Watch(at(9), due.claim))

    async def test_a_report_that_is_not_kept_moves_no_turn(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        assert await update(store, new := rotated(one), a_seal("new"))
        assert await report(store, one, a_report(one), Watch(at(500))) is None
        (due,) = await take(store, 10)
        assert (due.credential, due.sealed) == (new, a_seal("new"))

    # When the credential changes

    async def test_another_payload_is_due_at_once_and_begins_anew(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        await store.put_off(one.id, Watch(at(10_000), due.claim, 5))
        assert await update(store, rotated(one), a_seal("new"))
        (due,) = await take(store, 1)
        assert due == Due(rotated(one), a_seal("new"), "c", 0)

    async def test_whoever_took_the_turn_of_a_replaced_payload_has_no_say(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await update(store, rotated(one), a_seal("new"))
        assert not await store.put_off(one.id, Watch(at(9000), due.claim))
        assert names(await take(store, 1)) == ["one"]

    async def test_a_change_that_is_no_payload_leaves_the_turn_as_it_is(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        (due,) = await take(store, 0)
        assert await update(store, changed(one, name="renamed"))
        assert await take(store, 30) == []
        assert await store.put_off(one.id, Watch(at(100), due.claim))
        assert names(await take(store, 100)) == ["renamed"]

    async def test_a_turn_follows_its_credential_to_another_provider(self, store: Store) -> None:
        one = born(0, "one")
        await create(store, one)
        assert await update(store, rotated(one, provider="GCP"), a_seal("new"))
        assert await take(store, lane="AWS") == []
        assert names(await take(store, lane="GCP")) == ["one"]
        assert [await store.count_watched(lane) for lane in ("AWS", "GCP")] == [0, 1]
        await store.put_off(one.id, Watch(at(100)))
        assert await update(store, changed(rotated(one), provider="AZURE"))
        assert await take(store, 99, lane="AZURE") == [], "the payload stays, and so does the time"
        assert names(await take(store, 100, lane="AZURE")) == ["one"]

    async def test_a_deleted_credentials_turn_is_gone(self, store: Store) -> None:
        one, other = born(0, "one"), born(0, "other")
        await create(store, one, other)
        first, _ = await take(store, 0)
        assert await store.delete_credential(first.credential, an_audit(one, Action.DELETE))
        assert not await store.put_off(first.credential.id, Watch(at(9), first.claim))
        assert len(await take(store)) == await store.count_watched("AWS") == 1

    # Shared ones

    async def test_a_shared_credential_is_watched_from_its_first_known_verdict_on(self, store: Store) -> None:
        one = born(0, "one", SHARED, provider="", type="text")
        await create(store, one)
        await report(store, one, a_report(one, "unknown"), Watch(at(5)))
        await report(store, one, a_report(one), None)
        await report(store, one, a_report(one), Watch(at(5), "a claim that is nobody's"))
        assert await take(store, lane="shared") == []
        assert not await store.put_off(one.id, Watch(at(5)))
        await report(store, one, a_report(one, "failed"), Watch(at(5), None, 1))
        (due,) = await take(store, 5, lane="shared")
        assert (due.credential.name, due.sealed, due.rejections) == ("one", a_seal("one"), 1)
        await report(store, one, a_report(one, "unknown"), Watch(at(90), due.claim, 1))
        assert names(await take(store, 90, lane="shared")) == ["one"]
        assert await store.count_watched("shared") == 1

    async def test_another_payload_of_a_watched_shared_credential_is_due_at_once(self, store: Store) -> None:
        watched, never = (born(0, name, SHARED, provider="", type="text") for name in ("watched", "never"))
        await create(store, watched, never)
        await report(store, watched, a_report(watched), Watch(at(9000)))
        assert await update(store, rotated(watched, revision=3), a_seal("new")), "its verdict is none any more"
        assert await update(store, rotated(never), a_seal("new"))
        assert names(await take(store, 1, lane="shared")) == ["watched"]

    async def test_whoever_took_the_turn_of_a_replaced_shared_payload_has_no_say(self, store: Store) -> None:
        one = born(0, "one", SHARED, provider="", type="text")
        await create(store, one)
        await report(store, one, a_report(one, "failed"), Watch(at(0), None, 4))
        (due,) = await take(store, 0, lane="shared")
        assert await update(store, rotated(one, revision=3), a_seal("new"))
        assert not await store.put_off(one.id, Watch(at(9000), due.claim))
        (due,) = await take(store, 1, lane="shared")
        assert due.rejections == 0

    async def test_a_shared_credential_that_was_verified_before_it_was_saved_is_watched(self, store: Store) -> None:
        one = born(0, "one", SHARED, provider="", type="text", status="verified", verification="{}")
        await store.create_credential(one, a_seal(), an_audit(one), report=a_report(one))
        assert names(await take(store, lane="shared")) == ["one"]

    # Lanes

    async def test_a_paused_lane_gives_nothing_until_its_end(self, store: Store, replica: Store) -> None:
        await create(store, born(0, "aws"), born(0, "gcp", provider="GCP"))
        await store.pause_lane("AWS", at(500))
        for each in (store, replica):
            assert await take(each, 499.999) == []
        assert names(await take(store, 1, lane="GCP")) == ["gcp"]
        assert names(await take(store, 500)) == ["aws"]

    async def test_of_two_pauses_the_later_end_stays(self, store: Store) -> None:
        await create(store, born(0, "one"))
        for end in (200, 500, 300):
            await store.pause_lane("AWS", at(end))
        assert await take(store, 499) == []
        assert names(await take(store, 500)) == ["one"]

    async def test_a_lane_counts_those_that_are_watched(self, store: Store) -> None:
        ones = [born(0, f"n{number}") for number in range(5)]
        assert await store.count_watched("AWS") == 0
        await create(store, *ones, born(0, "other", ELSEWHERE), born(0, "shared", SHARED))
        await take(store, limit=3)
        assert await store.delete_credential(ones[0], an_audit(ones[0], Action.DELETE))
        assert [await store.count_watched(lane) for lane in ("AWS", "GCP", "shared")] == [5, 0, 0]
