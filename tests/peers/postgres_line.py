"""The network between vouch and PostgreSQL, on which things go wrong when a test wants them to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.peers.postgres import Postgres

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""https://www.postgresql.org/docs/current/protocol-message-formats.html: SSLRequest; answered by one byte, S or N."""


class Line:
    """A forwarder. Whatever is set holds for what passes from then on.

    Attributes:
        port: where it listens, on 127.0.0.1.
        lose: the connection on which the client says this is lost before the server hears it.
        lose_answer: the same, but the server has heard it.
        silent: nothing of what the server says comes through.
        made: how many connections there were.
    """

    def __init__(self, server: Postgres, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.lose: bytes | None = None
        self.lose_answer: bytes | None = None
        self.silent = False
        self.made = 0
        self._server = server
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, database: str) -> str:
        """Where a database is, through this line."""
        return self._server.url(database, port=self.port)

    def cut(self) -> None:
        """Lose every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.made += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._tls is not None and await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._tls)
            back, there = await asyncio.open_connection("127.0.0.1", self._server.port)
            self._writers |= {writer, there}
            await asyncio.gather(self._up(reader, there), self._down(back, writer))
        except (OSError, EOFError):
            pass
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """End everything."""
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _up(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while said := await reader.read(65536):
            if self.lose is not None and self.lose in said:
                self.lose = None
                self.cut()
                return
            there.write(said)
            if self.lose_answer is not None and self.lose_answer in said:
                self.lose_answer = None
                self.silent = True
                # Long enough for the server to have done it.
                await asyncio.sleep(0.1)
                self.cut()
                self.silent = False
                return
        there.close()

    async def _down(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await back.read(65536):
            if not self.silent:
                writer.write(said)
        writer.close()


@asynccontextmanager
async def line_to(server: Postgres, tls: ssl.SSLContext | None = None) -> AsyncIterator[Line]:
    """A line to a server; with `tls`, clients must ask for TLS, as real servers have them do."""
    line = Line(server, tls)
    listening = await asyncio.start_server(line.run, "127.0.0.1", 0)
    line.port = listening.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        listening.close()
        await line.close()


@pytest.fixture
async def line(postgres: Postgres) -> AsyncIterator[Line]:
    """A network to the common server, on which things go wrong."""
    async with line_to(postgres) as line:
        yield line
