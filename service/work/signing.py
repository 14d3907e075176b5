"""Signing what is delivered to a webhook, as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme"
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from service.core.errors import RefusesToStart

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
_LONGEST_FILE = 4096


class Signer:
    """Signs deliveries with a shared secret (`v1`: HMAC-SHA256)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Of a secret's text: `whsec_` and base64, with its padding or without.

        Raises:
            RefusesToStart: it is none.
        """
        encoded = text.strip()
        key = b""
        if encoded.startswith(_PREFIX):
            encoded = encoded.removeprefix(_PREFIX).rstrip("=")
            try:
                key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
            except (binascii.Error, ValueError):
                key = b""
        if not _SHORTEST <= len(key) <= _LONGEST:
            raise RefusesToStart(
                f"webhooks.secret_file must hold {_PREFIX} and base64 of {_SHORTEST} to {_LONGEST} random bytes."
            )
        return cls(key)

    @classmethod
    def read(cls, path: Path) -> "Signer":
        """Of a file with a secret's text.

        Raises:
            RefusesToStart: it can't be read, or holds none.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_LONGEST_FILE)
        except OSError as error:
            raise RefusesToStart(f"webhooks.secret_file can't be read: {error.strerror}.") from None
        return cls.parse(content.decode("utf-8", errors="replace"))

    def headers(self, event_id: str, moment: int, body: bytes) -> dict[str, str]:
        """The headers of a delivery.

        Args:
            event_id: the same for every attempt, so that a receiver knows a repeated one.
            moment: seconds since the epoch, of this attempt.
            body: what is sent, byte by byte.
        """
        signed = b".".join((event_id.encode(), str(moment).encode(), body))
        signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(moment),
            "webhook-signature": f"v1,{signature}",
            "Content-Type": "application/json",
        }
