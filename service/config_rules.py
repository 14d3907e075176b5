"""What the types of the configuration alone can't tell: which values make sense, and which go together."""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from service.auth.jwt_rules import jwt_file_rules, jwt_rules
from service.auth.local import is_loopback
from service.auth.settings import JwtSettings, OAuth2Settings
from service.core.errors import RefusesToStart
from service.core.model import Role
from service.store_rules import SQLITE as SQLITE  # others look for it here
from service.store_rules import store_rules
from service.work.signing import Signer
from verifiers.addresses import parse_allow
from verifiers.endpoints import CallerPolicy, destination
from verifiers.proxy import read_proxy
from verifiers.settings import EgressSettings

if TYPE_CHECKING:
    from service.config import Config

_LARGEST_PORT = 65535
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LONGEST_LEASE = 43_200
_SHORTEST_INTERVAL = 300.0
_LONGEST_INTERVAL = 31_536_000.0  # a year
_LONGEST_WARNING = 3650.0  # days


def check(config: "Config") -> None:
    """Refuse what the types alone can't tell.

    Raises:
        RefusesToStart: naming the setting.
    """
    auth = config.auth
    for holds, sentence in (*_server_rules(config), *_other_rules(config), *jwt_rules(auth.jwt, auth.oauth2)):
        if not holds:
            raise RefusesToStart(sentence)
    for name, url in _urls(config):
        try:
            destination(url.replace("{region}", "region").replace("{account}", "account"))
        except ValueError:
            raise RefusesToStart(f"{name} must be an absolute http or https URL.") from None
    try:
        parse_allow(config.egress.allow)
        read_proxy(config.egress)
    except ValueError as error:
        raise RefusesToStart(f"{error}.") from None
    _check_files(config)


Rule = tuple[bool, str]
"""Whether it holds, and what to say if it does not."""


def _server_rules(config: "Config") -> list[Rule]:
    server, auth, deadline = config.server, config.auth, config.verification.deadline_seconds
    return [
        (bool(config.data_dir), "data_dir must name a folder."),
        (0 <= server.port <= _LARGEST_PORT, f"server.port must be between 0 and {_LARGEST_PORT}."),
        (server.max_body_bytes > 0, "server.max_body_bytes must be positive."),
        (0 < server.shutdown_seconds < inf, "server.shutdown_seconds must be positive and finite."),
        (0 < server.header_seconds < inf, "server.header_seconds must be positive and finite."),
        (0 < server.body_seconds < inf, "server.body_seconds must be positive and finite."),
        (bool(server.tls_cert) == bool(server.tls_key), "server.tls_cert and server.tls_key go together."),
        (0 < deadline < inf, "verification.deadline_seconds must be positive and finite."),
        (
            not (auth.anonymous_role and server.trusted_proxies),
            "auth.anonymous_role does not go with server.trusted_proxies: behind a proxy everybody is local.",
        ),
        (
            not auth.anonymous_role or is_loopback(server.host),
            "auth.anonymous_role needs server.host to be a loopback address: anybody could come in.",
        ),
        *(
            (is_network(one), f"server.trusted_proxies: {one} is no address or network.")
            for one in server.trusted_proxies
        ),
    ]


def _other_rules(config: "Config") -> list[Rule]:
    auth = config.auth
    return [
        *_work_rules(config),
        (config.verification.concurrency > 0, "verification.concurrency must be positive."),
        (
            0 < config.leases.default_ttl_seconds <= config.leases.max_ttl_seconds <= _LONGEST_LEASE,
            f"leases.default_ttl_seconds and leases.max_ttl_seconds must be from 1 to {_LONGEST_LEASE}, the first of "
            "them not the longer.",
        ),
        (min(vars(config.limits).values()) >= 0, "limits must not be negative; 0 turns one off."),
        (config.log.format in ("json", "text"), 'log.format must be "json" or "text".'),
        (config.log.level in _LEVELS, f"log.level must be one of {', '.join(_LEVELS)}."),
        *store_rules(config.store),
        (
            auth.anonymous_role in ("", *Role),
            f"auth.anonymous_role must be empty or one of {', '.join(Role)}.",
        ),
        (
            not auth.oauth2.issuer or bool(auth.oauth2.audience),
            "auth.oauth2.audience must be set with auth.oauth2.issuer.",
        ),
        (
            all(1 <= port <= _LARGEST_PORT for port in config.egress.ports),
            f"egress.ports must be between 1 and {_LARGEST_PORT}.",
        ),
        (
            re.fullmatch(r"[a-z0-9-]{1,64}", config.providers.aws.region) is not None,
            "providers.aws.region must be the name of a region, such as us-east-1.",
        ),
    ]


def _work_rules(config: "Config") -> list[Rule]:
    interval, hooks = config.verification.interval, config.webhooks
    return [
        (
            interval == 0 or _SHORTEST_INTERVAL <= interval <= _LONGEST_INTERVAL,
            f"verification.interval must be 0, or from {_SHORTEST_INTERVAL:.0f} to {_LONGEST_INTERVAL:.0f} seconds: "
            "every verification is a call to a provider that its owner sees.",
        ),
        (
            0 <= config.verification.expiry_warning_days <= _LONGEST_WARNING,
            f"verification.expiry_warning_days must be from 0 to {_LONGEST_WARNING:.0f}; 0 warns of nothing.",
        ),
        (config.credentials.keep_versions >= 0, "credentials.keep_versions must not be negative; 0 keeps none."),
        (bool(hooks.url) == bool(hooks.secret_file), "webhooks.url and webhooks.secret_file go together."),
        (not hooks.secret_file or Path(hooks.secret_file).is_file(), "webhooks.secret_file: there is no such file."),
        (
            not hooks.url or _may_be_called(hooks.url, config.egress),
            "webhooks.url must be https to a public host on a port of egress.ports, or in egress.allow.",
        ),
    ]


def _may_be_called(url: str, egress: EgressSettings) -> bool:
    """Whether the guard would let a delivery try, as far as the URL alone tells."""
    try:
        return CallerPolicy(parse_allow(egress.allow), frozenset(egress.ports)).may_look_up(destination(url))
    except ValueError:
        return False


def _check_files(config: "Config") -> None:
    """The files that must be there already, and be what they are said to be."""
    server, trusted = config.server, config.egress.ca_file
    try:
        ssl.create_default_context(cafile=trusted or None)
    except OSError:  # ssl.SSLError is one
        raise RefusesToStart(f"egress.ca_file: {trusted} holds no certificates.") from None
    if server.tls_cert:
        # Here and not above: what logs is slow to import, and the commands that SDKs run again and again serve nothing.
        from service.tls import Certificate

        Certificate(server.tls_cert, server.tls_key)
    if config.auth.bootstrap_key_file and not Path(config.auth.bootstrap_key_file).is_file():
        raise RefusesToStart(f"auth.bootstrap_key_file: there is no file {config.auth.bootstrap_key_file}.")
    if config.webhooks.secret_file:
        Signer.read(Path(config.webhooks.secret_file))
    for holds, sentence in jwt_file_rules(config.auth.jwt):
        if not holds:
            raise RefusesToStart(sentence)


def _urls(config: "Config") -> list[tuple[str, str]]:
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
    issuers: list[tuple[str, OAuth2Settings | JwtSettings]] = [("auth.oauth2", config.auth.oauth2)]
    issuers += [(f"auth.jwt[{index}]", one) for index, one in enumerate(config.auth.jwt)]
    pairs = [(f"{where}.{name}", getattr(one, name)) for where, one in issuers for name in ("issuer", "jwks_url")]
    return named + [(name, url) for name, url in pairs if url]


def is_network(text: str) -> bool:
    """Whether a text is an address or a network in CIDR form."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
