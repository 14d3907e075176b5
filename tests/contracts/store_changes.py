"""What every store does when a record changes, many at once too."""

import asyncio
from datetime import timedelta

import pytest

from service.core.errors import NameTaken
from service.core.model import timestamp
from service.core.store import Store
from tests.contracts.records import (
    ELSEWHERE,
    HERE,
    NOW,
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


class ChangesContract:
    """Updates and defaults: one of many wins, and the rest is as it was."""

    # Updates

    async def test_an_update_replaces_the_record_and_keeps_the_envelope(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = changed(one, name="two", allowed_in_tasks=False, public="{}", status="failed", verification="{}")
        assert await update(store, new)
        assert await store.get_sealed_credential(HERE, "two") == (new, a_seal("one"))
        assert await store.get_credential(HERE, "one") is None

    async def test_an_update_with_an_envelope_replaces_it(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        new = changed(one, version=2)
        assert await update(store, new, a_seal("new"))
        assert await store.get_sealed_credential(HERE, "one") == (new, a_seal("new"))

    async def test_a_stale_update_changes_nothing(self, store: Store, audit_trail: AuditTrail) -> None:
        """Requirement 39."""
        one = a_credential()
        await create(store, one)
        new = changed(one, name="two")
        assert not await store.update_credential(new, a_seal("new"), an_audit(one), expected_revision=7)
        assert await store.get_sealed_credential(HERE, "one") == (one, a_seal("one"))
        assert len(await audit_trail()) == 1

    async def test_a_record_that_is_gone_is_not_updated(self, store: Store) -> None:
        assert not await update(store, changed(a_credential()))
        assert await listed(store) == ([], 0)

    async def test_an_update_reaches_no_other_scope(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        assert not await update(store, changed(one)._replace(workspace="ws_other"))
        assert not await store.delete_credential(one._replace(teamspace="team-a"), an_audit(one))
        assert await store.get_credential(HERE, "one") == one

    async def test_a_rename_to_a_taken_name_is_refused_and_rolled_back(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        one, two = a_credential("one", provider_default=True), a_credential("two")
        await create(store, one, two)
        with pytest.raises(NameTaken):
            await update(store, changed(two, name="one", provider_default=True, type="arn"), a_seal("new"))
        assert await store.get_credential(HERE, "one") == one
        assert await store.get_sealed_credential(HERE, "two") == (two, a_seal("two"))
        assert await listed(store, type_="key") == (["one", "two"], 2)
        assert len(await audit_trail()) == 2

    async def test_of_fifty_updates_of_one_revision_exactly_one_is_done(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        """Requirement 39."""
        one = a_credential()
        await create(store, one)
        done = await asyncio.gather(*(update(store, changed(one, public=f'{{"n":{n}}}')) for n in range(50)))
        assert done.count(True) == 1
        found = await store.get_credential(HERE, "one")
        assert found is not None
        assert (found.revision, found.public) == (2, f'{{"n":{done.index(True)}}}')
        assert len(await audit_trail()) == 2

    async def test_of_fifty_creates_of_one_name_exactly_one_is_done(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        ended = await asyncio.gather(*(create(store, a_credential()) for _ in range(50)), return_exceptions=True)
        assert ended.count(None) == 1
        assert sum(isinstance(one, NameTaken) for one in ended) == 49
        assert await listed(store) == (["one"], 1)
        assert len(await audit_trail()) == 1

    # Defaults

    async def test_a_new_default_takes_the_flag_from_the_previous_one(self, store: Store) -> None:
        one = a_credential("one", provider_default=True)
        two = a_credential("two", provider_default=True, updated_at=timestamp(NOW + timedelta(hours=1)))
        await create(store, one, two)
        assert await store.get_credential(HERE, "two") == two
        assert await store.get_credential(HERE, "one") == one._replace(
            provider_default=False, revision=2, updated_at=two.updated_at
        )

    async def test_becoming_the_default_takes_the_flag_from_the_previous_one(self, store: Store) -> None:
        one, two = a_credential("one", provider_default=True), a_credential("two")
        await create(store, one, two)
        new = changed(two, provider_default=True)
        assert await update(store, new)
        assert await store.get_credential(HERE, "two") == new
        previous = await store.get_credential(HERE, "one")
        assert previous == one._replace(provider_default=False, revision=2, updated_at=new.updated_at)

    async def test_a_default_stays_the_default_when_it_is_updated(self, store: Store) -> None:
        one = a_credential(provider_default=True)
        await create(store, one)
        new = changed(one, public="{}")
        assert await update(store, new)
        assert await store.get_credential(HERE, "one") == new

    async def test_every_provider_and_every_scope_has_a_default_of_its_own(self, store: Store) -> None:
        ones = [
            a_credential("aws", HERE, provider_default=True),
            a_credential("gcp", HERE, provider="GCP", provider_default=True),
            a_credential("aws", TEAM, provider_default=True),
            a_credential("aws", ELSEWHERE, provider_default=True),
        ]
        await create(store, *ones)
        assert [await store.get_credential(one.scope, one.name) for one in ones] == ones

    async def test_changing_the_provider_of_a_default_takes_the_other_providers_flag(self, store: Store) -> None:
        aws = a_credential("aws", provider_default=True)
        gcp = a_credential("gcp", provider="GCP", provider_default=True)
        await create(store, aws, gcp)
        assert await update(store, changed(aws, provider="GCP", version=2), a_seal("new"))
        found = [await store.get_credential(HERE, name) for name in ("aws", "gcp")]
        assert [(one.provider, one.provider_default) for one in found] == [("GCP", True), ("GCP", False)]

    async def test_fifty_concurrent_defaults_leave_one(self, store: Store) -> None:
        ones = [a_credential(f"n{number:02}", provider_default=number % 2 == 0) for number in range(50)]
        await asyncio.gather(*(create(store, one) for one in ones))
        page, _ = await store.list_credentials(HERE, provider=None, type_=None, offset=0, limit=100)
        await asyncio.gather(*(update(store, changed(one, provider_default=True)) for one in page))
        page, total = await store.list_credentials(HERE, provider=None, type_=None, offset=0, limit=100)
        assert total == 50
        assert sum(one.provider_default for one in page) == 1
