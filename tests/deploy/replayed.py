"""The Containerfile without a builder: its steps are done in a folder, and its command run with its environment.

Where the kernel lets us, that happens in namespaces: as the image's user, as process 1, on a read-only root.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from itertools import count
from pathlib import Path

from tests.deploy.containerfile import CONTAINERFILE, ROOT, Instruction, Stage, settings, stages

# The folders of the image, wherever they stand in an instruction. (The interpreter stays this machine's.)
_OURS = re.compile(r"(?<![\w./-])/(?=(?:opt|src|data|etc/vouch|var/lib)\b)")

# Arguments: the image's folder, the data and where it goes, the container's /tmp, user and group, and the command.
_SANDBOX = """
mount --bind "$1" "$1"
mount --bind "$2" "$3"
mount --bind "$4" "$4"
mount -o remount,bind,ro "$1"
mount -o remount,bind,ro /
user=$5 group=$6
shift 6
exec unshare --user --map-user="$user" --map-group="$group" "$@"
"""


def _namespaces(image: Path, data: Path, mounted: Path, tmp: Path, user: str) -> list[str]:
    return [
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
        *("sh", "-ec", _SANDBOX, "sandbox", *map(str, (image, data, mounted, tmp)), *user.split(":")),
    ]


@cache
def namespaces_work() -> bool:
    """Whether this machine lets us have namespaces with a user, mounts and processes of their own."""
    here = Path(__file__).parent
    try:
        command = [*_namespaces(here, here, here, here, "65532:65532"), "true"]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        return False


class ReplayedImage:
    """The steps of the Containerfile, done in a folder.

    Args:
        folder: where the image's own folders come to be.
        isolated: whether to run its containers in namespaces.
    """

    def __init__(self, folder: Path, *, isolated: bool) -> None:
        self.isolated = isolated
        self._root = folder
        self._containers = folder / "containers"
        self._numbers = count(1)
        # The base's Python: not this environment's, which is none to base others on.
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
        self._path = f"{folder / 'bin'}:{os.environ['PATH']}"
        built = stages(CONTAINERFILE.read_text())
        self.settings = settings(built[-1])
        self._stages = {stage.name: stage for stage in built}
        for stage in built:
            self._build(stage)
        self.env = self._environment(built[-1])

    def inside(self, path: str) -> str:
        return _OURS.sub(f"{self._root}/", path)

    def _environment(self, stage: Stage) -> dict[str, str]:
        """What the image sets, and of this process's environment only where programs are."""
        env = {"PATH": self._path}
        for one in stage.all("ENV"):
            self._set(env, one)
        return env

    def _set(self, env: dict[str, str], one: Instruction) -> None:
        for name, value in one.pairs().items():
            env[name] = self.inside(value.replace("$PATH", env["PATH"]))

    def _build(self, stage: Stage) -> None:
        # A builder gets its certificates and mirrors from its base; here they are this machine's.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("VOUCH_", "PYTHON"))}
        env["PATH"] = self._path
        folder = self._root
        for one in stage.instructions:
            match one.keyword:
                case "ENV":
                    env |= {
                        name: self.inside(value.replace("$PATH", env["PATH"])) for name, value in one.pairs().items()
                    }
                case "WORKDIR":
                    folder = Path(self.inside(one.rest))
                    folder.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(one, folder)
                case "RUN":
                    command = [self.inside(word) for word in one.exec_form()]
                    done = subprocess.run(
                        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
                    )
                    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"

    def _copy(self, one: Instruction, folder: Path) -> None:
        *sources, target = one.rest.split()
        elsewhere = any(flag.startswith("--from=") for flag in one.flags)
        for source in sources:
            here = Path(self.inside(source)) if elsewhere else ROOT / source
            assert elsewhere or source in let_through(), f"{source} is not let through by .dockerignore"
            there = folder / self.inside(target)
            if here == there:
                continue  # both stages are in one folder
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(here, there / here.name if target.endswith("/") else there)

    def start(self, config: Path, env: dict[str, str] | None = None) -> "ReplayedContainer":
        own = self._containers / str(next(self._numbers))
        for name in ("data", "tmp", "work"):
            (own / name).mkdir(mode=0o700, parents=True)
        shutil.copy(config, own / "work")
        env = {**self.env, "TMPDIR": str(own / "tmp"), **(env or {})}
        mounted = Path(self.inside("/var/lib/vouch"))
        if self.isolated:
            sandbox = _namespaces(self._root, own / "data", mounted, own / "tmp", self.settings.user)
        else:
            sandbox = []
            env["VOUCH_DATA_DIR"] = str(own / "data")
        return ReplayedContainer(self, sandbox, env, own / "work")

    def files(self) -> dict[str, int]:
        """Every file of the image, with the time of its last change; not what containers have of their own."""
        paths = [Path(folder) / name for folder, _, names in os.walk(self._root) for name in names]
        return {str(path): path.lstat().st_mtime_ns for path in paths if self._containers not in path.parents}


class ReplayedContainer:
    """A process, in namespaces or not."""

    def __init__(self, image: ReplayedImage, sandbox: list[str], env: dict[str, str], folder: Path) -> None:
        self._sandbox = sandbox
        self._env = env
        self._folder = folder
        self._inside = image.inside
        self._log = Path(env["TMPDIR"]) / "log"
        command = [*sandbox, *map(image.inside, image.settings.command)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        """The sandbox's one child; without a sandbox the process itself."""
        number = self._process.pid
        if not self._sandbox:
            return number
        while not (children := Path(f"/proc/{number}/task/{number}/children").read_text().split()):
            assert self._process.poll() is None, self.log()
        return int(children[0])

    def log(self) -> str:
        return self._log.read_text()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._sandbox, *map(self._inside, command)],
            cwd=self._folder, env=self._env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def wait(self) -> int:
        return self._process.wait(30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def let_through() -> list[str]:
    """What .dockerignore lets into a build; everything else is left out."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [line.removeprefix("!") for line in lines if line.startswith("!")]
