"""`python -m benchmarks`: vouch beside what it is built on, in the same run. Some four minutes; `--quick` is a try."""

import argparse
import asyncio
import json
import os
import resource
import tempfile
from pathlib import Path

import uvloop

from benchmarks import beside, processes, reads, startup, verification
from benchmarks.report import Section, document, machine, table

RESULTS = Path(__file__).parent / "results" / "latest.json"
_OPEN_FILES = 4096  # 500 connections on each side of vouch, and the generator's


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 45 s, to see that it works; keeps no results")
    parser.add_argument(
        "--only", choices=("reads", "verification", "beside", "start"), help="one part; keeps no results"
    )
    parser.add_argument("--output", type=Path, help=f"where the results go as JSON (a full run: {RESULTS.name})")
    given = parser.parse_args()
    _allow_open_files()
    where = machine()
    os.sched_setaffinity(0, processes.OTHERS)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sections = runner.run(measure(Path(folder), quick=given.quick, only=given.only))
    print(table(sections, where))
    output = given.output or (None if given.quick or given.only else RESULTS)
    if output is not None:
        output.parent.mkdir(exist_ok=True)
        output.write_text(json.dumps(document(sections, where), indent=1, ensure_ascii=False) + "\n")


async def measure(folder: Path, *, quick: bool, only: str | None = None) -> list[Section]:
    """Every part, or one."""
    sections: list[Section] = []
    if only in (None, "reads"):
        sections += await reads.measure(
            folder,
            connections=(16,) if quick else (1, 16, 64),
            rounds=3 if quick else 7,
            seconds=0.3 if quick else 1.0,
        )
    if only in (None, "verification"):
        sections.append(await verification.one_at_a_time(folder, rounds=2 if quick else 7, each=5 if quick else 20))
        sections.append(await verification.at_once(folder, starts=1 if quick else 3))
    if only in (None, "beside"):
        sections.append(await beside.measure(folder, rounds=1 if quick else 5, each=50 if quick else 300))
    if only in (None, "start"):
        sections.append(startup.measure(folder, runs=2 if quick else 5))
    return sections


def _allow_open_files() -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_OPEN_FILES, hard)), hard))


if __name__ == "__main__":
    main()
