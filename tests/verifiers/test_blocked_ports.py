"""A blocked endpoint says the same, as fast, whether something listens there or not: verifying scans no network."""

import copy
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import pytest

from service.config import Config
from tests.api.payloads import create_body
from tests.conftest import Start, Vouch
from tests.peers.faults import FaultMode, FaultPeer
from tests.verifiers.fault_subjects import PROBES, Subject
from tests.verifiers.ways_out import Zone
from verifiers.base import verify
from verifiers.egress import Egress
from verifiers.settings import EgressSettings

CALLERS = {name: one for name, one in PROBES.items() if one.endpoint}
TRIES = 30
SAME_CLASS = 4.0
"""How far the two medians may be apart. The open port hangs: who connected there would wait for the deadline."""


def ports(peer: FaultPeer) -> dict[str, int]:
    """A port that answers, one that speaks TLS, one that refuses, and two of which nobody knows."""
    open_port, tls = peer.port, int(peer.tls_url.rpartition(":")[2])
    peer.mode = FaultMode.REFUSED
    closed = int(peer.url.rpartition(":")[2])
    peer.mode = FaultMode.FINE
    return {"open": open_port, "TLS": tls, "closed": closed, "https": 443, "the first": 1}


def timeless(report: dict[str, Any]) -> str:
    """A report without what any two runs differ in."""
    left = copy.deepcopy(report)
    for name in ("checked_at", "duration_ms"):
        del left[name]
    for check in left["checks"]:
        del check["duration_ms"]
    return json.dumps(left)


async def report(subject: Subject, url: str, egress: Egress) -> str:
    return timeless((await verify(subject.verifier, subject.payload(url), subject.run(egress, url), 5.0)).to_dict())


@pytest.mark.parametrize("subject", CALLERS.values(), ids=CALLERS)
async def test_a_denied_address_reads_the_same_whether_something_listens_there_or_not(
    subject: Subject, fault_peer: FaultPeer
) -> None:
    """Requirement 2: not a byte of the report tells, and nobody was asked."""
    names = Zone()
    found = ports(fault_peer)
    hosts = ("127.0.0.1", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16")
    async with Egress(EgressSettings(ports=tuple(found.values())), getaddrinfo=names) as egress:
        said = {
            await report(subject, f"{scheme}://{host}:{port}", egress)
            for host in hosts
            for scheme in ("http", "https")
            for port in found.values()
        }
    (only,) = said
    assert json.loads(only)["reason"] == "blocked_endpoint"
    assert fault_peer.connections == 0
    assert names.asked == []


@pytest.mark.parametrize("subject", CALLERS.values(), ids=CALLERS)
async def test_a_port_that_is_not_listed_reads_like_a_denied_address(subject: Subject, fault_peer: FaultPeer) -> None:
    """Requirement 5: on a public host too, and its name is not even looked up."""
    names = Zone(public_example=[["127.0.0.1"]])
    async with Egress(EgressSettings(ports=(443,)), getaddrinfo=names) as egress:
        unlisted = {
            await report(subject, f"https://{host}:{port}", egress)
            for host in ("public.example", "nowhere.example", "8.8.8.8")
            for name, port in ports(fault_peer).items()
            if name != "https"
        }
        denied = await report(subject, "https://127.0.0.1", egress)
    assert unlisted == {denied}
    assert fault_peer.connections == 0
    assert names.asked == []


@pytest.mark.parametrize("subject", CALLERS.values(), ids=CALLERS)
async def test_a_name_of_a_denied_address_reads_the_same_whatever_the_port(
    subject: Subject, fault_peer: FaultPeer
) -> None:
    """Requirement 3: it is looked up, and that is all."""
    found = ports(fault_peer)
    names = Zone(inside_example=[["127.0.0.1"]])
    async with Egress(EgressSettings(ports=tuple(found.values())), getaddrinfo=names) as egress:
        said = {await report(subject, f"https://inside.example:{port}", egress) for port in found.values()}
        literal = await report(subject, "https://127.0.0.1", egress)
    assert said == {literal}
    assert fault_peer.connections == 0
    assert set(names.asked) == {"inside.example"}


@pytest.mark.parametrize("host", ["127.0.0.1", "inside.example"])
async def test_an_open_port_takes_as_long_as_a_closed_one(host: str, fault_peer: FaultPeer) -> None:
    """The same class of time: neither is connected to. In turn, so that a busy machine is equally busy for both."""
    subject = CALLERS["aws key at an endpoint"]
    found = ports(fault_peer)
    fault_peer.mode = FaultMode.HANG
    spent: dict[str, list[float]] = {"open": [], "closed": []}
    names = Zone(inside_example=[["127.0.0.1"]])
    async with Egress(EgressSettings(ports=tuple(found.values())), getaddrinfo=names) as egress:
        await report(subject, f"https://{host}:1", egress)
        for _ in range(TRIES):
            for name, times in spent.items():
                started = time.perf_counter()
                await report(subject, f"https://{host}:{found[name]}", egress)
                times.append(time.perf_counter() - started)
    ratio = statistics.median(spent["open"]) / statistics.median(spent["closed"])
    assert 1 / SAME_CLASS < ratio < SAME_CLASS
    assert fault_peer.connections == 0


async def answers(vouch: Vouch, port: int) -> list[str]:
    """What the service says of an endpoint there, verified at once, before it is saved, and stored."""
    body = create_body("aws key", "one")
    body["credential"]["aws"]["endpoint"] = f"https://127.0.0.1:{port}"
    at_once = await vouch.call("POST", "/v4/credentials/verify", body)
    preferring = await vouch.call("POST", "/v4/credentials", body, headers={"Prefer": "verify"})
    assert preferring.status == 201
    one = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]["id"]
    stored = await vouch.call("POST", f"/v1/credentials/{one}/verify")
    await vouch.call("DELETE", "/v4/credentials/one")
    return [
        f"{answer.status} {sorted(answer.headers)} {answer.json_body.get('message')} "
        f"{timeless(answer.json_body.get('verification', answer.json_body))}"
        for answer in (at_once, stored)
    ]


async def test_the_service_answers_the_same_for_an_open_and_a_closed_port(
    start: Start, config: Config, fault_peer: FaultPeer
) -> None:
    """Requirement 2, as a caller sees it: status, headers and body."""
    found = ports(fault_peer)
    vouch = await start(replace(config, egress=EgressSettings(ports=tuple(found.values()))))
    first = await answers(vouch, found["open"])
    for name in ("TLS", "closed", "https"):
        assert await answers(vouch, found[name]) == first
    assert first[0].startswith("422 ")
    assert first[1].startswith("200 ")
    assert fault_peer.connections == 0
