"""The outbound proxy of a site: what goes through it, and what must not.

Through a proxy go https connections alone, by CONNECT (RFC 9110 section 9.3.6), so that it sees hosts and no requests.
It resolves the names itself, and whatever it connects to, the guard sees no address of it. So it serves the hosts
that the operator configured; callers' endpoints only where the operator said so (`[egress] proxy_callers`).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from verifiers.addresses import Address, Network, canonical_host, host_address, unwrap
from verifiers.endpoints import Destination, destination
from verifiers.settings import EgressSettings

_LONGEST_LOGIN = 4096


@dataclass(frozen=True)
class Proxy:
    """A proxy, and whom to reach without it. `headers` are for the proxy alone, and hold its login."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    direct_names: frozenset[str]
    direct_domains: tuple[str, ...]
    direct_networks: tuple[Network, ...]

    def serves(self, where: Destination) -> bool:
        """Whether it is for connections to this place: over https, to no host of this machine or of `no_proxy`."""
        if where.scheme != "https" or where.host == "localhost":
            return False
        if where.address is not None:
            address = unwrap(where.address)
            return not address.is_loopback and not any(address in one for one in self.direct_networks)
        return where.host not in self.direct_names and not where.host.endswith(self.direct_domains)


def read_proxy(settings: EgressSettings) -> Proxy | None:
    """The proxy of `[egress]`, if there is one.

    Raises:
        ValueError: a setting can't be used; the message names it, and quotes nothing of a login.
    """
    if not settings.proxy:
        for name in ("proxy_login_file", "no_proxy", "proxy_callers"):
            if getattr(settings, name):
                raise ValueError(f"egress.{name} goes with egress.proxy")
        return None
    try:
        where = destination(settings.proxy)
    except ValueError:
        where = None
    if where is None or not re.fullmatch(r"http://[^/?]+/?", where.url):
        raise ValueError(
            "egress.proxy must be http://host:port, without a path or a login (that belongs in proxy_login_file)"
        )
    names, domains, networks = _exceptions(settings.no_proxy)
    headers = {"Proxy-Authorization": _login(Path(settings.proxy_login_file))} if settings.proxy_login_file else {}
    return Proxy(where.url, headers, names, domains, networks)


def _exceptions(entries: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...], tuple[Network, ...]]:
    names: set[str] = set()
    domains: list[str] = []
    networks: list[Network] = []
    for entry in entries:
        try:
            if "/" in entry:
                networks.append(ip_network(entry))
            elif entry.startswith("."):
                domains.append("." + canonical_host(entry[1:]))
            elif (address := _address(entry)) is not None:
                networks.append(ip_network(address))
            else:
                names.add(canonical_host(entry))
        except ValueError as error:
            raise ValueError(f"egress.no_proxy: {entry!r} is not a name, .domain, address or network/prefix") from error
    return frozenset(names), tuple(domains), tuple(networks)


def _address(entry: str) -> Address | None:
    return host_address(canonical_host(f"[{entry}]" if ":" in entry and not entry.startswith("[") else entry))


def _login(path: Path) -> str:
    """Basic credentials (RFC 7617) out of a file with `user:password`."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_LOGIN + 1).strip()
    except OSError as error:
        raise ValueError(f"egress.proxy_login_file: {path} can't be read: {error.strerror}") from None
    if not 2 <= len(text) <= _LONGEST_LOGIN or b":" not in text or not all(32 <= one != 127 for one in text):
        raise ValueError(f"egress.proxy_login_file: {path} does not hold one line of user:password")
    return f"Basic {base64.b64encode(text).decode()}"
