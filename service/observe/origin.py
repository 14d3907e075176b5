"""Where a request came from, and the id it goes by."""

import ipaddress
import itertools
import re
import secrets

from aiohttp import web

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

# Random once and counted on: no two processes share the first half, and no request pays for randomness.
_PROCESS = secrets.token_hex(8)
_NUMBERS = itertools.count(1)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(request: web.BaseRequest) -> str:
    """The caller's `X-Request-ID` if it is a plain word of at most 64 characters, else a new one."""
    given = request.headers.get("X-Request-ID")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return new_request_id()


def new_request_id() -> str:
    """An id that no other request of any replica has."""
    return f"{_PROCESS}{next(_NUMBERS):08x}"


def parse_networks(texts: tuple[str, ...]) -> Networks:
    """Addresses and networks in CIDR form."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def client_address(request: web.BaseRequest, trusted: Networks) -> str:
    """The address of the peer, or what a trusted proxy said it is.

    `X-Forwarded-For` is read from its end: each trusted hop vouches for the one before it, and the first that is not
    trusted is the client. What stands before that is the client's own invention.
    """
    address = request.remote or ""
    if not trusted or not _within(address, trusted):
        return address
    hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", ()) for hop in line.split(",")]
    for hop in reversed(hops):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            break
        address = hop
        if not _within(hop, trusted):
            break
    return address


def _within(address: str, networks: Networks) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
