"""What every store does with leases."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from service.core.audit import Action
from service.core.errors import StoreUnavailable
from service.core.kept import Lease
from service.core.model import PrincipalKind, Role, Scope, User, timestamp
from service.core.store import LEASE_KEPT_DAYS, Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    NOW,
    TEAM,
    AuditTrail,
    a_credential,
    a_lease,
    an_api_key,
    an_audit,
    changed,
    create,
    lease,
    leased,
    leases,
    update,
)

KEPT = timedelta(days=LEASE_KEPT_DAYS)


class LeasesContract:
    """Leases as they are kept, listed, and dropped long after their end."""

    # Keeping

    async def test_a_lease_is_listed_exactly_as_it_was_kept(self, store: Store) -> None:
        whole = a_lease(a_credential("näme ✓ \U0001f511", TEAM), purpose="", caller_name="Zoë")
        narrowed = a_lease(a_credential(), narrowed_to='{"access":"read","bucket":"b","prefix":"p/"}')
        await lease(store, whole, narrowed)
        assert await leased(store) == [narrowed, whole]

    async def test_a_lease_is_recorded_in_the_audit_trail(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_credential(scope=TEAM)
        audit = an_audit(one, Action.LEASE)
        await store.create_lease(a_lease(one), audit)
        assert await audit_trail() == [audit]

    async def test_a_lease_that_is_refused_is_not_recorded(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_lease(a_credential(), NOW - 3 * KEPT)
        await lease(store, one)
        with pytest.raises(StoreUnavailable):
            await lease(store, a_lease(a_credential("two"), id=one.id))
        assert await leased(store) == [one], "nor did it drop the old one"
        assert len(await audit_trail()) == 1

    async def test_leases_kept_at_once_are_all_there_under_numbers_of_their_own(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        ones = [a_lease(a_credential()) for _ in range(50)]
        await asyncio.gather(*(lease(store, one) for one in ones))
        found = await leases(store)
        assert {one.lease for one in found} == set(ones)
        assert [one.seq for one in found] == sorted({one.seq for one in found}, reverse=True)
        assert len(found) == len(await audit_trail()) == 50

    async def test_a_cancelled_lease_is_kept_with_its_record_or_not_at_all(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        """Requirement 40."""
        chance = random.Random(42)
        ones = [a_lease(a_credential(f"n{number}")) for number in range(120)]
        for start in range(0, len(ones), 8):
            tasks = [asyncio.create_task(lease(store, one)) for one in ones[start : start + 8]]
            for task in chance.sample(tasks, len(tasks)):
                await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001, 0.002]))
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await lease(store, last := a_lease(a_credential("last")))
        found = await leased(store)
        assert 1 < len(found) <= len(ones), "the cancellations must fall before some writes and after others"
        assert sorted(one.credential_id for one in found) == sorted(audit.target for audit in await audit_trail())
        assert found[0] == last

    async def test_a_lease_keeps_the_name_that_its_credential_had(self, store: Store) -> None:
        renamed, deleted = a_credential("before"), a_credential("deleted")
        await create(store, renamed, deleted)
        ones = [a_lease(renamed), a_lease(deleted)]
        await lease(store, *ones)
        assert await update(store, changed(renamed, name="after"))
        assert await store.delete_credential(deleted, an_audit(deleted, Action.DELETE))
        assert await leased(store) == ones[::-1]
        assert await leased(store, credential_id=deleted.id) == [ones[1]]

    # Lists

    async def test_the_newest_come_first_whatever_the_clock_said(self, store: Store) -> None:
        ones = [a_lease(a_credential(), NOW - timedelta(hours=number)) for number in range(3)]
        await lease(store, *ones)
        assert await leased(store) == ones[::-1]

    async def test_pages_follow_each_other_while_new_leases_come(self, store: Store) -> None:
        ones = [a_lease(a_credential()) for _ in range(7)]
        await lease(store, *ones)
        first = await leases(store, limit=3)
        await lease(store, a_lease(a_credential()))
        second = await leases(store, limit=3, before=first[-1].seq)
        third = await leases(store, limit=3, before=second[-1].seq)
        assert [one.lease for one in first + second + third] == ones[::-1]
        assert await leases(store, before=third[-1].seq) == []

    async def test_cursors_out_of_any_range_are_pages_too(self, store: Store) -> None:
        await lease(store, one := a_lease(a_credential()))
        assert await leased(store, before=10**30, limit=10**30) == [one]
        assert await leased(store, before=0) == await leased(store, before=-(10**30)) == []

    async def test_another_workspaces_leases_are_never_listed(self, store: Store) -> None:
        """Requirement 19."""
        mine, theirs = a_credential(scope=TEAM), a_credential(scope=Scope(ELSEWHERE.workspace, TEAM.teamspace))
        await lease(store, a_lease(mine), a_lease(theirs))
        for filters in ({}, {"teamspaces": frozenset({TEAM.teamspace})}, {"live_at": timestamp(NOW)}):
            assert [one.credential_id for one in await leased(store, "ws_other", **filters)] == [theirs.id]
            assert await leased(store, "ws_other", credential_id=mine.id, **filters) == []
            assert await leased(store, "ws_third", **filters) == []

    async def test_only_leases_of_the_given_teamspaces_are_listed(self, store: Store) -> None:
        ones = [a_lease(a_credential(scope=Scope("ws_default", name))) for name in ("", "a", "b", 'täam "x"')]
        await lease(store, *ones)
        assert await leased(store, teamspaces=frozenset()) == []
        assert await leased(store, teamspaces=frozenset({""})) == [ones[0]]
        assert await leased(store, teamspaces=frozenset({"b", 'täam "x"', "none"})) == [ones[3], ones[2]]
        many = frozenset(f"t{number}" for number in range(40_000)) | {"a"}
        assert await leased(store, teamspaces=many) == [ones[1]]

    async def test_a_lease_is_live_until_its_end(self, store: Store) -> None:
        ones = [a_lease(a_credential(), seconds=seconds) for seconds in (30, 10, 20)]
        await lease(store, *ones)
        for at, live in ((9, [20, 10, 30]), (10, [20, 30]), (20, [30]), (30, [])):
            found = await leased(store, live_at=timestamp(NOW + timedelta(seconds=at)))
            assert found == [
                a for a in ones[::-1] if a.expires_at in {timestamp(NOW + timedelta(seconds=s)) for s in live}
            ]

    async def test_filters_and_cursors_combine(self, store: Store) -> None:
        chance = random.Random(7)
        credentials = [a_credential(f"n{n}", scope) for n in range(2) for scope in (HERE, TEAM, ELSEWHERE)]
        ones = [a_lease(chance.choice(credentials), seconds=chance.choice([5, 500])) for _ in range(60)]
        await lease(store, *ones)
        numbers = {one.lease.id: one.seq for name in ("ws_default", "ws_other") for one in await leases(store, name)}

        def expected(teamspaces: frozenset[str] | None, id_: str | None, live: str | None, before: int) -> list[Lease]:
            return [
                one
                for one in ones[::-1]
                if one.workspace == "ws_default"
                and (teamspaces is None or one.teamspace in teamspaces)
                and id_ in (None, one.credential_id)
                and (live is None or one.expires_at > live)
                and numbers[one.id] < before
            ][:5]

        for teamspaces in (None, frozenset({""}), frozenset({"team-a"}), frozenset({"", "team-a"})):
            for id_ in (None, *(one.id for one in credentials)):
                for live in (None, timestamp(NOW + timedelta(minutes=1))):
                    for before in (10**6, numbers[ones[30].id]):
                        wanted = {"teamspaces": teamspaces, "credential_id": id_, "live_at": live, "before": before}
                        assert await leased(store, **wanted, limit=5) == expected(teamspaces, id_, live, before)

    # Callers who were revoked since

    async def test_a_lease_tells_whether_its_api_key_still_holds(self, store: Store) -> None:
        now = datetime.now(UTC)
        for one in (
            an_api_key("live"),
            an_api_key("lasting", expires_at=now + timedelta(days=1)),
            an_api_key("expired", expires_at=now),
            an_api_key("revoked", expires_at=now + timedelta(days=1)),
        ):
            await store.create_api_key(one, an_audit(action=Action.KEY_CREATE))
        names = ["live", "lasting", "expired", "revoked", "never there"]
        await lease(store, *(a_lease(a_credential(), caller_id=name, credential_name=name) for name in names))
        assert await revoked(store) == dict(zip(names, (False, False, True, False, True), strict=True))
        assert await store.revoke_api_key("revoked", an_audit(action=Action.KEY_REVOKE))
        assert await revoked(store) == dict(zip(names, (False, False, True, True, True), strict=True))

    async def test_a_lease_tells_whether_its_user_is_still_the_same(self, store: Store) -> None:
        ann = User("ann", "hash", "ws_default", Role.ADMIN, timestamp(NOW - timedelta(days=1)))
        one = a_lease(a_credential("of ann"), caller_kind="user", caller_id="ann")
        await store.create_user(ann, an_audit(action=Action.USER_CREATE))
        await lease(store, one)
        assert await revoked(store) == {"of ann": False}
        assert await store.delete_user("ann", an_audit(action=Action.USER_DELETE))
        assert await revoked(store) == {"of ann": True}
        again = ann._replace(created_at=timestamp(NOW + timedelta(days=1)))
        await store.create_user(again, an_audit(action=Action.USER_CREATE))
        assert await revoked(store) == {"of ann": True}, "this is another ann"
        later = NOW + timedelta(days=2)
        await lease(store, a_lease(a_credential("new"), later, caller_kind="user", caller_id="ann"))
        assert await revoked(store) == {"of ann": True, "new": False}

    async def test_of_other_callers_nobody_can_tell(self, store: Store) -> None:
        await store.create_api_key(an_api_key("same"), an_audit(action=Action.KEY_CREATE))
        others = set(PrincipalKind) - {PrincipalKind.API_KEY, PrincipalKind.USER}
        names = {kind.value for kind in others}
        ones = (a_lease(a_credential(name), caller_kind=name, caller_id="same") for name in names)
        await lease(store, *ones)
        assert await revoked(store) == dict.fromkeys(names)

    async def test_a_user_and_an_api_key_of_one_name_are_told_apart(self, store: Store) -> None:
        await store.create_api_key(an_api_key("same"), an_audit(action=Action.KEY_CREATE))
        await lease(store, a_lease(a_credential("key"), caller_id="same"))
        await lease(store, a_lease(a_credential("user"), caller_kind="user", caller_id="same"))
        assert await revoked(store) == {"key": False, "user": True}

    # Dropping

    async def test_leases_that_ended_long_ago_are_dropped_by_new_ones(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        old = [a_lease(a_credential(scope=ELSEWHERE), NOW - 3 * KEPT) for _ in range(50)]
        await lease(store, *old)
        assert await leased(store, "ws_other") == old[::-1], "none of them is long past at the time of another"
        new = [a_lease(a_credential()) for _ in range(50)]
        for one in new:
            before = await leased(store, "ws_other")
            await lease(store, one)
            after = await leased(store, "ws_other")
            assert len(after) < len(before) or not before, "whoever leases, some go, until none is left"
        assert await leased(store, "ws_other") == []
        assert await leased(store) == new[::-1]
        assert len(await audit_trail()) == 100, "the audit trail has them for good"

    async def test_a_lease_is_kept_for_its_days_after_its_end_and_no_longer(self, store: Store) -> None:
        moment = timedelta(microseconds=1)
        just, past = (a_lease(a_credential(), NOW - 2 * KEPT, expires_at=timestamp(end)) for end in (NOW, NOW - moment))
        await lease(store, past, just)
        await lease(store, new := a_lease(a_credential(), NOW + KEPT))
        assert await leased(store) == [new, just]
        await lease(store, newer := a_lease(a_credential(), NOW + KEPT + moment))
        assert await leased(store) == [newer, new]


async def revoked(store: Store) -> dict[str, bool | None]:
    """What the list says of each lease's caller, by the credential's name."""
    return {one.lease.credential_name: one.caller_revoked for one in await leases(store)}
