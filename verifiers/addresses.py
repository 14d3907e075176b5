"""Which addresses callers may not reach, the one spelling of a host, and the operator's exceptions."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import idna

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's IPv4 special-purpose registry (RFC 6890), multicast and reserved space; a list of our own, because
# `is_global` differs between versions of Python and lets several of these through.
_DENIED_V4 = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); Alibaba's metadata service is in it
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's WireServer: public by its number, the host's own by its effect
        "169.254.0.0/16",  # link-local: metadata services
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarking (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112), and limited broadcast
    )
)

# Only 2000::/3 has been handed out as global unicast (RFC 4291): everything outside is denied, which takes in
# ::/96, ::1, 64:ff9b::/96, 64:ff9b:1::/48, 100::/64, 5f00::/16, fc00::/7, fe80::/10, fec0::/10 and ff00::/8.
_GLOBAL_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(one)
    for one in (
        "2001::/23",  # IETF protocol assignments (RFC 2928), Teredo (2001::/32) among them
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056): carries any IPv4 address
        "3fff::/20",  # documentation (RFC 9637)
    )
)

# Where clouds hand out the identity of the machine that asks. A network in `allow` does not open these.
_METADATA = frozenset(
    ip_address(one)
    for one in (
        "169.254.169.254",  # AWS, Azure, Google, Oracle, OpenStack
        "169.254.170.2",  # AWS: task roles of ECS
        "169.254.170.23",  # AWS: pod identities of EKS
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS: pod identities over IPv6
        "fd20:ce::254",  # Google over IPv6
        "168.63.129.16",  # Azure's WireServer
        "100.100.100.200",  # Alibaba
        "169.254.42.42",  # Scaleway
        "fd00:42::42",  # Scaleway over IPv6
        "192.0.0.192",  # Oracle Classic
    )
)

_NAT64 = tuple(IPv6Network(one) for one in ("64:ff9b::/96", "::/96"))
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped one (RFC 4291 section 2.5.5.2); any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_denied(address: Address) -> bool:
    """Whether an address is not a public host's: not globally routable, or a way round that."""
    address = unwrap(address)
    if isinstance(address, IPv4Address):
        return any(address in network for network in _DENIED_V4)
    return (
        address.scope_id is not None or address not in _GLOBAL_V6 or any(address in network for network in _DENIED_V6)
    )


def is_metadata(address: Address) -> bool:
    """Whether an address is a cloud's metadata service, or carries the address of one."""
    address = unwrap(address)
    return not _METADATA.isdisjoint((address, *_carried(address)))


def _carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a translator or tunnel would take out of an IPv6 one."""
    if isinstance(address, IPv4Address):
        return ()
    if any(address in network for network in _NAT64):
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address in _LOCAL_NAT64:
        # RFC 6052 section 2.2: the operator chose a prefix of 48 to 96 bits; 64 to 71 are always zero.
        bits = int(address)
        upper = (bits >> 64) & 0xFFFF
        return (
            IPv4Address(bits & 0xFFFFFFFF),
            IPv4Address((upper << 16) | ((bits >> 40) & 0xFFFF)),
            IPv4Address(((bits >> 64) & 0xFF) << 24 | ((bits >> 32) & 0xFFFFFF)),
            IPv4Address((bits >> 24) & 0xFFFFFFFF),
        )
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_ALL_ASCII = re.compile(r"[\x21-\x7e]+")


def canonical_host(host: str) -> str:
    """The one spelling of a host: lower case, A-labels (RFC 5891), no final dot, IPv6 compressed.

    Args:
        host: as a URL has it; an IPv6 address in brackets.

    Raises:
        ValueError: for what is no host, and for every spelling that some resolver reads as another address:
            short, octal, hexadecimal or single-number IPv4, zone ids, IPv4-mapped IPv6, compatibility
            characters.
    """
    if host.startswith("[") and host.endswith("]"):
        literal = IPv6Address(host[1:-1])
        if literal.scope_id is not None or literal.ipv4_mapped is not None:
            raise ValueError("not a canonical IPv6 address")
        return f"[{literal.compressed}]"
    name = _a_labels(host)
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        # To a resolver a name whose last label is a number is an IPv4 address: four decimal parts, or
        # refused.
        return str(IPv4Address(name))
    for label in labels:
        if label.startswith("xn--"):
            idna.ulabel(label)
    return name


def _a_labels(host: str) -> str:
    """A name in the form that DNS knows. Raises ValueError (idna's own errors are UnicodeErrors)."""
    if _ALL_ASCII.fullmatch(host):
        return host.lower()
    if unicodedata.normalize("NFKC", host) != host:
        raise ValueError("compatibility characters in a host name")
    return idna.encode(host.lower(), strict=True).decode("ascii")


def host_address(host: str) -> Address | None:
    """The address that a canonical host is, or None for a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


@dataclass(frozen=True)
class AllowList:
    """`[egress] allow`, parsed: where callers may go beyond public hosts. A port of None is any port."""

    names: frozenset[tuple[str, int | None]]
    addresses: frozenset[tuple[Address, int | None]]
    networks: tuple[Network, ...]

    def has_name(self, host: str, port: int) -> bool:
        """Whether a canonical name on that port is an entry."""
        return not self.names.isdisjoint({(host, port), (host, None)})

    def has_address(self, address: Address, port: int) -> bool:
        """Whether an address on that port is an entry, or in a network that is one."""
        address = unwrap(address)
        return self.has_exactly(address, port) or any(address in network for network in self.networks)

    def has_exactly(self, address: Address, port: int) -> bool:
        """Whether an address on that port is an entry by itself: only this opens a metadata service."""
        address = unwrap(address)
        return not self.addresses.isdisjoint({(address, port), (address, None)})

    def may_have_addresses(self, port: int) -> bool:
        """Whether there is any entry that could cover an address on that port."""
        return bool(self.networks) or any(one in (port, None) for _, one in self.addresses)


def parse_allow(entries: Iterable[str]) -> AllowList:
    """Read `[egress] allow`.

    Args:
        entries: each `address`, `address:port`, `network/prefix`, `name` or `name:port`; an IPv6 address
            with a port is in brackets. A network of one address is that address.

    Raises:
        ValueError: an entry is none of these; the message names it.
    """
    names: set[tuple[str, int | None]] = set()
    addresses: set[tuple[Address, int | None]] = set()
    networks: list[Network] = []
    for entry in entries:
        try:
            if "/" in entry:
                networks.append(_network(entry))
                continue
            host, port = _split_entry(entry)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"egress.allow: {entry!r} is not an address, address:port, network/prefix, name or name:port"
            ) from error
        address = host_address(host)
        if address is None:
            names.add((host, port))
        else:
            addresses.add((unwrap(address), port))
    addresses.update((one.network_address, None) for one in networks if one.num_addresses == 1)
    return AllowList(frozenset(names), frozenset(addresses), tuple(networks))


def _network(entry: str) -> Network:
    network = ip_network(entry)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("an IPv4-mapped network: addresses are compared unwrapped")
    return network


def _split_entry(entry: str) -> tuple[str, int | None]:
    """Divide `host[:port]`; a bare IPv6 address may stand without brackets."""
    if entry.count(":") > 1 and not entry.startswith("["):
        return canonical_host(f"[{entry}]"), None
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?", entry)
    if match is None:
        raise ValueError("neither host nor host:port")
    host, port = match.groups()
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError("no such port")
    return canonical_host(host), None if port is None else int(port)
