"""Every probe and every lease under every fault: the right outcome, reason and fault, in time, and no upstream word."""

import asyncio
import importlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.peers.aws_stub import CALLER_IDENTITY, Scripted, s3_error
from tests.peers.azure_stub import ACCOUNT, LISTING
from tests.peers.faults import CANARY, METADATA_URL, REDIRECTS, FaultMode, FaultPeer
from tests.verifiers.fault_subjects import (
    AWS_KEY,
    LEASES,
    OFFLINE_LEASES,
    PROBES,
    PROVEN,
    ROLE,
    SECRET,
    TOKEN,
    UNPROVEN,
    Subject,
    key_file,
    leased,
    probed,
)
from tests.verifiers.test_guard import twins
from tests.verifiers.ways_out import Zone
from verifiers import aws_key
from verifiers.base import verify
from verifiers.egress import Egress
from verifiers.leasing import LeaseFailed
from verifiers.registry import BUILT_IN
from verifiers.settings import EgressSettings
from verifiers.verdict import CheckOutcome, Report, Verdict

VERIFIED = ("verified", "ok", "none")
UNREACHABLE = ("unknown", "unreachable", "network")
TIMEOUT = ("unknown", "timeout", "network")
PROVIDER_ERROR = ("unknown", "provider_error", "provider")
THROTTLED = ("unknown", "throttled", "provider")
BLOCKED = ("unknown", "blocked_endpoint", "policy")
CLOCK_SKEW = ("unknown", "clock_skew", "service")

EXPECTED = {
    FaultMode.HANG: TIMEOUT,
    FaultMode.DRIP: TIMEOUT,
    FaultMode.RESET: UNREACHABLE,
    FaultMode.TRUNCATED: UNREACHABLE,
    FaultMode.EARLY_CLOSE: UNREACHABLE,
    FaultMode.REFUSED: UNREACHABLE,
    FaultMode.BAD_TLS: UNREACHABLE,
    FaultMode.TLS_TO_PLAIN: UNREACHABLE,
    FaultMode.UNAVAILABLE: PROVIDER_ERROR,
    FaultMode.THROTTLED: THROTTLED,
    **dict.fromkeys(REDIRECTS, PROVIDER_ERROR),
    FaultMode.NOT_HTTP: PROVIDER_ERROR,
    FaultMode.GARBAGE: PROVIDER_ERROR,
    FaultMode.HUGE: PROVIDER_ERROR,
    FaultMode.ENDLESS: PROVIDER_ERROR,
    FaultMode.GZIP_BOMB: PROVIDER_ERROR,
    FaultMode.LONG_HEADER: PROVIDER_ERROR,
    FaultMode.MANY_HEADERS: PROVIDER_ERROR,
    FaultMode.INTERIM: PROVIDER_ERROR,
    FaultMode.SKEWED_CLOCK: CLOCK_SKEW,
}
BEFORE_ANY_REQUEST = {FaultMode.REFUSED, FaultMode.BAD_TLS, FaultMode.TLS_TO_PLAIN}
LATER = (
    FaultMode.HANG,
    FaultMode.RESET,
    FaultMode.UNAVAILABLE,
    FaultMode.THROTTLED,
    FaultMode.FOUND,
    FaultMode.GARBAGE,
    FaultMode.HUGE,
)
"""What may also happen to a second call, and to a lease."""

SHORT, LONG = 0.7, 5.0
"""Seconds: the deadline where it must end the run, and where something else must."""
MOST_SENT = 8_000_000
"""Bytes that the buffers of sockets hold, and not the 10 GB that a peer would send."""

CALLERS = {name: one for name, one in PROBES.items() if one.endpoint}


def each(subjects: dict[str, Subject]) -> pytest.MarkDecorator:
    """A test for each of them."""
    return pytest.mark.parametrize("subject", subjects.values(), ids=subjects)


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Load what probes load at their first use: it takes most of the short deadline."""
    for name in (
        "azure.identity.aio",
        "botocore.auth",
        "botocore.awsrequest",
        "botocore.credentials",
        "google.auth.crypt",
        "google.auth.downscoped",
        "google.auth.jwt",
    ):
        importlib.import_module(name)


def test_the_matrix_has_every_verifier_and_every_lease_of_the_registry() -> None:
    registered = {(one.kind.provider, one.kind.type): one for one in BUILT_IN}
    assert {one.key for one in PROBES.values()} == set(registered)
    leasable = {key for key, one in registered.items() if one.lease is not None}
    assert {one.key for one in (*LEASES.values(), *OFFLINE_LEASES.values())} == leasable
    named = {(one.kind.provider, one.kind.type) for one in BUILT_IN if one.kind.target_fields}
    assert {one.key for one in CALLERS.values()} == named


def said(verdict: Verdict) -> tuple[str, str, str]:
    """Outcome, reason and fault."""
    return verdict.outcome.value, verdict.reason.value, verdict.fault.value


@contextmanager
def in_time(mode: FaultMode) -> Iterator[float]:
    """The deadline for that fault, held to."""
    deadline = SHORT if EXPECTED[mode] == TIMEOUT else LONG
    started = time.monotonic()
    yield deadline
    assert time.monotonic() - started < deadline + 1.0


def prepare(peer: FaultPeer, subject: Subject, mode: FaultMode) -> None:
    """Let the peer do that to the subject; who followed a redirect would come back to the peer."""
    peer.mode = mode
    peer.first = list(subject.first)
    peer.location = f"{peer.url}/elsewhere"
    if subject.refusal is not None:
        peer.refusal = subject.refusal


def assert_asked_once(peer: FaultPeer, subject: Subject, mode: FaultMode) -> None:
    """No retry of an answer, no redirect followed, nothing endless read.

    Only where a kept connection closes instead of answering, the request is sent once more, on a fresh one.
    """
    again = 1 if mode is FaultMode.EARLY_CLOSE and subject.first else 0
    calls = 0 if mode in BEFORE_ANY_REQUEST else 1 + again
    assert len(peer.requests) == len(subject.first) + calls
    assert peer.connections == (0 if mode is FaultMode.REFUSED else 1 + again)
    assert peer.sent < MOST_SENT


def assert_quiet(report: Report, logged: str) -> None:
    """Nothing of the upstream's, no address and no secret is shown; and no check is red."""
    shown = json.dumps(report.to_dict()) + repr(report)
    for text in (shown, logged):
        for word in (CANARY, SECRET, TOKEN, "PRIVATE KEY"):
            assert word not in text
    assert METADATA_URL not in shown
    assert "127.0.0.1" not in shown
    assert all(one.outcome is not CheckOutcome.FAIL for one in report.checks)


# Probes


@each(PROBES)
@pytest.mark.parametrize("mode", EXPECTED)
async def test_a_fault_is_unknown_and_says_whose_it_is(
    subject: Subject, mode: FaultMode, fault_peer: FaultPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirements 4 and 11: whatever a provider does, it earns no red light, and one call is all it gets."""
    caplog.set_level(logging.DEBUG)
    prepare(fault_peer, subject, mode)
    with in_time(mode) as deadline:
        report = await probed(subject, fault_peer.url, deadline=deadline)
    timeless = mode is FaultMode.SKEWED_CLOCK and subject.refusal is None
    assert said(report.verdict) == (PROVIDER_ERROR if timeless else EXPECTED[mode])
    assert report.retry_after == (7 if mode is FaultMode.THROTTLED else None)
    assert report.checks[-1].outcome is CheckOutcome.SKIP
    assert_asked_once(fault_peer, subject, mode)
    assert_quiet(report, caplog.text)


@each(UNPROVEN)
@pytest.mark.parametrize("mode", LATER)
async def test_a_fault_of_the_call_that_was_to_settle_it_leaves_it_unknown(
    subject: Subject, mode: FaultMode, fault_peer: FaultPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """What the first call said is neither a proof nor a rejection by itself."""
    caplog.set_level(logging.DEBUG)
    prepare(fault_peer, subject, mode)
    with in_time(mode) as deadline:
        report = await probed(subject, fault_peer.url, deadline=deadline)
    assert said(report.verdict) == EXPECTED[mode]
    assert report.retry_after == (7 if mode is FaultMode.THROTTLED else None)
    assert_asked_once(fault_peer, subject, mode)
    assert_quiet(report, caplog.text)


@each(PROVEN)
@pytest.mark.parametrize("mode", LATER)
async def test_a_fault_of_a_call_that_only_tells_more_takes_nothing_back(
    subject: Subject, mode: FaultMode, fault_peer: FaultPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """What the provider has accepted stays accepted."""
    caplog.set_level(logging.DEBUG)
    prepare(fault_peer, subject, mode)
    with in_time(mode) as deadline:
        report = await probed(subject, fault_peer.url, deadline=deadline)
    assert said(report.verdict) == VERIFIED
    assert report.checks[-1].outcome is CheckOutcome.SKIP
    assert report.checks[-1].reason in {EXPECTED[mode][1], "provider_error"}
    assert_asked_once(fault_peer, subject, mode)
    assert_quiet(report, caplog.text)


@each(PROBES)
async def test_a_host_that_does_not_resolve_is_unreachable(subject: Subject) -> None:
    """A misspelt name is not a bad secret."""
    report = await probed(subject, "https://nowhere.example")
    assert said(report.verdict) == UNREACHABLE
    assert "DNS" in report.verdict.message
    assert "nowhere" not in json.dumps(report.to_dict())


async def test_a_hundred_probes_of_a_provider_that_hangs_all_end_by_their_deadline(fault_peer: FaultPeer) -> None:
    """Nobody waits for another's connection."""
    fault_peer.mode = FaultMode.HANG
    subject = PROBES["aws key"]
    payload = subject.payload("")
    started = time.monotonic()
    async with Egress(EgressSettings()) as egress:
        probes = (verify(subject.verifier, payload, subject.run(egress, fault_peer.url), SHORT) for _ in range(100))
        reports = await asyncio.gather(*probes)
    assert {said(one.verdict) for one in reports} == {TIMEOUT}
    assert time.monotonic() - started < SHORT + 1.5


# Private addresses


@each(CALLERS)
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.⓪.⓪.①"],
)
async def test_a_private_address_is_contacted_by_nobody(subject: Subject, host: str, fault_peer: FaultPeer) -> None:
    """Requirements 2, 5 and 6."""
    for scheme in ("http", "https"):
        report = await probed(subject, f"{scheme}://{host}:{fault_peer.port}", allow=())
        assert said(report.verdict) == BLOCKED
    assert fault_peer.connections == 0


@each(CALLERS)
@pytest.mark.parametrize("url", [METADATA_URL, "https://169.254.169.254", "https://168.63.129.16"])
async def test_no_caller_reaches_a_metadata_service_whatever_network_is_allowed(subject: Subject, url: str) -> None:
    """Requirement 6."""
    report = await probed(subject, url.rstrip("/"), allow=("0.0.0.0/0", "::/0"))
    assert said(report.verdict) == BLOCKED


BESIDE = {
    "the endpoint of a role": (PROBES["aws role"], "endpoint"),
    "the token_uri of a key file": (PROBES["gcp service account"], "token_uri"),
}


@pytest.mark.parametrize("case", BESIDE)
async def test_an_address_that_a_payload_names_beside_is_contacted_by_nobody(case: str, fault_peer: FaultPeer) -> None:
    """Requirement 7: only the fields that are there to choose a host choose one."""
    subject, name = BESIDE[case]
    operators = FaultPeer()
    await operators.start()
    url = fault_peer.url
    values = {**ROLE, name: url} if name == "endpoint" else {"key_text": key_file(**{name: url})}
    report = await probed(Subject(subject.verifier, values), operators.url)
    await operators.stop()
    assert said(report.verdict) == PROVIDER_ERROR
    assert (len(operators.requests), fault_peer.connections) == (1, 0)


# Rebinding

_AND_CLOSE = {"Connection": "close"}
REBINDING = {
    "aws key at an endpoint": (Scripted(403, s3_error("AccessDenied").body, _AND_CLOSE), BLOCKED),
    "azure key at an endpoint": (Scripted(200, LISTING, _AND_CLOSE), VERIFIED),
    "azure sas at an endpoint": (Scripted(200, "", {**ACCOUNT, **_AND_CLOSE}), VERIFIED),
}


@each(CALLERS)
async def test_a_name_that_has_a_private_address_too_is_contacted_by_nobody(
    subject: Subject, fault_peer: FaultPeer
) -> None:
    """Requirement 3: the address that is allowed comes first and last."""
    names = Zone(mixed_example=[["127.0.0.1", "127.0.0.2", "127.0.0.1"]])
    allowed = (f"127.0.0.1:{fault_peer.port}",)
    report = await probed(subject, f"http://mixed.example:{fault_peer.port}", names=names, allow=allowed)
    assert said(report.verdict) == BLOCKED
    assert fault_peer.connections == 0


@pytest.mark.parametrize("case", REBINDING)
async def test_a_name_that_turns_private_between_two_calls_is_followed_by_neither(case: str) -> None:
    """Requirement 3, DNS rebinding within one probe: its second call looks the name up again."""
    first, expected = REBINDING[case]
    async with twins() as (public, private):
        public.first = [first]
        names = Zone(rebinding_example=[["127.0.0.1"], ["127.0.0.2"]])
        url = f"http://rebinding.example:{public.port}"
        report = await probed(CALLERS[case], url, names=names, allow=(f"127.0.0.1:{public.port}",))
        assert (len(public.requests), private.connections, len(names.asked)) == (1, 0, 2)
    assert said(report.verdict) == expected
    assert (report.checks[-1].outcome, report.checks[-1].reason) == (CheckOutcome.SKIP, "blocked_endpoint")


# Leases


@each(LEASES)
@pytest.mark.parametrize("mode", [*LATER, FaultMode.ENDLESS, FaultMode.BAD_TLS, FaultMode.EARLY_CLOSE])
async def test_a_fault_gives_no_material_and_says_whose_it_is(
    subject: Subject, mode: FaultMode, fault_peer: FaultPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirements 4 and 11: nothing leaves, and a wider token than was asked for neither."""
    if mode is FaultMode.BAD_TLS and subject.first:
        mode = FaultMode.TRUNCATED  # what was answered before can't have been over that connection
    caplog.set_level(logging.DEBUG)
    prepare(fault_peer, subject, mode)
    with in_time(mode) as deadline, pytest.raises(LeaseFailed) as caught:
        await leased(subject, fault_peer.url, deadline=deadline)
    report = caught.value.report
    assert said(report.verdict) == EXPECTED[mode]
    assert report.retry_after == (7 if mode is FaultMode.THROTTLED else None)
    assert_asked_once(fault_peer, subject, mode)
    assert_quiet(report, caplog.text)


@each(OFFLINE_LEASES)
async def test_a_lease_that_needs_nobody_is_given_whoever_hangs(subject: Subject, fault_peer: FaultPeer) -> None:
    fault_peer.mode = FaultMode.HANG
    material = await leased(subject, fault_peer.url, deadline=SHORT)
    assert material.values["sas_token"]
    assert fault_peer.connections == 0


async def test_the_same_peer_without_a_fault_is_believed(fault_peer: FaultPeer) -> None:
    """The matrix would be as green if nobody were ever asked."""
    fault_peer.first = [Scripted(200, CALLER_IDENTITY)]
    report = await probed(Subject(aws_key.VERIFIER, AWS_KEY), fault_peer.url)
    assert said(report.verdict) == VERIFIED
