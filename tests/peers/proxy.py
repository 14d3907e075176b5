"""An outbound proxy on loopback that really tunnels (CONNECT, RFC 9110 section 9.3.6), and a TLS host behind it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trustme

BODY = b"from behind the proxy"


class ConnectProxy:
    """Tunnels to where `hosts` says that a name is, and to nowhere else.

    `asked` are the heads of all requests; `status` is answered to a CONNECT instead of 200 where it is not 200; a
    proxy that hangs answers nothing.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, tuple[str, int]] = {}
        self.asked: list[str] = []
        self.status = 200
        self.hangs = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def targets(self) -> list[str]:
        """What was asked for: method, and host and port."""
        return [head.partition(" HTTP/")[0] for head in self.asked]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._tunnel(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        if self.hangs:
            await asyncio.Event().wait()
        method, target, _ = head.split(" ", 2)
        where = self.hosts.get(target.rpartition(":")[0])
        status = 405 if method != "CONNECT" else 502 if where is None else self.status
        if where is None or status != 200:
            writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        there, back = await asyncio.open_connection(*where)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


class TlsHost:
    """Answers every request with `BODY`, under a certificate of its own authority; `requests` are their heads."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self.authority = trustme.CA()
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*self._names).configure_cert(tls)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def behind_a_proxy(*names: str) -> AsyncIterator[tuple[ConnectProxy, TlsHost]]:
    """A proxy that knows these names, and the one host that all of them are."""
    proxy, host = ConnectProxy(), TlsHost(*names)
    await host.start()
    await proxy.start()
    proxy.hosts = dict.fromkeys(names, ("127.0.0.1", host.port))
    try:
        yield proxy, host
    finally:
        await proxy.stop()
        await host.stop()
