"""What every store does for those who use credentials: finding one by its id, and a provider's default."""

import asyncio

from service.core.audit import Action
from service.core.model import Credential, Family, Scope
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    TEAM,
    a_credential,
    a_seal,
    an_audit,
    changed,
    create,
    update,
)

SHARED = Scope("ws_default", "", Family.SHARED.value)
FOREIGN_TEAM = Scope("ws_other", "team-a")


class UseContract:
    """Requirement 19 among them: an id of another workspace is no id at all."""

    # By id

    async def test_a_credential_is_found_by_its_id_wherever_in_its_workspace_it_is(self, store: Store) -> None:
        ones = [a_credential("same", scope) for scope in (HERE, TEAM, Scope("ws_default", "team-b"), SHARED)]
        for number, one in enumerate(ones):
            await store.create_credential(one, a_seal(f"envelope {number}"), an_audit(one))
        found = [await store.find_credential("ws_default", one.id) for one in ones]
        assert found == [(one, a_seal(f"envelope {number}")) for number, one in enumerate(ones)]

    async def test_an_id_is_found_in_no_other_workspace(self, store: Store) -> None:
        """Requirement 19."""
        ones = [a_credential("same", scope) for scope in (HERE, TEAM, ELSEWHERE, FOREIGN_TEAM)]
        await create(store, *ones)
        for one in ones:
            for workspace in ("ws_default", "ws_other", "ws_", ""):
                found = await store.find_credential(workspace, one.id)
                assert (found is not None) is (workspace == one.workspace)

    async def test_only_a_whole_id_finds_something(self, store: Store) -> None:
        one = a_credential(id="0b7e6a30-5d5f-4f5b-9d06-6a8f1f0a9c11")
        await create(store, one)
        for wrong in ("", one.name, one.id[:-1], one.id.upper(), one.id + " ", "%", "x" * 100_000):
            assert await store.find_credential("ws_default", wrong) is None

    async def test_a_changed_credential_is_found_as_it_is_now(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = changed(one, name="renamed", version=2)
        assert await update(store, new, a_seal("new"))
        assert await store.find_credential("ws_default", one.id) == (new, a_seal("new"))

    async def test_a_deleted_credential_is_not_found_and_its_namesake_is_another(self, store: Store) -> None:
        one, namesake = a_credential(), a_credential()
        await create(store, one)
        assert await store.delete_credential(one, an_audit(one, Action.DELETE))
        await create(store, namesake)
        assert await store.find_credential("ws_default", one.id) is None
        assert await store.find_credential("ws_default", namesake.id) == (namesake, a_seal("one"))

    async def test_a_credential_is_found_with_the_envelope_of_the_same_version(self, store: Store) -> None:
        """Ciphertext is bound to its version: one of another version would not open."""
        one = a_credential()
        await create(store, one)
        versions = set()

        async def write() -> None:
            before = one
            for version in range(2, 42):
                before = changed(before, version=version)
                assert await update(store, before, a_seal(f"version {version}"))
            assert await store.delete_credential(before, an_audit(one, Action.DELETE))

        writing = asyncio.create_task(write())
        while (found := await store.find_credential("ws_default", one.id)) is not None:
            credential, sealed = found
            assert sealed == a_seal("one" if credential.version == 1 else f"version {credential.version}")
            versions.add(credential.version)
        await writing
        assert len(versions) > 2, "the reads must have fallen between the writes"

    # The default

    async def test_every_provider_and_every_scope_answers_with_its_own_default(self, store: Store) -> None:
        ones = [
            a_credential("aws", HERE, provider_default=True),
            a_credential("gcp", HERE, provider="GCP", provider_default=True),
            a_credential("aws", TEAM, provider_default=True),
            a_credential("aws", ELSEWHERE, provider_default=True),
            a_credential("aws", FOREIGN_TEAM, provider_default=True),
        ]
        await create(store, *ones, *(a_credential(f"other {number}") for number in range(3)))
        assert [await store.get_default(one.scope, one.provider) for one in ones] == ones

    async def test_a_scope_without_a_default_borrows_none(self, store: Store) -> None:
        """Falling back from a teamspace to its workspace is the core's to decide."""
        await create(
            store,
            a_credential("aws", HERE, provider_default=True),
            a_credential("gcp", HERE, provider="GCP"),
            a_credential("aws", TEAM),
            a_credential("aws", FOREIGN_TEAM, provider_default=True),
        )
        assert await store.get_default(TEAM, "AWS") is None
        assert await store.get_default(HERE, "GCP") is None
        assert await store.get_default(HERE, "AZURE") is None
        assert await store.get_default(ELSEWHERE, "AWS") is None
        assert await store.get_default(SHARED, "AWS") is None

    async def test_a_default_that_is_deleted_or_gives_up_its_flag_leaves_none(self, store: Store) -> None:
        deleted, demoted = a_credential("one", provider_default=True), a_credential("one", TEAM, provider_default=True)
        await create(store, deleted, demoted, a_credential("two"), a_credential("two", TEAM))
        assert await store.delete_credential(deleted, an_audit(deleted, Action.DELETE))
        assert await update(store, changed(demoted, provider_default=False))
        assert await store.get_default(HERE, "AWS") is None
        assert await store.get_default(TEAM, "AWS") is None

    async def test_while_the_flag_moves_there_is_always_one_default(self, store: Store) -> None:
        ones = [a_credential(f"n{number}", provider_default=number == 3) for number in range(4)]
        await create(store, *ones)

        async def current(one: Credential) -> Credential:
            found = await store.get_credential(HERE, one.name)
            assert found is not None
            return found

        async def write() -> None:
            for number in range(40):
                one = await current(ones[number % 4])
                assert await update(store, changed(one, provider_default=True))

        writing, seen = asyncio.create_task(write()), set()
        while not writing.done():
            found = await store.get_default(HERE, "AWS")
            assert found is not None
            assert found.provider_default
            seen.add(found.id)
        await writing
        assert len(seen) == 4
