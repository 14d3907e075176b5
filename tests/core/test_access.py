"""Making, listing and revoking API keys and users, on the real store."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.auth.passwords import hash_password
from service.core import key_format
from service.core.access import Access
from service.core.errors import Invalid, NameTaken, NotAllowed
from service.core.model import Caller, Principal, PrincipalKind, Role
from service.storage.sqlite import SqliteStore, open_sqlite

PASSWORD = "canary-correct-horse"
OPERATOR = Caller(Principal(PrincipalKind.OPERATOR, "operator", "operator", "ws_default", Role.ADMIN))


def admin(workspace: str = "ws_default", teamspaces: frozenset[str] | None = None) -> Caller:
    return Caller(Principal(PrincipalKind.API_KEY, "k", "k", workspace, Role.ADMIN, teamspaces))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    one = await open_sqlite(tmp_path / "vouch.db")
    yield one
    await one.close()


@pytest.fixture
def access(store: SqliteStore) -> Access:
    return Access(store, hash_password)


def files_with(folder: Path, secret: bytes) -> list[str]:
    """The files of the store, its write-ahead log included, that have the secret in clear."""
    files = list(folder.iterdir())
    assert len(files) >= 2
    return [file.name for file in files if secret in file.read_bytes()]


def audited(tmp_path: Path) -> list[tuple[str, str, str]]:
    with sqlite3.connect(tmp_path / "vouch.db") as db:
        found = db.execute("SELECT action, target, workspace FROM audit ORDER BY rowid").fetchall()
    db.close()
    return found


async def test_a_key_is_stored_as_a_hash_and_its_text_given_once(
    access: Access, store: SqliteStore, tmp_path: Path
) -> None:
    """Requirements 15 and 30."""
    key, text = await access.create_api_key(OPERATOR, name="etl", role="editor", workspace="ws_default")
    assert await store.get_api_key(key.id) == key
    assert key_format.parse(text) == (key.id, key.secret_hash)
    assert (key.role, key.teamspaces, key.expires_at) == (Role.EDITOR, None, None)
    secret = text.rpartition("_")[2].encode()
    assert not files_with(tmp_path, secret)


async def test_a_key_keeps_its_teamspaces_and_its_expiry(access: Access, store: SqliteStore) -> None:
    before = datetime.now(UTC)
    key, _ = await access.create_api_key(
        OPERATOR,
        name="etl",
        role="viewer",
        workspace="ws_a",
        teamspaces=["b", "a", "a"],
        expires_in=timedelta(days=7),
    )
    kept = await store.get_api_key(key.id)
    assert kept is not None
    assert kept.teamspaces == frozenset({"a", "b"})
    assert kept.expires_at is not None
    assert timedelta(0) <= kept.expires_at - before - timedelta(days=7) < timedelta(seconds=5)


@pytest.mark.parametrize("teamspaces", [None, [], ()])
async def test_no_teamspaces_means_all_of_them(access: Access, teamspaces: list[str] | None) -> None:
    key, _ = await access.create_api_key(
        OPERATOR, name="etl", role="viewer", workspace="ws_default", teamspaces=teamspaces
    )
    assert key.teamspaces is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 256),
        ("name", "a\nb"),
        ("name", "a\x85b"),
        ("name", "a\udce9"),
        ("role", "owner"),
        ("role", "root"),
        ("role", ""),
        ("role", "Admin"),
        ("workspace", ""),
        ("workspace", "default"),
        ("workspace", "ws_"),
        ("workspace", "ws_Default"),
        ("workspace", "ws_a/b"),
        ("workspace", "ws_" + "a" * 62),
        ("workspace", "ws_a\n"),
        ("workspace", "ws_é"),
        ("teamspaces", [""]),
        ("teamspaces", ["ok", "x" * 256]),
        ("teamspaces", ["a\0b"]),
        ("expires_in", timedelta(0)),
        ("expires_in", timedelta(days=-1)),
        ("expires_in", timedelta(days=100_000)),
        ("expires_in", timedelta.max),
    ],
)
async def test_a_bad_value_is_refused_by_name_and_nothing_is_written(
    access: Access, store: SqliteStore, field: str, value: object
) -> None:
    good = {"name": "etl", "role": "viewer", "workspace": "ws_default"}
    with pytest.raises(Invalid) as caught:
        await access.create_api_key(OPERATOR, **(good | {field: value}))
    assert list(caught.value.fields) == [field]
    assert caught.value.fields[field].endswith(".")
    assert await store.list_api_keys() == []


async def test_every_bad_value_is_told_at_once(access: Access) -> None:
    with pytest.raises(Invalid) as caught:
        await access.create_user(OPERATOR, name="", password="short", role="x", workspace="y")
    assert set(caught.value.fields) == {"name", "password", "role", "workspace"}


async def test_a_key_is_revoked_once(access: Access, store: SqliteStore) -> None:
    """Requirement 23."""
    key, _ = await access.create_api_key(OPERATOR, name="etl", role="viewer", workspace="ws_default")
    assert await access.revoke_api_key(OPERATOR, key.id) is True
    revoked = await store.get_api_key(key.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert await access.revoke_api_key(OPERATOR, key.id) is False
    assert await access.revoke_api_key(OPERATOR, "nosuchkey") is False


async def test_every_write_is_audited_where_it_happened(access: Access, tmp_path: Path) -> None:
    key, _ = await access.create_api_key(OPERATOR, name="etl", role="viewer", workspace="ws_a")
    await access.revoke_api_key(OPERATOR, key.id)
    await access.revoke_api_key(OPERATOR, key.id)
    await access.create_user(OPERATOR, name="ada", password=PASSWORD, role="viewer", workspace="ws_b")
    await access.delete_user(OPERATOR, "ada")
    await access.delete_user(OPERATOR, "ada")
    assert audited(tmp_path) == [
        ("api_key.create", key.id, "ws_a"),
        ("api_key.revoke", key.id, "ws_a"),
        ("user.create", "ada", "ws_b"),
        ("user.delete", "ada", "ws_b"),
    ]


async def test_a_password_is_stored_as_argon2id_of_at_least_19_mib_and_two_passes(
    access: Access, store: SqliteStore, tmp_path: Path
) -> None:
    """Requirement 16."""
    await access.create_user(OPERATOR, name="ada", password=PASSWORD, role="editor", workspace="ws_default")
    user = await store.get_user("ada")
    assert user is not None
    assert user.role is Role.EDITOR
    kind, version, cost = user.password_hash.split("$")[1:4]
    costs = dict(part.split("=") for part in cost.split(","))
    assert (kind, version) == ("argon2id", "v=19")
    assert int(costs["m"]) >= 19 * 1024
    assert int(costs["t"]) >= 2
    assert not files_with(tmp_path, PASSWORD.encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a:b"),
        ("name", "a\tb"),
        ("password", "1234567"),
        ("password", "x" * 1025),
        ("password", "long enough\0"),
        ("password", "long enough\udce9"),
        # Seven characters once composed, though eight as typed.
        ("password", "e\u0301234567"),
    ],
)
async def test_a_user_that_could_not_sign_in_is_refused(
    access: Access, store: SqliteStore, field: str, value: str
) -> None:
    good = {"name": "ada", "password": PASSWORD, "role": "viewer", "workspace": "ws_default"}
    with pytest.raises(Invalid) as caught:
        await access.create_user(OPERATOR, **(good | {field: value}))
    assert list(caught.value.fields) == [field]
    assert value not in str(caught.value.fields)
    assert await store.list_users() == []


async def test_a_user_name_is_kept_in_normal_form_and_found_in_either(access: Access, store: SqliteStore) -> None:
    user = await access.create_user(
        OPERATOR, name="Zoe\u0308", password=PASSWORD, role="viewer", workspace="ws_default"
    )
    assert user.name == "Zo\u00eb"
    with pytest.raises(NameTaken):
        await access.create_user(OPERATOR, name="Zo\u00eb", password=PASSWORD, role="viewer", workspace="ws_default")
    assert await access.delete_user(OPERATOR, "Zoe\u0308") is True
    assert await store.list_users() == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.VERIFIER, Role.EDITOR])
async def test_who_is_no_admin_may_not_even_list(access: Access, role: Role) -> None:
    """Requirement 20."""
    caller = Caller(Principal(PrincipalKind.API_KEY, "k", "k", "ws_default", role))
    attempts = [
        access.create_api_key(caller, name="n", role="viewer", workspace="ws_default"),
        access.create_user(caller, name="n", password=PASSWORD, role="viewer", workspace="ws_default"),
        access.list_api_keys(caller),
        access.list_users(caller),
        access.revoke_api_key(caller, "k"),
        access.delete_user(caller, "n"),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            await attempt


async def test_an_admin_who_is_limited_to_teamspaces_administers_nothing(access: Access) -> None:
    """Requirement 20."""
    with pytest.raises(NotAllowed):
        await access.list_api_keys(admin(teamspaces=frozenset({"a"})))


async def test_an_admin_sees_and_reaches_the_own_workspace_alone(access: Access, store: SqliteStore) -> None:
    """Requirement 19: another workspace's key looks like none."""
    ours, _ = await access.create_api_key(admin("ws_a"), name="n", role="viewer", workspace="ws_a")
    theirs, _ = await access.create_api_key(OPERATOR, name="n", role="viewer", workspace="ws_b")
    await access.create_user(OPERATOR, name="ada", password=PASSWORD, role="viewer", workspace="ws_b")
    assert await access.list_api_keys(admin("ws_a")) == [ours]
    assert await access.list_api_keys(OPERATOR) == [ours, theirs]
    assert await access.list_users(admin("ws_a")) == []
    assert [user.name for user in await access.list_users(admin("ws_b"))] == ["ada"]
    assert await access.revoke_api_key(admin("ws_a"), theirs.id) is False
    assert await access.delete_user(admin("ws_a"), "ada") is False
    with pytest.raises(NotAllowed):
        await access.create_api_key(admin("ws_a"), name="n", role="viewer", workspace="ws_b")
    assert await store.get_api_key(theirs.id) == theirs


async def test_a_brought_admin_key_is_adopted_once_and_stays_revoked(access: Access, store: SqliteStore) -> None:
    text = key_format.make().text
    first = await access.adopt_admin_key(OPERATOR, text, name="bootstrap", workspace="ws_default")
    assert first.role is Role.ADMIN
    assert await access.adopt_admin_key(OPERATOR, text, name="bootstrap", workspace="ws_default") == first
    await access.revoke_api_key(OPERATOR, first.id)
    again = await access.adopt_admin_key(OPERATOR, text, name="bootstrap", workspace="ws_default")
    assert again.revoked_at is not None
    assert len(await store.list_api_keys()) == 1


async def test_a_brought_key_with_a_known_id_and_another_secret_is_refused(access: Access) -> None:
    await access.adopt_admin_key(OPERATOR, "vouch_boot_" + "a" * 40, name="b", workspace="ws_default")
    with pytest.raises(Invalid):
        await access.adopt_admin_key(OPERATOR, "vouch_boot_" + "b" * 40, name="b", workspace="ws_default")
    with pytest.raises(Invalid):
        await access.adopt_admin_key(OPERATOR, "hunter2", name="b", workspace="ws_default")
