"""Where a secret could have got to, and the forms in which it could be found there."""

import base64
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest


def in_base64(secret: bytes) -> Iterator[bytes]:
    """What base64 of anything with the secret in it contains, wherever it stands: three alignments, two alphabets."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        # The first and the last group depend on the neighbours.
        inner = encoded[4 if before else 0 : -4]
        yield from {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}


def needles(*secrets: str | bytes) -> set[bytes]:
    """Every form in which a secret could be found."""
    found: set[bytes] = set()
    for secret in secrets:
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= 12, "a short one would be found by chance"
        found |= {raw, raw.hex().encode(), quote(raw, safe="").encode(), *in_base64(raw)}
    return found


class Watch:
    """Everything that came out of a vouch: what it answered, printed, logged and raised, and what it wrote to disk."""

    def __init__(self, data: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._caplog = caplog
        self._capfd = capfd
        self.answers: list[str] = []
        self.errors: list[str] = []
        self.printed = ""

    def raised(self, error: BaseException) -> None:
        """Take in all that a careless handler could print of an exception, and of those that are shown with it."""
        parts = ["".join(traceback.format_exception(error))]
        chained: BaseException | None = error
        while chained is not None:
            parts += [repr(chained), str(chained), repr(chained.args), repr(vars(chained))]
            chained = chained.__cause__ or (None if chained.__suppress_context__ else chained.__context__)
        self.errors.append("\n".join(parts))

    def places(self) -> dict[str, bytes]:
        """The haystacks by name."""
        out, err = self._capfd.readouterr()
        self.printed += out + err
        found = {
            "answers": "\n".join(self.answers).encode(),
            "errors": "\n".join(self.errors).encode(),
            "output": self.printed.encode(),
            "records": "\n".join(f"{one.getMessage()} {one.__dict__!r}" for one in self._caplog.records).encode(),
        }
        return found | {file.name: file.read_bytes() for file in self._data.iterdir()}

    def assert_without(self, hidden: set[bytes]) -> None:
        """None of these is anywhere."""
        for place, hay in self.places().items():
            for needle in hidden:
                assert needle not in hay, f"{needle!r} is in {place}"
