"""A key ring in a file: several key-encryption keys, one of them active.

The file is JSON: `{"version": 1, "active": "k…", "keys": {"k…": "32 bytes in base64"}}`.
"""

import base64
import binascii
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from service.core.envelope import KEY_BYTES, decrypt, encrypt, joined
from service.core.errors import EnvelopeBroken, RefusesToStart
from service.core.model import Sealed

FORMAT: Final = 1
LONGEST_FILE: Final = 65536

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LABEL: Final = b"vouch.data-key.v1"


class FileKeyRing:
    """A `KeyRing` whose keys were read from a file at the start."""

    def __init__(self, active_id: str, keys: Mapping[str, bytes]) -> None:
        self._active_id = active_id
        self._keys = dict(keys)

    def __repr__(self) -> str:
        return f"FileKeyRing(active={self._active_id!r}, ids={sorted(self._keys)!r})"

    @property
    def active_id(self) -> str:
        """The id of the key that new data keys are wrapped with."""
        return self._active_id

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._keys)

    async def wrap(self, data_key: bytes, binding: bytes) -> Sealed:
        """See `KeyRing`."""
        key = self._keys[self._active_id]
        return Sealed(self._active_id, encrypt(key, data_key, _additional(self._active_id, binding)))

    async def unwrap(self, wrapped: Sealed, binding: bytes) -> bytes:
        """See `KeyRing`."""
        key = self._keys.get(wrapped.key_id, b"")
        data_key = decrypt(key, wrapped.envelope, _additional(wrapped.key_id, binding))
        if data_key is None:
            raise EnvelopeBroken
        return data_key

    @classmethod
    def load(cls, path: Path) -> "FileKeyRing":
        """Read a key ring.

        Raises:
            RefusesToStart: there is none, others may read it, or it is not a key ring. The text never quotes the file.
        """
        document = _parse(_read(path))
        if document is None:
            raise RefusesToStart(f"The key ring {path} is not a valid key ring file.")
        return cls(*document)

    @classmethod
    def create(cls, path: Path) -> "FileKeyRing":
        """Make a key ring of one new key, in a file for the owner alone (0600), durable when this returns.

        Raises:
            RefusesToStart: there is a file already (it is left alone), or it can't be written.
        """
        key_id = "k" + secrets.token_hex(4)
        key = secrets.token_bytes(KEY_BYTES)
        document = {"version": FORMAT, "active": key_id, "keys": {key_id: base64.b64encode(key).decode()}}
        try:
            written = _write_new(path, json.dumps(document, indent=1).encode() + b"\n")
        except OSError as error:
            raise RefusesToStart(f"The key ring {path} can't be written: {error.strerror}.") from None
        if not written:
            raise RefusesToStart(f"The key ring {path} is there already: it is never overwritten.")
        return cls(key_id, {key_id: key})


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            # A group may: that is how Kubernetes hands a secret to a process that is not root.
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise RefusesToStart(f"The key ring {path} is open to every user of this machine: chmod it to 0600.")
            return file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise RefusesToStart(f"The key ring {path} can't be read: {error.strerror}.") from None


def _parse(content: bytes) -> tuple[str, dict[str, bytes]] | None:
    """The active id and the keys; None if anything is not as it must be."""
    if len(content) > LONGEST_FILE:
        return None
    try:
        document = json.loads(content, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"version": int(version), "active": str(active), "keys": dict(encoded), **more}:
            if more or type(version) is not int or version != FORMAT or active not in encoded:
                return None
        case _:
            return None
    keys = {key_id: key for key_id, text in encoded.items() if (key := _decode(key_id, text)) is not None}
    return (active, keys) if len(keys) == len(encoded) else None


def _decode(key_id: str, text: object) -> bytes | None:
    if not _KEY_ID.fullmatch(key_id) or not isinstance(text, str):
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _write_new(path: Path, content: bytes) -> bool:
    """Write a file that is there wholly or not at all; False if there is one, which is left alone.

    Raises:
        OSError: it could not be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails if the name is taken.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _additional(key_id: str, binding: bytes) -> bytes:
    return joined(_LABEL, key_id.encode(errors="replace"), binding)
