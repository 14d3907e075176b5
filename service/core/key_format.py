"""What an API key looks like: `vouch_<id>_<secret>`, recognisable without asking anybody.

The prefix and a checksum let a leak scanner, or a person, tell a real key from a mistyped one offline. The
checksum is no secret and protects nothing.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "vouch_"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)  # a third of the divisions
_ID_BYTES = 8
_RANDOM_CHARACTERS = 33  # 62**33 is more than 2**196
_CHECKSUM_CHARACTERS = 6  # 62**6 is more than 2**32
_MADE_HERE = (_ID_BYTES * 2, _RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS)

# ASCII classes on purpose: `\d` and `\w` would let digits and letters of other scripts in. 32 characters are
# at least 128 bits, even of hexadecimal digits, so an operator may bring a key of another maker.
_FORM = re.compile(r"vouch_([a-z0-9]{1,32})_([A-Za-z0-9_-]{32,128})")


class NewKey(NamedTuple):
    """A key just made. `text` is the only copy of the secret there will ever be."""

    id: str
    text: str
    secret_hash: bytes

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


class PresentedKey(NamedTuple):
    """A key that somebody showed: its id, and the SHA-256 of its secret."""

    id: str
    secret_hash: bytes


def make() -> NewKey:
    """A new key, with 64 random bits of id and 196 of secret."""
    key_id = secrets.token_hex(_ID_BYTES)
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    secret = random + _checksum(key_id, random)
    return NewKey(key_id, f"{PREFIX}{key_id}_{secret}", _hash(secret))


def parse(text: str) -> PresentedKey | None:
    """The parts of a key; None if it is not one, or its checksum says that it is mistyped.

    A key of another length was made by somebody else (`[auth] bootstrap_key_file`) and has no checksum.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    key_id, secret = found.groups()
    if (len(key_id), len(secret)) == _MADE_HERE:
        random, checksum = secret[:_RANDOM_CHARACTERS], secret[_RANDOM_CHARACTERS:]
        if checksum != _checksum(key_id, random):
            return None
    return PresentedKey(key_id, _hash(secret))


def _hash(secret: str) -> bytes:
    # A fast hash is right for a secret of 128 random bits or more: there is nothing to guess.
    return hashlib.sha256(secret.encode("ascii")).digest()


def _checksum(key_id: str, random: str) -> str:
    """CRC-32 of the rest of the key, as six base-62 digits."""
    rest, last = divmod(zlib.crc32(f"{key_id}_{random}".encode("ascii")), len(_PAIRS))
    first, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]
