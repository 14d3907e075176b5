"""What callers may reach, against peers on loopback that count what reaches them."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from tests.peers.faults import CANARY, FaultMode, FaultPeer
from tests.verifiers.test_addresses import DENIED, ODD_HOSTS
from tests.verifiers.ways_out import Zone, egress, refusal
from verifiers.addresses import parse_allow
from verifiers.egress import BLOCKED, Egress
from verifiers.endpoints import CallerPolicy, destination
from verifiers.guard import GuardedNames, RefusedError, Trip, make_socket, trip
from verifiers.names import Names
from verifiers.settings import EgressSettings
from verifiers.verdict import Fault, Reason


@asynccontextmanager
async def twins():
    """Two peers on two loopback addresses and one port."""
    first, second = FaultPeer("127.0.0.1"), FaultPeer("127.0.0.2")
    await first.start()
    try:
        await second.start(first.port)
        yield first, second
    finally:
        await first.stop()
        await second.stop()


# Addresses and hosts


@pytest.mark.parametrize("address", DENIED)
async def test_a_literal_denied_address_is_refused_before_any_connection(address):
    """Requirements 2 and 5."""
    host = f"[{address}]" if ":" in address else address
    async with egress() as out:
        assert await refusal(out.callers.request("GET", f"https://{host}/")) == BLOCKED


@pytest.mark.parametrize("address", DENIED)
async def test_a_name_with_a_denied_address_is_refused_whatever_else_it_answers(address):
    """Requirement 3: the public address comes first and last, and is not connected to either."""
    peer = FaultPeer("127.0.0.9")  # stands for a public host: it is the one that is allowed
    await peer.start()
    zone = Zone(mixed_example=[["127.0.0.9", address, "127.0.0.9"]])
    async with egress(zone, allow=(f"127.0.0.9:{peer.port}",), ports=(peer.port,)) as out:
        verdict = await refusal(out.callers.request("GET", f"https://mixed.example:{peer.port}/"))
    await peer.stop()
    assert verdict == BLOCKED
    assert zone.asked == ["mixed.example"]
    assert peer.connections == 0


@pytest.mark.parametrize("host", [*ODD_HOSTS, "127.0.0.1", "localhost", "[::ffff:7f00:1]", "user:word@127.0.0.1"])
async def test_a_host_in_an_odd_spelling_reaches_nobody(host, fault_peer):
    """Requirement 5: refused before a name is resolved or a connection made, though the port is permitted."""
    zone = Zone(localhost=[["127.0.0.1"]])
    async with egress(zone, ports=(fault_peer.port,)) as out:
        for scheme in ("http", "https"):
            verdict = await refusal(out.callers.request("GET", f"{scheme}://{host}:{fault_peer.port}/"))
            assert verdict == BLOCKED
    assert zone.asked in ([], ["localhost"])
    assert fault_peer.connections == 0


async def test_a_name_that_turns_private_after_the_first_answer_is_refused():
    """Requirement 3, DNS rebinding: what is checked is what is connected to."""
    async with twins() as (public, private):
        zone = Zone(rebinding_example=[["127.0.0.1"], ["127.0.0.2"]])
        async with egress(zone, allow=(f"127.0.0.1:{public.port}",)) as out:
            url = f"http://rebinding.example:{public.port}/"
            public.mode = FaultMode.UNAVAILABLE
            assert (await out.callers.request("GET", url)).status == 503
            assert (await out.callers.request("GET", url)).status == 503  # the kept connection is to the same place
            await public.stop()
            await asyncio.sleep(0.01)
            assert await refusal(out.callers.request("GET", url)) == BLOCKED
        assert len(zone.asked) == 2
        assert private.connections == 0


async def test_every_refusal_reads_the_same(fault_peer):
    """Requirements 2 and 5: it does not tell whether a host exists, or what it resolved to."""
    zone = Zone(inside_corp=[["10.1.2.3"]])
    async with egress(zone) as out:
        verdicts = {
            await refusal(out.callers.request("GET", url))
            for url in (
                "https://inside.corp/",
                "https://10.1.2.3/",
                "http://public.example/",
                "https://public.example:8443/",
                "https://user@public.example/",
                "https://169.254.169.254/",
                "gopher://public.example/",
                "https://2130706433/",
            )
        }
    assert verdicts == {BLOCKED}
    assert (BLOCKED.reason, BLOCKED.fault) == (Reason.BLOCKED_ENDPOINT, Fault.POLICY)


async def test_no_name_is_looked_up_that_could_not_be_admitted():
    """Requirement 5: plain http and other ports are refused without asking DNS."""
    zone = Zone(public_example=[["8.8.8.8"]])
    async with egress(zone, allow=("minio.corp:9000", "10.0.0.1:9000")) as out:
        await refusal(out.callers.request("GET", "http://public.example/"))
        await refusal(out.callers.request("GET", "https://public.example:8443/"))
        await refusal(out.callers.request("GET", "http://minio.corp:9001/"))
    assert zone.asked == []


async def test_the_socket_factory_refuses_by_itself():
    """Requirement 1: it is the one that literal addresses and second answers can't go round."""
    policy = CallerPolicy(parse_allow(["minio.corp:9000"]), frozenset({443}))
    to_private = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 443))
    to_public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))
    with pytest.raises(RefusedError):
        make_socket(to_public, policy)  # on nobody's behalf
    token = trip.set(Trip(destination("https://public.example/")))
    make_socket(to_public, policy).close()
    with pytest.raises(RefusedError):
        make_socket((*to_public[:4], ("8.8.8.8", 8443)), policy)
    with pytest.raises(RefusedError):
        make_socket(to_private, policy)
    with pytest.raises(RefusedError):
        make_socket(to_public, policy)  # one denied address denies the rest
    trip.set(Trip(destination("http://minio.corp:9000/")))
    make_socket((*to_private[:4], ("10.1.2.3", 9000)), policy).close()
    trip.reset(token)


async def test_the_resolver_refuses_by_itself():
    """Requirement 1: a name is looked up for the request that asked for it, and for no other."""
    policy = CallerPolicy(parse_allow(["minio.corp:9000"]), frozenset({443}))
    names = GuardedNames(Names(Zone(minio_corp=[["10.1.2.3"]], public_example=[["8.8.8.8"]])), policy)
    with pytest.raises(RefusedError):
        await names.resolve("public.example", 443)  # on nobody's behalf
    token = trip.set(Trip(destination("http://minio.corp:9000/")))
    assert [one["host"] for one in await names.resolve("minio.corp", 9000)] == ["10.1.2.3"]
    for host, port in (("public.example", 443), ("minio.corp", 443)):
        with pytest.raises(RefusedError):
            await names.resolve(host, port)
    trip.reset(token)


# The allow list


async def test_an_allowed_address_is_reached_over_plain_http_on_its_port_alone(fault_peer):
    """Requirement 6."""
    async with egress(allow=(f"127.0.0.1:{fault_peer.port}",)) as out:
        assert (await out.callers.request("GET", fault_peer.url)).status == 200
        other = fault_peer.tls_url
        assert await refusal(out.callers.request("GET", other)) == BLOCKED
    assert fault_peer.connections == 1


async def test_an_allowed_name_may_be_private_and_another_name_of_that_address_may_not(fault_peer):
    """Requirement 6."""
    zone = Zone(minio_corp=[["127.0.0.1"]], evil_corp=[["127.0.0.1"]])
    async with egress(zone, allow=(f"minio.corp:{fault_peer.port}",), ports=(fault_peer.port,)) as out:
        assert (await out.callers.request("GET", f"http://minio.corp:{fault_peer.port}/")).status == 200
        for scheme in ("http", "https"):
            verdict = await refusal(out.callers.request("GET", f"{scheme}://evil.corp:{fault_peer.port}/"))
            assert verdict == BLOCKED
        assert await refusal(out.callers.request("GET", f"http://127.0.0.1:{fault_peer.port}/")) == BLOCKED
    assert fault_peer.connections == 1


async def test_the_exception_of_one_name_does_not_leak_into_requests_beside_it(fault_peer):
    """Requirement 6: fifty of each at once, of which half must be refused."""
    zone = Zone(minio_corp=[["127.0.0.1"]], evil_corp=[["127.0.0.1"]])
    async with egress(zone, allow=(f"minio.corp:{fault_peer.port}",), ports=(fault_peer.port,)) as out:
        results = await asyncio.gather(
            *(
                out.callers.request("GET", f"{scheme}://{name}.corp:{fault_peer.port}/")
                for _ in range(50)
                for scheme, name in (("http", "minio"), ("https", "evil"))
            ),
            return_exceptions=True,
        )
    assert [one.status for one in results[::2]] == [200] * 50
    assert [one.verdict for one in results[1::2]] == [BLOCKED] * 50
    assert len(fault_peer.requests) == 50
    assert fault_peer.connections <= 50


async def test_an_allowed_name_does_not_open_a_metadata_service():
    """Requirement 6."""
    zone = Zone(minio_corp=[["169.254.169.254"]], v6_corp=[["64:ff9b::a9fe:a9fe"]])
    async with egress(zone, allow=("minio.corp", "v6.corp", "0.0.0.0/0", "::/0")) as out:
        for name in ("minio", "v6"):
            assert await refusal(out.callers.request("GET", f"http://{name}.corp/")) == BLOCKED


async def test_a_network_admits_names_in_it_over_plain_http(fault_peer):
    """Requirement 6."""
    zone = Zone(minio_corp=[["127.0.0.1"]], both_corp=[["127.0.0.1", "10.0.0.1"]])
    async with egress(zone, allow=("127.0.0.0/8",)) as out:
        assert (await out.callers.request("GET", f"http://minio.corp:{fault_peer.port}/")).status == 200
        assert await refusal(out.callers.request("GET", f"http://both.corp:{fault_peer.port}/")) == BLOCKED


@pytest.mark.parametrize("entry", ["http://minio.corp:9000", "10.1.2.3/8", "127.1:80"])
def test_a_malformed_entry_refuses_to_start_and_is_named(entry):
    """Requirement 6."""
    with pytest.raises(ValueError, match=r"egress\.allow") as caught:
        Egress(EgressSettings(allow=(entry,)))
    assert entry in str(caught.value)


# The two sides


async def test_the_operators_session_reaches_private_hosts_over_plain_http(fault_peer):
    """Requirement 1: what the configuration names is the operator's word."""
    async with Egress(EgressSettings()) as out:
        by_address = await out.operator.request("GET", fault_peer.url)
        by_name = await out.operator.request("GET", f"http://LocalHost:{fault_peer.port}/")
    assert (by_address.status, by_address.body, by_address.complete) == (200, CANARY.encode(), True)
    assert by_name.status == 200
    assert f"\r\nHost: localhost:{fault_peer.port}\r\n".encode() in fault_peer.requests[1]


async def test_the_two_sessions_never_share_a_connection(fault_peer):
    """Requirement 1."""
    async with egress(allow=(f"127.0.0.1:{fault_peer.port}",)) as out:
        for _ in range(3):
            await out.operator.request("GET", fault_peer.url)
            await out.callers.request("GET", fault_peer.url)
    assert fault_peer.connections == 2
    assert len(fault_peer.requests) == 6


async def test_a_connection_the_operator_keeps_open_does_not_serve_a_caller(fault_peer):
    """Requirement 1."""
    async with egress(ports=(fault_peer.port,)) as out:
        await out.operator.request("GET", fault_peer.url)
        assert await refusal(out.callers.request("GET", fault_peer.url)) == BLOCKED
    assert len(fault_peer.requests) == 1


async def test_the_operators_endpoint_that_is_no_url_is_the_services_fault():
    """A mistake in the configuration earns no red light."""
    async with egress() as out:
        for url in ("ftp://sts.example/", "https://", "https://user@sts.example/", "https://a b/"):
            verdict = await refusal(out.operator.request("GET", url))
            assert (verdict.reason, verdict.fault) == (Reason.UNREACHABLE, Fault.SERVICE)


async def test_a_closed_egress_sends_nothing(fault_peer):
    """Requirement 1."""
    out = egress()
    with pytest.raises(RuntimeError):
        await out.operator.request("GET", fault_peer.url)
    async with out:
        pass
    with pytest.raises(RuntimeError):
        await out.operator.request("GET", fault_peer.url)
    assert fault_peer.connections == 0
