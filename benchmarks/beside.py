"""GET and create beside verifications that hang: requirement 34, as latency with and without them in the same run."""

import asyncio
import json
import re
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from benchmarks.load import WrongAnswer, request
from benchmarks.processes import Vouch
from benchmarks.report import Figure, Section, Target
from benchmarks.verification import verifying

HANGING = 400
_FOREVER = 3_600_000  # milliseconds: longer than any deadline
_PATIENCE = 30.0  # seconds
_BUSY = re.compile(r'^vouch_lane_busy\{lane="AWS"\} (\d+)(?:\.0)?$', re.MULTILINE)
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
_MEDIAN = Target(1.25)
_TAIL = Target(1.5)


class NotHanging(Exception):
    """The verifications that were to hang all the while did not."""


@dataclass(frozen=True)
class Times:
    """How long each request of a stretch took, in milliseconds."""

    get: list[float] = field(default_factory=list)
    create: list[float] = field(default_factory=list)


class Connection:
    """A kept connection that asks for something else each time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """To a port on loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, asking: bytes, expected: int) -> float:
        """Ask, and read the whole answer; how long that took, in milliseconds.

        Raises:
            WrongAnswer: its status is another one.
            TimeoutError: there is none.
        """
        started = time.perf_counter()
        async with asyncio.timeout(_PATIENCE):
            self._writer.write(asking)
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if length:
                await self._reader.readexactly(int(length[1]))
        spent = time.perf_counter() - started
        if not head.startswith(f"HTTP/1.1 {expected} ".encode()):
            raise WrongAnswer(head.decode("latin-1"))
        return spent * 1000

    def close(self) -> None:
        """Close it."""
        self._writer.close()


class Caller:
    """Reads and creates credentials, one request after the other."""

    def __init__(self, service: Vouch, connection: Connection) -> None:
        self._port = service.port
        self._headers = {"X-TILEDB-REST-API-KEY": service.key}
        self._connection = connection
        self._created = 0

    async def stretch(self, each: int) -> Times:
        """So many of each, in turn."""
        times = Times()
        for _ in range(each):
            times.create.append(await self._create())
            times.get.append(await self._get())
        return times

    async def _create(self) -> float:
        self._created += 1
        draft = {
            "name": f"beside-{self._created}",
            "provider": "AZURE",
            "credential": {"azure": {"account_name": "warehouse", "account_key": "c2VjcmV0" * 8}},
        }
        headers = {**self._headers, "Content-Type": "application/json"}
        asking = request("POST", "/v4/credentials", self._port, headers, json.dumps(draft).encode())
        return await self._connection.ask(asking, 201)

    async def _get(self) -> float:
        asking = request("GET", f"/v4/credentials/beside-{self._created}", self._port, self._headers)
        return await self._connection.ask(asking, 200)


@asynccontextmanager
async def hanging(service: Vouch, count: int) -> AsyncIterator[None]:
    """So many verifications are under way, each on a connection of its own, from the beginning to the end.

    Raises:
        NotHanging: there were fewer.
    """
    connections = [await Connection.open(service.port) for _ in range(count)]
    asked = [asyncio.create_task(one.ask(verifying(service), 504)) for one in connections]
    try:
        await asyncio.to_thread(_until_busy, service.port, count)
        await asyncio.sleep(0.2)  # for the last of them to be sent
        yield
        if (found := await asyncio.to_thread(_busy, service.port)) != count:
            raise NotHanging(f"{found} of {count}")
        await asyncio.gather(*asked)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        for connection in connections:
            connection.close()


def _until_busy(port: int, count: int) -> None:
    until = time.perf_counter() + _PATIENCE
    while time.perf_counter() < until and _busy(port) < count:
        time.sleep(0.05)


def _busy(port: int) -> int:
    """Open questions to AWS, as the service itself counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = _BUSY.search(answer.read().decode())
    return int(found[1]) if found else 0


async def measure(folder: Path, *, rounds: int, each: int, count: int = HANGING) -> Section:
    """Stretches without and with hanging verifications in turn; the ratios are of neighbours."""
    alone: list[Times] = []
    beside: list[Times] = []
    with (
        processes.server("provider", str(_FOREVER), cores=processes.OTHERS) as (_, provider),
        processes.vouch(folder / "beside", cores=processes.MEASURED, sts=provider) as service,
    ):
        connection = await Connection.open(service.port)
        caller = Caller(service, connection)
        await caller.stretch(each)
        async with hanging(service, 1):  # it loads what a first verification loads
            pass
        for _ in range(rounds):
            alone.append(await caller.stretch(each))
            async with hanging(service, count):
                beside.append(await caller.stretch(each))
        connection.close()
    return _section(alone, beside, count, each)


def _section(alone: list[Times], beside: list[Times], count: int, each: int) -> Section:
    figures: list[Figure] = []
    for name in ("GET by name", "create"):
        for label, cut, target in (("p50", 50, _MEDIAN), ("p95", 95, _TAIL)):
            without, with_them = (
                [_percentile(one.get if name == "GET by name" else one.create, cut) for one in stretches]
                for stretches in (alone, beside)
            )
            ratios = [ours / theirs for ours, theirs in zip(with_them, without, strict=True)]
            figures += [
                Figure(f"{name}, {label}, alone", without, "ms"),
                Figure(f"{name}, {label}, beside {count} that hang", with_them, "ms"),
                Figure(f"{name}, {label}, beside for alone, in pairs", ratios, target=target),
            ]
    return Section(
        f"CRUD beside {count} verifications that hang, {len(alone)} rounds of {each} each in turn",
        figures,
        ["The provider never answers; the verifications end by the shipped deadline of 10 s, after the stretch."],
    )


def _percentile(times: list[float], cut: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[cut - 1]
