"""The image as buildah builds it and podman runs it, in a storage of the test's own.

Nothing is pulled: the base is made of this machine's own Python and C library, as official images are of theirs. It
also brings what this machine needs to reach a package index: its certificates, and the settings of pip and uv.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from itertools import count
from pathlib import Path

from tests.deploy.containerfile import CONTAINERFILE, ROOT, Settings

BASE = "localhost/vouch-test-base"
IMAGE = "localhost/vouch-test"
TINY = "localhost/vouch-test-tiny"

_LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "dist-packages", "test", "tests", "__pycache__", "tkinter", "idlelib", "turtledemo", "config-*",
    "_tkinter*",
)  # fmt: skip
# Of the C library and the compiler's: what the wheels of PyPI count on (PEP 599 and its successors).
_EVERYWHERE = ("libc", "libm", "libdl", "librt", "libpthread", "libresolv", "libutil", "libnss_dns", "libnss_files",
               "libgcc_s", "libstdc++")  # fmt: skip
_INDEX_SETTINGS = re.compile(r"(PIP|UV)_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_INDEX|INDEX|CERT|NATIVE_TLS)|SSL_CERT_FILE")


def base(root: Path) -> None:
    """Put this machine's Python, its libraries and its certificates under a folder."""
    python, library = Path(sys.executable).resolve(), Path(os.__file__).parent
    modules = [one for one in (library / "lib-dynload").glob("*.so") if "_tkinter" not in one.name]
    told = subprocess.run(
        ["ldd", python, *modules], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    libraries = {Path(found) for found in re.findall(r"(/\S+) \(0x", told.stdout)}
    beside = next(one.parent for one in libraries if one.name.startswith("libc.so"))
    libraries |= {one for name in _EVERYWHERE for one in beside.glob(f"{name}.so.*")}
    certificates = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    for path in (python, *libraries, certificates):
        _put(path, root)
    shutil.copytree(library, _below(root, library), ignore=_LEFT_OUT)
    # Where the build's settings are: `sysconfig` reads them.
    _put(Path(sysconfig.get_makefile_filename()), root)
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/python3").symlink_to(python)
    for name in ("tmp", "proc", "sys", "dev", "run", "var/tmp", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _put(path: Path, root: Path) -> None:
    target = _below(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


class Podman:
    """buildah and podman with a storage of their own: nothing of the machine's own images is seen or touched."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.folder = folder
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        )
        (folder / "containers.conf").write_text('[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n')
        self.env = os.environ | {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }
        self.runtime = ""

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`buildah …` or `podman …`."""
        words = [str(word) for word in command]
        if words[0] == "podman" and self.runtime:
            words[1:1] = ["--runtime", self.runtime]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0 or not check, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def commit(self, root: Path, name: str) -> None:
        """An image of a folder."""
        container = self.run("buildah", "from", "scratch").stdout.strip()
        self.run("buildah", "copy", "--quiet", container, root, "/")
        for variable, value in os.environ.items():
            if _INDEX_SETTINGS.fullmatch(variable):
                self.run("buildah", "config", "--env", f"{variable}={value}", container)
        self.run("buildah", "commit", "--quiet", "--rm", "--format", "docker", container, name)

    def confined(self) -> list[str]:
        """`podman run` as an orchestrator would: nothing but the data folder and /tmp can be written."""
        return [
            *("podman", "run", "--pull", "never", "--network", "host", "--no-healthcheck"),
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
        ]


def find_builder(folder: Path) -> Podman | str:
    """What can build and run images on this machine, tried with a tiny one; or why nothing can."""
    if missing := [name for name in ("buildah", "podman") if shutil.which(name) is None]:
        return f"there is no {' and no '.join(missing)}"
    true = Path(shutil.which("true") or "/bin/true").resolve()
    said = "there is no runtime"
    for driver in ("overlay", "vfs"):
        place = folder / driver
        _tiny(true, place / "tiny")
        podman = Podman(place, driver)
        try:
            podman.commit(place / "tiny", TINY)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            said = f"buildah can't make an image: {str(error)[-300:]}"
            continue
        for podman.runtime in filter(shutil.which, ("crun", "runc")):
            done = podman.run(*podman.confined(), "--rm", TINY, true, check=False)
            if done.returncode == 0:
                return podman
            said = f"podman can't run an image: {done.stderr[-300:]}"
    return said


def _tiny(program: Path, root: Path) -> None:
    """A root with one program and its libraries."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for path in (program, *map(Path, re.findall(r"(/\S+) \(0x", told.stdout))):
        _put(path, root)
    for name in ("tmp", "proc", "sys", "dev", "run", "etc"):
        (root / name).mkdir(exist_ok=True)


class BuiltImage:
    """The image, built of the sources as they are here."""

    isolated = True

    def __init__(self, podman: Podman) -> None:
        self.podman = podman
        base(podman.folder / "base")
        self.podman.commit(podman.folder / "base", BASE)
        self.podman.run(
            *("buildah", "build", "--isolation", "chroot", "--format", "docker", "--layers=false"),
            *("--build-arg", f"PYTHON_IMAGE={BASE}", "--file", CONTAINERFILE, "--tag", IMAGE, ROOT),
        )
        (told,) = json.loads(self.podman.run("podman", "image", "inspect", IMAGE).stdout)
        config = told["Config"]
        self.settings = Settings(
            dict(one.partition("=")[::2] for one in config["Env"]),
            config["User"],
            config["WorkingDir"],
            [*config["Entrypoint"], *config["Cmd"]],
            told["Healthcheck"]["Test"][1:],
            config["StopSignal"],
            [name.removesuffix("/tcp") for name in config["ExposedPorts"]],
        )
        self._numbers = count(1)

    def inside(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Take every image away."""
        self.podman.run("podman", "rmi", "--all", "--force")

    def start(self, config: Path, env: dict[str, str] | None = None) -> "PodmanContainer":
        name = f"vouch-{next(self._numbers)}"
        variables = [word for variable, value in (env or {}).items() for word in ("--env", f"{variable}={value}")]
        self.podman.run(
            *self.podman.confined(), "--detach", "--name", name, *variables,
            "--volume", f"{config}:/etc/vouch/config.toml:ro", "--volume", f"{name}:/var/lib/vouch", IMAGE,
        )  # fmt: skip
        return PodmanContainer(self.podman, name)


class PodmanContainer:
    """A container of podman's, with a volume of its own for the data."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self._name = name
        self.pid = int(podman.run("podman", "inspect", "--format", "{{.State.Pid}}", name).stdout)

    def log(self) -> str:
        done = self._podman.run("podman", "logs", self._name)
        return done.stdout + done.stderr

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self._podman.run("podman", "exec", self._name, *command, check=False)

    def wait(self) -> int:
        return int(self._podman.run("podman", "wait", self._name).stdout)

    def close(self) -> None:
        self._podman.run("podman", "rm", "--force", "--time", "0", "--volumes", self._name)
        self._podman.run("podman", "volume", "rm", "--force", self._name)
