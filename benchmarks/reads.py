"""GET by name and a list of 20, authenticated, beside a bare aiohttp handler that answers the same bytes."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import processes
from benchmarks.load import Expected, Load, full_load, request
from benchmarks.processes import Process, Vouch
from benchmarks.report import Figure, Section, Target

CREDENTIALS = 200
_WARM_UP = 0.3  # seconds
_BUSY_ENOUGH = 0.9
_DISTURBED = 5  # per cent of the time that a server waits for its core

_PAYLOADS: tuple[Mapping[str, Any], ...] = (
    {
        "provider": "AWS",
        "credential": {
            "aws": {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX"}
        },
    },
    {"provider": "AZURE", "credential": {"azure": {"account_name": "warehouse", "account_key": "c2VjcmV0" * 8}}},
    {
        "provider": "GCP",
        "credential": {"gcp": {"access_key_id": "GOOG1EXAMPLE", "secret_access_key": "bGoa+V7g/yqDXvKRqq+JTFn4uQZ"}},
    },
)


@dataclass(frozen=True)
class Read:
    """One kind of read, and what share of the bare handler's throughput it has to have."""

    title: str
    path: str
    target: float


READS = (
    Read("GET by name", "/v4/credentials/warehouse-100", 0.60),
    Read("List of 20", "/v4/credentials?per_page=20", 0.40),
)


@dataclass(frozen=True)
class Round:
    """One server under full load for a while.

    Attributes:
        load: what the generator saw.
        cpu: CPU time of the server for one request, in microseconds.
        busy: the share of one core that the server used.
        kept_waiting: the share of the time that its threads were ready to run and something else had the core.
    """

    load: Load
    cpu: float
    busy: float
    kept_waiting: float


class Pair:
    """vouch and the bare server, both running, one of them loaded at a time."""

    def __init__(self, service: Vouch, bare: Process, bare_port: int, bodies: Mapping[str, bytes]) -> None:
        self._servers = ((service.process, service.port), (bare, bare_port))
        self._headers = {"X-TILEDB-REST-API-KEY": service.key}
        self.bodies = bodies
        self.service = service

    async def load(self, which: int, read: Read, connections: int, seconds: float) -> Round:
        """Load vouch (0) or the bare server (1)."""
        process, port = self._servers[which]
        asking = request("GET", read.path, port, self._headers)
        cpu, waited, started = process.cpu, process.waited, time.perf_counter()
        load = await full_load(port, asking, Expected(self.bodies[read.path]), connections=connections, seconds=seconds)
        cpu, waited, spent = process.cpu - cpu, process.waited - waited, time.perf_counter() - started
        return Round(load, cpu / load.answers * 1e6, cpu / spent, waited / spent)

    async def compare(self, read: Read, connections: int, rounds: int, seconds: float) -> Section:
        """Rounds of both in turn; which one is first changes from round to round."""
        for which in (0, 1):
            await self.load(which, read, connections, min(seconds, _WARM_UP))
        ours: list[Round] = []
        theirs: list[Round] = []
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                (theirs if which else ours).append(await self.load(which, read, connections, seconds))
        return _section(read, connections, ours, theirs)


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Vouch, Path]]:
    """A vouch, and where to put what the bare server answers."""
    with processes.vouch(folder / "reads", cores=processes.MEASURED) as service:
        yield service, folder / "objects.json"


async def fill(service: Vouch, count: int = CREDENTIALS) -> dict[str, bytes]:
    """Create credentials of three kinds; the body of every read."""
    base, headers = f"http://127.0.0.1:{service.port}", {"X-TILEDB-REST-API-KEY": service.key}
    async with aiohttp.ClientSession(base, headers=headers, raise_for_status=True) as session:
        for number in range(count):
            draft = {"name": f"warehouse-{number:03}", **_PAYLOADS[number % len(_PAYLOADS)]}
            await session.post("/v4/credentials", json=draft)
        return {read.path: await (await session.get(read.path)).read() for read in READS}


@contextmanager
def beside_bare(service: Vouch, bodies: Mapping[str, bytes], file: Path) -> Iterator[Pair]:
    """The same answers from aiohttp alone."""
    # The bare router knows no query.
    objects = {path.partition("?")[0]: json.loads(body) for path, body in bodies.items()}
    file.write_text(json.dumps(objects))
    with processes.server("bare", str(file), cores=processes.MEASURED) as (bare, port):
        yield Pair(service, bare, port, bodies)


async def measure(folder: Path, *, connections: tuple[int, ...], rounds: int, seconds: float) -> list[Section]:
    """Every kind of read with every number of connections."""
    with servers(folder) as (service, file):
        bodies = await fill(service)
        with beside_bare(service, bodies, file) as pair:
            sections = [await pair.compare(read, number, rounds, seconds) for read in READS for number in connections]
        after = Figure("resident after all of these", [service.process.memory], "MB", 0, Target(120))
    return [*sections, Section("Memory after reads", [after])]


def _section(read: Read, connections: int, ours: list[Round], theirs: list[Round]) -> Section:
    pairs = list(zip(ours, theirs, strict=True))
    stolen = Figure("bare aiohttp: kept from the core", [one.kept_waiting * 100 for one in theirs], "%", 0)
    disturbed = stolen.median > _DISTURBED
    target = Target(read.target, at_least=True)
    figures = [
        Figure("vouch", [one.load.rate for one in ours], "requests/s", 0),
        Figure("bare aiohttp", [one.load.rate for one in theirs], "requests/s", 0),
        Figure(
            "throughput of vouch for that of bare aiohttp, in pairs",
            [our.load.rate / their.load.rate for our, their in pairs],
            target=None if disturbed else target,
        ),
        Figure("vouch: CPU for a request", [one.cpu for one in ours], "µs", 0),
        Figure("bare aiohttp: CPU for a request", [one.cpu for one in theirs], "µs", 0),
        Figure(
            "CPU of bare aiohttp for that of vouch, in pairs",
            [their.cpu / our.cpu for our, their in pairs],
            target=target if disturbed else None,
        ),
        Figure("vouch: core in use", [one.busy * 100 for one in ours], "%", 0),
        Figure("bare aiohttp: core in use", [one.busy * 100 for one in theirs], "%", 0),
        stolen,
        Figure("generator: core in use against bare aiohttp", [one.load.generator * 100 for one in theirs], "%", 0),
    ]
    notes = []
    if disturbed:
        notes.append("Other programs wanted the same core: judged by CPU time, which they change less than throughput.")
    elif connections == 1:
        notes.append("With one connection a server waits for the generator between requests.")
    elif min(one.busy for one in (*ours, *theirs)) < _BUSY_ENOUGH:
        notes.append("A server was not busy all the time: the generator held it up, which favours the slower one.")
    plural = "connection" if connections == 1 else "connections"
    return Section(f"{read.title}, {connections} {plural}, {len(ours)} rounds each in turn", figures, notes)
