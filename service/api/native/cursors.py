"""Cursors: where a page ended, as the client hands it back. Nothing to reckon with, and nothing secret."""

import base64
import binascii
from collections.abc import Sequence

import orjson

_LONGEST = 2048


def encode(*parts: str | int) -> str:
    """A cursor of these parts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode(text: str, kinds: Sequence[type]) -> list[str | int] | None:
    """The parts of a cursor; None for what is none of these types.

    Args:
        text: what the client sent.
        kinds: the type of each part.
    """
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        parts = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(parts, list) or [type(one) for one in parts] != list(kinds):
        return None
    if any(isinstance(one, int) and not 0 <= one < 2**63 for one in parts):
        return None
    return parts
