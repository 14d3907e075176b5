"""deploy/README.md says what is so."""

import re
import stat
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from service.cli import COMMANDS
from service.config import Config
from service.core import key_format
from service.keyrings.file import FileKeyRing
from tests.deploy.containerfile import ROOT
from tests.deploy.pages import PAGE, blocks, make_secrets


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("here"))


def test_the_key_ring_that_it_makes_is_one(made: Path) -> None:
    ring = FileKeyRing.load(made / "keys")
    assert ring.ids == {"k1"}


def test_the_admin_key_that_it_makes_is_one(made: Path) -> None:
    key = key_format.parse((made / "admin-key").read_text().strip())
    assert key is not None
    assert key.id == "bootstrap"


def test_the_password_files_that_it_makes_agree(made: Path) -> None:
    password = (made / "postgres-password").read_text().strip()
    assert (made / "pgpass").read_text() == f"postgres:5432:vouch:vouch:{password}\n"


def test_nobody_else_can_read_what_it_makes_and_git_does_not_see_it(made: Path) -> None:
    assert {stat.S_IMODE(one.stat().st_mode) for one in made.iterdir()} == {0o600}
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_command_and_setting_that_it_names_exists() -> None:
    commands = set(re.findall(r"\bvouch vouch ([a-z-]+)|`vouch ([a-z-]+)", PAGE))
    assert {one or other for one, other in commands} <= COMMANDS.keys()
    names = {name.rpartition(".")[2] for name in _settings(Config())}
    told = set(re.findall(r"`(?:server\.)?([a-z]+_[a-z_]+)`", PAGE))
    assert len(told) > 5
    assert told - {"pg_dump"} <= names


def test_every_file_that_it_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    named = [word for block in blocks() for word in re.findall(r"(?:-f|-k) (deploy/\S+)", block)]
    assert links
    assert [one for one in links if not (ROOT / "deploy" / one).exists()] == []
    assert [one for one in named if not (ROOT / one).exists()] == []


def _settings(tree: Any, section: str = "") -> set[str]:
    found = set()
    for one in fields(tree):
        value = getattr(tree, one.name)
        found |= _settings(value, f"{section}{one.name}.") if is_dataclass(value) else {f"{section}{one.name}"}
    # Of the entries of a list there is none by default.
    return found | ({"jwks_url", "jwks_ca_file", "jwks_token_file"} if not section else set())
