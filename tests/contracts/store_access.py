"""What every store does beside credentials."""

from datetime import timedelta

import pytest

from service.core.audit import Action
from service.core.errors import NameTaken
from service.core.model import Role, Sealed, User, timestamp
from service.core.store import Store
from tests.contracts.records import (
    NOW,
    TEAM,
    AuditTrail,
    a_credential,
    a_report,
    a_seal,
    an_api_key,
    an_audit,
    changed,
    create,
)


class AccessContract:
    """The audit trail, the canary, API keys and users."""

    # The audit trail

    async def test_a_write_is_recorded_with_who_did_what_from_where(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        one = a_credential(scope=TEAM)
        audits = [an_audit(one, action) for action in (Action.CREATE, Action.UPDATE, Action.VERIFY, Action.DELETE)]
        await store.create_credential(one, a_seal(), audits[0])
        new = changed(one)
        await store.update_credential(new, None, audits[1], expected_revision=1)
        await store.record_report(new, a_report(new), audits[2], watch=None)
        await store.delete_credential(new._replace(revision=3), audits[3])
        assert await audit_trail() == audits

    async def test_a_record_of_its_own_is_kept(self, store: Store, audit_trail: AuditTrail) -> None:
        audit = an_audit(action=Action.VERIFY, target="none")
        await store.append_audit(audit)
        assert await audit_trail() == [audit]

    # The canary, and the rest

    async def test_a_canary_is_kept_and_replaced(self, store: Store) -> None:
        assert await store.get_canary() is None
        await store.put_canary(Sealed("k1", b"\x00one"))
        await store.put_canary(Sealed("k2", b"\xfftwo"))
        assert await store.get_canary() == Sealed("k2", b"\xfftwo")
        assert not await store.holds_secrets()

    async def test_a_working_store_answers_a_ping(self, store: Store) -> None:
        await store.ping()
        await create(store, a_credential())
        await store.ping()

    # API keys and users

    async def test_api_keys_are_read_back_oldest_first(self, store: Store) -> None:
        ones = [
            an_api_key("b", created_at=timestamp(NOW), expires_at=NOW + timedelta(days=1)),
            an_api_key("a", created_at=timestamp(NOW + timedelta(seconds=1)), teamspaces=frozenset()),
            an_api_key("c", created_at=timestamp(NOW - timedelta(seconds=1)), teamspaces=frozenset({"t1", "täam"})),
        ]
        for one in ones:
            await store.create_api_key(one, an_audit(action=Action.KEY_CREATE, target=one.id))
        assert [await store.get_api_key(one.id) for one in ones] == ones
        assert [one.id for one in await store.list_api_keys()] == ["c", "b", "a"]
        assert await store.get_api_key("d") is None

    async def test_a_key_is_revoked_once_as_of_the_audit_records_time(
        self, store: Store, audit_trail: AuditTrail
    ) -> None:
        one = an_api_key("a", expires_at=NOW)
        await store.create_api_key(one, an_audit(action=Action.KEY_CREATE, target="a"))
        audit = an_audit(action=Action.KEY_REVOKE, target="a")
        assert await store.revoke_api_key("a", audit)
        assert await store.get_api_key("a") == one._replace(revoked_at=audit.at)
        assert not await store.revoke_api_key("a", an_audit(action=Action.KEY_REVOKE, target="a"))
        assert not await store.revoke_api_key("b", an_audit(action=Action.KEY_REVOKE, target="b"))
        assert await store.get_api_key("a") == one._replace(revoked_at=audit.at)
        assert [one.action for one in await audit_trail()] == [Action.KEY_CREATE, Action.KEY_REVOKE]

    async def test_users_are_created_listed_by_name_and_deleted(self, store: Store, audit_trail: AuditTrail) -> None:
        ones = [
            User(name, "$argon2id$", "ws_default", Role.VIEWER, timestamp(NOW))
            for name in ("b", "B", "\U0001f511", "\uff5e")
        ]
        for one in ones:
            await store.create_user(one, an_audit(action=Action.USER_CREATE, target=one.name))
        assert [await store.get_user(one.name) for one in ones] == ones
        assert [one.name for one in await store.list_users()] == ["B", "b", "\uff5e", "\U0001f511"]
        assert await store.delete_user("b", an_audit(action=Action.USER_DELETE, target="b"))
        assert not await store.delete_user("b", an_audit(action=Action.USER_DELETE, target="b"))
        assert await store.get_user("b") is None
        assert len(await audit_trail()) == 5

    async def test_user_names_are_unique_over_all_workspaces(self, store: Store, audit_trail: AuditTrail) -> None:
        one = User("ann", "hash", "ws_default", Role.ADMIN, timestamp(NOW))
        await store.create_user(one, an_audit(action=Action.USER_CREATE, target="ann"))
        with pytest.raises(NameTaken):
            await store.create_user(one._replace(workspace="ws_other"), an_audit(action=Action.USER_CREATE))
        assert await store.get_user("ann") == one
        assert len(await audit_trail()) == 1
