"""`vouch serve`."""

import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
import structlog

from service.cli.common import config_option, telling_errors
from service.config import Config, load_config
from service.config_rules import check
from service.observe import logs


@click.command()
@config_option
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; 0 takes a free one.")
@telling_errors
def serve(config_path: Path | None, host: str | None, port: int | None) -> None:
    """Run the service until SIGTERM."""
    # In a container this is process 1, whose signals the kernel drops unless they are handled: a stop that comes while
    # the service still starts would be lost.
    signal.signal(signal.SIGTERM, _end)
    config = load_config(config_path)
    listen = replace(
        config.server,
        host=config.server.host if host is None else host,
        port=config.server.port if port is None else port,
    )
    config = replace(config, server=listen)
    check(config)
    logs.configure(config.log.level, config.log.format)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config))


def _end(_signal: int, _frame: FrameType | None) -> None:
    """Nothing has been accepted yet, so there is nothing to drain; the server's own handler comes with its port."""
    sys.exit(0)


async def _serve(config: Config) -> None:
    # Here and not above: the other commands need not wait for the web framework.
    from service import bootstrap, server
    from service.app import create_app

    terminal = sys.stdout.isatty()
    app = create_app(config)
    key = await bootstrap.first_start(config, terminal=terminal)
    if key is not None and not terminal:
        structlog.get_logger("vouch.serve").info("first admin key written", file=str(bootstrap.admin_key_file(config)))

    def greet(port: int) -> None:
        if key is not None and terminal:
            click.echo(_welcome(config, port, key))

    await server.serve(app, config, greet)


def _welcome(config: Config, port: int, key: str) -> str:
    scheme = "https" if config.server.tls_cert else "http"
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    return (
        "This is the first start. The admin API key is shown this once:\n\n"
        f"  {key}\n\n"
        "Try it:\n\n"
        f"  curl -sS -H 'X-TILEDB-REST-API-KEY: {key}' {scheme}://{host}:{port}/v4/credentials\n"
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where there is one: half as much again in requests a second."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
