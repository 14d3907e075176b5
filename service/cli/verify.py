"""`vouch verify`: without a server."""

import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from service.cli.common import config_option
from service.config import Config, load_config
from service.core.errors import Invalid, RefusesToStart, UnsupportedKind, VouchError
from service.observe import logs
from verifiers.verdict import Outcome, Report

_EXIT = {Outcome.VERIFIED: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2}


@click.command()
@config_option
@click.argument("file", type=click.File("rb"))
def verify(config_path: Path | None, file: BinaryIO) -> None:
    """Verify a CredentialsVerifyRequest (JSON; - is standard input) and print the report.

    Exits with 0 when verified, 1 when failed, and 2 when unknown, which a request that can't be read is too.
    """
    try:
        config = load_config(config_path)
        logs.configure(config.log.level, config.log.format)
        report = asyncio.run(_verify(config, file.read(config.server.max_body_bytes + 1)))
    except Invalid as error:
        for name, sentence in error.fields.items():
            click.echo(f"{name}: {sentence}", err=True)
        sys.exit(2)
    except (RefusesToStart, VouchError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(orjson.dumps(report.to_dict(), option=orjson.OPT_INDENT_2))
    sys.exit(_EXIT[report.verdict.outcome])


async def _verify(config: Config, raw: bytes) -> Report:
    # Here and not above: the other commands need not wait for the web framework.
    from service.api.body import parse_json
    from service.api.tiledb.schemas import RequestSchemas
    from service.app import installed_verifiers
    from verifiers.base import Run, verify
    from verifiers.egress import Egress

    if len(raw) > config.server.max_body_bytes:
        raise Invalid({"body": f"Must be at most {config.server.max_body_bytes} bytes long."})
    registry = installed_verifiers()
    wanted = RequestSchemas(registry).load_verifiable(parse_json(raw))
    if wanted.payload is None:
        raise Invalid({"credential": "Give the credential itself: there is no store here to look it up in."})
    kind = wanted.payload.kind
    verifier = registry.get(kind.provider, kind.type)
    if verifier is None:
        raise UnsupportedKind(f"Nothing here verifies {kind.provider} credentials of the type {kind.type}.")
    async with Egress(config.egress, longest_seconds=config.verification.deadline_seconds + 1) as egress:
        run = Run(egress=egress, settings=config.providers)
        return await verify(verifier, wanted.payload, run, config.verification.deadline_seconds)
