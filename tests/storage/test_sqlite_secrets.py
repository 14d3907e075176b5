"""Sealed secrets in the embedded store: what is in its files, and what happens to ciphertext that is moved."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from service.core.envelope import Envelope, binding, check_canary, seal_canary
from service.core.errors import EnvelopeBroken, RefusesToStart
from service.core.model import Credential
from service.keyrings.file import FileKeyRing
from service.storage.sqlite import SqliteStore
from tests.contracts.records import ELSEWHERE, HERE, a_credential, an_audit, rotated, update
from tests.storage.files import content

SECRET = b'{"secret_access_key":"canary-secret-wJalrXUtnFEMI"}'


@pytest.fixture
def envelope(tmp_path: Path) -> Envelope:
    """Seals with a key ring of its own."""
    return Envelope(FileKeyRing.create(tmp_path / "keys"))


@pytest.fixture
async def two(store: SqliteStore, envelope: Envelope) -> tuple[Credential, Credential]:
    """Two stored credentials, each with a secret."""
    ones = (a_credential("one"), a_credential("two", ELSEWHERE))
    for one in ones:
        await store.create_credential(one, await envelope.seal(SECRET, binding(one)), an_audit(one))
    return ones


async def reveal(store: SqliteStore, envelope: Envelope, one: Credential) -> bytes:
    """What the core does to reach a secret."""
    found = await store.get_sealed_credential(one.scope, one.name)
    assert found is not None
    credential, sealed = found
    return await envelope.open(sealed, binding(credential))


async def test_a_stored_secret_opens(store: SqliteStore, envelope: Envelope, two: tuple[Credential, ...]) -> None:
    assert [await reveal(store, envelope, one) for one in two] == [SECRET, SECRET]


async def test_swapped_ciphertexts_do_not_open(
    store: SqliteStore, envelope: Envelope, two: tuple[Credential, ...], beside: sqlite3.Connection
) -> None:
    """Requirement 25."""
    first, second = beside.execute("SELECT sealed FROM envelope ORDER BY credential").fetchall()
    beside.execute("UPDATE envelope SET sealed = iif(credential = 1, ?, ?)", (second[0], first[0]))
    for one in two:
        with pytest.raises(EnvelopeBroken):
            await reveal(store, envelope, one)
    beside.execute("UPDATE envelope SET sealed = iif(credential = 1, ?, ?)", (first[0], second[0]))
    assert await reveal(store, envelope, two[0]) == SECRET


@pytest.mark.parametrize(
    "change",
    [
        """public = '{"access_key_id":"AKIAEXAMPLE","endpoint":"https://thief.example"}'""",
        """public = public || ' '""",
        "workspace = 'ws_other'",
        "teamspace = 'team-a'",
        "id = 'another'",
        "version = version + 1",
        "provider = 'GCP'",
        "type = 'arn'",
    ],
)
async def test_a_row_that_was_changed_by_hand_does_not_open(
    store: SqliteStore, envelope: Envelope, two: tuple[Credential, ...], beside: sqlite3.Connection, change: str
) -> None:
    """Requirement 25: least of all one whose endpoint somebody changed to have the secret sent there."""
    beside.execute(f"UPDATE credential SET {change} WHERE name = 'one'")
    (workspace, teamspace) = beside.execute("SELECT workspace, teamspace FROM credential WHERE name = 'one'").fetchone()
    with pytest.raises(EnvelopeBroken):
        await reveal(store, envelope, two[0]._replace(workspace=workspace, teamspace=teamspace))


async def test_a_kept_payload_opens_as_what_it_was_and_as_nothing_else(
    store: SqliteStore, envelope: Envelope, two: tuple[Credential, ...], beside: sqlite3.Connection
) -> None:
    """Requirement 25."""
    one, _ = two
    new = rotated(one, public="{}")
    assert await update(store, new, await envelope.seal(b"{}", binding(new)), 1)
    found = await store.get_sealed_version(one.workspace, one.id, 1)
    assert found is not None
    kept, sealed = found
    assert await envelope.open(sealed, binding(one._replace(version=kept.version, public=kept.public))) == SECRET
    with pytest.raises(EnvelopeBroken):
        await envelope.open(sealed, binding(new))
    beside.execute("DELETE FROM envelope")
    assert await store.holds_secrets(), "a key ring that opens it is still needed"


async def test_no_secret_is_in_the_database_or_its_log(
    two: tuple[Credential, ...], path: Path, beside: sqlite3.Connection
) -> None:
    """Requirement 30."""
    for checkpointed in (False, True):
        if checkpointed:
            beside.execute("PRAGMA wal_checkpoint(PASSIVE)")
        stored = await asyncio.to_thread(content, path)
        assert b"AKIAEXAMPLE" in stored, "the public part must be where the secret is looked for"
        assert b"canary-secret" not in stored


async def test_the_canary_of_a_store_tells_its_key_ring_from_another(
    store: SqliteStore, envelope: Envelope, tmp_path: Path
) -> None:
    """Requirement 27."""
    await store.put_canary(await seal_canary(envelope))
    canary = await store.get_canary()
    assert canary is not None
    await check_canary(envelope, canary)
    with pytest.raises(RefusesToStart, match="does not match the store"):
        await check_canary(Envelope(FileKeyRing.create(tmp_path / "others")), canary)
    assert await store.get_canary() == canary
    assert not await store.holds_secrets()
    assert await store.get_credential(HERE, "one") is None
