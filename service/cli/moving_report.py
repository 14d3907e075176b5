"""How far an import has come, and what became of everything, on standard error and in a file."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import orjson

from service.cli.client import one_line
from service.moving.entries import Line, Result
from service.moving.running import Report

EVERY = 100
_MOST_SHOWN = 100
_WIDTH = 30

_WORDS = {
    Result.TAKEN: ("taken", "would be taken"),
    Result.UNCHANGED: ("unchanged", "unchanged"),
    Result.REPLACED: ("replaced", "would be replaced"),
    Result.SKIPPED: ("skipped", "would be skipped"),
    Result.REFUSED: ("refused", "would be refused"),
}


class Progress:
    """Says on standard error how many are done: a bar on a terminal, else a line for each hundred.

    Args:
        total: how many there are; None if nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._done = 0
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def step(self, _line: Line) -> None:
        """One more is done."""
        self._done += 1
        if self._terminal:
            click.echo(f"\r{self._text()}", nl=False, err=True)
        elif self._done % EVERY == 0:
            click.echo(self._text(), err=True)

    def end(self) -> None:
        """Nothing more is coming."""
        if self._terminal and self._done:
            click.echo(err=True)

    def _text(self) -> str:
        if self._total is None:
            return f"{self._done} done"
        if not self._terminal:
            return f"{self._done} of {self._total} done"
        filled = _WIDTH * self._done // max(self._total, 1)
        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done} of {self._total}"


def tell(report: Report, *, dry_run: bool) -> None:
    """Write a report for people on standard error, of each result as many lines as somebody would read."""
    counts = report.counts
    for result in Result:
        if not counts[result]:
            continue
        click.echo(f"{_WORDS[result][dry_run]}: {counts[result]}", err=True)
        lines = [line for line in report.lines if line.result is result]
        for line in lines[:_MOST_SHOWN]:
            click.echo(f"  {_told(line)}", err=True)
        if len(lines) > _MOST_SHOWN:
            click.echo(f"  and {len(lines) - _MOST_SHOWN} more; --report FILE has them all", err=True)
    done = f"{sum(counts.values())} done"
    if report.ended:
        click.echo(f"{report.ended.rstrip('.')} after {done}. What is done is done: run it again to go on.", err=True)
    elif dry_run:
        click.echo("Nothing was written.", err=True)
    elif not counts:
        click.echo("There was nothing to take.", err=True)


def _told(line: Line) -> str:
    place = f"{line.name or '(no name)'}{f' in {line.teamspace}' if line.teamspace else ''}"
    shown = f"{place}: {line.why} ({line.where})" if line.why else place
    return one_line(shown)


class ReportFile:
    """Where the report goes as JSON: whole or not at all, and known to be writable before the work begins.

    Args:
        path: where; None for nowhere.
        about: what the report says beside what became of each.
        source: what is read: it is not to be written over.
    """

    def __init__(self, path: Path | None, about: dict[str, Any], source: Path) -> None:
        self._path = path
        self._source = source
        self._about = about
        self._partial = None if path is None else path.with_name(f"{path.name}.{os.getpid()}.part")

    def __enter__(self) -> "ReportFile":
        if self._path is not None and self._partial is not None:
            there = self._path.exists()
            if there and (not self._path.is_file() or (self._source.exists() and self._path.samefile(self._source))):
                raise click.ClickException(f"{one_line(str(self._path))} is no file that a report could replace.")
            self._partial.touch(mode=0o600)
        return self

    def write(self, report: Report) -> None:
        """Write it."""
        if self._path is not None and self._partial is not None:
            document = {**self._about, **report.to_dict()}
            self._partial.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            self._partial.replace(self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)
