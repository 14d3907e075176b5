"""The processes that are measured, and what Linux says about them."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PATIENCE = 30.0  # seconds for a start
_POLL = 0.002  # seconds; the error of a start's time

ALL_CORES = frozenset(os.sched_getaffinity(0))
PINNED = len(ALL_CORES) > 1
MEASURED = frozenset(sorted(ALL_CORES)[:1]) if PINNED else ALL_CORES
"""The core that vouch and the bare server run on, one loaded at a time."""
OTHERS = ALL_CORES - MEASURED if PINNED else ALL_CORES
"""Where the generator and the provider's stand-in run."""


class Process:
    """A running process; times in seconds, memory in MB (10^6 bytes)."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self._popen = popen
        self._proc = Path(f"/proc/{popen.pid}")

    @property
    def ended(self) -> bool:
        """Whether it is not running any more."""
        return self._popen.poll() is not None

    @property
    def cpu(self) -> float:
        """CPU time of all its threads so far, to the nanosecond where utime and stime of `stat` count hundredths."""
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self._popen.pid << 3) | 2)

    @property
    def waited(self) -> float:
        """How long its threads have been ready to run while something else had the core."""
        stats = [(task / "schedstat").read_text().split() for task in (self._proc / "task").iterdir()]
        return sum(int(stat[1]) for stat in stats) / 1e9

    @property
    def memory(self) -> float:
        """Resident now."""
        return self._status("VmRSS")

    @property
    def peak_memory(self) -> float:
        """Most that was ever resident."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        found = re.search(rf"^{name}:\s+(\d+) kB$", (self._proc / "status").read_text(), re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no {name} in /proc")
        return int(found[1]) * 1024 / 1e6


@contextmanager
def started(
    *arguments: str, cores: frozenset[int], stdout: int | None = None, log: Path | None = None
) -> Iterator[tuple[Process, "subprocess.Popen[bytes]"]]:
    """Run a Python module of this tree, and stop it in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VOUCH_")}
    with (log or Path(os.devnull)).open("ab") as sink:
        popen = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink if stdout is None else stdout,
            stderr=sink if log else None,
        )
    try:
        os.sched_setaffinity(popen.pid, cores)
        yield Process(popen), popen
    finally:
        popen.terminate()
        try:
            popen.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        if popen.stdout:
            popen.stdout.close()


@contextmanager
def server(module: str, argument: str, *, cores: frozenset[int]) -> Iterator[tuple[Process, int]]:
    """One of this package's servers, and its port."""
    with started(f"benchmarks.{module}", argument, cores=cores, stdout=subprocess.PIPE) as (process, popen):
        assert popen.stdout
        yield process, int(popen.stdout.readline())


@dataclass(frozen=True)
class Vouch:
    """A running `vouch serve`.

    Attributes:
        process: what Linux knows of it.
        port: where it listens.
        key: the admin API key of its first start.
        ready: seconds from its start as a process to the first 200 of `/readyz`.
        ready_cpu: CPU time that it had used by then, in seconds.
    """

    process: Process
    port: int
    key: str
    ready: float
    ready_cpu: float


@contextmanager
def vouch(folder: Path, *, cores: frozenset[int], sts: int | None = None) -> Iterator[Vouch]:
    """`vouch serve` as it is shipped, log and all, on a free port.

    Args:
        folder: where its data and its log are; a store that is there is used.
        cores: where it may run.
        sts: the port of a stand-in for AWS STS. One caller may then verify without a limit.
    """
    folder.mkdir(exist_ok=True)
    config, log = folder / "config.toml", folder / "log"
    settings = [f"data_dir = {json.dumps(str(folder / 'data'))}"]
    if sts is not None:
        settings.append(f'[providers.aws]\nsts_endpoint = "http://127.0.0.1:{sts}"')
        settings.append("[limits]\nverifications_per_caller = 0")
    config.write_text("\n".join(settings))
    log.unlink(missing_ok=True)
    log.touch()
    beginning = time.perf_counter()
    arguments = ("service", "serve", "--port", "0", "--config", str(config))
    with started(*arguments, cores=cores, log=log) as (process, _popen):
        port = _until_ready(process, log, beginning + _PATIENCE)
        ready, cpu = time.perf_counter() - beginning, process.cpu
        yield Vouch(process, port, (folder / "data" / "admin-key").read_text().strip(), ready, cpu)


def _until_ready(process: Process, log: Path, until: float) -> int:
    port = None
    while time.perf_counter() < until and not process.ended:
        port = port or _listening(log)
        if port and _answers(port):
            return port
        time.sleep(_POLL)
    raise RuntimeError(f"vouch did not start:\n{log.read_text()}")


def _listening(log: Path) -> int | None:
    for line in log.read_text().splitlines(keepends=True):
        if '"listening"' in line and line.endswith("\n"):
            port: int = json.loads(line)["port"]
            return port
    return None


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
