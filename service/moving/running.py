"""The work itself: entry after entry, until the end, or until somebody or something stops it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from service.core.errors import StoreUnavailable
from service.moving.entries import Entry, Line, Result, Source
from service.moving.importer import Importer
from service.moving.stopping import Interrupted, Stop

INTERRUPTED = "Interrupted"


@dataclass
class Report:
    """What became of everything, in the order of the source. `ended` says why that was not all; empty if it was."""

    lines: list[Line] = field(default_factory=list)
    ended: str = ""

    @property
    def counts(self) -> Counter[Result]:
        """How many of each."""
        return Counter(line.result for line in self.lines)

    @property
    def refused(self) -> int:
        """How many were refused."""
        return self.counts[Result.REFUSED]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        counts = self.counts
        return {
            "ended": self.ended or None,
            "counts": {result.value: counts[result] for result in Result},
            "items": [_shown(line) for line in self.lines],
        }


def _shown(line: Line) -> dict[str, Any]:
    values = asdict(line)
    values["id"] = values.pop("credential_id")
    values["teamspace_id"] = values.pop("teamspace")
    outcome, reason = values.pop("outcome"), values.pop("reason")
    shown = {name: value for name, value in values.items() if value or name in ("result", "where", "name")}
    return shown | ({"verification": {"outcome": outcome, "reason": reason}} if outcome else {})


async def run(importer: Importer, source: Source, stop: Stop, tell: Callable[[Line], None]) -> Report:
    """Take everything in.

    Args:
        importer: takes each.
        source: what there is.
        stop: ends it after the one under way.
        tell: hears of each that is done.
    """
    report = Report()
    for entry in source.entries:
        # What is broken waits for nothing: without this, many of them would not let an interrupt through.
        await asyncio.sleep(0)
        if stop.is_set:
            report.ended = INTERRUPTED
            break
        try:
            line = await importer.take(entry)
        except (Interrupted, asyncio.CancelledError):
            report.ended = INTERRUPTED
            break
        except StoreUnavailable as error:
            report.ended = str(error)
            line = Line(Result.REFUSED, entry.where, entry.name, str(error))
        except Exception as error:  # noqa: BLE001 - its text may quote a secret
            line = _surprise(entry, error)
        report.lines.append(line)
        tell(line)
        if report.ended:
            break
    return report


def _surprise(entry: Entry, error: Exception) -> Line:
    """What nobody expected: its type and place alone, for its text may quote what it was given."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else "?"
    return Line(
        Result.REFUSED, entry.where, entry.name, f"Something went wrong in vouch: {type(error).__name__} at {where}."
    )
