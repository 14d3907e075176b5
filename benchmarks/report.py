"""Figures, what they are held against, and how they are shown."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_LIBRARIES = ("aiohttp", "uvloop", "orjson", "botocore")


@dataclass(frozen=True)
class Target:
    """A figure to reach."""

    limit: float
    at_least: bool = False

    def reached(self, value: float) -> bool:
        """Whether a figure does."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """The measurements of one thing; their median is what is held against the target."""

    what: str
    values: Sequence[float]
    unit: str = ""
    digits: int = 2
    target: Target | None = None

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None if there is none."""
        return None if self.target is None else self.target.reached(self.median)

    def row(self) -> str:
        """A line of the table."""
        shown = f"{self.median:,.{self.digits}f}"
        spread = f"{min(self.values):,.{self.digits}f} to {max(self.values):,.{self.digits}f}"
        line = f"  {self.what:<58}{shown:>10} {self.unit:<11}{spread if len(self.values) > 1 else '':<20}"
        if self.target is not None:
            line += f"{self.target!s:<15}{'reached' if self.reached else 'NOT REACHED'}"
        return line.rstrip()

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        found: dict[str, Any] = {
            "what": self.what,
            "unit": self.unit,
            "median": round(self.median, 4),
            "lowest": round(min(self.values), 4),
            "highest": round(max(self.values), 4),
            "measurements": len(self.values),
        }
        if self.target is not None:
            found |= {"target": str(self.target), "reached": self.reached}
        return found


@dataclass(frozen=True)
class Section:
    """Figures that belong together, and what a reader must know to judge them."""

    title: str
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default=())

    def lines(self) -> list[str]:
        """The section of the table."""
        return [self.title, *(one.row() for one in self.figures), *(f"  ({note})" for note in self.notes), ""]

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "title": self.title,
            "figures": [one.to_dict() for one in self.figures],
            "notes": list(self.notes),
        }


def machine() -> dict[str, Any]:
    """What this was measured on; nothing that names the machine."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "load before (1 min)": round(os.getloadavg()[0], 2),
    }


def table(sections: Sequence[Section], where: dict[str, Any]) -> str:
    """Everything, for people: the median, the lowest and highest, the target."""
    lines = [", ".join(f"{name} {value}" for name, value in where.items()), ""]
    for section in sections:
        lines += section.lines()
    judged = [one for section in sections for one in section.figures if one.target is not None]
    lines.append(f"{sum(bool(one.reached) for one in judged)} of {len(judged)} targets reached.")
    return "\n".join(lines)


def document(sections: Sequence[Section], where: dict[str, Any]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": where,
        "sections": [section.to_dict() for section in sections],
    }
