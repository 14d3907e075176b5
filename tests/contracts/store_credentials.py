"""What every store does with credentials."""

import pytest

from service.core.audit import Action
from service.core.errors import NameTaken
from service.core.model import Scope, Sealed
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    TEAM,
    AuditTrail,
    a_credential,
    a_seal,
    an_audit,
    changed,
    create,
    listed,
    update,
)


class CredentialsContract:
    """Credentials as they are written, read, listed and deleted."""

    # Credentials, one at a time

    async def test_what_was_created_is_read_back_exactly(self, store: Store) -> None:
        one = a_credential("näme ✓ \U0001f511", status="verified", verification='{"outcome":"verified"}')
        await store.create_credential(one, Sealed("k7", bytes(range(256))), an_audit(one))
        assert await store.get_credential(HERE, one.name) == one
        assert await store.get_sealed_credential(HERE, one.name) == (one, Sealed("k7", bytes(range(256))))

    async def test_an_absent_credential_is_none(self, store: Store) -> None:
        await create(store, a_credential("one"))
        assert await store.get_credential(HERE, "two") is None
        assert await store.get_sealed_credential(HERE, "two") is None

    async def test_names_are_told_apart_by_code_point(self, store: Store) -> None:
        names = ["Key", "key", "key ", "kéy", "ke\u0301y", "K\u212a"]
        await create(store, *(a_credential(name) for name in names))
        assert [(await store.get_credential(HERE, name)).name for name in names] == names

    async def test_other_scopes_neither_see_nor_block_a_name(self, store: Store) -> None:
        """Requirement 19."""
        await create(store, a_credential("same", HERE), a_credential("same", TEAM), a_credential("same", ELSEWHERE))
        assert await store.get_credential(Scope("ws_default", "team-b"), "same") is None
        assert await listed(store, ELSEWHERE) == (["same"], 1)

    async def test_a_taken_name_is_refused_on_create_and_nothing_changes(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        first = a_credential("one", provider_default=True)
        await create(store, first)
        with pytest.raises(NameTaken):
            await create(store, a_credential("one", provider_default=True))
        assert await store.get_credential(HERE, "one") == first
        assert await listed(store) == (["one"], 1)
        assert len(await audit_trail()) == 1

    async def test_a_taken_id_is_refused_wherever_it_is(self, store: Store, audit_trail: AuditTrail) -> None:
        first = a_credential("one")
        await create(store, first)
        for scope in (HERE, TEAM, ELSEWHERE):
            with pytest.raises(NameTaken):
                await create(store, a_credential("another", scope, id=first.id, provider_default=True))
            assert await store.get_credential(scope, "another") is None
        assert await store.get_sealed_credential(HERE, "one") == (first, a_seal("one"))
        assert len(await audit_trail()) == 1

    # Lists

    async def test_a_list_is_by_code_point(self, store: Store) -> None:
        # UTF-16 would put the last before the one ahead of it; a locale would mix the first four.
        names = ["10", "9", "B", "a", "é", "\uff5e", "\U0001f511"]
        await create(store, *(a_credential(name) for name in reversed(names)))
        assert await listed(store) == (names, 7)

    async def test_pages_cut_the_list_and_the_total_stays(self, store: Store) -> None:
        names = [f"n{number}" for number in range(5)]
        await create(store, *(a_credential(name) for name in names))
        assert await listed(store, limit=2) == (names[:2], 5)
        assert await listed(store, limit=2, offset=4) == (names[4:], 5)
        assert await listed(store, limit=2, offset=6) == ([], 5)
        assert await listed(store, limit=1000, offset=10**30) == ([], 5)

    async def test_filters_select_and_count(self, store: Store) -> None:
        await create(
            store,
            a_credential("a", provider="AWS", type="key"),
            a_credential("b", provider="AWS", type="arn"),
            a_credential("c", provider="AZURE", type="key"),
            a_credential("d", provider="AWS", type="key"),
            a_credential("e", TEAM, provider="AWS", type="key"),
        )
        assert await listed(store, provider="AWS") == (["a", "b", "d"], 3)
        assert await listed(store, type_="key") == (["a", "c", "d"], 3)
        assert await listed(store, provider="AWS", type_="key", limit=1, offset=1) == (["d"], 2)
        assert await listed(store, provider="GCP") == ([], 0)

    async def test_totals_follow_every_kind_of_change(self, store: Store) -> None:
        one, two = a_credential("one"), a_credential("two")
        await create(store, one, two)
        moved = changed(one, provider="GCP", type="token", version=2)
        assert await update(store, moved, a_seal("new"))
        assert await listed(store, provider="AWS", type_="key") == (["two"], 1)
        assert await listed(store, provider="GCP", type_="token") == (["one"], 1)
        assert await store.delete_credential(two, an_audit(two, Action.DELETE))
        assert await listed(store) == (["one"], 1)
        assert await listed(store, provider="AWS") == ([], 0)

    # Deletes

    async def test_a_deleted_credential_is_gone_with_its_envelope(self, store: Store) -> None:
        one = a_credential(provider_default=True)
        await create(store, one)
        assert await store.holds_secrets()
        assert await store.delete_credential(one, an_audit(one, Action.DELETE))
        assert await store.get_sealed_credential(HERE, "one") is None
        assert not await store.holds_secrets()
        assert not await store.delete_credential(one, an_audit(one, Action.DELETE))
        await create(store, a_credential(provider_default=True))

    async def test_a_stale_delete_removes_nothing(self, store: Store, audit_trail: AuditTrail) -> None:
        one = a_credential()
        await create(store, one)
        assert not await store.delete_credential(one._replace(revision=2), an_audit(one, Action.DELETE))
        assert await store.get_credential(HERE, "one") == one
        assert len(await audit_trail()) == 1
