"""`[store]`: where the records are, and which values make sense there."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

SQLITE: Final = "sqlite:///"
"""How the address of an embedded store begins."""

POSTGRES: Final = ("postgresql://", "postgres://")
"""How that of one on PostgreSQL does."""

_OPTIONS = frozenset(
    {"host", "passfile", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs"}
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]{1,5})?")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_MOST_CONNECTIONS = 1000
_LONGEST_WAIT = 300.0


@dataclass(frozen=True)
class StoreConfig:
    """`[store]`. All but the URL, which may hold a password, is about PostgreSQL; times are in seconds."""

    url: str = field(default="", repr=False)
    pool_min_size: int = 2
    pool_max_size: int = 10
    pool_wait_seconds: float = 5.0
    statement_seconds: float = 10.0
    lock_seconds: float = 5.0


def store_rules(store: StoreConfig) -> list[tuple[bool, str]]:
    """Which rules hold, and what to say of those that don't. No sentence quotes the URL."""
    url = store.url
    times = (store.pool_wait_seconds, store.statement_seconds, store.lock_seconds)
    return [
        (
            not url or url.startswith(POSTGRES) or _is_sqlite(url),
            f"store.url must be empty, {SQLITE}PATH or {POSTGRES[0]}USER@HOST/DATABASE.",
        ),
        (
            0 <= store.pool_min_size <= store.pool_max_size and 1 <= store.pool_max_size <= _MOST_CONNECTIONS,
            f"store.pool_max_size must be from 1 to {_MOST_CONNECTIONS}, and store.pool_min_size from 0 to that.",
        ),
        (
            all(0 < seconds <= _LONGEST_WAIT for seconds in times),
            "store.pool_wait_seconds, store.statement_seconds and store.lock_seconds must be more than 0 and at most "
            f"{_LONGEST_WAIT:.0f}.",
        ),
        *(_postgres_rules(url) if url.startswith(POSTGRES) else []),
    ]


def _is_sqlite(url: str) -> bool:
    return url.startswith(SQLITE) and url != SQLITE and "?" not in url and ":memory:" not in url


def _postgres_rules(url: str) -> list[tuple[bool, str]]:
    """What the driver would only find out when it connects; an option that it does not know it sends to the server."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        return [(False, "store.url is not a URL.")]
    return [
        (len(parts.path) > 1 and not parts.fragment, "store.url must end with a database's name, /vouch for one."),
        (
            all(map(_HOST.fullmatch, parts.netloc.rpartition("@")[2].split(",")))
            or _has_no_host(parts.netloc, options),
            "store.url must name a host, or several: HOST:PORT,HOST:PORT.",
        ),
        (options.keys() <= _OPTIONS, f"store.url may have no options but {', '.join(sorted(_OPTIONS))}."),
        (
            options.get("sslmode", ["prefer"])[-1] in _SSL_MODES,
            f"store.url: sslmode must be one of {', '.join(_SSL_MODES)}.",
        ),
    ]


def _has_no_host(netloc: str, options: dict[str, list[str]]) -> bool:
    """Whether a Unix socket's folder, or a name, is among the options instead."""
    return not netloc.rpartition("@")[2] and "host" in options
