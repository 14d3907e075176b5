"""Serve the application: listen, answer malformed HTTP without echoing it, and stop in good order."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import orjson
import structlog
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from service.app_keys import EXPECTS_CONTINUE, HEALTH, LANES
from service.config import Config
from service.core.errors import RefusesToStart
from service.observe.origin import new_request_id
from service.tls import Certificate, watched

log = structlog.get_logger("vouch.server")

# Connections that wait to be accepted; with aiohttp's 128 a burst of a few hundred is retried a second later.
_BACKLOG = 1024
# What is kept of `shutdown_seconds` for closing connections; aiohttp waits twice for whatever is still there.
_LAST_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.5
# How long a load balancer has to see that readiness is off before the door closes.
_UNREADY_SECONDS = 0.2


class _QuietHandler(RequestHandler):
    """aiohttp answers a malformed request with the offending header, an API key included. This one doesn't."""

    __slots__ = ("_head_timer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the head of a request, from here on, as long as it may take (requirement 33; aiohttp has no limit)."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; a whole head stops the clock, a part of the next one starts it."""
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._forget_head()
        elif self._head_timer is None:
            self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the clock too."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        seconds = cast("_QuietServer", self._manager).header_seconds
        self._head_timer = asyncio.get_running_loop().call_later(seconds, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is not None and not self._messages and self._current_request is None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer an error from below the application, in the Error body of the contract."""
        request_id = new_request_id()
        malformed = 400 <= status < 500
        log.info("malformed request", request_id=request_id, status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer had begun already.")
        body = {
            "code": 1000 if malformed else 1900,
            "message": "The request is not valid HTTP." if malformed else "Something went wrong on our side.",
            "request_id": request_id,
        }
        headers = {
            "X-Request-ID": request_id,
            "X-Content-Type-Options": "nosniff",
            "Server": "vouch",
            "Cache-Control": "no-store",
        }
        response = web.Response(
            status=status, body=orjson.dumps(body), content_type="application/json", headers=headers
        )
        response.force_close()
        return response


class _QuietServer(web.Server):
    """Makes handlers of the quiet sort, with a limit on how long the head of a request may take."""

    header_seconds: float

    def __call__(self) -> RequestHandler:
        return _QuietHandler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An AppRunner whose server is the quiet one.

    Args:
        app: the application.
        header_seconds: how long a connection may take to say what it wants; a slower one holds a file descriptor for
            nothing.
        kwargs: AppRunner's own.
    """

    __slots__ = ("_header_seconds",)

    def __init__(self, app: web.Application, *, header_seconds: float, **kwargs: Any) -> None:
        super().__init__(app, access_log=None, **kwargs)
        self._header_seconds = header_seconds

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        def make_request(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
            # aiohttp answers an expectation before the application sees the request, and quotes an unknown one.
            expected = message.headers.get(hdrs.EXPECT)
            if expected is None:
                return made.request_factory(message, *rest)
            headers = CIMultiDict(message.headers)
            del headers[hdrs.EXPECT]
            request = made.request_factory(message._replace(headers=CIMultiDictProxy(headers)), *rest)
            # RFC 9110 section 10.1.1: an HTTP/1.0 client knows no interim answer.
            request[EXPECTS_CONTINUE] = expected.lower() == "100-continue" and message.version >= HttpVersion11
            return request

        quiet = _QuietServer(
            made.request_handler,
            request_factory=make_request,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - the arguments that AppRunner chose
        )
        quiet.header_seconds = self._header_seconds
        return quiet


async def serve(app: web.Application, config: Config, greet: Callable[[int], None] | None = None) -> None:
    """Run until SIGTERM or SIGINT; then turn readiness off, finish what was accepted, and return.

    Args:
        app: the application.
        config: where to listen, and how long stopping may take.
        greet: called with the port once it listens.

    Raises:
        RefusesToStart: the address can't be listened on, or the certificate can't be read.
    """
    server = config.server
    certificate = Certificate(server.tls_cert, server.tls_key) if server.tls_cert else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    runner = Runner(app, header_seconds=server.header_seconds, shutdown_timeout=_LAST_SECONDS / 2)
    try:
        await runner.setup()
        tls = certificate.context if certificate else None
        site = web.TCPSite(runner, server.host, server.port, ssl_context=tls, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise RefusesToStart(f"Cannot listen on {server.host}:{server.port}: {error.strerror}.") from None
        for address in runner.addresses:
            log.info("listening", host=address[0], port=address[1], tls=bool(server.tls_cert))
        if greet is not None:
            greet(runner.addresses[0][1])
        async with watched(certificate):
            await stop.wait()
        log.info("stopping", within_seconds=server.shutdown_seconds)
        await _drain(app, site, max(0.0, server.shutdown_seconds - _LAST_SECONDS - _LAST_WORDS_SECONDS))
    finally:
        await runner.cleanup()


async def _drain(app: web.Application, site: web.TCPSite, seconds: float) -> None:
    """Turn readiness off, then the door, then wait for what was accepted (requirement 35)."""
    health = app[HEALTH]
    until = time.monotonic() + seconds
    health.draining = True
    await asyncio.sleep(_UNREADY_SECONDS)
    await site.stop()
    health.closed = True
    await health.wait_until_idle(until - time.monotonic())
    if health.under_way:
        # Better a 503 than no answer: what waits for a provider is told so, and gets a moment to say it.
        app[LANES].stop()
        await health.wait_until_idle(_LAST_WORDS_SECONDS)
    if health.under_way:
        log.warning("stopped with requests under way", requests=health.under_way)
