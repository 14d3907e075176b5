"""A store to move into, and what is moved."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson

from service import bootstrap
from service.api.body import parse_json
from service.api.native.credential_render import shown
from service.api.native.credential_schemas import credential_id, load_item
from service.bootstrap import operator
from service.cli.moving_wiring import Inside, opened, verifying
from service.config import Config
from service.core.model import Credential, Named, Scope
from service.moving.asking import Asking
from service.moving.document import Reading, read_document
from service.moving.entries import Line, Source
from service.moving.exporter import pages
from service.moving.importer import Importer
from service.moving.profiles import read_profiles
from service.moving.running import Report, run
from service.moving.stopping import Stop
from tests.api.payloads import KINDS
from verifiers.aws_key import KIND as AWS_KEY
from verifiers.registry import load_registry

REGISTRY = load_registry()


@asynccontextmanager
async def moving_into(config: Config) -> AsyncIterator[Inside]:
    """The store of a service that has been started once."""
    await bootstrap.first_start(config, terminal=True)
    async with opened(config, REGISTRY) as inside:
        yield inside


async def take(
    inside: Inside,
    source: Source,
    *,
    replace: bool = False,
    dry_run: bool = False,
    verify: bool = False,
    stop: Stop | None = None,
    tell: Callable[[Line], None] = lambda _line: None,
    workspace: str = "ws_default",
) -> Report:
    """Take a source in, as the command does."""
    stop, caller = stop or Stop(), operator(workspace)
    async with AsyncExitStack() as stack:
        ask = None
        if verify:
            verification = await stack.enter_async_context(verifying(inside, REGISTRY, dry_run=dry_run))
            ask = lambda teamspace: Asking(verification.vets(caller, teamspace), stop.pause)  # noqa: E731 - or None
        importer = Importer(inside.into, caller, replace=replace, dry_run=dry_run, ask=ask, pause=stop.pause)
        return await run(importer, source, stop, tell)


def document(*items: Any, teamspace: str = "") -> Source:
    """What `import json` reads in a file of these lines; those that are no bytes are written as JSON."""
    lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    return parsed(b"\n".join(lines), teamspace)


def parsed(content: bytes, teamspace: str = "") -> Source:
    """What `import json` reads in a file."""
    reading = Reading(parse_json, credential_id, partial(load_item, registry=REGISTRY), teamspace)
    return read_document(BytesIO(content), "a file", reading)


def profiles(content: str | bytes, teamspace: str = "") -> Source:
    """What `import aws` reads in a file."""
    raw = content.encode() if isinstance(content, str) else content
    return read_profiles(raw, "a file", AWS_KEY, teamspace)


def put_body(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """The PUT of a kind of `tests.api.payloads`."""
    provider, type_, _slot, _sub, payload, _secret = KINDS[kind]
    return {"kind": "access", "name": name, "provider": provider, "type": type_, "payload": dict(payload), **more}


def text_body(name: str, content: str, **more: Any) -> dict[str, Any]:
    """The PUT of a shared text."""
    return {"kind": "shared", "name": name, "type": "text", "payload": {"content": content}, **more}


def results(report: Report) -> list[tuple[str, str]]:
    """Each name, and what became of it."""
    return [(line.name, line.result.value) for line in report.lines]


async def exported(inside: Inside, *teamspaces: str) -> list[dict[str, Any]]:
    """What `vouch export` writes."""
    wanted = teamspaces or tuple(await inside.store.list_teamspaces("ws_default"))
    found = []
    async for page in pages(inside.into.catalog, operator("ws_default"), wanted):
        found += [orjson.loads(orjson.dumps(shown(one, REGISTRY))) for one in page]
    return found


async def stored(inside: Inside, name: str, *, teamspace: str = "", kind: str = "access") -> tuple[Credential, Any]:
    """A record and its open secret."""
    return await inside.into.records.open(Named(Scope("ws_default", teamspace, kind), name))


def database(config: Config) -> dict[str, list[Any]]:
    """Every row of the database."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{Path(config.data_dir) / 'vouch.db'}?mode=ro", uri=True)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
