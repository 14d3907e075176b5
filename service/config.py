"""Configuration: TOML and environment into frozen dataclasses. What is unknown or ill-typed refuses to start."""

import ipaddress
import os
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from service.auth.settings import OAuth2Settings
from service.core.errors import RefusesToStart
from service.core.model import Role
from service.settings_tree import build, overlay
from verifiers.addresses import parse_allow
from verifiers.settings import EgressSettings, ProviderSettings


@dataclass(frozen=True)
class ServerConfig:
    """`[server]`."""

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_bytes: int = 1_048_576
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    shutdown_seconds: float = 20.0


@dataclass(frozen=True)
class StoreConfig:
    """`[store]`."""

    url: str = ""


@dataclass(frozen=True)
class KeysConfig:
    """`[keys]`."""

    file: str = ""


@dataclass(frozen=True)
class AuthConfig:
    """`[auth]`."""

    anonymous_role: str = ""
    bootstrap_key_file: str = ""
    oauth2: OAuth2Settings = field(default_factory=OAuth2Settings)


@dataclass(frozen=True)
class VerificationConfig:
    """`[verification]`."""

    deadline_seconds: float = 10.0
    concurrency: int = 500


@dataclass(frozen=True)
class LimitsConfig:
    """`[limits]`, each in any 60 s; 0 turns one off."""

    verifications_per_caller: int = 600
    verifications_per_target: int = 120
    authentication_failures: int = 30


@dataclass(frozen=True)
class LogConfig:
    """`[log]`."""

    level: str = "INFO"
    format: str = "json"


@dataclass(frozen=True)
class Config:
    """Everything an operator may say."""

    data_dir: str = "vouch-data"
    server: ServerConfig = field(default_factory=ServerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    egress: EgressSettings = field(default_factory=EgressSettings)
    providers: ProviderSettings = field(default_factory=ProviderSettings)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def database(self) -> Path:
        """The embedded store's file."""
        if self.store.url:
            return Path(self.store.url.removeprefix("sqlite:///"))
        return Path(self.data_dir) / "vouch.db"

    @property
    def key_file(self) -> Path:
        """The key ring's file."""
        return Path(self.keys.file) if self.keys.file else Path(self.data_dir) / "keys"


def load_config(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file (`./config.toml` if there and none is named), then let the environment override it.

    Raises:
        RefusesToStart: a setting is unknown or of the wrong type, or two contradict each other; the text names it.
    """
    environ = os.environ if environ is None else environ
    if path is None and Path("config.toml").is_file():
        path = Path("config.toml")
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RefusesToStart(f"Cannot read the configuration {path}: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RefusesToStart(f"The configuration {path} is not valid TOML: {error}.") from None
    overlay(Config, table, environ)
    config: Config = build(Config, table)
    check(config)
    return config


def check(config: Config) -> None:
    """Refuse what the types alone can't tell.

    Raises:
        RefusesToStart: naming the setting.
    """
    server, auth = config.server, config.auth
    rules = [
        (0 <= server.port <= 65535, "server.port must be between 0 and 65535."),
        (server.max_body_bytes > 0, "server.max_body_bytes must be positive."),
        (server.shutdown_seconds > 0, "server.shutdown_seconds must be positive."),
        (bool(server.tls_cert) == bool(server.tls_key), "server.tls_cert and server.tls_key go together."),
        (config.verification.deadline_seconds > 0, "verification.deadline_seconds must be positive."),
        (config.verification.concurrency > 0, "verification.concurrency must be positive."),
        (min(vars(config.limits).values()) >= 0, "limits must not be negative; 0 turns one off."),
        (config.log.format in ("json", "text"), 'log.format must be "json" or "text".'),
        (
            config.log.level in ("DEBUG", "INFO", "WARNING", "ERROR"),
            "log.level must be DEBUG, INFO, WARNING or ERROR.",
        ),
        (
            not config.store.url or config.store.url.startswith("sqlite:///"),
            "store.url must be empty or sqlite:///PATH.",
        ),
        (
            auth.anonymous_role in ("", *Role),
            f"auth.anonymous_role must be empty or one of {', '.join(Role)}.",
        ),
        (
            not auth.anonymous_role or is_loopback(server.host),
            "auth.anonymous_role needs server.host to be a loopback address: anybody could come in.",
        ),
        (
            not auth.oauth2.issuer or bool(auth.oauth2.audience),
            "auth.oauth2.audience must be set with auth.oauth2.issuer.",
        ),
        *(
            (is_network(one), f"server.trusted_proxies: {one} is no address or network.")
            for one in server.trusted_proxies
        ),
        *((_is_url(url), f"{name} must be an absolute http or https URL.") for name, url in _urls(config)),
    ]
    for holds, sentence in rules:
        if not holds:
            raise RefusesToStart(sentence)
    try:
        parse_allow(config.egress.allow)
    except ValueError as error:
        raise RefusesToStart(f"{error}.") from None
    if config.egress.ca_file:
        try:
            ssl.create_default_context(cafile=config.egress.ca_file)
        except OSError:  # ssl.SSLError is one
            raise RefusesToStart(f"egress.ca_file: {config.egress.ca_file} holds no certificates.") from None


def _urls(config: Config) -> list[tuple[str, str]]:
    """Every configured URL that must be there, by the setting's name."""
    named = []
    for section in fields(config.providers):
        part = getattr(config.providers, section.name)
        for one in fields(part):
            value = getattr(part, one.name)
            where = f"providers.{section.name}.{one.name}"
            if one.name.endswith(("endpoint", "uri", "authority")):
                named.append((where, value))
            elif isinstance(value, Mapping):
                named += [(f"{where}.{key}", url) for key, url in value.items()]
    oauth2 = config.auth.oauth2
    return named + [(f"auth.oauth2.{name}", url) for name in ("issuer", "jwks_url") if (url := getattr(oauth2, name))]


def _is_url(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return scheme in ("http", "https") and bool(separator) and bool(rest.strip("/"))


def is_network(text: str) -> bool:
    """Whether a text is an address or a network in CIDR form."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
