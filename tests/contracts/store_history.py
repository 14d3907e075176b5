"""What every store does with what verifications said."""

import asyncio
import random

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.core.store import REPORTS_KEPT, Store
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
    changed,
    create,
    history,
    outgoing,
    report,
    rotated,
    update,
)


class HistoryContract:
    """The last verdict, the attempt beside it, and the history."""

    # The verdict

    async def test_a_known_verdict_changes_the_revision_and_nothing_else(self, store: Store) -> None:
        one = a_credential(attempt='{"outcome":"unknown"}')
        await create(store, one)
        for outcome, revision in (("verified", 2), ("failed", 3)):
            kept = a_report(one, outcome)
            assert await report(store, one, kept) is True
            expected = one._replace(revision=revision, status=outcome, verification=kept.report, attempt=None)
            assert await store.get_credential(HERE, "one") == expected

    async def test_an_unknown_verdict_stands_beside_the_known_one(self, store: Store) -> None:
        one = a_credential(status="verified", verification='{"n":1}')
        await create(store, one)
        unknown = a_report(one, "unknown")
        assert await report(store, one, unknown) is False
        assert await store.get_credential(HERE, "one") == one._replace(revision=2, attempt=unknown.report)
        again = a_report(one, "verified")
        assert await report(store, one, again) is False
        found = await store.get_credential(HERE, "one")
        assert found == one._replace(revision=3, verification=again.report, attempt=None)

    async def test_a_status_changes_only_from_one_known_verdict_to_another(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        outcomes = ["unknown", "verified", "verified", "unknown", "failed", "unknown", "failed", "verified"]
        told = [await report(store, one, a_report(one, outcome)) for outcome in outcomes]
        assert told == [False, True, False, False, True, False, False, True]

    async def test_a_verdict_on_an_older_revision_of_the_same_payload_is_kept(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = changed(one, name="renamed")
        assert await update(store, new)
        assert await report(store, one, kept := a_report(one, "failed"))
        found = await store.get_credential(HERE, "renamed")
        assert found == new._replace(revision=3, status="failed", verification=kept.report)

    async def test_nothing_is_kept_of_a_replaced_payload(self, store: Store, audit_trail: AuditTrail) -> None:
        """A slow probe's verdict must not stick to what it was not about."""
        one = a_credential()
        await create(store, one)
        new = rotated(one)
        assert await update(store, new, a_seal("new"))
        for outcome in ("verified", "unknown"):
            for read in (one, new):
                assert await report(store, read, a_report(one, outcome), event=an_event()) is None
        assert await store.get_credential(HERE, "one") == new
        assert await history(store, one) == []
        assert len(await audit_trail()) == 2
        assert await store.count_events() == 0

    async def test_nothing_is_kept_of_a_record_that_is_gone_or_in_another_scope(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        one = a_credential(scope=TEAM)
        await create(store, one)
        assert await report(store, a_credential("none"), a_report(one)) is None
        for other in (one._replace(workspace="ws_other"), one._replace(teamspace=""), one._replace(family="shared")):
            assert await report(store, other, a_report(one)) is None
        assert await store.get_credential(TEAM, "one") == one
        assert await history(store, one) == []
        assert len(await audit_trail()) == 1

    async def test_a_report_needs_no_audit_record(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_credential()
        await create(store, one)
        assert await store.record_report(one, a_report(one), None, watch=None)
        assert len(await history(store, one)) == len(await audit_trail()) == 1

    # The event

    async def test_the_event_is_kept_only_if_the_status_changes(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        outcomes = ["unknown", "verified", "verified", "unknown", "failed", "failed"]
        events = [an_event(number) for number in range(len(outcomes))]
        for outcome, event in zip(outcomes, events, strict=True):
            await report(store, one, a_report(one, outcome), event=event)
        assert [sent.event for sent in await outgoing(store)] == [events[1], events[4]]

    async def test_of_many_verdicts_that_say_the_same_at_once_one_sends_its_event(
        self, store: Store, replica: Store
    ) -> None:
        one = a_credential(status="verified")
        await create(store, one)
        told = await asyncio.gather(
            *(report(each, one, a_report(one, "failed"), event=an_event()) for each in [store, replica] * 10)
        )
        assert sorted(told) == [False] * 19 + [True]
        assert await store.count_events() == 1
        assert len(await history(store, one)) == 20
        found = await store.get_credential(HERE, "one")
        assert found is not None
        assert found.revision == 21

    async def test_a_report_whose_event_is_refused_is_not_kept(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_credential()
        await create(store, one)
        await store.append_event(event := an_event())
        with pytest.raises(StoreUnavailable):
            await report(store, one, a_report(one), event=event)
        assert await store.get_credential(HERE, "one") == one
        assert await history(store, one) == []
        assert len(await audit_trail()) == 1

    # The history

    async def test_reports_are_listed_exactly_as_they_were_kept_newest_first(self, store: Store) -> None:
        one = a_credential(scope=TEAM)
        await create(store, one, a_credential("two", TEAM))
        new = rotated(one, revision=4)
        reports = [
            a_report(one, "unknown", trigger="schedule", report='{"says":"näme ✓ \U0001f511"}'),
            a_report(one, "verified"),
            a_report(new, "failed", trigger="rotation", checked_at=one.created_at),
        ]
        assert await report(store, one, reports[0]) is False
        assert await report(store, one, reports[1]) is True
        assert await update(store, new, a_seal("new"))
        assert await report(store, new, reports[2]) is True
        assert await history(store, one) == reports[::-1], "whatever the clock said, and of every payload"

    async def test_the_verification_before_a_write_is_in_the_history(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        one = a_credential(status="verified", verification="{}")
        first, second = a_report(one, trigger="write"), a_report(rotated(one), "failed", trigger="write")
        await store.create_credential(one, a_seal(), an_audit(one), report=first)
        assert await store.get_credential(HERE, "one") == one, "it has its verdict already"
        new = rotated(one, status="failed", verification="{}")
        assert await update(store, new, a_seal("new"), kept=second)
        assert await store.get_credential(HERE, "one") == new
        assert await history(store, one) == [second, first]
        assert [audit.action for audit in await audit_trail()] == [Action.CREATE, Action.UPDATE]

    async def test_a_stale_update_leaves_no_report(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        assert not await update(store, rotated(one, revision=9), a_seal("new"), kept=a_report(one))
        assert await history(store, one) == []

    async def test_pages_of_the_history_follow_each_other_while_new_reports_come(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        reports = [a_report(one) for _ in range(7)]
        for kept in reports:
            await report(store, one, kept)
        first = await store.list_reports("ws_default", one.id, before=None, limit=3)
        await report(store, one, a_report(one))
        second = await store.list_reports("ws_default", one.id, before=first[-1].seq, limit=3)
        third = await store.list_reports("ws_default", one.id, before=second[-1].seq, limit=3)
        pages = first + second + third
        assert [kept._replace(seq=0) for kept in pages] == reports[::-1]
        assert [kept.seq for kept in pages] == sorted({kept.seq for kept in pages}, reverse=True)
        assert await store.list_reports("ws_default", one.id, before=third[-1].seq, limit=3) == []

    async def test_places_out_of_any_range_are_pages_too(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        await report(store, one, kept := a_report(one))
        assert await history(store, one, before=10**30, limit=10**30) == [kept]
        for page in ({"before": 0}, {"before": -(10**30)}, {"limit": 0}, {"limit": -1}):
            assert await history(store, one, **page) == []

    async def test_the_newest_reports_stay_and_those_of_others_too(self, store: Store) -> None:
        one, other = a_credential("one"), a_credential("other")
        await create(store, one, other)
        await report(store, other, first := a_report(other))
        reports = [a_report(one) for _ in range(REPORTS_KEPT + 5)]
        for kept in reports:
            await report(store, one, kept)
        assert await history(store, one) == reports[: -REPORTS_KEPT - 1 : -1]
        assert await history(store, other) == [first]

    async def test_another_workspaces_history_is_none(self, store: Store) -> None:
        """Requirement 19."""
        mine, theirs = a_credential("same"), a_credential("same", ELSEWHERE)
        await create(store, mine, theirs)
        for one in (mine, theirs):
            await report(store, one, a_report(one))
        for workspace in ("ws_default", "ws_other", "ws_third", ""):
            for one in (mine, theirs):
                found = await store.list_reports(workspace, one.id, before=None, limit=9)
                assert len(found) == (workspace == one.workspace)

    async def test_a_deleted_credentials_history_is_gone(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        await report(store, one, a_report(one))
        assert await store.delete_credential(one._replace(revision=2), an_audit(one, Action.DELETE))
        assert await history(store, one) == []
        await create(store, a_credential(id=one.id))
        assert await history(store, one) == [], "not even under the same id"

    async def test_a_cancelled_report_is_kept_wholly_or_not_at_all(self, store: Store, audit_trail: AuditTrail) -> None:
        """Requirement 40."""
        chance = random.Random(43)
        one = a_credential()
        await create(store, one)
        for _ in range(6):
            reports = [a_report(one, chance.choice(["verified", "failed"])) for _ in range(8)]
            tasks = [asyncio.create_task(report(store, one, kept, event=an_event())) for kept in reports]
            for task in chance.sample(tasks, len(tasks)):
                await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001]))
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await store.append_audit(an_audit(target="last"))
        found, kept = await store.get_credential(HERE, "one"), await history(store, one)
        assert 0 < len(kept) < 48, "the cancellations must fall before some writes and after others"
        assert found is not None
        assert (found.revision, found.verification) == (len(kept) + 1, kept[0].report)
        turned = sum(
            old is None or old.outcome != new.outcome for new, old in zip(kept, [*kept[1:], None], strict=True)
        )
        assert await store.count_events() == turned
        assert len(await audit_trail()) == 2 + len(kept)
