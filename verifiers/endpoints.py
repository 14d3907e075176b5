"""Where one outgoing request goes, and whether policy lets it."""

import re
from dataclasses import dataclass
from functools import cached_property

from verifiers.addresses import Address, AllowList, canonical_host, host_address, is_denied, is_metadata

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]/?#]*\]|[^:/?#\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?].*)?",
    re.ASCII,
)
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Destination:
    """Where a request goes. `host` is canonical: see `canonical_host`. `url` is what goes out."""

    scheme: str
    host: str
    port: int
    url: str

    @cached_property
    def address(self) -> Address | None:
        """The address, if the host is one and not a name."""
        return host_address(self.host)


def destination(url: str) -> Destination:
    """Where a URL goes.

    A request may be signed over its host, so another spelling of it is refused here and not mended: whoever
    signs does so with `canonical_url`. Upper case alone is mended, for signers take the host in lower case.

    Raises:
        ValueError: it is not an absolute http(s) URL of host, port, path and query in printable ASCII; it has
            user info; or its host is not in its canonical form.
    """
    scheme, host, port, rest = _split(url)
    if canonical_host(host) != host.lower():
        raise ValueError("the host is not in its canonical form")
    return Destination(scheme, host.lower(), port, _join(scheme, host.lower(), port, rest))


def canonical_url(url: str) -> str:
    """The URL with its one canonical host and without a default port; path and query stay as they are.

    Raises:
        ValueError: as `destination`, and for a host that has no canonical form.
    """
    scheme, host, port, rest = _split(url)
    return _join(scheme, canonical_host(host), port, rest)


def target_host(url: str) -> str:
    """The host of a URL in its one spelling; of a URL that goes nowhere, the URL itself."""
    try:
        return destination(canonical_url(url)).host
    except ValueError:
        return url


def _join(scheme: str, host: str, port: int, rest: str) -> str:
    shown = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown}{rest}"


def _split(url: str) -> tuple[str, str, int, str]:
    scheme, found, _ = url.partition("://")
    match = _URL.fullmatch(scheme.lower() + found + url[len(scheme) + len(found) :])
    if match is None:
        raise ValueError("not an absolute http or https URL")
    scheme, host, rest = match["scheme"], match["host"], match["rest"] or ""
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535 or not _PRINTABLE.fullmatch(rest) or "#" in rest:
        raise ValueError("not an absolute http or https URL")
    return scheme, host, port, rest


@dataclass(frozen=True)
class CallerPolicy:
    """What callers' endpoints may reach: https on public hosts and listed ports, and what `allow` names."""

    allow: AllowList
    ports: frozenset[int]

    def may_look_up(self, where: Destination) -> bool:
        """Whether a destination has any chance, before its name is resolved; final for a literal address."""
        if where.address is not None:
            return self.admits(where, where.address)
        return (
            self.is_public(where)
            or self.allow.has_name(where.host, where.port)
            or self.allow.may_have_addresses(where.port)
        )

    def admits(self, where: Destination, address: Address) -> bool:
        """Whether a connection to this address may serve that destination.

        The exception that a name has counts for that name and port alone: it is asked of the destination, and
        not of the address. Neither a name nor a network opens a metadata service: its own address as an entry
        does.
        """
        if is_metadata(address):
            return self.allow.has_exactly(address, where.port)
        if self.allow.has_name(where.host, where.port) or self.allow.has_address(address, where.port):
            return True
        return self.is_public(where) and not is_denied(address)

    def is_public(self, where: Destination) -> bool:
        """Whether its scheme and port are those of public hosts; says nothing of its address."""
        return where.scheme == "https" and where.port in self.ports
