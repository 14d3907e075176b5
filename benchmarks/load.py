"""The load generator: HTTP/1.1 on kept connections, without an HTTP library, so that the server is the bottleneck.

Every answer is checked whole: its status, its declared length and every byte of its body.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

_PATIENCE = 30.0  # seconds that an answer may be late before the benchmark gives up


class WrongAnswer(Exception):
    """What came back is not what was expected."""


def request(method: str, path: str, port: int, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """One request as it goes over the wire."""
    fields = {"Host": f"127.0.0.1:{port}", "User-Agent": "vouch-benchmark", "Accept": "application/json", **headers}
    if body:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Expected:
    """An answer that is 200 with exactly this body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._length = f"\r\nContent-Length: {len(body)}\r\n".encode()

    def complete(self, data: bytes) -> bool:
        """Whether this is the whole answer, or only its beginning.

        Raises:
            WrongAnswer: it is neither.
        """
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return False
        if not data.startswith(b"HTTP/1.1 200 ") or self._length not in data[: head + 2]:
            raise WrongAnswer(data[:head].decode("latin-1"))
        missing = head + 4 + len(self._body) - len(data)
        if missing < 0 or (missing == 0 and not data.endswith(self._body)):
            raise WrongAnswer("the body differs from the one expected")
        return missing == 0


class Client(asyncio.Protocol):
    """One kept connection that asks the same again and again."""

    def __init__(self, asking: bytes, expected: Expected) -> None:
        self._asking = asking
        self._expected = expected
        self._transport: asyncio.Transport
        self._received = b""
        self._until = 0.0
        self._idle: asyncio.Future[None] | None = None
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of the protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        """Check what came; ask again while there is time."""
        if self._received:
            data = self._received + data
        try:
            complete = self._expected.complete(data)
        except WrongAnswer as wrong:
            self._finish(wrong)
            return
        if not complete:
            self._received = data
            return
        self._received = b""
        self.answers += 1
        if time.perf_counter() < self._until:
            self._transport.write(self._asking)
        else:
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of the protocol."""
        self._finish(exc or ConnectionError("the server closed the connection"))

    def _finish(self, error: Exception | None) -> None:
        if self._idle is None or self._idle.done():
            return
        if error is None:
            self._idle.set_result(None)
        else:
            self._idle.set_exception(error)

    async def ask(self, until: float = 0.0) -> None:
        """Ask once, and then again until `until` (of `time.perf_counter`) has passed; `answers` counts.

        Raises:
            WrongAnswer, ConnectionError, TimeoutError: no benchmark can be made of this.
        """
        self.answers, self._until = 0, until
        self._idle = asyncio.get_running_loop().create_future()
        self._transport.write(self._asking)
        async with asyncio.timeout(max(until - time.perf_counter(), 0.0) + _PATIENCE):
            await self._idle

    async def timed(self) -> float:
        """Ask once; how long that took, in seconds."""
        started = time.perf_counter()
        await self.ask()
        return time.perf_counter() - started

    def close(self) -> None:
        """Close the connection."""
        self._idle = None
        self._transport.close()


async def connect(port: int, asking: bytes, expected: Expected) -> Client:
    """A client on a connection of its own."""
    loop = asyncio.get_running_loop()
    _transport, client = await loop.create_connection(lambda: Client(asking, expected), "127.0.0.1", port)
    return client


@dataclass(frozen=True)
class Load:
    """What a stretch of full load gave.

    Attributes:
        answers: how many there were.
        rate: answers in a second.
        generator: the share of one core that the generator itself used.
    """

    answers: int
    rate: float
    generator: float


async def full_load(port: int, asking: bytes, expected: Expected, *, connections: int, seconds: float) -> Load:
    """As many requests as the server answers, one after the other on each connection."""
    clients = [await connect(port, asking, expected) for _ in range(connections)]
    try:
        cpu, started = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.ask(started + seconds))
        cpu, spent = time.process_time() - cpu, time.perf_counter() - started
        answers = sum(client.answers for client in clients)
        return Load(answers, answers / spent, cpu / spent)
    finally:
        for client in clients:
            client.close()


async def all_at_once(port: int, asking: bytes, expected: Expected, *, requests: int) -> float:
    """Every request on a new connection, all at the same moment; seconds until the last answer was there."""

    async def one() -> None:
        client = await connect(port, asking, expected)
        try:
            await client.ask()
        finally:
            client.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(requests):
            group.create_task(one())
    return time.perf_counter() - started
