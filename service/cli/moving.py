"""`vouch import` and `vouch export`: they work on the store, beside a running service."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, update_wrapper
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from service.cli.access import workspace_option
from service.cli.client import one_line
from service.cli.common import config_option, telling_errors
from service.cli.moving_report import Progress, ReportFile, tell
from service.config import Config, load_config
from service.core.access import WORKSPACE_RULE, is_workspace
from service.core.errors import Invalid
from service.core.names import teamspace_fault
from service.moving.entries import Rejected, Source
from service.moving.files import Unreadable, opened, read_all
from service.moving.running import INTERRUPTED, Report
from service.observe import logs
from verifiers.registry import Registry

_INTERRUPTED = 130  # as a shell says it of what SIGINT ended

Reader = Callable[[Config, Registry], Source]
"""Reads the source."""


@dataclass(frozen=True)
class Options:
    """What the options of an import say."""

    workspace: str
    dry_run: bool
    verify: bool
    replace: bool
    report: Path | None


def _importing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of every import."""

    def run(
        workspace: str, dry_run: bool, verify: bool, replace: bool, report_path: Path | None, **values: object
    ) -> None:
        command(options=Options(workspace, dry_run, verify, replace, report_path), **values)

    wrapped: Callable[..., None] = update_wrapper(run, command)
    for option in (
        click.option("--report", "report_path", type=click.Path(path_type=Path, dir_okay=False), help="Also as JSON."),
        click.option("--replace", is_flag=True, help="Replace those that are there already and differ."),
        click.option("--verify", is_flag=True, help="Ask the provider first; refuse what it refuses."),
        click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing."),
        workspace_option,
        config_option,
    ):
        wrapped = option(wrapped)
    return wrapped


teamspace_option = click.option("--teamspace", default="", help="Where they go; the workspace level, if not given.")


@click.group("import")
def import_() -> None:
    """Take credentials in from somewhere else. Doing it again changes nothing.

    Exits with 0 if nothing was refused, else with 1. An interrupt ends it after the one under way; run it again to go
    on.
    """


@import_.command("dqops")
@click.argument("folder", type=click.Path(path_type=Path))
@_importing
@telling_errors
def dqops(config_path: Path | None, folder: Path, options: Options) -> None:
    """Take the files in the .credentials folder of the DQOps user home FOLDER as shared credentials."""

    def read(config: Config, _registry: Registry) -> Source:
        from service.moving.dqops import read_folder

        return read_folder(folder, config.server.max_body_bytes)

    _import(config_path, options, folder, read)


@import_.command("aws")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@teamspace_option
@_importing
@telling_errors
def aws(config_path: Path | None, file: Path, teamspace: str, options: Options) -> None:
    """Take each profile with keys in the AWS shared-credentials file FILE (- is standard input) as an AWS key."""
    _require_teamspace(teamspace)

    def read(_config: Config, registry: Registry) -> Source:
        from service.core.credentials import verifier_of
        from service.moving.profiles import LONGEST, read_profiles
        from verifiers.files import AWS

        with ExitStack() as stack:
            content = read_all(_open(file, LONGEST, stack), LONGEST)
        return read_profiles(content, _label(file), verifier_of(registry, *AWS).kind, teamspace)

    _import(config_path, options, file, partial(_read_or_refuse, read, file))


@import_.command("json")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@teamspace_option
@_importing
@telling_errors
def json(config_path: Path | None, file: Path, teamspace: str, options: Options) -> None:
    """Take what `vouch export` wrote, with the secrets filled in: JSON lines or a JSON list (- is standard input).

    Those that name no teamspace_id go to --teamspace.
    """
    _require_teamspace(teamspace)
    with ExitStack() as stack:

        def read(_config: Config, registry: Registry) -> Source:
            from service.api.body import parse_json
            from service.api.native.credential_schemas import credential_id, load_item
            from service.moving.document import LONGEST_FILE, Reading, read_document

            reading = Reading(parse_json, credential_id, partial(load_item, registry=registry), teamspace)
            return read_document(_open(file, LONGEST_FILE, stack), _label(file), reading)

        _import(config_path, options, file, partial(_read_or_refuse, read, file))


def _open(file: Path, longest: int, stack: ExitStack) -> BinaryIO:
    if str(file) == "-":
        return BytesIO(read_all(sys.stdin.buffer, longest))
    return stack.enter_context(opened(file, longest))


def _label(file: Path) -> str:
    return "standard input" if str(file) == "-" else one_line(str(file))


def _read_or_refuse(read: Reader, file: Path, config: Config, registry: Registry) -> Source:
    try:
        return read(config, registry)
    except Unreadable as error:
        return Source(iter([Rejected(_label(file), f"The file is not taken: {error}.")]), 1)


def _import(config_path: Path | None, options: Options, place: Path, read: Reader) -> None:
    """Read a source and take it in; `place` is where it is."""
    from service.app import installed_verifiers

    config = load_config(config_path)
    logs.configure(config.log.level, config.log.format)
    _require_workspace(options.workspace)
    registry = installed_verifiers()
    source = read(config, registry)
    about = {"workspace": options.workspace, "dry_run": options.dry_run, "verify": options.verify}
    with ReportFile(options.report, about, source=place) as file:
        progress = Progress(source.total)
        try:
            report = asyncio.run(_take(config, registry, source, options, progress))
        except asyncio.CancelledError:
            report = Report(ended=INTERRUPTED)
        progress.end()
        tell(report, dry_run=options.dry_run)
        file.write(report)
    if report.ended == INTERRUPTED:
        sys.exit(_INTERRUPTED)
    sys.exit(0 if not report.refused and not report.ended else 1)


async def _take(config: Config, registry: Registry, source: Source, options: Options, progress: Progress) -> Report:
    # Here and not above: the other commands need not wait for all of it.
    from contextlib import AsyncExitStack

    from service.bootstrap import operator
    from service.cli.moving_wiring import opened as opened_store
    from service.cli.moving_wiring import stoppable, verifying
    from service.moving.asking import Asking
    from service.moving.importer import Importer
    from service.moving.running import run

    async with AsyncExitStack() as stack:
        stop = await stack.enter_async_context(stoppable())
        inside = await stack.enter_async_context(opened_store(config, registry))
        caller = operator(options.workspace)
        ask: Callable[[str], Asking] | None = None
        if options.verify:
            verification = await stack.enter_async_context(verifying(inside, registry, dry_run=options.dry_run))

            def ask_in(teamspace: str) -> Asking:
                return Asking(verification.vets(caller, teamspace), stop.pause)

            ask = ask_in
        importer = Importer(
            inside.into, caller, replace=options.replace, dry_run=options.dry_run, ask=ask, pause=stop.pause
        )
        return await run(importer, source, stop, progress.step)


def _require_workspace(workspace: str) -> None:
    if not is_workspace(workspace):
        raise Invalid({"workspace": WORKSPACE_RULE})


def _require_teamspace(teamspace: str) -> None:
    if fault := teamspace_fault(teamspace):
        raise Invalid({"teamspace": fault})


@click.command()
@config_option
@workspace_option
@click.option("--teamspace", "teamspaces", multiple=True, help='Only this one; repeat it. "" is the workspace level.')
@telling_errors
def export(config_path: Path | None, workspace: str, teamspaces: tuple[str, ...]) -> None:
    """Write every credential of a workspace without its secrets, a JSON object on each line.

    `vouch import json` reads it, once the secrets are filled in.
    """
    config = load_config(config_path)
    logs.configure(config.log.level, config.log.format)
    _require_workspace(workspace)
    for teamspace in teamspaces:
        _require_teamspace(teamspace)
    try:
        count = asyncio.run(_export(config, workspace, teamspaces))
    except BrokenPipeError:
        # Whoever read it has enough. Python would try to flush the rest at its end, and say that it could not.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    click.echo(f"{count} exported", err=True)


async def _export(config: Config, workspace: str, teamspaces: tuple[str, ...]) -> int:
    from service.api.native.credential_render import shown
    from service.app import installed_verifiers
    from service.bootstrap import operator
    from service.cli.moving_wiring import opened as opened_store
    from service.moving.exporter import pages

    registry, count = installed_verifiers(), 0
    out = sys.stdout.buffer
    async with opened_store(config, registry) as inside:
        wanted = tuple(dict.fromkeys(teamspaces)) or await inside.store.list_teamspaces(workspace)
        async for page in pages(inside.into.catalog, operator(workspace), wanted):
            for one in page:
                out.write(orjson.dumps(shown(one, registry), option=orjson.OPT_APPEND_NEWLINE))
            count += len(page)
        out.flush()
    return count
