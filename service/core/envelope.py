"""Seal and open: a fresh data key for every envelope, wrapped by the key ring's active key. Only here are keys seen.

What is sealed, byte by byte (version 1):

    1 byte    format version
    1 byte    length of the key-encryption key's id
    …         the id, ASCII
    2 bytes   length of the wrapped data key, big-endian
    …         the wrapped data key, as the key ring made it
    12 bytes  nonce
    …         ciphertext and 16-byte tag: AES-256-GCM (NIST SP 800-38D)

The additional data of both encryptions is the binding; the payload's covers all that stands before the nonce too.
"""

import hashlib
import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.core.errors import EnvelopeBroken, RefusesToStart
from service.core.model import Credential, Sealed

FORMAT: Final = 1
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
LONGEST_KEY_ID: Final = 255

_CREDENTIAL_LABEL: Final = b"vouch.credential.v1"
_ENVELOPE_LABEL: Final = b"vouch.envelope.v1"
_CANARY_BINDING: Final = b"vouch.canary.v1"
_CANARY: Final = b"The key ring is the right one."


class KeyRing(Protocol):
    """Where key-encryption keys live. They never leave it: it wraps and unwraps data keys."""

    @property
    def active_id(self) -> str:
        """The id of the key that new data keys are wrapped with: 1 to 255 ASCII characters."""

    async def wrap(self, data_key: bytes, binding: bytes) -> Sealed:
        """Encrypt a data key with the active key, bound to `binding`.

        Returns:
            The id of the key that was used, and the wrapped data key (at most 65,535 bytes).
        """

    async def unwrap(self, wrapped: Sealed, binding: bytes) -> bytes:
        """Decrypt a data key.

        Raises:
            EnvelopeBroken: the key is not in the ring, or these bytes were not wrapped by it with this binding.
        """


class Envelope:
    """Seals payloads and opens them again. A payload is bound to what `binding` says: nowhere else does it open."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def seal(self, plaintext: bytes, binding: bytes) -> Sealed:
        """Encrypt with a data key of its own."""
        data_key = os.urandom(KEY_BYTES)
        wrapped = await self._ring.wrap(data_key, binding)
        header = _header(wrapped)
        return Sealed(wrapped.key_id, header + encrypt(data_key, plaintext, _additional(header, binding)))

    async def open(self, sealed: Sealed, binding: bytes) -> bytes:
        """Decrypt.

        Raises:
            EnvelopeBroken: whatever the cause, and without a word about it.
        """
        parts = _parse(sealed)
        if parts is None:
            raise EnvelopeBroken
        header, wrapped, body = parts
        data_key = await self._ring.unwrap(wrapped, binding)
        plaintext = decrypt(data_key, body, _additional(header, binding))
        if plaintext is None:
            raise EnvelopeBroken
        return plaintext


def binding(credential: Credential) -> bytes:
    """What the envelope of a credential is bound to: this version of this row, with these public fields.

    Every part has its length before it, so no two credentials have the same binding. The name is not part of it:
    a rename changes no payload.
    """
    return joined(
        _CREDENTIAL_LABEL,
        credential.workspace.encode(),
        credential.teamspace.encode(),
        credential.family.encode(),
        credential.id.encode(),
        str(credential.version).encode(),
        credential.provider.encode(),
        credential.type.encode(),
        hashlib.sha256(credential.public.encode()).digest(),
    )


async def seal_canary(envelope: Envelope) -> Sealed:
    """A record that only this key ring opens; a store keeps one."""
    return await envelope.seal(_CANARY, _CANARY_BINDING)


async def check_canary(envelope: Envelope, canary: Sealed) -> None:
    """Make sure that the key ring is the one which the store's secrets were sealed with.

    Raises:
        RefusesToStart: it is not, or the key is missing from it.
    """
    try:
        right = await envelope.open(canary, _CANARY_BINDING) == _CANARY
    except EnvelopeBroken:
        right = False
    if not right:
        raise RefusesToStart(
            "The key ring does not match the store: what is stored was sealed with a key that is not in it "
            "(see [keys] file in the configuration)."
        )


def encrypt(key: bytes, plaintext: bytes, additional: bytes) -> bytes:
    """AES-256-GCM with a random 96-bit nonce: the nonce, then the ciphertext and its tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, additional)


def decrypt(key: bytes, body: bytes, additional: bytes) -> bytes | None:
    """What `encrypt` made, decrypted; None for anything else."""
    if len(key) != KEY_BYTES or len(body) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], additional)
    except InvalidTag:
        return None


def joined(*parts: bytes) -> bytes:
    """Parts with the length of each before it: different parts never give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _header(wrapped: Sealed) -> bytes:
    key_id = wrapped.key_id.encode("ascii")
    return bytes([FORMAT, len(key_id)]) + key_id + len(wrapped.envelope).to_bytes(2, "big") + wrapped.envelope


def _parse(sealed: Sealed) -> tuple[bytes, Sealed, bytes] | None:
    """The header, the wrapped data key in it, and the rest; None unless it is ours and names the row's key."""
    data = sealed.envelope
    key_id = sealed.key_id.encode(errors="replace")
    at = 2 + len(key_id)
    if len(key_id) > LONGEST_KEY_ID or not data.startswith(bytes([FORMAT, len(key_id)]) + key_id):
        return None
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    return data[:end], Sealed(sealed.key_id, data[at + 2 : end]), data[end:]


def _additional(header: bytes, bound_to: bytes) -> bytes:
    return joined(_ENVELOPE_LABEL, header, bound_to)
