"""`vouch serve` as process 1, while it still starts: the kernel drops every signal that such a process does not handle.

In a namespace of processes where the kernel lets us have one. Where not, vouch is a plain process, and what is tested
is that it ends in good order while it starts, for which it has to handle the signal by then.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_cli import environment
from tests.deploy.replayed import namespaces_work

AS_ONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"] if namespaces_work() else []
WAY = "as process 1" if AS_ONE else "as a plain process"


@pytest.fixture(params=[WAY])
def held_up(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A start that does not get on, for another has the lock of its data folder. The process, and vouch's own id."""
    (tmp_path / "vouch-data").mkdir()
    with (tmp_path / "vouch-data" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [*AS_ONE, sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            yield process, first(process)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def first(process: "subprocess.Popen[str]") -> int:
    """The id of vouch's process, as this machine numbers it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while AS_ONE and not children.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    return int(children.read_text().split()[0]) if AS_ONE else process.pid


def waits_for_the_lock(pid: int) -> bool:
    return f" {pid} " in "".join(line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)


def test_sigterm_while_it_starts_ends_it_at_once(held_up: tuple["subprocess.Popen[str]", int]) -> None:
    process, pid = held_up
    end = time.monotonic() + 30
    while not waits_for_the_lock(pid):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    assert process.wait(10) == 0
    said, _ = process.communicate()
    assert "Traceback" not in said
    assert "listening" not in said
