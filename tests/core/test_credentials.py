"""The core service of access credentials, over the embedded store and real envelopes."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from marshmallow import post_load

from service.core.changes import Change, Draft
from service.core.credentials import Credentials
from service.core.envelope import Envelope
from service.core.errors import EnvelopeBroken, Invalid, NameTaken, NoSuchCredential, NotAllowed, Stale
from service.core.model import Caller, Credential, Principal, PrincipalKind, Role, Sealed
from service.core.records import Records
from service.keyrings.file import FileKeyRing
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.api.payloads import CANARY, KINDS, key_file
from tests.contracts.records import a_report, report
from tests.core.silence import SILENT
from verifiers.base import Kind, Payload, Run, Verifier
from verifiers.fields import PayloadSchema, Secret, Text
from verifiers.registry import Registry, load_registry
from verifiers.verdict import Verdict

REGISTRY = load_registry([])
ADMIN = Principal(PrincipalKind.API_KEY, "id-1", "ada", "ws_default", Role.ADMIN)
CALLER = Caller(ADMIN, "request-1", "127.0.0.1")


class CountingRing:
    """A key ring that counts what it unwraps, and can be told to unwrap nothing."""

    def __init__(self) -> None:
        self._ring = FileKeyRing("k1", {"k1": os.urandom(32)})
        self.unwrapped = 0
        self.shut = False

    @property
    def active_id(self) -> str:
        return self._ring.active_id

    async def wrap(self, data_key: bytes, binding: bytes) -> Sealed:
        return await self._ring.wrap(data_key, binding)

    async def unwrap(self, wrapped: Sealed, binding: bytes) -> bytes:
        self.unwrapped += 1
        if self.shut:
            raise EnvelopeBroken
        return await self._ring.unwrap(wrapped, binding)


@pytest.fixture
def ring() -> CountingRing:
    return CountingRing()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vouch.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(path)
    yield store
    await store.close()


@pytest.fixture
def credentials(store: SqliteStore, ring: CountingRing) -> Credentials:
    return Credentials(Records(store, Envelope(ring), SILENT), REGISTRY)


def kind_of(name: str) -> Kind:
    provider, type_, *_ = KINDS[name]
    (found,) = (one for one in REGISTRY.kinds() if (one.provider, one.type) == (provider, type_))
    return found


def payload(name: str, **changes: Any) -> Payload:
    """A payload of that kind as the wire's schema loads it, where an empty secret means the stored one."""
    kind = kind_of(name)
    return kind.split(kind.schema.for_wire(blank_secrets=True).load(KINDS[name][4] | changes))


def blank(name: str, **changes: Any) -> Payload:
    """The same with its secret left empty, as a client sends back what it read."""
    return payload(name, **{KINDS[name][5]: ""} | changes)


async def create(credentials: Credentials, kind: str = "aws key", name: str = "one", **flags: bool) -> Credential:
    return await credentials.create(CALLER, "", Draft(name, payload(kind), **flags))


async def update(credentials: Credentials, change: Change, name: str = "one") -> Credential:
    return await credentials.update(CALLER, "", name, change, None)


async def verified(store: SqliteStore, credential: Credential) -> None:
    """Keep a verdict on it, as a verification does."""
    assert await report(store, credential, a_report(credential))


async def secret_of(credentials: Credentials, name: str = "one", provider: str = "AWS") -> dict[str, str]:
    _credential, opened = await credentials.open(CALLER, "", name, provider)
    return dict(opened.secret)


def audited(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT action, target, actor_name, workspace, request_id FROM audit ORDER BY seq").fetchall()


# What metadata needs


@pytest.mark.parametrize("kind", KINDS)
async def test_reading_metadata_opens_no_envelope(credentials: Credentials, ring: CountingRing, kind: str) -> None:
    await create(credentials, kind)
    ring.shut = True
    one = await credentials.get(CALLER, "", "one")
    listed, total = await credentials.list(CALLER, "", provider=None, type_=None, offset=0, limit=10)
    assert (listed, total) == ([one], 1)
    assert ring.unwrapped == 0
    with pytest.raises(EnvelopeBroken):
        await credentials.open(CALLER, "", "one", KINDS[kind][0])
    assert CANARY not in repr(one)


async def test_a_change_of_metadata_leaves_the_envelope_shut(
    credentials: Credentials, ring: CountingRing, store: SqliteStore
) -> None:
    before = await create(credentials)
    _, sealed = await store.get_sealed_credential(before.scope, "one") or (None, None)
    ring.shut = True
    changed = await update(credentials, Change(name="two", provider="AWS", allowed_in_tasks=True))
    assert (changed.name, changed.allowed_in_tasks, changed.provider_default) == ("two", True, False)
    assert (changed.version, changed.revision) == (before.version, before.revision + 1)
    assert changed.updated_at > before.updated_at
    assert changed.created_at == before.created_at
    assert ring.unwrapped == 0
    assert await store.get_sealed_credential(before.scope, "two") == (changed, sealed)


async def test_a_change_of_metadata_keeps_the_verdict(credentials: Credentials, store: SqliteStore) -> None:
    await verified(store, await create(credentials))
    assert (await update(credentials, Change(name="two"))).status == "verified"
    assert (await credentials.get(CALLER, "", "two")).status == "verified"


# Payloads


async def test_a_new_payload_is_a_new_version_without_a_verdict(credentials: Credentials, store: SqliteStore) -> None:
    """Requirement 24: sealed anew for its version."""
    before = await create(credentials)
    await verified(store, before)
    _, old = await store.get_sealed_credential(before.scope, "one") or (None, None)
    new = payload("aws key", secret_access_key="another")
    changed = await update(credentials, Change(payload=new))
    assert (changed.version, changed.status, changed.verification) == (before.version + 1, None, None)
    found, sealed = await store.get_sealed_credential(before.scope, "one") or (None, None)
    assert (found, sealed != old) == (changed, True)
    assert await secret_of(credentials) == {"secret_access_key": "another"}


async def test_the_same_payload_without_secrets_changes_nothing_but_the_flags(
    credentials: Credentials, ring: CountingRing, store: SqliteStore
) -> None:
    before = await create(credentials, "aws role")
    await verified(store, before)
    changed = await update(credentials, Change(payload=payload("aws role"), allowed_in_tasks=True))
    assert (changed.version, changed.status, changed.public) == (before.version, "verified", before.public)
    assert changed.allowed_in_tasks
    assert ring.unwrapped == 0


async def test_another_payload_without_secrets_is_a_new_version(credentials: Credentials, store: SqliteStore) -> None:
    before = await create(credentials, "aws role")
    await verified(store, before)
    changed = await update(credentials, Change(payload=payload("aws role", external_id="ext-9")))
    assert (changed.version, changed.status) == (before.version + 1, None)
    assert orjson.loads(changed.public)["external_id"] == "ext-9"


WITH_SECRETS = [name for name in KINDS if KINDS[name][5]]


@pytest.mark.parametrize("kind", WITH_SECRETS)
async def test_an_empty_secret_beside_the_same_fields_keeps_the_stored_one(
    credentials: Credentials, store: SqliteStore, ring: CountingRing, kind: str
) -> None:
    before = await create(credentials, kind)
    await verified(store, before)
    changed = await update(credentials, Change(payload=blank(kind)))
    assert (changed.version, changed.status, changed.public) == (before.version, "verified", before.public)
    assert ring.unwrapped == 0
    assert (await secret_of(credentials, provider=KINDS[kind][0]))[KINDS[kind][5]] == KINDS[kind][4][KINDS[kind][5]]


OTHER_FIELDS = [
    ("aws key", {"endpoint": "https://attacker.example.org"}),
    ("aws key", {"endpoint": None}),
    ("aws key", {"access_key_id": "AKIAOTHER"}),
    ("azure key", {"account_name": "another"}),
    ("azure key", {"blob_endpoint": "https://attacker.example.org"}),
    ("azure sas", {"blob_endpoint": "https://attacker.example.org"}),
    ("gcp hmac", {"access_key_id": "GOOG1OTHER"}),
]


@pytest.mark.parametrize(("kind", "changes"), OTHER_FIELDS)
async def test_an_empty_secret_beside_other_fields_is_refused(
    credentials: Credentials, ring: CountingRing, kind: str, changes: dict[str, Any]
) -> None:
    """Requirement 12: whoever changes where a secret goes has to know it."""
    before = await create(credentials, kind)
    with pytest.raises(Invalid) as caught:
        await update(credentials, Change(payload=blank(kind, **changes), allowed_in_tasks=True))
    assert list(caught.value.fields) == [f"payload.{KINDS[kind][5]}"]
    assert await credentials.get(CALLER, "", "one") == before
    assert ring.unwrapped == 0


async def test_an_empty_secret_of_another_kind_is_refused(credentials: Credentials) -> None:
    """Requirement 12: nothing is stored for it."""
    before = await create(credentials, "azure key")
    for change in (
        Change(payload=blank("azure sas")),
        Change(provider="AWS", payload=blank("aws key")),
        Change(provider="GCP", payload=blank("gcp service account")),
    ):
        with pytest.raises(Invalid) as caught:
            await update(credentials, change)
        assert [one.partition(".")[0] for one in caught.value.fields] == ["payload"]
    assert await credentials.get(CALLER, "", "one") == before


@pytest.mark.parametrize("sent", [{}, {"account_id": None}, {"account_id": "somebody@else", "key_id": "another"}])
async def test_an_empty_google_key_file_keeps_the_account_whatever_is_sent_for_it(
    credentials: Credentials, sent: dict[str, Any]
) -> None:
    """Requirement 12: what was derived from the stored file stays, for it follows from it."""
    before = await create(credentials, "gcp service account")
    changed = await update(credentials, Change(payload=blank("gcp service account", **sent), provider_default=True))
    assert (changed.version, changed.public, changed.provider_default) == (before.version, before.public, True)
    assert orjson.loads(changed.public)["account_id"] == "robot@a-project.iam.gserviceaccount.com"


async def test_another_google_key_file_brings_its_own_account(credentials: Credentials) -> None:
    await create(credentials, "gcp service account")
    other = payload("gcp service account", key_text=key_file(client_email="other@a-project.iam.gserviceaccount.com"))
    changed = await update(credentials, Change(payload=other))
    assert (changed.version, orjson.loads(changed.public)["account_id"].partition("@")[0]) == (2, "other")


async def test_another_provider_comes_with_its_payload_and_takes_its_type(credentials: Credentials) -> None:
    before = await create(credentials, "aws key")
    changed = await update(credentials, Change(provider="GCP", payload=payload("gcp service account")))
    assert (changed.provider, changed.type, changed.version) == ("GCP", "token", before.version + 1)
    assert (await secret_of(credentials, provider="GCP"))["key_text"] == KINDS["gcp service account"][4]["key_text"]
    with pytest.raises(Invalid) as caught:
        await credentials.open(CALLER, "", "one", "AWS")
    assert list(caught.value.fields) == ["provider"]


async def test_a_provider_that_contradicts_its_payload_is_refused(credentials: Credentials) -> None:
    before = await create(credentials, "aws key")
    for change, field in (
        (Change(provider="GCP"), "provider"),
        (Change(payload=payload("gcp hmac")), "payload"),
        (Change(provider="AZURE", payload=payload("gcp hmac")), "payload"),
        (Change(provider="GCP", payload=payload("aws key")), "payload"),
    ):
        with pytest.raises(Invalid) as caught:
            await update(credentials, change)
        assert list(caught.value.fields) == [field]
    assert await credentials.get(CALLER, "", "one") == before


class TwoSecretsSchema(PayloadSchema):
    """A kind of an installed package: two secrets, and a field that follows from one of them."""

    first = Secret(required=True)
    second = Secret(required=True)
    hint = Text(derived=True)

    @post_load
    def derive(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "hint": data["first"][:1]} if data["first"] else data


async def test_one_empty_secret_of_two_keeps_the_stored_one_beside_the_new_one(
    store: SqliteStore, ring: CountingRing
) -> None:
    """Requirement 12, for kinds that installed packages bring."""
    kind = Kind("OTHER", "key", "Two secrets", TwoSecretsSchema, slot=("credential", "other"))
    credentials = Credentials(Records(store, Envelope(ring), SILENT), Registry([Verifier(kind, nobody)]))
    schema = kind.schema.for_wire(blank_secrets=True)
    before = await credentials.create(
        CALLER, "", Draft("one", kind.split(schema.load({"first": "a-1", "second": "b-1"})))
    )
    half = kind.split(schema.load({"first": "", "second": "b-2"}))
    changed = await update(credentials, Change(payload=half))
    assert (changed.version, changed.public) == (before.version + 1, before.public)
    assert await secret_of(credentials, provider="OTHER") == {"first": "a-1", "second": "b-2"}


async def nobody(_payload: Payload, _run: Run) -> Verdict:
    """A probe that is never run."""
    raise AssertionError


# Writers at once


async def test_thirty_updates_at_once_all_succeed(credentials: Credentials) -> None:
    before = await create(credentials)
    secrets = [f"secret-{number}" for number in range(30)]
    done = await asyncio.gather(
        *(update(credentials, Change(payload=payload("aws key", secret_access_key=secret))) for secret in secrets)
    )
    assert sorted(one.revision for one in done) == list(range(2, 32))
    after = await credentials.get(CALLER, "", "one")
    assert (after.version, after.revision) == (before.version + 30, 31)
    last = done.index(after)
    assert await secret_of(credentials) == {"secret_access_key": secrets[last]}


async def test_of_thirty_updates_with_one_tag_exactly_one_succeeds(credentials: Credentials) -> None:
    """Requirement 39."""
    before = await create(credentials)
    tag = frozenset({before.tag})
    done = await asyncio.gather(
        *(credentials.update(CALLER, "", "one", Change(allowed_in_tasks=number % 2 == 0), tag) for number in range(30)),
        return_exceptions=True,
    )
    assert sorted(type(one) is Stale for one in done) == [False] + [True] * 29
    (winner,) = (one for one in done if isinstance(one, Credential))
    assert winner == await credentials.get(CALLER, "", "one")


async def test_a_stale_tag_deletes_nothing(credentials: Credentials) -> None:
    """Requirement 39."""
    before = await create(credentials)
    after = await update(credentials, Change(allowed_in_tasks=True))
    with pytest.raises(Stale):
        await credentials.delete(CALLER, "", "one", frozenset({before.tag}))
    await credentials.delete(CALLER, "", "one", frozenset({before.tag, after.tag}))
    with pytest.raises(NoSuchCredential):
        await credentials.get(CALLER, "", "one")


async def test_a_namesake_that_came_later_has_another_tag(credentials: Credentials) -> None:
    """Requirement 39: a tag of the deleted one changes nothing of the new one."""
    before = await create(credentials)
    await credentials.delete(CALLER, "", "one", None)
    after = await create(credentials)
    assert before.revision == after.revision
    with pytest.raises(Stale):
        await credentials.update(CALLER, "", "one", Change(allowed_in_tasks=True), frozenset({before.tag}))


# Defaults


async def test_becoming_the_default_takes_the_flag_from_the_previous_one(credentials: Credentials) -> None:
    first = await create(credentials, name="first", provider_default=True)
    await create(credentials, "gcp hmac", "other provider", provider_default=True)
    await create(credentials, name="second")
    await update(credentials, Change(provider_default=True), "second")
    listed, _total = await credentials.list(CALLER, "", provider=None, type_=None, offset=0, limit=10)
    assert [one.name for one in listed if one.provider_default] == ["other provider", "second"]
    before = await credentials.get(CALLER, "", "first")
    assert (before.revision, before.version) == (first.revision + 1, first.version)


async def test_one_that_changes_its_provider_becomes_the_default_there(credentials: Credentials) -> None:
    await create(credentials, "gcp hmac", "google", provider_default=True)
    await create(credentials, "aws key", "one", provider_default=True)
    await update(credentials, Change(provider="GCP", payload=payload("gcp hmac")))
    listed, _total = await credentials.list(CALLER, "", provider="GCP", type_=None, offset=0, limit=10)
    assert {one.name: one.provider_default for one in listed} == {"google": False, "one": True}


async def test_thirty_defaults_at_once_leave_one(credentials: Credentials) -> None:
    names = [f"c{number:02}" for number in range(30)]
    for name in names:
        await create(credentials, "aws role", name)
    await asyncio.gather(*(update(credentials, Change(provider_default=True), name) for name in names))
    listed, total = await credentials.list(CALLER, "", provider="AWS", type_="arn", offset=0, limit=100)
    assert (total, [one.provider_default for one in listed].count(True)) == (30, 1)


# Whose it is, and what is recorded


async def test_the_workspace_is_the_principals_own(credentials: Credentials) -> None:
    """Requirement 19."""
    ours = await create(credentials)
    stranger = Caller(Principal(PrincipalKind.USER, "bob", "bob", "ws_other", Role.ADMIN))
    for work in (
        credentials.get(stranger, "", "one"),
        credentials.get(stranger, "ws_default", "one"),
        credentials.update(stranger, "", "one", Change(name="two"), None),
        credentials.delete(stranger, "", "one", None),
        credentials.open(stranger, "", "one", "AWS"),
    ):
        with pytest.raises(NoSuchCredential):
            await work
    theirs = await credentials.create(stranger, "", Draft("one", payload("aws key")))
    assert (ours.workspace, theirs.workspace) == ("ws_default", "ws_other")
    assert await credentials.list(stranger, "", provider=None, type_=None, offset=0, limit=10) == ([theirs], 1)


async def test_a_teamspace_is_its_own_and_only_for_those_who_have_it(credentials: Credentials) -> None:
    """Requirement 20."""
    member = Caller(Principal(PrincipalKind.API_KEY, "id-2", "key", "ws_default", Role.EDITOR, frozenset({"red"})))
    made = await credentials.create(member, "red", Draft("one", payload("aws key")))
    assert made.teamspace == "red"
    for teamspace in ("", "blue"):
        with pytest.raises(NotAllowed):
            await credentials.create(member, teamspace, Draft("one", payload("aws key")))
        with pytest.raises(NotAllowed):
            await credentials.get(member, teamspace, "one")
    with pytest.raises(NoSuchCredential):
        await credentials.get(CALLER, "", "one")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.VERIFIER])
async def test_who_may_not_write_writes_nothing(credentials: Credentials, path: Path, role: Role) -> None:
    """Requirement 20."""
    before = await create(credentials)
    caller = Caller(Principal(PrincipalKind.API_KEY, "id-2", "key", "ws_default", role))
    for work in (
        credentials.create(caller, "", Draft("two", payload("aws key"))),
        credentials.update(caller, "", "one", Change(name="two"), None),
        credentials.delete(caller, "", "one", None),
    ):
        with pytest.raises(NotAllowed):
            await work
    assert await credentials.list(caller, "", provider=None, type_=None, offset=0, limit=10) == ([before], 1)
    assert len(audited(path)) == 1


async def test_every_write_is_recorded_once_and_what_failed_is_not(credentials: Credentials, path: Path) -> None:
    one = await create(credentials)
    two = await create(credentials, name="two")
    await update(credentials, Change(allowed_in_tasks=True))
    with pytest.raises(NameTaken):
        await update(credentials, Change(name="two"))
    with pytest.raises(NameTaken):
        await create(credentials, name="two")
    with pytest.raises(Invalid):
        await update(credentials, Change(payload=blank("aws key", access_key_id="AKIAOTHER")))
    await credentials.delete(CALLER, "", "two", None)
    await secret_of(credentials)
    by = ("ada", "ws_default", "request-1")
    assert audited(path) == [
        ("credential.create", one.id, *by),
        ("credential.create", two.id, *by),
        ("credential.update", one.id, *by),
        ("credential.delete", two.id, *by),
    ]
