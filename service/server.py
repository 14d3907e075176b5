"""Serve the application: listen, answer malformed HTTP without echoing it, and stop in good order."""

import asyncio
import signal
import ssl
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from service.app_keys import EXPECTS_CONTINUE, HEALTH
from service.config import Config
from service.core.errors import RefusesToStart
from service.observe.origin import new_request_id

log = structlog.get_logger("vouch.server")

# Connections that wait to be accepted; with aiohttp's 128 a burst of a few hundred is retried a second later.
_BACKLOG = 1024
# What is kept of `shutdown_seconds` for closing connections; aiohttp waits twice for whatever is still there.
_LAST_SECONDS = 2.0
# How long a load balancer has to see that readiness is off before the door closes.
_UNREADY_SECONDS = 0.2


class _QuietHandler(RequestHandler):
    """aiohttp answers a malformed request with the offending header, an API key included. This one doesn't."""

    __slots__ = ()

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
    """Makes handlers of the quiet sort."""

    def __call__(self) -> RequestHandler:
        return _QuietHandler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An AppRunner whose server is the quiet one."""

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
            request[EXPECTS_CONTINUE] = expected.lower() == "100-continue"
            return request

        return _QuietServer(
            made.request_handler,
            request_factory=make_request,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - the arguments that AppRunner chose
        )


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
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    runner = Runner(app, access_log=None, shutdown_timeout=_LAST_SECONDS / 2)
    try:
        await runner.setup()
        site = web.TCPSite(runner, server.host, server.port, ssl_context=_tls(config), backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise RefusesToStart(f"Cannot listen on {server.host}:{server.port}: {error.strerror}.") from None
        for address in runner.addresses:
            log.info("listening", host=address[0], port=address[1], tls=bool(server.tls_cert))
        if greet is not None:
            greet(runner.addresses[0][1])
        await stop.wait()
        log.info("stopping", within_seconds=server.shutdown_seconds)
        await _drain(app, site, server.shutdown_seconds - _LAST_SECONDS)
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
        log.warning("stopped with requests under way", requests=health.under_way)


def _tls(config: Config) -> ssl.SSLContext | None:
    if not config.server.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.server.tls_cert, config.server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise RefusesToStart(f"Cannot use server.tls_cert and server.tls_key: {type(error).__name__}.") from None
    return context
