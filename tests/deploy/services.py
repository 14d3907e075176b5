"""A `vouch serve` with the configuration of a deployment, and an admin who asks it something."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.test_cli import environment, get


def serves(folder: Path, env: dict[str, str], admin_key: str) -> None:
    """Start it in a folder with this environment: it must be ready, know the key, log JSON and stop in good order."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=folder, env=environment() | env, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{_port(folder / 'log', process)}"
        assert get(f"{url}/readyz")[1]["status"] == "ready"
        assert get(f"{url}/v4/credentials", admin_key)[0] == 200
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(25) == 0
    finally:
        process.kill()
        process.wait()


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return int(json.loads(line)["port"])
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
