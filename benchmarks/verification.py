"""Verifying an AWS key against a stand-in for STS: one at a time beside the bare call, and 500 at once."""

import json
import statistics
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks import processes
from benchmarks.load import Client, Expected, all_at_once, connect, request
from benchmarks.processes import Vouch
from benchmarks.provider import IDENTITY
from benchmarks.report import Figure, Section, Target

LATENCY = 50  # milliseconds
SLOW = 1000
AT_ONCE = 500

_KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_FORM = b"Action=GetCallerIdentity&Version=2011-06-15"
_BODY = json.dumps(
    {
        "name": "benchmark",
        "provider": "AWS",
        "credential": {"aws": {"access_key_id": _KEY[0], "secret_access_key": _KEY[1]}},
    }
).encode()
_NOTE = "limits.verifications_per_caller = 0: the shipped limit of 600 a minute is off"


def signed(url: str) -> dict[str, str]:
    """The headers of a GetCallerIdentity, signed now."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    call = AWSRequest(method="POST", url=url, headers=headers, data=_FORM)
    SigV4Auth(Credentials(*_KEY), "sts", "us-east-1").add_auth(call)
    return dict(call.headers.items())


def verifying(service: Vouch) -> bytes:
    """The request to vouch."""
    headers = {"X-TILEDB-REST-API-KEY": service.key, "Content-Type": "application/json"}
    return request("POST", "/v4/credentials/verify", service.port, headers, _BODY)


def asked(port: int) -> int:
    """How many signed requests the stand-in has had."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=10) as answer:
        return int(answer.read())


class AskedTooFew(Exception):
    """vouch said that a key works without asking."""


async def one_at_a_time(folder: Path, *, rounds: int, each: int) -> Section:
    """The provider's own round trip, a signed call through aiohttp, and vouch, in turn."""
    with (
        processes.server("provider", str(LATENCY), cores=processes.OTHERS) as (_, port),
        processes.vouch(folder / "verification", cores=processes.MEASURED, sts=port) as service,
    ):
        url = f"http://127.0.0.1:{port}/"
        raw = await connect(port, request("POST", "/", port, signed(url), _FORM), Expected(IDENTITY))
        ours = await connect(service.port, verifying(service), Expected(b""))
        async with aiohttp.ClientSession() as session:

            async def sign_and_send() -> float:
                started = time.perf_counter()
                async with session.post(url, data=_FORM, headers=signed(url)) as answer:
                    body = await answer.read()
                    if answer.status != 200 or body != IDENTITY:
                        raise RuntimeError("the stand-in refused a signed request")
                return time.perf_counter() - started

            ways = (raw.timed, sign_and_send, ours.timed)
            await _in_turn(ways, 3)
            before, cpu, medians = asked(port), [], []
            for _ in range(rounds):
                spent = service.process.cpu
                medians.append(await _in_turn(ways, each))
                cpu.append((service.process.cpu - spent) / each * 1000)
            _require(port, before, len(ways) * rounds * each)
        _close(raw, ours)
        memory = service.process.memory
    own, bare, vouch = ([one[way] * 1000 for one in medians] for way in range(3))
    return Section(
        f"Verification of an AWS key, one at a time, provider of {LATENCY} ms, {rounds} rounds of {each} each in turn",
        [
            Figure("the provider's own round trip, median", own, "ms"),
            Figure("signed with botocore and sent through aiohttp, median", bare, "ms"),
            Figure("vouch, median", vouch, "ms"),
            Figure(
                "vouch for the provider's own",
                [ours_ / theirs for ours_, theirs in zip(vouch, own, strict=True)],
                target=Target(1.25),
            ),
            Figure("vouch for signed and sent", [ours_ / theirs for ours_, theirs in zip(vouch, bare, strict=True)]),
            Figure("vouch: CPU for a verification", cpu, "ms", target=Target(3)),
            Figure("vouch: resident after these", [memory], "MB", 0, Target(120)),
        ],
        [_NOTE],
    )


async def _in_turn(ways: tuple[Callable[[], Awaitable[float]], ...], times: int) -> list[float]:
    """The median of each way's time, in seconds, when they take turns."""
    spent: list[list[float]] = [[] for _ in ways]
    for _ in range(times):
        for way, found in zip(ways, spent, strict=True):
            found.append(await way())
    return [statistics.median(found) for found in spent]


async def at_once(folder: Path, *, starts: int, requests: int = AT_ONCE) -> Section:
    """A crowd against a slow provider, in fresh processes: as the first thing they do, and when they are warm."""
    cold: list[_Crowd] = []
    warm: list[_Crowd] = []
    again: list[_Crowd] = []
    peaks: list[float] = []
    with processes.server("provider", str(SLOW), cores=processes.OTHERS) as (_, port):
        for number in range(starts):
            with processes.vouch(folder / f"cold-{number}", cores=processes.MEASURED, sts=port) as service:
                cold.append(await _crowd(service, port, requests))
            with processes.vouch(folder / f"warm-{number}", cores=processes.MEASURED, sts=port) as service:
                await _crowd(service, port, 1)
                warm.append(await _crowd(service, port, requests))
                again.append(await _crowd(service, port, requests))
                peaks.append(service.process.peak_memory)
    return Section(
        f"{requests} verifications at once, each on a new connection, provider of {SLOW / 1000:g} s",
        [
            Figure("until the last answer, after one verification", [one.seconds for one in warm], "s", target=_CROWD),
            Figure("until the last answer, after such a crowd", [one.seconds for one in again], "s", target=_CROWD),
            Figure("until the last answer, as the first thing", [one.seconds for one in cold], "s", target=_CROWD),
            Figure("vouch: CPU for a verification", [one.cpu for one in (*warm, *again)], "ms", target=Target(3)),
            Figure("vouch: kept from the core meanwhile", [one.waited for one in (*warm, *again)], "s"),
            Figure("vouch: most that was resident", peaks, "MB", 0, Target(200)),
        ],
        [_NOTE, "As the first thing it also loads botocore."],
    )


_CROWD = Target(1.5)


@dataclass(frozen=True)
class _Crowd:
    """A crowd's time in seconds, CPU in ms for each, and how long vouch's threads waited for the core in seconds."""

    seconds: float
    cpu: float
    waited: float


async def _crowd(service: Vouch, provider: int, requests: int) -> _Crowd:
    before, cpu, waited = asked(provider), service.process.cpu, service.process.waited
    spent = await all_at_once(service.port, verifying(service), Expected(b""), requests=requests)
    cpu, waited = service.process.cpu - cpu, service.process.waited - waited
    _require(provider, before, requests)
    return _Crowd(spent, cpu / requests * 1000, waited)


def _require(provider: int, before: int, count: int) -> None:
    found = asked(provider) - before
    if found != count:
        raise AskedTooFew(f"{found} of {count}")


def _close(*clients: Client) -> None:
    for client in clients:
        client.close()
