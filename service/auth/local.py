"""Whether a request comes from this machine, and from nobody's web page: who is anonymous has to."""

import ipaddress
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import SplitResult, urlsplit


class Headers(Protocol):
    """The part of aiohttp's request headers that is needed here; names in any case."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local(headers: Headers) -> bool:
    """Whether a request names this machine as its host, comes from no other site, and through no proxy.

    A page elsewhere whose name is made to resolve to a loopback address (DNS rebinding) names its own host.
    """
    if headers.getall("Forwarded", ()) or headers.getall("X-Forwarded-For", ()):
        return False
    hosts = [urlsplit(f"//{host}") for host in headers.getall("Host", ())]
    origins = [urlsplit(origin) for origin in headers.getall("Origin", ())]
    return all(is_loopback(_host(one)) for one in (*hosts, *origins))


def _host(parts: SplitResult) -> str:
    try:
        return parts.hostname or ""
    except ValueError:
        return ""
