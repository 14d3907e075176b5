"""The configuration: what the example says is what the code has, and what is wrong refuses to start by name."""

import base64
import re
import tomllib
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from service.auth.settings import Binding, JwtSettings
from service.config import Config, load_config
from service.core.errors import RefusesToStart

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


def leaves(section: Any, path: str = "") -> dict[str, Any]:
    """Every setting with its default, but for `auth.jwt`: a list of tables is empty unless one is written."""
    found: dict[str, Any] = {}
    for one in fields(section):
        value = getattr(section, one.name)
        name = f"{path}.{one.name}" if path else one.name
        if name == "auth.jwt":
            assert value == ()
            continue
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


def test_the_commented_tables_of_the_example_have_every_setting_with_a_comment(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    start = lines.index("# [[auth.jwt]]")
    block = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]
    assert load("\n".join(block), tmp_path).auth.jwt == (
        JwtSettings(
            issuer="https://kubernetes.default.svc.cluster.local",
            audience="vouch",
            bindings=(Binding("system:serviceaccount:etl:*", "ws_default", "consumer"),),
        ),
    )
    table = tomllib.loads("\n".join(block))["auth"]["jwt"][0]
    assert set(table) == {one.name for one in fields(JwtSettings)}
    assert set(table["bindings"][0]) == {one.name for one in fields(Binding)}
    for line in block[1:]:
        assert re.search(r"\s# \S", line), line


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


GOOD = "issuer = 'https://one.example'\naudience = 'vouch'\n"
BOUND = "bindings = [{ subject = 'a', workspace = 'ws_a', role = 'viewer' }]\n"


def table(*, first: str = GOOD, more: str = "", bindings: str = BOUND) -> str:
    return f"[[auth.jwt]]\n{first}{more}{bindings}"


def bound(**changes: str) -> str:
    """Two bindings, the second of them with these settings as TOML."""
    second = {"subject": "'b'", "workspace": "'ws_b'", "role": "'viewer'"} | changes
    text = ", ".join(f"{name} = {value}" for name, value in second.items())
    return f"bindings = [{{ subject = 'a', workspace = 'ws_a', role = 'viewer' }}, {{ {text} }}]\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[auth.jwt]\nissuer = 'https://one.example'", "auth.jwt must be a list of tables"),
        ("[auth]\njwt = 'x'", "auth.jwt must be a list of tables"),
        ("[auth]\njwt = ['x']", "auth.jwt[0] must be"),
        (table(first="audience = 'vouch'\n"), "auth.jwt[0].issuer"),
        (table(first="issuer = 'https://one.example'\n"), "auth.jwt[0].audience"),
        (table(first="issuer = 'one'\naudience = 'vouch'\n"), "auth.jwt[0].issuer must be an absolute"),
        (table(first="issuer = 'https://a@one.example'\naudience = 'vouch'\n"), "auth.jwt[0].issuer"),
        (table(more="jwks_url = 'file:///x'\n"), "auth.jwt[0].jwks_url"),
        (table(more="jwks_url = 7\n"), "auth.jwt[0].jwks_url must be a text"),
        (table(more="jwks_uri = ''\n"), "auth.jwt[0].jwks_uri is not a setting"),
        (table(more="jwks_ca_file = '/nowhere/ca.crt'\n"), "auth.jwt[0].jwks_ca_file: /nowhere/ca.crt"),
        (table(more='jwks_ca_file = "/nowhere\\u0000"\n'), "auth.jwt[0].jwks_ca_file"),
        (table(more=f"jwks_ca_file = '{__file__}'\n"), "auth.jwt[0].jwks_ca_file"),
        (table(more="jwks_token_file = '/nowhere/token'\n"), "auth.jwt[0].jwks_token_file: there is no file"),
        (table(bindings=""), "auth.jwt[0].bindings"),
        (table(bindings="bindings = []\n"), "auth.jwt[0].bindings"),
        (table(bindings="bindings = [{}]\n"), "auth.jwt[0].bindings[0].subject"),
        (table(bindings="bindings = {}\n"), "auth.jwt[0].bindings must be a list of tables"),
        (table(bindings=bound(subject="''")), "auth.jwt[0].bindings[1].subject"),
        (table(bindings=bound(subject="'*'")), "auth.jwt[0].bindings[1].subject"),
        (table(bindings=bound(subject="'***'")), "auth.jwt[0].bindings[1].subject"),
        (table(bindings=bound(subject='"a\\nb"')), "auth.jwt[0].bindings[1].subject"),
        (table(bindings=bound(subject="['b']")), "auth.jwt[0].bindings[1].subject must be a text"),
        (table(bindings=bound(workspace="''")), "auth.jwt[0].bindings[1].workspace"),
        (table(bindings=bound(workspace="'default'")), "auth.jwt[0].bindings[1].workspace"),
        (table(bindings=bound(role="'root'")), "auth.jwt[0].bindings[1].role must be one of consumer, viewer"),
        (table(bindings=bound(role="''")), "auth.jwt[0].bindings[1].role"),
        (table(bindings=bound(roles="'viewer'")), "auth.jwt[0].bindings[1].roles is not a setting"),
        (table(bindings=bound(teamspaces="['']")), "auth.jwt[0].bindings[1].teamspaces"),
        (table(bindings=bound(teamspaces="[1]")), "auth.jwt[0].bindings[1].teamspaces must be a list of texts"),
        (table() + table(), "auth.jwt[1] has the issuer and the audience of another"),
        (table() + "[auth.oauth2]\n" + GOOD, "auth.jwt[0] has the issuer and the audience of another"),
        (table() + table(first=GOOD.replace("one", "two"), bindings=bound(role="'x'")), "auth.jwt[1].bindings[1].role"),
    ],
)
def test_a_wrong_setting_of_a_token_issuer_is_named_with_its_index(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match=re.escape(named)):
        load(text, tmp_path)


@pytest.mark.parametrize("setting", ["jwks_ca_file", "jwks_token_file"])
def test_what_only_tls_gives_sense_is_refused_over_plain_http(setting: str, tmp_path: Path) -> None:
    """A bearer token would go out in the clear."""
    file = tmp_path / "file"
    trustme.CA().cert_pem.write_to_path(str(file))
    more = f"{setting} = '{file}'\n"
    plain = "jwks_url = 'http://one.example/jwks'\n"
    with pytest.raises(RefusesToStart, match=re.escape(f"auth.jwt[0].{setting} needs an https jwks_url")):
        load(table(more=more + plain), tmp_path)
    with pytest.raises(RefusesToStart, match=re.escape(f"auth.jwt[0].{setting} needs an https issuer")):
        load(table(first=GOOD.replace("https", "http"), more=more), tmp_path)
    assert getattr(load(table(more=more), tmp_path).auth.jwt[0], setting) == str(file)


def test_a_list_of_revoked_certificates_is_no_list_of_trusted_ones(tmp_path: Path) -> None:
    file, now = tmp_path / "ca.crl", datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    revoked = x509.CertificateRevocationListBuilder(name, now, now + timedelta(days=1)).sign(key, hashes.SHA256())
    file.write_bytes(revoked.public_bytes(Encoding.PEM))
    with pytest.raises(RefusesToStart, match=re.escape("auth.jwt[0].jwks_ca_file")):
        load(table(more=f"jwks_ca_file = '{file}'\n"), tmp_path)


def test_one_issuer_may_have_tables_for_several_audiences(tmp_path: Path) -> None:
    config = load(table() + table(first=GOOD.replace("'vouch'", "'other'")), tmp_path)
    assert [one.audience for one in config.auth.jwt] == ["vouch", "other"]


def test_the_environment_may_hold_the_whole_list_of_issuers(tmp_path: Path) -> None:
    issuer = "[{issuer = 'https://two.example', audience = 'v', bindings = ["
    value = issuer + "{subject = 'a*', workspace = 'ws_a', role = 'consumer', teamspaces = ['t']}]}]"
    config = load(table(), tmp_path, {"VOUCH_AUTH__JWT": value})
    binding = Binding("a*", "ws_a", "consumer", ("t",))
    assert config.auth.jwt == (JwtSettings("https://two.example", "v", bindings=(binding,)),)
    for wrong in ("https://two.example", "[{", "7", "a,b"):
        with pytest.raises(RefusesToStart, match=r"VOUCH_AUTH__JWT must be a list of tables|auth\.jwt must be"):
            load(table(), tmp_path, {"VOUCH_AUTH__JWT": wrong})
    with pytest.raises(RefusesToStart, match="VOUCH_AUTH__JWT__ISSUER is not a setting"):
        load(table(), tmp_path, {"VOUCH_AUTH__JWT__ISSUER": "https://two.example"})


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


HOOK_KEY = base64.b64encode(b"k" * 32).decode()


def hooks(tmp_path: Path, url: str = "https://hooks.example/vouch", secret: str | None = f"whsec_{HOOK_KEY}") -> str:
    """A `[webhooks]` with a secret in its file."""
    file = tmp_path / "webhook-secret"
    if secret is not None:
        file.write_text(secret)
    return f"[webhooks]\nurl = '{url}'\nsecret_file = '{file}'\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[verification]\ninterval = 1", "verification.interval must be 0, or from 300 to 31536000 seconds"),
        ("[verification]\ninterval = 299.9", "verification.interval"),
        ("[verification]\ninterval = -1", "verification.interval"),
        ("[verification]\ninterval = 1e300", "verification.interval"),
        ("[verification]\ninterval = inf", "verification.interval"),
        ("[verification]\ninterval = nan", "verification.interval"),
        ("[verification]\ninterval = 'daily'", "verification.interval"),
        ("[verification]\nexpiry_warning_days = -1", "verification.expiry_warning_days must be from 0 to 3650"),
        ("[verification]\nexpiry_warning_days = 1e9", "verification.expiry_warning_days"),
        ("[verification]\nexpiry_warning_days = nan", "verification.expiry_warning_days"),
        ("[credentials]\nkeep_versions = -1", "credentials.keep_versions"),
        ("[webhooks]\nurl = 'https://hooks.example'", "webhooks.url and webhooks.secret_file go together"),
        ("[webhooks]\nsecret_file = '/etc/hostname'", "webhooks.url and webhooks.secret_file go together"),
        (
            "[webhooks]\nurl = 'https://hooks.example'\nsecret_file = '/nowhere'",
            "webhooks.secret_file: there is no such",
        ),
    ],
)
def test_a_wrong_setting_of_the_work_beside_requests_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match=re.escape(named)):
        load(text, tmp_path)


@pytest.mark.parametrize(
    "setting", ["interval = 0", "interval = 300", "interval = 31536000", "expiry_warning_days = 0"]
)
def test_the_ends_of_what_a_setting_may_be_are_in_it(setting: str, tmp_path: Path) -> None:
    assert load(f"[verification]\n{setting}", tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/vouch",
        "ftp://hooks.example",
        "hooks.example",
        "https://user@hooks.example",
        "https://hooks.example:8443",
        "https://127.0.0.1",
        "https://10.1.2.3",
        "https://[::1]",
        "https://[::ffff:10.1.2.3]",
        "https://169.254.169.254/latest",
        "https://2130706433",
        "https://0x7f.1",
        "https://hooks.example/#part",
    ],
)
def test_a_webhook_that_the_guard_would_not_let_pass_refuses_to_start(url: str, tmp_path: Path) -> None:
    """Requirements 5 and 6: as far as the URL alone tells; a name is judged when it is looked up."""
    with pytest.raises(RefusesToStart, match=r"^webhooks\.url must be https to a public host"):
        load(hooks(tmp_path, url), tmp_path)


@pytest.mark.parametrize(
    ("url", "egress"),
    [
        ("https://hooks.example/vouch?token=x", ""),
        ("https://93.184.215.14/", ""),
        ("https://hooks.example:8443/", "ports = [8443]"),
        ("http://10.1.2.3:8080/hooks", "allow = ['10.1.2.3:8080']"),
        ("http://hooks.corp:8080/hooks", "allow = ['hooks.corp:8080']"),
    ],
)
def test_a_webhook_that_may_be_called_starts(url: str, egress: str, tmp_path: Path) -> None:
    assert load(f"[egress]\n{egress}\n{hooks(tmp_path, url)}", tmp_path).webhooks.url == url


@pytest.mark.parametrize(
    "secret", ["", HOOK_KEY, "whsec_", "whsec_c2hvcnQ=", f"whsec_{HOOK_KEY * 3}", "whsec_" + "!" * 40]
)
def test_a_webhook_with_a_secret_that_is_none_refuses_to_start_and_quotes_nothing_of_it(
    secret: str, tmp_path: Path
) -> None:
    """Requirement 30."""
    with pytest.raises(RefusesToStart, match=r"^webhooks\.secret_file must hold whsec_ and base64") as caught:
        load(hooks(tmp_path, secret=secret), tmp_path)
    assert len(secret) < 8 or secret.removeprefix("whsec_") not in str(caught.value)


def test_no_secret_is_in_the_configuration(tmp_path: Path) -> None:
    """Requirement 30: the file is named, and not what it holds."""
    assert HOOK_KEY not in repr(load(hooks(tmp_path), tmp_path))
