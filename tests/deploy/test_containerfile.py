"""The Containerfile keeps to the rules of its trade, builder or no builder."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.deploy.containerfile import CONTAINERFILE, ROOT, instructions, settings, stages
from tests.deploy.replayed import let_through

TEXT = CONTAINERFILE.read_text()
BUILDER, FINAL = stages(TEXT)


def program(name: str) -> str:
    """A program of this environment's."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is a dependency of the tests: install the `dev` extra"
    return found


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [program("hadolint"), "--no-color", CONTAINERFILE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_hadolint_finds_something_where_there_is_something(tmp_path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM python\nRUN pip install vouch\n")
    done = subprocess.run(
        [program("hadolint"), "--no-color", bad], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_the_base_is_named_once_with_its_tag_and_is_the_same_in_both_stages() -> None:
    base = instructions(TEXT)[0].pairs()["PYTHON_IMAGE"]
    name, _, tag = base.rpartition(":")
    assert name == "docker.io/library/python"
    assert tag not in ("", "latest")
    assert "slim" in tag
    assert BUILDER.base == FINAL.base == "${PYTHON_IMAGE}"


def test_no_step_and_no_command_needs_a_shell() -> None:
    assert FINAL.all("RUN") == []
    for one in BUILDER.all("RUN"):
        assert Path(one.exec_form()[0]).name in ("python3", "python", "uv")
    told = settings(FINAL)
    assert told.command == ["/opt/vouch/bin/vouch", "serve"]
    assert told.health == ["/opt/vouch/bin/vouch", "health"]


def test_it_runs_as_a_user_by_number_and_stops_by_sigterm() -> None:
    told = settings(FINAL)
    user, _, group = told.user.partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    assert told.stop_signal == "SIGTERM"
    assert told.ports == ["8080"]


def test_the_health_check_gives_vouch_health_the_time_it_takes() -> None:
    """It waits 5 s for an answer, and takes a moment to start."""
    flags = dict(flag.removeprefix("--").split("=") for flag in FINAL.last("HEALTHCHECK").flags)
    assert int(flags["timeout"].removesuffix("s")) > 5 + 2
    assert int(flags["interval"].removesuffix("s")) >= int(flags["timeout"].removesuffix("s"))


def test_what_is_installed_is_pinned() -> None:
    constrained = [one.rest for one in BUILDER.all("RUN") if '"install"' in one.rest and "--no-deps" not in one.rest]
    assert len(constrained) == 2
    assert all('"constraints.txt"' in rest for rest in constrained)


def test_the_build_gets_the_sources_and_nothing_else() -> None:
    """No store, no key ring, no history, no tests."""
    copied = {source for one in BUILDER.all("COPY") for source in one.rest.split()[:-1]}
    assert copied == set(let_through())
    for source in copied:
        assert (ROOT / source).exists(), source
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "**/__pycache__" in lines
    assert lines.index("*") < min(lines.index(f"!{source}") for source in copied)
