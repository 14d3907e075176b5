"""A container that runs, whoever runs it, and what tests ask of it."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from tests.deploy.containerfile import Settings

PATIENCE = 30.0  # seconds, on a busy machine


class Running(Protocol):
    """One container. `pid` is that of its first process, as this machine numbers them."""

    @property
    def pid(self) -> int: ...

    def log(self) -> str:
        """Everything that it wrote."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command in it, as the same user."""

    def wait(self) -> int:
        """Its exit code, once it has ended."""

    def close(self) -> None:
        """End it and take it away."""


class Image(Protocol):
    """What containers are started from. `isolated` says whether they have a user, a root and processes of their own."""

    settings: Settings
    isolated: bool

    def start(self, config: Path, env: dict[str, str] | None = None) -> Running:
        """Start a container with this `config.toml`, a new data folder and a read-only root."""

    def inside(self, path: str) -> str:
        """Where a path of the image is, as its processes see it."""


def status(running: Running, name: str) -> str:
    """A line of the first process's status (proc(5))."""
    lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)[name]


def catches(running: Running, number: signal.Signals) -> bool:
    """Whether the first process handles a signal; one with the default action is dropped for process 1."""
    return bool(int(status(running, "SigCgt"), 16) >> (number - 1) & 1)


def until(holds: Any, running: Running) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError(running.log())


def until_ready(image: Image, running: Running) -> None:
    """Wait until the image's own health check passes."""
    until(lambda: running.run(*image.settings.health).returncode == 0, running)
