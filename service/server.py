"""Serve the application: listen, answer malformed HTTP without echoing it, and stop in good order."""

import asyncio
import signal
import ssl

import orjson
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from service.app_keys import HEALTH
from service.config import Config
from service.core.errors import RefusesToStart
from service.observe.origin import new_request_id

log = structlog.get_logger("vouch.server")

# Connections that wait to be accepted; with aiohttp's 128 a burst of a few hundred is retried a second later.
_BACKLOG = 1024
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
        headers = {"X-Request-ID": request_id, "Server": "vouch", "Cache-Control": "no-store"}
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
        return _QuietServer(
            made.request_handler,
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - the arguments that AppRunner chose
        )


async def serve(app: web.Application, config: Config) -> None:
    """Run until SIGTERM or SIGINT; then turn readiness off, finish what was accepted, and return.

    Raises:
        RefusesToStart: the address can't be listened on, or the certificate can't be read.
    """
    server = config.server
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    # aiohttp waits for handlers once before and once after it cancels them: half each keeps the promise.
    runner = Runner(app, access_log=None, shutdown_timeout=server.shutdown_seconds / 2)
    try:
        await runner.setup()
        site = web.TCPSite(runner, server.host, server.port, ssl_context=_tls(config), backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise RefusesToStart(f"Cannot listen on {server.host}:{server.port}: {error.strerror}.") from None
        for address in runner.addresses:
            log.info("listening", host=address[0], port=address[1], tls=bool(server.tls_cert))
        await stop.wait()
        log.info("stopping", within_seconds=server.shutdown_seconds)
        app[HEALTH].draining = True
        await asyncio.sleep(_UNREADY_SECONDS)
    finally:
        await runner.cleanup()


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
