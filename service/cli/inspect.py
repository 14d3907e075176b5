"""`vouch health`, `vouch openapi` and `vouch config`."""

import http.client
import ssl
import sys
from pathlib import Path

import click
import orjson

from service.cli.common import config_option, telling_errors
from service.config import Config, load_config

_HEALTH_SECONDS = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what it is replaced by is the point


@click.command()
@config_option
@telling_errors
def health(config_path: Path | None) -> None:
    """Ask the running service whether it is ready: exit code 0 or 1."""
    config = load_config(config_path)
    try:
        status, body = _ask(config)
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"no answer: {type(error).__name__}", err=True)
        sys.exit(1)
    click.echo(body)
    sys.exit(0 if status == http.client.OK else 1)


def _ask(config: Config) -> tuple[int, bytes]:
    host = _ANY.get(config.server.host, config.server.host)
    connection: http.client.HTTPConnection
    if config.server.tls_cert:
        # The certificate names the public host; this is our own port on this machine.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, config.server.port, timeout=_HEALTH_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, config.server.port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    finally:
        connection.close()


@click.command()
@config_option
@telling_errors
def openapi(config_path: Path | None) -> None:
    """Print the OpenAPI document, with the kinds of the installed verifiers."""
    from service.api.tiledb.schemas import RequestSchemas
    from service.app import document, installed_verifiers

    load_config(config_path)
    registry = installed_verifiers()
    click.echo(orjson.dumps(document(RequestSchemas(registry), registry), option=orjson.OPT_INDENT_2))


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command("check")
@config_option
@telling_errors
def check(config_path: Path | None) -> None:
    """Say whether the service would start with this configuration: exit code 0 or 1."""
    load_config(config_path)
    click.echo("The configuration is fine.")
