"""How long a start takes, and what an idle vouch holds."""

import time
from pathlib import Path

from benchmarks import processes
from benchmarks.report import Figure, Section, Target

_REST = 0.5  # seconds of idleness before memory is read


def measure(folder: Path, *, runs: int) -> Section:
    """First starts in empty folders, and second ones in the same folders."""
    first: list[float] = []
    later: list[float] = []
    cpu: list[float] = []
    resident: list[float] = []
    for number in range(runs):
        for starts in (first, later):
            with processes.vouch(folder / f"start-{number}", cores=processes.ALL_CORES) as service:
                starts.append(service.ready)
                cpu.append(service.ready_cpu)
                time.sleep(_REST)
                resident.append(service.process.memory)
    return Section(
        f"Start, {runs} times each",
        [
            Figure("from exec to /readyz 200, later starts", later, "s", target=Target(1)),
            Figure("from exec to /readyz 200, first start (makes store and keys)", first, "s", target=Target(1)),
            Figure("CPU time of a start", cpu, "s"),
            Figure("resident at rest", resident, "MB", 0, Target(120)),
        ],
    )
