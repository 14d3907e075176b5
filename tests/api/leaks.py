"""Where a secret could have got to, in which forms it could be found there, and faults that could bring it there."""

import asyncio
import base64
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.api.payloads import KINDS
from tests.conftest import Vouch
from tests.peers.aws_stub import Scripted


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


def secrets_of(kind: str) -> list[str | bytes]:
    """The secrets of a kind's payload: the field's own text, and what it is made of."""
    _provider, _type, _slot, _sub, payload, name = KINDS[kind]
    if not name:
        return []
    text = payload[name]
    if kind == "azure sas":
        signature = text.rpartition("sig=")[2]
        return [text, signature, unquote(signature), base64.b64decode(unquote(signature))]
    if kind == "azure key":
        return [text, base64.b64decode(text)]
    if kind == "gcp service account":
        lines = json.loads(text)["private_key"].splitlines()[1:-1]
        return [text, *(line for line in lines if len(line) >= 12)]
    return [text]


async def hear(watch: Watch, vouch: Vouch, method: str, path: str, body: Any = None, **more: Any) -> Any:
    """Make a request, and keep all that was answered."""
    answer = await vouch.call(method, path, body, **more)
    watch.answers.append(f"{method} {path} {answer.status} {dict(answer.headers)} {await answer.text()}")
    return answer


def echoing(status: int, *secrets: str | bytes) -> Scripted:
    """An answer that gives back what it was sent, as an error page does."""
    told = " ".join(secret if isinstance(secret, str) else secret.decode("latin-1") for secret in secrets)
    body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{told} was not right</Message></Error>"
    return Scripted(status, body, {"x-ms-error-code": "AuthenticationFailed"})


async def hang() -> Scripted:
    """No answer before the deadline."""
    await asyncio.sleep(3)
    return Scripted(500)


FAULTS: dict[str, Callable[[list[str | bytes]], Any]] = {
    "refused": lambda secrets: echoing(403, *secrets),
    "500": lambda secrets: echoing(500, *secrets),
    "garbage": lambda secrets: Scripted(200, f"\x00<not<xml {secrets!r}"),
    "hang": lambda _secrets: hang,
}
