"""Configuration: TOML and environment into frozen dataclasses. What is unknown or ill-typed refuses to start."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.auth.settings import JwtSettings, OAuth2Settings
from service.config_rules import check
from service.core.errors import RefusesToStart
from service.settings_tree import build, overlay
from service.store_rules import POSTGRES, SQLITE, StoreConfig
from service.work.settings import WebhookSettings
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
    header_seconds: float = 15.0
    body_seconds: float = 30.0


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
    jwt: tuple[JwtSettings, ...] = ()


@dataclass(frozen=True)
class VerificationConfig:
    """`[verification]`."""

    deadline_seconds: float = 10.0
    concurrency: int = 500
    interval: float = 0.0
    expiry_warning_days: float = 14.0


@dataclass(frozen=True)
class CredentialsConfig:
    """`[credentials]`."""

    keep_versions: int = 1


@dataclass(frozen=True)
class LeasesConfig:
    """`[leases]`, in seconds."""

    default_ttl_seconds: int = 3600
    max_ttl_seconds: int = 3600
    source_identity: bool = True


@dataclass(frozen=True)
class LimitsConfig:
    """`[limits]`, each in any 60 s; 0 turns one off."""

    verifications_per_caller: int = 600
    verifications_per_target: int = 120
    verifications_overall: int = 6000
    leases_per_caller: int = 600
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
    credentials: CredentialsConfig = field(default_factory=CredentialsConfig)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    leases: LeasesConfig = field(default_factory=LeasesConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def on_postgres(self) -> bool:
        """Whether the store is on PostgreSQL, and not embedded."""
        return self.store.url.startswith(POSTGRES)

    @property
    def database(self) -> Path:
        """The embedded store's file."""
        if self.store.url:
            return Path(self.store.url.removeprefix(SQLITE))
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
