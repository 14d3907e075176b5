"""The wheel: built from the sources, installed into an empty environment, started there and stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("service", "verifiers", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
CONSTRAINTS = ROOT / "constraints.txt"
PATIENCE = 30.0  # seconds for a start on a busy machine; ready within 1 s is the benchmark's business
STOPS_WITHIN = 20.0  # requirement 35


def uv() -> str:
    """The uv of this environment, or else the machine's."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    assert found, "uv is a dependency of the tests: install the `dev` extra"
    return found


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> str:
    """Run to success, and return what was printed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command[0]} {command[1]}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def clean() -> dict[str, str]:
    """This process's environment without what would lead a program to the sources or to our settings."""
    ours = ("VOUCH_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, clean: dict[str, str]) -> Path:
    """The wheel, built from a copy: setuptools leaves its traces beside the sources."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    run(uv(), "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", out, copy, cwd=copy, env=clean)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, clean: dict[str, str]) -> Path:
    """The `bin` folder of an environment that holds the wheel and what it requires, and nothing else."""
    home = tmp_path_factory.mktemp("environment")
    run(uv(), "venv", "--quiet", "--python", sys.executable, home / "venv", cwd=home, env=clean)
    python = home / "venv" / "bin" / "python"
    constraints = ["--constraint", CONSTRAINTS] if CONSTRAINTS.exists() else []
    run(uv(), "pip", "install", "--quiet", "--python", python, *constraints, wheel, cwd=home, env=clean)
    return python.parent


class Service:
    """A started `vouch serve` on a free port of loopback, and what it logged."""

    def __init__(self, vouch: Path, folder: Path, env: dict[str, str]) -> None:
        config = folder / "config.toml"
        config.write_text(f'data_dir = "{folder / "data"}"\n')
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [vouch, "serve", "--config", config, "--host", "127.0.0.1", "--port", "0"]
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)

    def port(self) -> int:
        """The port it took, out of its log."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if '"listening"' in line:
                    return int(json.loads(line)["port"])
            assert self.process.poll() is None, f"it stopped: {self.log.read_text()}"
            time.sleep(0.05)
        raise AssertionError(f"it does not listen: {self.log.read_text()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port()}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture
def service(installed: Path, tmp_path: Path, clean: dict[str, str]) -> Iterator[Service]:
    started = Service(installed / "vouch", tmp_path, clean)
    yield started
    started.process.kill()
    started.process.wait()


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("service", "verifiers")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".sql", ".typed", ".html"} and "__pycache__" not in path.parts
    }
    assert any(name.endswith(".sql") for name in expected)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_command_and_the_module_are_the_same_program(
    installed: Path, tmp_path: Path, clean: dict[str, str]
) -> None:
    told = run(installed / "vouch", "--help", cwd=tmp_path, env=clean)
    assert "serve" in told
    assert "verify" in told
    as_module = run(installed / "python", "-m", "service", "--help", cwd=tmp_path, env=clean)
    assert told.split("\n")[2:] == as_module.split("\n")[2:]


def test_it_starts_becomes_ready_and_stops_in_good_order(service: Service, tmp_path: Path) -> None:
    """Requirements 35 and 36."""
    assert service.get("/livez")[0] == 200
    status, body = service.get("/readyz")
    assert status == 200, body
    assert json.loads(service.get("/version")[1])["name"] == "vouch"
    assert service.get("/openapi.json")[0] == 200
    assert service.get("/docs")[0] == 200
    assert service.get("/v4/credentials")[0] == 401
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(STOPS_WITHIN) == 0, service.log.read_text()
    key = (tmp_path / "data" / "admin-key").read_text().strip()
    assert key.startswith("vouch_")
    assert key not in service.log.read_text()
