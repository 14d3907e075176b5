"""A peer that misbehaves on demand: raw sockets on loopback, for what no emulator of a provider does."""

import asyncio
import gzip
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import cast

import pytest
import trustme

from tests.peers.aws_stub import Scripted

METADATA_URL = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
CANARY = "upstream-canary-7f3a"
"""In everything the peer says, so that tests can look for it in what vouch says."""


class FaultMode(StrEnum):
    """What the peer does once it has read a request."""

    FINE = "fine"
    HANG = "hang"
    DRIP = "drip"
    RESET = "reset"
    TRUNCATED = "truncated"
    EARLY_CLOSE = "early close"
    REFUSED = "refused"
    UNAVAILABLE = "503"
    THROTTLED = "429"
    MOVED = "301"
    FOUND = "302"
    SEE_OTHER = "303"
    TEMPORARY_REDIRECT = "307"
    PERMANENT_REDIRECT = "308"
    NOT_HTTP = "not http"
    GARBAGE = "garbage"
    HUGE = "huge"
    ENDLESS = "endless"
    GZIP_BOMB = "gzip bomb"
    LONG_HEADER = "64 KB in one header"
    MANY_HEADERS = "64 KB in many headers"
    BAD_TLS = "bad TLS"
    TLS_TO_PLAIN = "TLS to a plain port"
    SKEWED_CLOCK = "skewed clock"
    INTERIM = "1xx without end"
    CLOSE_ON_REUSE = "close on reuse"


REDIRECTS = tuple(FaultMode(status) for status in ("301", "302", "303", "307", "308"))


@cache
def _authority() -> trustme.CA:
    """One for the whole test run."""
    return trustme.CA()


class FaultPeer:
    """Listens in the clear and with a certificate that nobody trusts; holds one port that refuses.

    `connections` counts connections, also those that die in their TLS handshake. `requests` are the
    requests' heads and bodies, `sent` is how many bytes of answers were handed to the network. A peer that is fine
    answers with `body` and `headers`; one that redirects, to `location`; one whose clock is skewed, with `refusal`
    and a date of another century. Whatever is in `first` is answered before any of that.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.mode = FaultMode.FINE
        self.body = CANARY.encode()
        self.headers = {"Date": "Sat, 01 Aug 2026 12:00:00 GMT"}
        self.location = METADATA_URL
        self.refusal = Scripted(400, CANARY)
        self.first: list[Scripted] = []
        self.connections = 0
        self.requests: list[bytes] = []
        self.sent = 0
        self.served: set[asyncio.StreamWriter] = set()
        self.authority = _authority()
        self._address = address
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = socket.socket()

    @property
    def url(self) -> str:
        """Where to find the peer for the mode it is in."""
        if self.mode is FaultMode.REFUSED:
            return f"http://{self._address}:{self._refusing.getsockname()[1]}"
        if self.mode is FaultMode.BAD_TLS:
            return self.tls_url
        return f"{'https' if self.mode is FaultMode.TLS_TO_PLAIN else 'http'}://{self._address}:{self.port}"

    @property
    def tls_url(self) -> str:
        """Where it speaks TLS, with a certificate of its own authority."""
        return f"https://{self._address}:{self._port(1)}"

    @property
    def port(self) -> int:
        """The port in the clear."""
        return self._port(0)

    async def start(self, port: int = 0) -> None:
        """Listen; `port` is the one in the clear, 0 for any."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(self._address, "localhost").configure_cert(tls)
        tls.sni_callback = self._greeted
        self._refusing.bind((self._address, 0))  # bound and not listening: nobody else gets it, and it refuses
        self._servers.append(await asyncio.start_server(self._serve_plain, self._address, port))
        self._servers.append(await asyncio.start_server(self._serve, self._address, 0, ssl=tls))

    async def stop(self) -> None:
        """Drop everything."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._refusing.close()

    def _port(self, index: int) -> int:
        port: int = self._servers[index].sockets[0].getsockname()[1]
        return port

    def _greeted(self, *hello: object) -> None:
        self.connections += 1  # before the handshake, which the client may break off

    async def _serve_plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._greeted()
        await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            # A client that goes away in the middle is what these tests are about.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is FaultMode.TLS_TO_PLAIN:
            await reader.read(1024)  # a client's hello, which is no HTTP to this port
            await self.answer(writer, "400 Bad Request", CANARY.encode())
            return
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_content_length(head))
            self.requests.append(head + body)
            if self.first:
                await self.give(writer, self.first.pop(0))
            elif not await _FAULTS.get(self.mode, _fine)(self, writer):
                return

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send and count."""
        writer.write(data)
        await writer.drain()
        self.sent += len(data)

    async def answer(self, writer: asyncio.StreamWriter, status: str, body: bytes = b"", **headers: str) -> bool:
        """A well-formed answer; underscores in header names become hyphens."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send(writer, ("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return True

    async def give(self, writer: asyncio.StreamWriter, answer: Scripted, **more: str) -> bool:
        """An answer as the stubs of providers have them, with more headers."""
        return await self.answer(writer, f"{answer.status} -", answer.body.encode(), **answer.headers, **more)


def _content_length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


_Fault = Callable[[FaultPeer, asyncio.StreamWriter], Awaitable[bool]]
"""Returns whether the connection may serve another request. A mode without one answers well, if it is reached."""


def _says(status: int, body: bytes = CANARY.encode(), **headers: str) -> _Fault:
    return lambda peer, writer: peer.answer(writer, f"{status} -", body, **headers)


async def _fine(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    return await peer.answer(writer, "200 OK", peer.body, **peer.headers)


async def _hang(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await asyncio.Event().wait()
    return False


async def _drip(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await peer.send(writer, b"<")
        await asyncio.sleep(0.2)


async def _reset(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + CANARY.encode())
    await asyncio.sleep(0.02)  # a reset overtakes what the client has not read
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


async def _truncated(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + CANARY.encode())
    writer.write_eof()
    return False


async def _early_close(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    return False


async def _close_on_reuse(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    """Serve a connection's first request, and drop it on the second without a word."""
    if writer in peer.served:
        return False
    peer.served.add(writer)
    return await _fine(peer, writer)


async def _redirect(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    return await peer.answer(writer, f"{peer.mode} Elsewhere", CANARY.encode(), Location=peer.location)


async def _not_http(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"\x00\x16\x03 SSH-2.0-" + CANARY.encode() + b"\r\n\r\n")
    writer.write_eof()
    return False


async def _huge(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    while True:
        await peer.send(writer, b"x" * 65536)


async def _endless(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    await peer.send(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(writer, b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def _interim(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    while True:
        await peer.send(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


async def _skewed_clock(peer: FaultPeer, writer: asyncio.StreamWriter) -> bool:
    return await peer.give(writer, peer.refusal, Date="Thu, 01 Jan 2099 00:00:00 GMT")


_BOMB = gzip.compress(b"\0" * 10_000_000, 1)
"""44 KB that would be 10 MB: under the cap, so that only decompressing it could grow."""
_FAULTS: Mapping[FaultMode, _Fault] = MappingProxyType(
    {
        FaultMode.HANG: _hang,
        FaultMode.DRIP: _drip,
        FaultMode.RESET: _reset,
        FaultMode.TRUNCATED: _truncated,
        FaultMode.EARLY_CLOSE: _early_close,
        FaultMode.UNAVAILABLE: _says(503),
        FaultMode.THROTTLED: _says(429, Retry_After="7"),
        **dict.fromkeys(REDIRECTS, _redirect),
        FaultMode.NOT_HTTP: _not_http,
        FaultMode.GARBAGE: _says(200, b"\xff\xfe<]]>{\x00" + CANARY.encode() * 20),
        FaultMode.HUGE: _huge,
        FaultMode.ENDLESS: _endless,
        FaultMode.INTERIM: _interim,
        FaultMode.GZIP_BOMB: _says(200, _BOMB, Content_Encoding="gzip"),
        FaultMode.LONG_HEADER: _says(200, X_Long=CANARY + "x" * 65536),
        FaultMode.MANY_HEADERS: _says(200, CANARY.encode(), **{f"X-{n}": CANARY + "x" * 640 for n in range(100)}),
        FaultMode.SKEWED_CLOCK: _skewed_clock,
        FaultMode.CLOSE_ON_REUSE: _close_on_reuse,
    }
)


@pytest.fixture
async def fault_peer() -> AsyncIterator[FaultPeer]:
    """A peer that is fine until a test sets its `mode`."""
    peer = FaultPeer()
    await peer.start()
    yield peer
    await peer.stop()
