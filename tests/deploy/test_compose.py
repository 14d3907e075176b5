"""compose.yaml: valid, confined, its secrets in files, and vouch starts with what it says."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.config import load_config
from tests.deploy.containerfile import CONTAINERFILE, ROOT, settings, stages
from tests.deploy.pages import make_secrets
from tests.deploy.services import serves
from tests.peers.postgres import Postgres

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
VOUCH: dict[str, Any] = COMPOSE["services"]["vouch"]
POSTGRES: dict[str, Any] = COMPOSE["services"]["postgres"]
IMAGE = settings(stages(CONTAINERFILE.read_text())[-1])


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """vouch's environment, with the secrets that the page makes where compose would mount them."""
    made = make_secrets(tmp_path)
    mounted = {f"/run/secrets/{name}": made / name for name in VOUCH["secrets"]}
    env = {}
    for name, value in VOUCH["environment"].items():
        for place, path in mounted.items():
            value = value.replace(place, str(path))
        env[name] = value
    return env


def test_it_is_valid_by_the_compose_specification() -> None:
    """https://github.com/compose-spec/compose-spec; the parser refuses what the specification does not have."""
    assert set(PyCompose.from_yaml(FILE.read_text()).service_names()) == {"vouch", "postgres"}


@pytest.mark.parametrize(
    ("right", "wrong"), [("read_only:", "readonly:"), ("service_healthy", "healthy"), ("internal:", "inside:")]
)
def test_what_the_specification_does_not_have_is_found(right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    with pytest.raises(ValueError, match=wrong.rstrip(":")):
        PyCompose.from_yaml(text.replace(right, wrong))


@pytest.mark.parametrize("name", ["vouch", "postgres"])
def test_each_service_is_confined_healthy_and_restarted(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"][0] == "CMD"  # no shell
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "network_mode", "pid", "user"} & service.keys()


def test_vouch_is_given_nothing_that_its_image_does_not_have() -> None:
    assert "cap_add" not in VOUCH
    assert VOUCH["healthcheck"]["test"][1:] == IMAGE.health
    assert VOUCH["ports"] == [f"127.0.0.1:8080:{IMAGE.ports[0]}"]
    build = VOUCH["build"]
    assert (FILE.parent / build["context"]).resolve() == ROOT
    assert (FILE.parent / build["context"] / build["dockerfile"]).resolve() == CONTAINERFILE


def test_vouch_waits_for_a_database_that_is_healthy_and_that_only_it_reaches() -> None:
    assert VOUCH["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert POSTGRES["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert "ports" not in POSTGRES
    assert re.fullmatch(r"docker\.io/library/postgres:17(\.\d+)?-\w+", POSTGRES["image"])


def test_what_lasts_is_in_a_volume() -> None:
    assert POSTGRES["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert COMPOSE["volumes"].keys() == {"postgres"}


def test_every_secret_is_a_file_that_the_page_makes_and_none_is_in_the_environment(tmp_path: Path) -> None:
    used = {*VOUCH["secrets"], *POSTGRES["secrets"]}
    assert COMPOSE["secrets"] == {name: {"file": f"./secrets/{name}"} for name in used}
    assert {path.name for path in make_secrets(tmp_path).iterdir()} == used
    assert "password" not in {name.lower() for name in VOUCH["environment"]}
    assert ":" not in VOUCH["environment"]["VOUCH_STORE__URL"].partition("://")[2].partition("@")[0]


def test_it_is_given_the_time_that_its_end_takes(environment: dict[str, str], tmp_path: Path) -> None:
    """Requirement 35."""
    config = load_config(_empty(tmp_path), environment)
    assert seconds(VOUCH["stop_grace_period"]) > config.server.shutdown_seconds


def test_every_setting_in_its_environment_exists(environment: dict[str, str], tmp_path: Path) -> None:
    config = load_config(_empty(tmp_path), environment)
    assert config.on_postgres
    assert config.key_file.is_file()


def test_vouch_starts_serves_and_ends_with_it(environment: dict[str, str], tmp_path: Path, postgres: Postgres) -> None:
    """The password comes out of the mounted file."""
    database = asyncio.run(postgres.make_database("template0"))
    passfile = tmp_path / "deploy/secrets/pgpass"
    passfile.write_text(f"127.0.0.1:{postgres.port}:{database}:vouch:{postgres.password}\n")
    where = f"@127.0.0.1:{postgres.port}/{database}?"
    environment["VOUCH_STORE__URL"] = environment["VOUCH_STORE__URL"].replace("@postgres/vouch?", where)
    assert postgres.password not in environment["VOUCH_STORE__URL"]
    data = tmp_path / "data"
    data.mkdir()
    key = (tmp_path / "deploy/secrets/admin-key").read_text().strip()
    serves(_empty(tmp_path).parent, environment | {"VOUCH_DATA_DIR": str(data)}, key)
    assert list(data.iterdir()) == [], "the store is elsewhere: nothing is kept in the container"


def _empty(folder: Path) -> Path:
    path = folder / "config.toml"
    path.touch()
    return path
