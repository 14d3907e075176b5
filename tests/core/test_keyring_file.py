"""The key ring in a file."""

import base64
import json
import stat
import threading
from pathlib import Path

import pytest

from service.core.errors import EnvelopeBroken, RefusesToStart
from service.core.model import Sealed
from service.keyrings.file import FileKeyRing

KEY = base64.b64encode(b"canary-key-of-32-bytes-in-a-file").decode()
GOOD = {"version": 1, "active": "k2", "keys": {"k1": base64.b64encode(bytes(32)).decode(), "k2": KEY}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the key ring is; its folder is not there yet."""
    return tmp_path / "data" / "keys"


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """A key ring somebody else made."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


async def test_a_new_key_ring_opens_what_it_sealed_after_it_was_loaded_again(path: Path) -> None:
    made = FileKeyRing.create(path)
    wrapped = await made.wrap(b"d" * 32, b"bound")
    loaded = FileKeyRing.load(path)
    assert (loaded.active_id, loaded.ids) == (made.active_id, made.ids)
    assert wrapped.key_id == made.active_id
    assert await loaded.unwrap(wrapped, b"bound") == b"d" * 32


def test_a_new_key_ring_is_the_owners_alone_and_leaves_no_draft(path: Path) -> None:
    FileKeyRing.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_every_new_key_ring_has_a_key_of_its_own(tmp_path: Path) -> None:
    documents = []
    for name in ("a", "b"):
        FileKeyRing.create(tmp_path / name)
        documents.append(json.loads((tmp_path / name).read_text()))
    keys = {key for one in documents for key in one["keys"].values()}
    assert len(keys) == 2
    assert all(len(base64.b64decode(key)) == 32 for key in keys)


def test_a_key_ring_is_never_overwritten(path: Path) -> None:
    """Requirement 27."""
    FileKeyRing.create(path)
    before = path.read_bytes()
    with pytest.raises(RefusesToStart, match="is there already"):
        FileKeyRing.create(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_create_one_key_ring_at_once_one_does(path: Path) -> None:
    made: list[FileKeyRing] = []
    refused: list[RefusesToStart] = []
    barrier = threading.Barrier(8)

    def create() -> None:
        barrier.wait(5)
        try:
            made.append(FileKeyRing.create(path))
        except RefusesToStart as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(made), len(refused)) == (1, 7)
    assert FileKeyRing.load(path).ids == made[0].ids


def test_a_folder_that_cannot_be_made_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RefusesToStart, match="can't be written"):
        FileKeyRing.create(tmp_path / "file" / "keys")


def test_a_missing_key_ring_refuses_to_start(path: Path) -> None:
    with pytest.raises(RefusesToStart, match=r"keys can't be read: No such file or directory\.$"):
        FileKeyRing.load(path)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_key_ring_that_everybody_can_open_refuses_to_start(path: Path, mode: int) -> None:
    write(path, json.dumps(GOOD), mode)
    with pytest.raises(RefusesToStart, match="open to every user"):
        FileKeyRing.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_key_ring_for_the_owner_and_a_group_is_fine(path: Path, mode: int) -> None:
    """Kubernetes mounts a secret for a group that way."""
    assert FileKeyRing.load(write(path, json.dumps(GOOD), mode)).active_id == "k2"


async def test_the_active_key_wraps_and_the_others_unwrap(path: Path) -> None:
    ring = FileKeyRing.load(write(path, json.dumps(GOOD)))
    older = FileKeyRing.load(write(path, json.dumps({**GOOD, "active": "k1"})))
    assert (await ring.wrap(b"d" * 32, b"bound")).key_id == "k2"
    assert await ring.unwrap(await older.wrap(b"d" * 32, b"bound"), b"bound") == b"d" * 32


async def test_a_wrapped_key_opens_with_its_own_key_and_binding_alone(path: Path) -> None:
    ring = FileKeyRing.load(write(path, json.dumps(GOOD)))
    wrapped = await ring.wrap(b"d" * 32, b"bound")
    others = [
        (Sealed("k1", wrapped.envelope), b"bound"),
        (Sealed("k3", wrapped.envelope), b"bound"),
        (Sealed("\ud800", wrapped.envelope), b"bound"),
        (Sealed("k2", wrapped.envelope[:-1]), b"bound"),
        (Sealed("k2", b""), b"bound"),
        (wrapped, b"other"),
    ]
    for one, bound in others:
        with pytest.raises(EnvelopeBroken) as raised:
            await ring.unwrap(one, bound)
        assert raised.value.__context__ is None


BAD = {
    "empty": "",
    "not JSON": "canary-key",
    "not UTF-8": b"\xff\xfe\x00",
    "a list": "[]",
    "deeply nested": "[" * 60_000,
    "long": json.dumps(GOOD) + " " * 70_000,
    "another version": json.dumps({**GOOD, "version": 2}),
    "version true": json.dumps({**GOOD, "version": True}),
    "no active": json.dumps({"version": 1, "keys": GOOD["keys"]}),
    "unknown active": json.dumps({**GOOD, "active": "k3"}),
    "no keys": json.dumps({**GOOD, "keys": {}}),
    "more": json.dumps({**GOOD, "extra": 1}),
    "a short key": json.dumps({**GOOD, "keys": {"k2": base64.b64encode(b"canary-key").decode()}}),
    "a long key": json.dumps({**GOOD, "keys": {"k2": base64.b64encode(bytes(33)).decode()}}),
    "one bad key of two": json.dumps({**GOOD, "keys": {"k2": KEY, "k1": "canary-key!"}}),
    "not base64": json.dumps({**GOOD, "keys": {"k2": KEY[:-1] + "\u00e9"}}),
    "a number": json.dumps({**GOOD, "keys": {"k2": 12}}),
    "a bad id": json.dumps({"version": 1, "active": "k 2", "keys": {"k 2": KEY}}),
    "an empty id": json.dumps({"version": 1, "active": "", "keys": {"": KEY}}),
    "one id twice": json.dumps({**GOOD, "keys": {"k2": KEY, "k3": KEY}}).replace("k3", "k2"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_key_ring_refuses_to_start_and_is_not_quoted(path: Path, content: str | bytes) -> None:
    """Requirements 27 and 30."""
    write(path, content)
    with pytest.raises(RefusesToStart) as raised:
        FileKeyRing.load(path)
    assert str(raised.value) == f"The key ring {path} is not a valid key ring file."
    assert raised.value.__context__ is None
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_no_text_of_a_key_ring_has_a_key_in_it(path: Path) -> None:
    """Requirement 30."""
    ring = FileKeyRing.load(write(path, json.dumps(GOOD)))
    assert f"{ring} {ring!r}" == "FileKeyRing(active='k2', ids=['k1', 'k2']) FileKeyRing(active='k2', ids=['k1', 'k2'])"
