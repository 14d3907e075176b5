"""`Expect` (RFC 9110 section 10.1.1) on the wire: when a body is asked for, and when it is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from service import bootstrap
from service.config import Config
from tests.api.payloads import create_body
from tests.api.test_http import listening

BODY = json.dumps(create_body("aws key", "one")).encode()
CONTINUE = (100, {}, b"")
LIMIT = 4096


class Answer(NamedTuple):
    """One answer off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection, spoken byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self.key = key

    def send(self, *parts: bytes) -> None:
        """Send bytes."""
        self._writer.write(b"".join(parts))

    def head(
        self,
        expect: str | None = "100-continue",
        *,
        length: int = len(BODY),
        key: str | None = "",
        version: str = "1.1",
    ) -> None:
        """Send the head of a POST that creates a credential; no key at all for None."""
        lines = [f"POST /v4/credentials HTTP/{version}", "Host: x", "Content-Type: application/json"]
        lines.append(f"Content-Length: {length}")
        if expect is not None:
            lines.append(f"Expect: {expect}")
        if key is not None:
            lines.append(f"X-TILEDB-REST-API-KEY: {key or self.key}")
        self.send("\r\n".join([*lines, "", ""]).encode())

    async def answer(self) -> Answer:
        """The next answer, interim or final."""
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(first.split(" ")[1]), headers, body)

    async def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.read(1) == b""
        except TimeoutError:
            return True


@pytest.fixture
async def wire(config: Config) -> AsyncIterator[Wire]:
    """A connection to a vouch as `vouch serve` runs it."""
    config = replace(config, server=replace(config.server, max_body_bytes=LIMIT))
    key = await bootstrap.first_start(config, terminal=True)
    assert key is not None
    async with listening(config) as (reader, writer):
        yield Wire(reader, writer, key)


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
async def test_a_body_that_fits_is_asked_for_and_then_taken(wire: Wire, expect: str) -> None:
    for name in ("one", "two"):
        body = json.dumps(create_body("aws key", name)).encode()
        wire.head(expect, length=len(body))
        assert await wire.answer() == CONTINUE
        assert await wire.silent()
        wire.send(body)
        created = await wire.answer()
        assert (created.status, created.headers["location"]) == (201, f"/v4/credentials/{name}")


async def test_a_body_may_trickle_in_after_it_was_asked_for(wire: Wire) -> None:
    wire.head()
    assert await wire.answer() == CONTINUE
    for start in range(0, len(BODY), 40):
        wire.send(BODY[start : start + 40])
        await asyncio.sleep(0.02)
    assert (await wire.answer()).status == 201


async def test_a_client_need_not_wait_to_be_asked(wire: Wire) -> None:
    wire.head()
    wire.send(BODY)
    answers = [await wire.answer()]
    if answers[0] == CONTINUE:
        answers.append(await wire.answer())
    assert answers[-1].status == 201


async def test_a_declared_length_over_the_limit_is_refused_before_it_is_sent(wire: Wire) -> None:
    """Requirement 32."""
    wire.head(length=LIMIT + 1)
    answer = await wire.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (413, 1300)
    assert await wire.silent()


@pytest.mark.parametrize("key", [None, "vouch_0123456789abcdef_wrong"])
async def test_whoever_is_not_let_in_is_not_asked_for_the_body(wire: Wire, key: str | None) -> None:
    """Requirement 20."""
    wire.head(key=key)
    answer = await wire.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (401, 1100)
    assert await wire.silent()


async def test_after_an_answer_without_the_body_no_request_is_taken_for_it(wire: Wire) -> None:
    """RFC 9110 section 10.1.1: the answer says that the connection ends, so a client sends its next one elsewhere."""
    wire.head(key=None)
    answer = await wire.answer()
    assert (answer.status, answer.headers.get("connection")) == (401, "close")
    wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await wire.silent()


async def test_a_body_that_turns_out_wrong_is_refused_after_it_was_asked_for(wire: Wire) -> None:
    wire.head(length=2)
    assert await wire.answer() == CONTINUE
    wire.send(b"{]")
    answer = await wire.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (400, 1000)


@pytest.mark.parametrize("expect", ["fluffy SECRETCANARY", "SECRETCANARY", "100-continue, SECRETCANARY", ""])
async def test_another_expectation_is_passed_over_and_never_quoted(
    wire: Wire, expect: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirement 30."""
    wire.head(expect)
    wire.send(BODY)
    answer = await wire.answer()
    assert answer.status == 201
    printed = capsys.readouterr()
    told = f"{answer.headers}{answer.body!r}{caplog.text}{printed.out}{printed.err}"
    assert "SECRETCANARY" not in told


async def test_an_http_1_0_client_is_never_sent_an_interim_answer(wire: Wire) -> None:
    """RFC 9110 section 10.1.1: in an HTTP/1.0 request the expectation is ignored."""
    wire.head(version="1.0")
    assert await wire.silent()
    wire.send(BODY)
    assert (await wire.answer()).status == 201


async def test_a_request_without_a_body_is_answered_at_once_whatever_it_expects(wire: Wire) -> None:
    lines = ["GET /v4/credentials HTTP/1.1", "Host: x", "Expect: 100-continue", f"X-TILEDB-REST-API-KEY: {wire.key}"]
    for _ in range(2):
        wire.send("\r\n".join([*lines, "", ""]).encode())
        answer = await wire.answer()
        assert (answer.status, json.loads(answer.body)["data"]) == (200, [])
