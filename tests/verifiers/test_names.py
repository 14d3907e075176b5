"""Resolving names, with a name server that hangs on demand."""

import asyncio
import socket
import threading

import pytest

from tests.peers.faults import FaultMode
from tests.verifiers.ways_out import Zone, egress
from verifiers.egress import HostNotFound
from verifiers.verdict import Fault, NotVerified, Reason


async def test_a_name_that_does_not_resolve_is_told_from_a_host_that_does_not_answer(fault_peer):
    """`a host does not resolve` has remedies of its own."""
    async with egress() as out:
        for session in (out.operator, out.callers):
            with pytest.raises(HostNotFound) as caught:
                await session.request("GET", "https://nowhere.example/")
            verdict = caught.value.verdict
            assert (verdict.reason, verdict.fault) == (Reason.UNREACHABLE, Fault.NETWORK)
            assert "DNS" in verdict.message
        fault_peer.mode = FaultMode.REFUSED
        with pytest.raises(NotVerified) as refused:
            await out.operator.request("GET", fault_peer.url)
    assert not isinstance(refused.value, HostNotFound)


async def test_a_name_server_that_hangs_stops_neither_other_names_nor_other_threads(fault_peer):
    """Names are resolved in threads of their own; one name asked for often takes one of them."""
    released = threading.Event()
    zone = Zone(quick_example=[["127.0.0.1"]])

    def getaddrinfo(host, port, **how):
        if host == "slow.example":
            zone.asked.append(host)
            released.wait(10)
        return zone(host, port, **how)

    async with egress(getaddrinfo) as out:
        hanging = [asyncio.create_task(out.callers.request("GET", "https://slow.example/")) for _ in range(100)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            answer = await out.operator.request("GET", f"http://quick.example:{fault_peer.port}/")
            assert await asyncio.to_thread(lambda: answer.status) == 200
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert zone.asked.count("slow.example") == 1
        released.set()


async def test_lookups_that_hang_never_take_more_than_their_share_of_threads():
    """A caller can't have a thread for every name it makes up."""
    released = threading.Event()
    running = []

    def getaddrinfo(host, port, **how):
        running.append(host)
        released.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with egress(getaddrinfo) as out:
        tasks = [
            asyncio.create_task(out.callers.request("GET", f"https://slow{number}.example/")) for number in range(100)
        ]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert len(running) == 32
    released.set()


async def test_a_name_is_tried_on_every_address_it_has(fault_peer):
    """A host whose first address is down is still reached."""
    zone = Zone(both_example=[["127.0.0.3", "127.0.0.1"]])
    async with egress(zone, allow=("127.0.0.0/8",)) as out:
        for session in (out.operator, out.callers):
            answer = await session.request("GET", f"http://both.example:{fault_peer.port}/")
            assert answer.status == 200
