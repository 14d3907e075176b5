"""A receiver of webhooks on loopback: records what came and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
from aiohttp import web

HANG, RESET = "hang", "reset"


@dataclass(frozen=True)
class Delivery:
    """One delivery, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What the sender calls the event."""
        return self.headers["webhook-id"]


class WebhookReceiver:
    """Takes deliveries at `url`, and answers each with the next of `answers`, the last one for good.

    An answer is a status, a status with headers, or one of `HANG` and `RESET`.
    """

    def __init__(self) -> None:
        self.answers: list[int | tuple[int, dict[str, str]] | str] = [200]
        self.received: list[Delivery] = []
        self.port = 0
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where it takes them."""
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def allowed(self) -> str:
        """How `[egress] allow` names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def bodies(self) -> str:
        """All that came, as one text."""
        return "\n".join(one.body.decode() for one in self.received)

    async def wait_for(self, count: int, seconds: float = 10.0) -> list[Delivery]:
        """All deliveries, once there are so many."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def answer(self, request: web.Request) -> web.Response:
        """The next answer."""
        body = await request.read()
        async with self._arrived:
            self.received.append(Delivery(request.method, request.path_qs, request.headers, body))
            self._arrived.notify_all()
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if told == HANG:
            await asyncio.sleep(60)
        if told == RESET:
            assert request.transport is not None
            request.transport.abort()
            told = 500
        status, headers = told if isinstance(told, tuple) else (int(told), {})
        return web.Response(status=status, headers=headers)

    async def start(self, port: int = 0) -> None:
        """Listen; 0 for any port."""

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; `start(port)` brings it back."""
        await self._runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver, fresh for each test."""
    one = WebhookReceiver()
    await one.start()
    yield one
    await one.stop()
