"""The container, as the Containerfile makes it: ready, confined, stopped in good order.

Where buildah and podman work, the image is built and run by them. Everywhere, the steps of the Containerfile are also
done in a folder, and its command run with its environment: in namespaces where the kernel lets us have some, as a plain
process where not. Which of these a test covers is in its name.
"""

import atexit
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import __version__
from tests.deploy.built import BuiltImage, Podman, find_builder
from tests.deploy.containerfile import CONTAINERFILE, ROOT, settings, stages
from tests.deploy.replayed import ReplayedImage, namespaces_work
from tests.deploy.running import Image, Running, catches, status, until, until_ready

BUILT = "built and run by podman"
REPLAYED = "steps replayed in namespaces" if namespaces_work() else "steps replayed as a plain process"

STORAGE = tempfile.TemporaryDirectory(prefix="vouch-images-", ignore_cleanup_errors=True)
atexit.register(STORAGE.cleanup)
BUILDER = find_builder(Path(STORAGE.name))
WAYS = [REPLAYED] if isinstance(BUILDER, str) else [REPLAYED, BUILT]


@pytest.fixture(scope="module", params=WAYS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if request.param == BUILT:
        assert isinstance(BUILDER, Podman)
        built = BuiltImage(BUILDER)
        yield built
        built.close()
    else:
        yield ReplayedImage(tmp_path_factory.mktemp("image"), isolated=namespaces_work())


def configuration(folder: Path) -> Path:
    """A config.toml with a free port: `vouch health` has to know it too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = folder / "config.toml"
    path.write_text(f"[server]\nport = {port}\nshutdown_seconds = 5\n")
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def container(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that is ready, for the tests that only ask it something."""
    running = image.start(configuration(tmp_path_factory.mktemp("config")))
    try:
        until_ready(image, running)
        yield running
    finally:
        running.close()


@pytest.fixture
def started(image: Image, tmp_path: Path) -> Iterator[Running]:
    """One of the test's own, that is not ready yet."""
    running = image.start(configuration(tmp_path))
    try:
        yield running
    finally:
        running.close()


def python(image: Image, running: Running, code: str) -> str:
    """What a program says that the container's Python runs."""
    done = running.run("/opt/vouch/bin/python", "-c", image.inside(code))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_says_by_its_own_health_check_whether_it_is_ready(image: Image, container: Running) -> None:
    """`vouch health` knows the port from the mounted config.toml."""
    done = container.run(*image.settings.health)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "ready")


def test_it_listens_on_all_addresses(container: Running) -> None:
    (listening,) = (json.loads(line) for line in container.log().splitlines() if '"listening"' in line)
    assert listening["host"] == "0.0.0.0"


def test_it_runs_as_a_number_that_is_not_root_and_can_write_data_and_tmp_alone(
    image: Image, container: Running
) -> None:
    user = image.settings.user.partition(":")[0]
    assert int(user) >= 1000
    code = """
import json, os, tempfile
from pathlib import Path
def writable(folder):
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
folders = ["/opt", "/opt/vouch", "/opt/bytecode", "/etc/vouch", "/var/lib/vouch", tempfile.gettempdir()]
print(json.dumps([os.getuid(), [one for one in folders if writable(one)], tempfile.gettempdir()]))
"""
    uid, folders, tmp = json.loads(python(image, container, code))
    if image.isolated:
        assert uid == int(user)
        assert folders == [image.inside("/var/lib/vouch"), tmp]
    assert "/" not in folders


def test_a_start_and_an_end_change_nothing_of_the_image(image: Image, started: Running) -> None:
    """No bytecode, no lock, no log: what can't be written is not even tried."""
    before = image.files() if isinstance(image, ReplayedImage) else {}
    until_ready(image, started)
    if isinstance(image, ReplayedImage):
        os.kill(started.pid, signal.SIGTERM)
        assert started.wait() == 0
        assert image.files() == before
    else:
        mounts = [line.split() for line in Path(f"/proc/{started.pid}/mounts").read_text().splitlines()]
        (options,) = (one[3] for one in mounts if one[1] == "/")
        assert "ro" in options.split(",")


def test_its_first_process_is_vouch_itself_without_a_shell(image: Image, container: Running) -> None:
    command = Path(f"/proc/{container.pid}/cmdline").read_bytes().decode().split("\0")
    assert "serve" in command
    assert Path(command[1]).name == "vouch"
    assert Path(command[0]).name.startswith("python")
    if image.isolated:
        assert status(container, "NSpid").split()[-1] == "1"


def test_sigterm_ends_it_in_good_order(image: Image, started: Running) -> None:
    """Requirement 35, for process 1: its signals have no default action."""
    assert image.settings.stop_signal in ("SIGTERM", "15")
    until_ready(image, started)
    os.kill(started.pid, signal.SIGTERM)
    assert started.wait() == 0
    assert '"stopping"' in started.log()


def test_sigterm_during_the_start_is_not_lost(image: Image, started: Running) -> None:
    """The kernel drops it for a process 1 that does not handle it, and the container would live until it is killed."""
    until(lambda: catches(started, signal.SIGTERM), started)
    os.kill(started.pid, signal.SIGTERM)
    assert started.wait() == 0


def test_all_that_it_imports_was_compiled_when_it_was_built(image: Image, container: Running) -> None:
    """Under a read-only root, what was not is compiled at every start and every health check."""
    code = """
import os, sys
import service.app, service.cli.serve, service.cli.inspect, service.server, asyncpg
where = {name: getattr(one, "__cached__", None) for name, one in sys.modules.items()}
late = [name for name, path in where.items() if path and not os.path.exists(path)]
print(len(sys.modules) > 300, sorted(late))
"""
    assert python(image, container, code) == "True []"


def test_it_holds_what_vouch_requires_in_the_versions_of_the_constraints_and_nothing_else(
    image: Image, container: Running
) -> None:
    code = """
import json
from importlib.metadata import distributions
print(json.dumps({one.name.lower().replace("_", "-"): one.version for one in distributions()}))
"""
    found = json.loads(python(image, container, code))
    assert found.pop("vouch") == __version__
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.partition("==")[::2] for line in lines if "==" in line)
    assert {name: each for name, each in found.items() if pinned.get(name) != each} == {}
    assert found.keys() >= {"aiohttp", "asyncpg", "uvloop"}
    assert found.keys().isdisjoint({"pytest", "mypy", "moto", "pip", "setuptools", "uv"})


def test_nothing_of_the_build_is_left_in_it(image: Image, container: Running) -> None:
    left = python(image, container, "import os; print(*(one for one in ('/src', '/opt/uv') if os.path.exists(one)))")
    # Where steps are replayed, the stages share one folder: there it is the instructions that copy no more.
    copied = [one.rest.split()[0] for one in stages(CONTAINERFILE.read_text())[-1].all("COPY")]
    assert left == "" or isinstance(image, ReplayedImage)
    assert copied == ["/opt/vouch", "/opt/bytecode", "/data"]


def test_the_data_folder_is_its_users_alone(image: Image, container: Running) -> None:
    code = "import os; one = os.stat('/var/lib/vouch'); print(oct(one.st_mode & 0o777), one.st_uid == os.getuid())"
    assert python(image, container, code) == "0o700 True"
    assert "first admin key written" in container.log()


def test_what_is_in_the_file_is_in_the_image(image: Image) -> None:
    told = settings(stages(CONTAINERFILE.read_text())[-1])
    for name in ("user", "workdir", "command", "health", "ports"):
        assert getattr(image.settings, name) == getattr(told, name), name
    mine = {name: value for name, value in told.env.items() if name != "PATH"}
    assert {name: image.settings.env[name] for name in mine} == mine
