"""The callers' side of the egress: no name and no socket without the policy's consent.

A caller's endpoint is asked about three times: its URL before anything happens (`CallerPolicy.may_look_up`),
every address of its name, and every socket before it is made. A resolver alone is skipped for literal
addresses, and a socket factory alone would let the second answer of a name through. A kept connection passes
neither, but the URL is asked about every time, and the pool is keyed by what the policy decides on: scheme,
host and port.
"""

import asyncio
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from verifiers.addresses import Address
from verifiers.endpoints import CallerPolicy, Destination
from verifiers.names import Names

_LOOK_UP_SECONDS = 1.0


class RefusedError(OSError):
    """The policy said no. An OSError, because aiohttp's connection attempts hand on nothing else."""


@dataclass
class Trip:
    """One request on its way: where it goes, and what became of its connection."""

    where: Destination
    connected: bool = False
    """Whether it got a connection of its own, and not a kept one."""
    refused: bool = False


# A resolver and a socket factory are told a host or an address, and not on whose behalf. aiohttp calls both
# in the request's own task or in tasks that copy its context (with its DNS cache off, which would share
# lookups between requests). Whoever comes without a trip, or with another host than the trip's, is refused.
trip: ContextVar[Trip | None] = ContextVar("vouch_egress_trip", default=None)


class GuardedNames(AbstractResolver):
    """Refuses a name if the policy refuses any of its addresses."""

    def __init__(self, names: Names, policy: CallerPolicy) -> None:
        self._names = names
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the trip's host. Raises RefusedError, or OSError if there are none."""
        this = trip.get()
        if this is None or (this.where.host, this.where.port) != (host, port):
            raise RefusedError
        found = await self._names.resolve(host, port, family)
        if not all(self._policy.admits(this.where, ip_address(one["host"])) for one in found):
            this.refused = True
            raise RefusedError
        return found

    async def close(self) -> None:
        """Let go of those who wait."""
        await self._names.close()


def make_socket(info: tuple[Any, ...], policy: CallerPolicy | None) -> socket.socket:
    """Make the socket of one connection attempt.

    Args:
        info: as `socket.getaddrinfo` has it.
        policy: must admit the address; None for the operator's side.

    Raises:
        RefusedError: it does not; no further attempt of that request is admitted either.
    """
    family, kind, proto, _, sockaddr = info
    this = trip.get()
    if policy is not None:
        if this is None or this.refused or sockaddr[1] != this.where.port:
            raise RefusedError
        if not policy.admits(this.where, ip_address(sockaddr[0])):
            this.refused = True
            raise RefusedError
    if this is not None:
        this.connected = True
    return socket.socket(family, kind, proto)


async def leaves_by_proxy(where: Destination, policy: CallerPolicy, names: Names) -> bool:
    """Whether a caller's endpoint is a public one, and so the proxy's to reach.

    What only `allow` admits is reached directly, with every check of this module. A name that is known here must not
    have a denied address. One that is not known is the proxy's to judge: a site behind a proxy often has no DNS for the
    rest of the world.

    Raises:
        RefusedError: the policy does not admit it.
    """
    if not policy.is_public(where) or policy.allow.has_name(where.host, where.port):
        return False
    addresses = [where.address] if where.address is not None else await _known(where, names)
    if not all(policy.admits(where, one) for one in addresses):
        raise RefusedError
    return not any(policy.allow.has_address(one, where.port) for one in addresses)


async def _known(where: Destination, names: Names) -> list[Address]:
    """What our own DNS says, if it says anything soon."""
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            return [ip_address(one["host"]) for one in await names.resolve(where.host, where.port)]
    except OSError:  # TimeoutError is one
        return []
