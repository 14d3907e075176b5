"""The configuration: what the example says is what the code has, and what is wrong refuses to start by name."""

import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from service.config import Config, load_config
from service.core.errors import RefusesToStart

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


def leaves(section: Any, path: str = "") -> dict[str, Any]:
    """Every setting with its default."""
    found: dict[str, Any] = {}
    for one in fields(section):
        value = getattr(section, one.name)
        name = f"{path}.{one.name}" if path else one.name
        found |= leaves(value, name) if is_dataclass(value) else {name: value}
    return found


def test_the_example_has_every_setting_with_its_default_and_a_comment() -> None:
    loaded = load_config(EXAMPLE, {})
    assert loaded == Config()
    told: dict[str, Any] = {}

    def collect(table: dict[str, Any], path: str) -> None:
        for name, value in table.items():
            inner = f"{path}.{name}" if path else name
            if isinstance(value, dict) and inner in leaves(Config()):
                told[inner] = value
            elif isinstance(value, dict):
                collect(value, inner)
            else:
                told[inner] = value

    collect(tomllib.loads(EXAMPLE.read_text()), "")
    assert set(told) == set(leaves(Config()))
    for line in EXAMPLE.read_text().splitlines():
        assert not re.match(r"\w+ = ", line) or re.search(r"\s# \S", line), line


def load(text: str, tmp_path: Path, environ: dict[str, str] | None = None) -> Config:
    file = tmp_path / "vouch.toml"
    file.write_text(text)
    return load_config(file, environ or {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense = 1", "nonsense"),
        ("[server]\nprot = 1", "server.prot"),
        ("[server]\nport = '8080'", "server.port"),
        ("[server]\nport = true", "server.port"),
        ("[server]\nport = 70000", "server.port"),
        ("server = 1", "server"),
        ("[egress]\nports = ['443']", "egress.ports"),
        ("[egress]\nallow = ['not/a/net']", "egress.allow"),
        ("[egress]\nca_file = '/nowhere/ca.pem'", "egress.ca_file"),
        ("[providers.aws]\nother_sts_endpoints = { aws-cn = 1 }", "providers.aws.other_sts_endpoints"),
        ("[providers.aws]\nsts_endpoint = 'sts'", "providers.aws.sts_endpoint"),
        ("[auth]\nanonymous_role = 'root'", "auth.anonymous_role"),
        ("[server]\nhost = '0.0.0.0'\n[auth]\nanonymous_role = 'viewer'", "auth.anonymous_role"),
        ("[auth.oauth2]\nissuer = 'https://issuer.example'", "auth.oauth2.audience"),
        ("[store]\nurl = 'mysql://x'", "store.url"),
        ("[server]\ntls_cert = 'x.pem'", "server.tls_cert"),
        ("[server]\ntrusted_proxies = ['proxy']", "server.trusted_proxies"),
        ("[verification]\ndeadline_seconds = 0", "verification.deadline_seconds"),
        ("[limits]\nauthentication_failures = -1", "limits"),
        ("[log]\nlevel = 'LOUD'", "log.level"),
    ],
)
def test_a_wrong_setting_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match=re.escape(named)):
        load(text, tmp_path)


def test_broken_toml_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match="not valid TOML"):
        load("[server", tmp_path)
    with pytest.raises(RefusesToStart, match="Cannot read"):
        load_config(tmp_path / "none.toml", {})


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load(
        "[server]\nport = 1\nhost = '127.0.0.2'",
        tmp_path,
        {
            "VOUCH_SERVER__PORT": "2",
            "VOUCH_DATA_DIR": "elsewhere",
            "VOUCH_PROVIDERS__AWS__REGION": "eu-west-1",
            "VOUCH_EGRESS__PORTS": "443, 9000",
            "VOUCH_EGRESS__ALLOW": '["10.0.0.0/8"]',
            "VOUCH_VERIFICATION__DEADLINE_SECONDS": "3",
            "VOUCH_PROVIDERS__AWS__OTHER_STS_ENDPOINTS": '{aws-cn = "https://sts.cn-north-1.amazonaws.com.cn"}',
            "VOUCH_PORT": "tcp://10.0.0.1:8080",
            "VOUCH_SERVICE_HOST": "10.0.0.1",
            "HOME": "x",
        },
    )
    assert (config.server.port, config.server.host, config.data_dir) == (2, "127.0.0.2", "elsewhere")
    assert config.providers.aws.region == "eu-west-1"
    assert config.egress.ports == (443, 9000)
    assert config.egress.allow == ("10.0.0.0/8",)
    assert config.verification.deadline_seconds == 3.0
    assert config.providers.aws.other_sts_endpoints == {"aws-cn": "https://sts.cn-north-1.amazonaws.com.cn"}


@pytest.mark.parametrize(
    "name", ["VOUCH_SERVER__PROT", "VOUCH_NOTHING__X", "VOUCH_SERVER__PORT__X", "VOUCH_PROVIDERS__AWS"]
)
def test_an_unknown_name_in_the_environment_refuses_to_start(name: str) -> None:
    with pytest.raises(RefusesToStart, match=name):
        load_config(EXAMPLE, {name: "1"})


def test_an_ill_typed_value_in_the_environment_names_itself() -> None:
    for name, value in (("VOUCH_SERVER__PORT", "many"), ("VOUCH_EGRESS__PORTS", "a,b")):
        with pytest.raises(RefusesToStart, match=f"{name}|ports"):
            load_config(EXAMPLE, {name: value})
