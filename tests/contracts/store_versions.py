"""What every store does with payloads that were rotated away, and with its service's own secrets."""

import asyncio

import pytest

from service.core.audit import Action
from service.core.errors import NameTaken
from service.core.kept import KeptVersion
from service.core.model import Credential, Sealed
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    TEAM,
    a_credential,
    a_report,
    a_seal,
    an_audit,
    at,
    changed,
    create,
    report,
    rotated,
    update,
)


def kept_of(one: Credential, replaced_at: str) -> KeptVersion:
    """What is kept of a payload that a credential had."""
    made_at = one.payload_changed_at
    return KeptVersion(one.version, one.provider, one.type, one.public, one.status, made_at, replaced_at)


async def rotate(store: Store, one: Credential, keep: int | None, times: int = 1) -> Credential:
    """Give a credential other payloads, one after another; what it is then."""
    for _ in range(times):
        one = rotated(one)
        assert await update(store, one, a_seal(f"{one.name} {one.version}"), keep)
    return one


async def numbers(store: Store, one: Credential) -> list[int]:
    """The versions that are kept of a credential."""
    return [kept.version for kept in await store.list_versions(one.workspace, one.id)]


class VersionsContract:
    """Kept versions: sealed, bounded, and gone with their credential."""

    async def test_the_replaced_payload_is_kept_exactly_as_it_was(self, store: Store) -> None:
        one = a_credential("näme", TEAM, status="verified", payload_changed_at=at(-5), public='{"näme":"✓"}')
        await store.create_credential(one, Sealed("k7", bytes(range(256))), an_audit(one))
        new = rotated(one, provider="GCP", type="token", public="{}", payload_changed_at=at(99))
        assert await update(store, new, Sealed("k8", b"new"), 3)
        assert await store.get_sealed_credential(TEAM, "näme") == (new, Sealed("k8", b"new"))
        kept = kept_of(one, at(99))
        assert await store.list_versions("ws_default", one.id) == [kept]
        assert await store.get_sealed_version("ws_default", one.id, 1) == (kept, Sealed("k7", bytes(range(256))))
        assert await store.get_sealed_version("ws_default", one.id, 2) is None, "the payload it has is not kept beside"

    async def test_a_kept_payload_has_the_last_status_that_it_had(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        await report(store, one, a_report(one, "failed"))
        await report(store, one, a_report(one, "unknown"))
        new = rotated(one, revision=4)
        assert await update(store, new, a_seal("new"), 1)
        (kept,) = await store.list_versions("ws_default", one.id)
        assert kept == kept_of(one, new.payload_changed_at)._replace(status="failed")

    async def test_the_newest_stay_newest_first(self, store: Store) -> None:
        one, other = a_credential("one"), a_credential("other")
        await create(store, one, other)
        await rotate(store, other, 5, times=2)
        new = await rotate(store, one, 3, times=6)
        assert await numbers(store, one) == [6, 5, 4]
        for version in range(1, 8):
            found = await store.get_sealed_version("ws_default", one.id, version)
            assert (found is not None) is (version in (4, 5, 6))
            assert found is None or found[1] == a_seal(f"one {version}")
        await rotate(store, new, 2)
        assert await numbers(store, one) == [7, 6]
        assert await numbers(store, other) == [2, 1]

    async def test_none_may_be_kept(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = await rotate(store, one, 2, times=2)
        assert await numbers(store, one) == [2, 1]
        await rotate(store, new, 0)
        assert await numbers(store, one) == []

    async def test_a_change_that_is_no_rotation_keeps_none_and_touches_none(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = await rotate(store, one, 2, times=2)
        new = await rotate(store, new, None)
        assert await update(store, changed(new, name="renamed"))
        assert await numbers(store, one) == [2, 1], "not the third: nobody asked to keep it"

    async def test_an_update_without_an_envelope_replaces_no_payload(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = await rotate(store, one, 2)
        assert await update(store, changed(new, name="renamed"), None, 0)
        assert await numbers(store, one) == [1]

    async def test_a_refused_update_keeps_no_version(self, store: Store) -> None:
        one, two = a_credential("one"), a_credential("two")
        await create(store, one, two)
        assert not await update(store, rotated(one, revision=9), a_seal("new"), 3)
        with pytest.raises(NameTaken):
            await update(store, rotated(one, name="two"), a_seal("new"), 3)
        assert await numbers(store, one) == []
        assert await store.get_sealed_credential(HERE, "one") == (one, a_seal("one"))

    async def test_of_many_rotations_at_once_one_is_done_and_keeps_what_it_replaced(
        self, store: Store, replica: Store
    ) -> None:
        one = a_credential()
        await create(store, one)
        done = await asyncio.gather(
            *(update(each, rotated(one), a_seal(str(n)), 5) for n, each in enumerate([store, replica] * 10))
        )
        assert done.count(True) == 1
        assert await store.get_sealed_credential(HERE, "one") == (rotated(one), a_seal(str(done.index(True))))
        assert await numbers(store, one) == [1]
        found = await store.get_sealed_version("ws_default", one.id, 1)
        assert found is not None
        assert found[1] == a_seal("one")

    async def test_another_workspaces_versions_are_none(self, store: Store) -> None:
        """Requirement 19."""
        mine, theirs = a_credential("same"), a_credential("same", ELSEWHERE)
        await create(store, mine, theirs)
        for one in (mine, theirs):
            await rotate(store, one, 3)
        for workspace in ("ws_default", "ws_other", "ws_third", ""):
            for one in (mine, theirs):
                own = workspace == one.workspace
                assert bool(await store.list_versions(workspace, one.id)) is own
                assert (await store.get_sealed_version(workspace, one.id, 1) is not None) is own

    @pytest.mark.parametrize("version", [0, -1, 10**30, -(10**30)])
    async def test_a_version_that_never_was_is_none(self, store: Store, version: int) -> None:
        one = a_credential()
        await create(store, one)
        await rotate(store, one, 3)
        assert await store.get_sealed_version("ws_default", one.id, version) is None

    async def test_a_deleted_credentials_versions_are_gone(self, store: Store) -> None:
        """A deleted secret is nowhere in the store any more."""
        one = a_credential()
        await create(store, one)
        new = await rotate(store, one, 3, times=2)
        assert await store.delete_credential(new, an_audit(one, Action.DELETE))
        assert await numbers(store, one) == []
        assert await store.get_sealed_version("ws_default", one.id, 1) is None
        assert not await store.holds_secrets()

    # The service's own

    async def test_a_secret_of_the_service_is_kept_once(self, store: Store) -> None:
        assert await store.get_secret("webhooks") is None
        assert not await store.holds_secrets()
        assert await store.add_secret("webhooks", Sealed("k7", bytes(range(256))))
        assert not await store.add_secret("webhooks", a_seal("another"))
        assert await store.add_secret("external-ids", a_seal())
        assert await store.get_secret("webhooks") == Sealed("k7", bytes(range(256)))
        assert await store.get_secret("Webhooks") is None
        assert await store.holds_secrets()

    async def test_of_many_who_add_a_secret_at_once_all_have_the_same(self, store: Store, replica: Store) -> None:
        each = [store, replica] * 10
        added = await asyncio.gather(*(one.add_secret("s", a_seal(str(n))) for n, one in enumerate(each)))
        assert added.count(True) == 1
        assert {await one.get_secret("s") for one in each} == {a_seal(str(added.index(True)))}
