"""The core service of shared files, over the embedded store and real envelopes."""

import base64
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.core.audit import Action, AuditRecord
from service.core.credentials import Credentials, Draft
from service.core.envelope import Envelope
from service.core.errors import Invalid, NameTaken, NoSuchCredential, NotAllowed, StoreUnavailable
from service.core.model import Caller, Family, Permission, Principal, PrincipalKind, Role, Scope
from service.core.records import Records
from service.core.shared import FileType, Listed, SharedCredentials, SharedFile
from service.keyrings.file import FileKeyRing
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.api.payloads import CANARY, KINDS
from tests.contracts.records import a_report, report
from tests.core.silence import SILENT
from tests.storage.files import content
from verifiers import aws_key
from verifiers.registry import load_registry

SHARED = Scope("ws_default", "", Family.SHARED.value)
TEXT = SharedFile("one", FileType.TEXT, f"{CANARY} 🔑\r\n".encode())
BINARY = SharedFile("one", FileType.BINARY, bytes(range(256)) * 4)


class NoTrail:
    """A store that can do everything but append to the audit trail."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.refused: list[AuditRecord] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append_audit(self, audit: AuditRecord) -> None:
        self.refused.append(audit)
        raise StoreUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vouch.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(path)
    yield store
    await store.close()


@pytest.fixture
def envelope() -> Envelope:
    return Envelope(FileKeyRing("k1", {"k1": os.urandom(32)}))


@pytest.fixture
def shared(store: SqliteStore, envelope: Envelope) -> SharedCredentials:
    return SharedCredentials(Records(store, envelope, SILENT))


def caller(role: Role = Role.ADMIN, workspace: str = "ws_default", teamspaces: frozenset[str] | None = None) -> Caller:
    return Caller(Principal(PrincipalKind.USER, "ada", "ada", workspace, role, teamspaces), "request-1", "127.0.0.1")


def audited(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT action, family, actor_name, outcome FROM audit ORDER BY seq").fetchall()


OPERATIONS: dict[str, tuple[Permission, Callable[[SharedCredentials, Caller], Awaitable[object]]]] = {
    "list": (Permission.READ, lambda shared, who: shared.list(who)),
    "open": (Permission.VERIFY, lambda shared, who: shared.open(who, "one")),
    "create": (Permission.WRITE, lambda shared, who: shared.create(who, SharedFile("new", FileType.TEXT, b"x"))),
    "reveal": (Permission.REVEAL, lambda shared, who: shared.reveal(who, "one")),
    "replace": (Permission.WRITE, lambda shared, who: shared.replace(who, BINARY)),
    "delete": (Permission.WRITE, lambda shared, who: shared.delete(who, "one")),
}


# Contents


@pytest.mark.parametrize("given", [b"", b"\x00", b"\xef\xbb\xbf\r\n\r", bytes(range(256)), os.urandom(300_000)])
async def test_what_is_stored_comes_back_byte_by_byte(shared: SharedCredentials, given: bytes) -> None:
    file = SharedFile("one", FileType.BINARY, given)
    await shared.create(caller(), file)
    assert await shared.reveal(caller(), "one") == file
    record, opened = await shared.open(caller(), "one")
    assert (record.provider, record.type, opened) == ("", "binary", given)


async def test_another_content_may_be_of_another_type(shared: SharedCredentials, store: SqliteStore) -> None:
    await shared.create(caller(), TEXT)
    before = await store.get_credential(SHARED, "one")
    await shared.replace(caller(), BINARY)
    after = await store.get_credential(SHARED, "one")
    assert await shared.reveal(caller(), "one") == BINARY
    assert before is not None
    assert after is not None
    assert (after.id, after.type, after.version) == (before.id, "binary", before.version + 1)
    await shared.replace(caller(), TEXT)
    assert await shared.reveal(caller(), "one") == TEXT


async def test_another_content_drops_the_verdict_on_the_old_one(shared: SharedCredentials, store: SqliteStore) -> None:
    await shared.create(caller(), TEXT)
    record, _content = await shared.open(caller(), "one")
    assert await report(store, record, a_report(record))
    await shared.replace(caller(), BINARY)
    after = await store.get_credential(SHARED, "one")
    assert after is not None
    assert (after.status, after.verification) == (None, None)


async def test_a_content_shows_in_no_repr_and_not_in_the_database(shared: SharedCredentials, path: Path) -> None:
    """Requirement 30."""
    await shared.create(caller(), TEXT)
    assert CANARY not in repr(TEXT) + repr(await shared.list(caller())) + repr((await shared.open(caller(), "one"))[0])
    stored = content(path)
    assert CANARY.encode() not in stored
    assert base64.b64encode(TEXT.content) not in stored


async def test_names_are_unique_and_obey_the_rule_of_names(shared: SharedCredentials) -> None:
    await shared.create(caller(), TEXT)
    with pytest.raises(NameTaken):
        await shared.create(caller(), BINARY)
    assert await shared.reveal(caller(), "one") == TEXT
    for name in ("", "a/b", "..", "a\nb", "ws_mine", "x" * 256):
        with pytest.raises(Invalid) as caught:
            await shared.create(caller(), SharedFile(name, FileType.TEXT, b"x"))
        assert list(caught.value.fields) == ["name"]
    assert [one.name for one in await shared.list(caller())] == ["one"]


@pytest.mark.parametrize("operation", ["open", "reveal", "replace", "delete"])
async def test_what_is_not_there_is_no_such_credential(shared: SharedCredentials, operation: str) -> None:
    _permission, call = OPERATIONS[operation]
    with pytest.raises(NoSuchCredential):
        await call(shared, caller())
    assert await shared.list(caller()) == []


# The audit trail


async def test_a_reveal_is_recorded_and_a_probe_is_none(shared: SharedCredentials, path: Path) -> None:
    """Requirement 29."""
    await shared.create(caller(), TEXT)
    await shared.list(caller())
    await shared.open(caller(Role.VERIFIER), "one")
    assert [row[0] for row in audited(path)] == ["credential.create"]
    await shared.reveal(caller(), "one")
    await shared.replace(caller(), BINARY)
    await shared.delete(caller(), "one")
    actions = ["credential.create", "credential.reveal", "credential.update", "credential.delete"]
    assert audited(path) == [(action, "shared", "ada", "done") for action in actions]


async def test_a_reveal_that_can_not_be_recorded_reveals_nothing(
    shared: SharedCredentials, store: SqliteStore, envelope: Envelope
) -> None:
    """Requirement 29: no audit, no secret."""
    await shared.create(caller(), TEXT)
    broken = NoTrail(store)
    with pytest.raises(StoreUnavailable) as caught:
        await SharedCredentials(Records(broken, envelope, SILENT)).reveal(caller(), "one")
    assert CANARY not in str(caught.value)
    (refused,) = broken.refused
    assert (refused.action, refused.actor_name, refused.request_id) == (Action.REVEAL, "ada", "request-1")
    assert await shared.reveal(caller(), "one") == TEXT


async def test_a_denied_reveal_and_one_of_nothing_are_not_recorded_as_reveals(
    shared: SharedCredentials, path: Path
) -> None:
    await shared.create(caller(), TEXT)
    with pytest.raises(NotAllowed):
        await shared.reveal(caller(Role.VERIFIER), "one")
    with pytest.raises(NoSuchCredential):
        await shared.reveal(caller(), "two")
    assert [row[0] for row in audited(path)] == ["credential.create"]


# Who may


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_role_may_what_its_permissions_say(shared: SharedCredentials, role: Role, operation: str) -> None:
    """Requirement 20."""
    await shared.create(caller(), TEXT)
    permission, call = OPERATIONS[operation]
    allowed = {
        Role.CONSUMER: set(),
        Role.VIEWER: {"list"},
        Role.VERIFIER: {"list", "open"},
        Role.EDITOR: set(OPERATIONS),
        Role.ADMIN: set(OPERATIONS),
    }[role]
    assert (operation in allowed) == (permission in role.permissions)
    if operation in allowed:
        await call(shared, caller(role))
        return
    with pytest.raises(NotAllowed):
        await call(shared, caller(role))
    assert await shared.reveal(caller(), "one") == TEXT


@pytest.mark.parametrize(("role", "may"), [(Role.VIEWER, False), (Role.VERIFIER, False), (Role.EDITOR, True)])
async def test_a_list_is_by_name_and_says_what_the_caller_may_do(
    shared: SharedCredentials, role: Role, may: bool
) -> None:
    for name in ("é", "b", "Z", "a"):
        await shared.create(caller(), SharedFile(name, FileType.TEXT, b"x"))
    expected = [Listed(name, FileType.TEXT, may, may) for name in ("Z", "a", "b", "é")]
    assert await shared.list(caller(role)) == expected


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_list_of_teamspaces_excludes_shared_files(shared: SharedCredentials, operation: str) -> None:
    """Section 2 of the contract: they are at the workspace level."""
    await shared.create(caller(), TEXT)
    _permission, call = OPERATIONS[operation]
    with pytest.raises(NotAllowed):
        await call(shared, caller(teamspaces=frozenset({"red"})))
    assert await shared.reveal(caller(), "one") == TEXT


@pytest.mark.parametrize("operation", ["open", "reveal", "replace", "delete"])
async def test_another_workspaces_file_looks_like_none(shared: SharedCredentials, operation: str) -> None:
    """Requirement 19."""
    await shared.create(caller(), TEXT)
    stranger = caller(workspace="ws_other")
    _permission, call = OPERATIONS[operation]
    with pytest.raises(NoSuchCredential):
        await call(shared, stranger)
    assert await shared.list(stranger) == []
    await shared.create(stranger, BINARY)
    assert await shared.reveal(caller(), "one") == TEXT


async def test_access_credentials_have_names_of_their_own(
    shared: SharedCredentials, store: SqliteStore, envelope: Envelope
) -> None:
    access = Credentials(Records(store, envelope, SILENT), load_registry([]))
    kind = aws_key.KIND
    payload = kind.split(kind.schema().load(KINDS["aws key"][4]))
    await shared.create(caller(), TEXT)
    with pytest.raises(NoSuchCredential):
        await access.get(caller(), "", "one")
    await access.create(caller(), "", Draft("one", payload))
    assert len(await shared.list(caller())) == 1
    await access.delete(caller(), "", "one", None)
    assert await shared.reveal(caller(), "one") == TEXT
