"""What every store does with lists that go on from a place, by family and name."""

import random
from itertools import product

import pytest

from service.core.audit import Action
from service.core.kept import Filters
from service.core.model import Credential, Family, Scope
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    TEAM,
    a_credential,
    a_report,
    an_audit,
    at,
    changed,
    create,
    report,
    update,
)

BOTH = (Family.ACCESS.value, Family.SHARED.value)
SHARED = Scope("ws_default", "", Family.SHARED.value)
ALL = Filters()


async def pages(
    store: Store, filters: Filters = ALL, scope: Scope = HERE, families: tuple[str, ...] = BOTH, limit: int = 3
) -> list[list[Credential]]:
    """All pages of a list, one after another."""
    found: list[list[Credential]] = []
    after = None
    while True:
        page, after = await store.scan_credentials(
            scope.workspace, scope.teamspace, families, filters, after=after, limit=limit
        )
        assert len(page) <= limit
        found.append(page)
        if after is None:
            return found


async def scanned(store: Store, filters: Filters = ALL, **more: object) -> list[str]:
    """The names of a whole list."""
    return [one.name for page in await pages(store, filters, **more) for one in page]


class ScanContract:
    """Lists with cursors, of both families and all filters."""

    async def test_the_teamspaces_of_a_workspace_are_those_that_have_credentials(self, store: Store) -> None:
        assert await store.list_teamspaces("ws_default") == []
        gone = a_credential("gone", Scope("ws_default", "was here"))
        names = ["", "9", "B", "a", "é"]
        scopes = [Scope("ws_default", name) for name in reversed(names)]
        await create(store, *(a_credential("one", scope) for scope in scopes), a_credential("shared", SHARED), gone)
        await create(store, a_credential("one", Scope("ws_other", "not here")))
        assert await store.delete_credential(gone, an_audit(gone, Action.DELETE))
        assert await store.list_teamspaces("ws_default") == names
        assert await store.list_teamspaces("ws_other") == ["not here"]

    async def test_a_list_is_by_family_and_code_point(self, store: Store) -> None:
        # UTF-16 would put the last before the one ahead of it; a locale would mix the first four.
        names = ["10", "9", "B", "a", "é", "\uff5e", "\U0001f511"]
        await create(store, *(a_credential(name, scope) for name in reversed(names) for scope in (SHARED, HERE)))
        for limit in (1, 3, 7, 14, 1000):
            assert await scanned(store, limit=limit) == names * 2
        assert await scanned(store, families=BOTH[1:]) == await scanned(store, families=BOTH[:1]) == names
        found = [(one.family, one.name) for page in await pages(store, families=BOTH[::-1]) for one in page]
        assert found == [(family, name) for family in BOTH[::-1] for name in names], "in the order that was asked for"

    async def test_credentials_are_listed_whole(self, store: Store) -> None:
        ones = [
            a_credential("a", status="failed", verification="{}", attempt='{"n":1}', expires_at=at(9)),
            a_credential("b", SHARED, provider="", type="text"),
        ]
        await create(store, *ones)
        assert [one for page in await pages(store) for one in page] == ones

    async def test_a_page_has_a_next_one_only_if_something_is_left(self, store: Store) -> None:
        await create(store, *(a_credential(f"n{number}", scope) for number in range(2) for scope in (HERE, SHARED)))
        for limit, lengths in ((1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (10**30, [4])):
            assert [len(page) for page in await pages(store, limit=limit)] == lengths
        assert await pages(store, families=()) == [[]]
        assert await pages(store, scope=ELSEWHERE) == [[]]

    async def test_other_scopes_are_never_listed(self, store: Store) -> None:
        """Requirement 19."""
        scopes = [HERE, TEAM, ELSEWHERE, Scope("ws_other", "team-a")]
        await create(store, *(a_credential(f"{scope.workspace} {scope.teamspace}", scope) for scope in scopes))
        filters = [ALL, Filters(provider="AWS"), Filters(type="key"), Filters(status="unknown")]
        for scope, wanted in product(scopes, filters):
            assert await scanned(store, wanted, scope=scope) == [f"{scope.workspace} {scope.teamspace}"]
        page, after = await store.scan_credentials("ws_other", "", BOTH, ALL, after=("access", "ws_default"), limit=9)
        assert [one.workspace for one in page] == ["ws_other"], "a place of another list is only a place"
        assert after is None

    async def test_a_list_goes_on_while_it_changes(self, store: Store) -> None:
        ones = {name: a_credential(name) for name in ("b", "d", "f", "h")}
        await create(store, *ones.values())
        page, after = await store.scan_credentials("ws_default", "", BOTH, ALL, after=None, limit=2)
        assert [one.name for one in page] == ["b", "d"]
        assert after == ("access", "d")
        await create(store, a_credential("c"), a_credential("e"))
        assert await store.delete_credential(ones["d"], an_audit(ones["d"], Action.DELETE))
        assert await update(store, changed(ones["h"], name="a"))
        page, after = await store.scan_credentials("ws_default", "", BOTH, ALL, after=after, limit=9)
        assert [one.name for one in page] == ["e", "f"]
        assert after is None

    @pytest.mark.parametrize("after", [("access", "zz"), ("shared", ""), ("shared", "a"), ("access", "")])
    async def test_a_place_need_not_be_anybodys(self, store: Store, after: tuple[str, str]) -> None:
        await create(store, a_credential("b"), a_credential("b", SHARED))
        page, _ = await store.scan_credentials("ws_default", "", BOTH, ALL, after=after, limit=9)
        assert [one.family for one in page] == [family for family in BOTH if (family, "b") > after]

    async def test_a_place_in_a_family_that_is_not_listed_is_the_end(self, store: Store) -> None:
        await create(store, a_credential("b"), a_credential("b", SHARED))
        for family in ("shared", "none", ""):
            found = await store.scan_credentials("ws_default", "", ("access",), ALL, after=(family, "a"), limit=9)
            assert found == ([], None)

    # Filters

    async def test_every_combination_of_filters_selects_what_fits_all_of_them(self, store: Store) -> None:
        chance = random.Random(5)
        ones = [
            a_credential(
                f"n{number:02}",
                chance.choice([HERE, HERE, SHARED]),
                provider=chance.choice(["AWS", "GCP"]),
                type=chance.choice(["key", "arn"]),
                status=chance.choice([None, "verified", "failed"]),
                expires_at=chance.choice([None, at(10), at(20)]),
            )
            for number in range(80)
        ]
        await create(store, *ones)
        ones.sort(key=lambda one: (one.family, one.name))
        for filters in map(
            Filters._make,
            product((None, "AWS"), (None, "arn"), (None, "unknown", "verified", "failed"), (None, at(10.001), at(10))),
        ):
            expected = [
                one.name
                for one in ones
                if filters.provider in (None, one.provider)
                and filters.type in (None, one.type)
                and filters.status in (None, one.status or "unknown")
                and (filters.expires_before is None or (one.expires_at or "9") < filters.expires_before)
            ]
            for limit in (4, 1000):
                assert await scanned(store, filters, limit=limit) == expected, filters

    async def test_a_filter_follows_what_becomes_of_a_credential(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        assert await scanned(store, Filters(status="unknown")) == ["one"]
        for outcome, found in (("failed", "failed"), ("unknown", "failed"), ("verified", "verified")):
            await report(store, one, a_report(one, outcome))
            for status in ("unknown", "failed", "verified"):
                assert await scanned(store, Filters(status=status)) == (["one"] if status == found else [])

    async def test_a_filter_that_nothing_fits_ends(self, store: Store) -> None:
        await create(store, *(a_credential(f"n{number}") for number in range(5)))
        for filters in (Filters("GCP"), Filters(status="odd"), Filters("AWS", "key", "failed", at(0))):
            assert await pages(store, filters, limit=2) == [[]]
