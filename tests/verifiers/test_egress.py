"""What the guarded way out sends, takes and makes of faults, against a peer that counts."""

import asyncio
import logging
import ssl
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.faults import CANARY, METADATA_URL, REDIRECTS, FaultMode, FaultPeer
from tests.verifiers.ways_out import Zone, egress, refusal
from verifiers.egress import USER_AGENT, Answer, Egress
from verifiers.settings import EgressSettings
from verifiers.verdict import TIMED_OUT, Fault, NotVerified, Reason

# What goes out


async def test_a_request_goes_out_as_it_was_signed(fault_peer):
    """Path, query and body byte for byte, with a stable User-Agent and no compression asked for."""
    async with egress() as out:
        path = "/a%2Fb/%7Ec/../d/./%e4?x=%20+&y=%2B&&z"
        await out.operator.request("PUT", fault_peer.url + path, headers={"Authorization": "x"}, data=b"\0body")
    head, _, body = fault_peer.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"PUT {path} HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Authorization: x",
        "Content-Length: 5",
        f"Host: 127.0.0.1:{fault_peer.port}",
        f"User-Agent: {USER_AGENT}",
    ]
    assert body == b"\0body"


async def test_no_proxy_and_no_netrc_is_taken_from_the_environment(fault_peer, monkeypatch, tmp_path):
    """Requirement 4."""
    proxy = FaultPeer()
    await proxy.start()
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password canary\n")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with egress(allow=(f"127.0.0.1:{fault_peer.port}",)) as out:
        await out.operator.request("GET", fault_peer.url)
        await out.callers.request("GET", fault_peer.url)
    await proxy.stop()
    assert proxy.connections == 0
    assert len(fault_peer.requests) == 2
    assert not any(b"authorization" in one.lower() for one in fault_peer.requests)


async def test_no_cookie_is_kept(fault_peer):
    """One caller's answer must not travel with the next one's request."""
    fault_peer.headers = {"Set-Cookie": "session=canary; Path=/"}
    async with egress(Zone(provider_example=[["127.0.0.1"]])) as out:
        for _ in range(2):
            await out.operator.request("GET", f"http://provider.example:{fault_peer.port}/")
    assert len(fault_peer.requests) == 2
    assert not any(b"cookie" in one.lower() for one in fault_peer.requests)


@pytest.mark.parametrize("mode", REDIRECTS)
async def test_a_redirect_is_an_answer_and_is_not_followed(mode, fault_peer):
    """Requirement 4."""
    fault_peer.mode = mode
    async with egress(allow=(f"127.0.0.1:{fault_peer.port}",)) as out:
        for session in (out.operator, out.callers):
            answer = await session.request("GET", fault_peer.url)
            assert (answer.status, answer.headers["location"]) == (int(mode), METADATA_URL)
    assert len(fault_peer.requests) == 2


async def test_a_request_may_trust_others_and_keeps_its_connection_to_itself(fault_peer):
    """Requirement 1: certificates that are trusted for one request open no kept connection to the next."""
    trusting = ssl.create_default_context()
    fault_peer.authority.configure_trust(trusting)
    async with egress() as out:
        for _ in range(2):
            assert (await out.operator.request("GET", fault_peer.tls_url, tls=trusting)).status == 200
            verdict = await refusal(out.operator.request("GET", fault_peer.tls_url))
            assert "TLS" in verdict.message
    assert len(fault_peer.requests) == 2


# What comes back


@pytest.mark.parametrize("mode", [FaultMode.HUGE, FaultMode.ENDLESS])
async def test_an_answer_is_read_up_to_64_kb_and_the_connection_closed(mode, fault_peer):
    """Requirement 11."""
    fault_peer.mode = mode
    async with egress() as out:
        answer = await out.operator.request("GET", fault_peer.url)
        assert (len(answer.body), answer.complete) == (65536, False)
        fault_peer.mode = FaultMode.FINE
        assert (await out.operator.request("GET", fault_peer.url)).complete
    assert fault_peer.connections == 2
    assert fault_peer.sent < 8_000_000  # what the sockets' buffers hold, and not 10 GB


@pytest.mark.parametrize(("size", "complete"), [(0, True), (65535, True), (65536, True), (65537, False)])
async def test_an_answer_of_64_kb_is_whole_and_one_byte_more_is_not(size, complete, fault_peer):
    """Requirement 11."""
    fault_peer.body = b"j" * size
    async with egress() as out:
        answer = await out.operator.request("GET", fault_peer.url)
    assert (len(answer.body), answer.complete) == (min(size, 65536), complete)


async def test_a_compressed_answer_is_not_decompressed(fault_peer):
    """Requirement 11: a bomb stays as small as it came."""
    fault_peer.mode = FaultMode.GZIP_BOMB
    async with egress() as out:
        answer = await out.operator.request("GET", fault_peer.url)
    assert answer.complete
    assert answer.body.startswith(b"\x1f\x8b")


def test_an_answer_shows_nothing_of_itself():
    """Requirement 30: it may hold a token."""
    shown = repr(Answer(200, {"X-Token": CANARY}, CANARY.encode(), complete=True))
    assert CANARY not in shown


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Sat, 01 Aug 2026 12:00:00 GMT", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("Sat, 01 Aug 2026 14:00:00 +0200", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("Sat, 01 Aug 2026 12:00:00 -0000", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("Saturday, 01-Aug-26 12:00:00 GMT", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
        ("Sat, 99 Aug 2026 12:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
    ],
)
def test_the_providers_clock_is_read_as_utc(said, meant):
    """For clock skew."""
    assert Answer(200, {"Date": said}, b"", complete=True).date == meant


@given(st.text())
def test_no_date_header_breaks_the_clock(said):
    """It comes from outside."""
    found = Answer(200, {"Date": said}, b"", complete=True).date
    assert found is None or found.utcoffset().total_seconds() == 0


# Faults


@pytest.mark.parametrize(
    ("mode", "reason", "fault"),
    [
        (FaultMode.REFUSED, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.RESET, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.TRUNCATED, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.EARLY_CLOSE, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.BAD_TLS, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.TLS_TO_PLAIN, Reason.UNREACHABLE, Fault.NETWORK),
        (FaultMode.NOT_HTTP, Reason.PROVIDER_ERROR, Fault.PROVIDER),
        (FaultMode.LONG_HEADER, Reason.PROVIDER_ERROR, Fault.PROVIDER),
        (FaultMode.MANY_HEADERS, Reason.PROVIDER_ERROR, Fault.PROVIDER),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_fault_is_unknown_says_whose_it_is_and_quotes_nothing(mode, reason, fault, method, fault_peer):
    """Requirement 11; a fresh connection that fails is not tried again."""
    fault_peer.mode = mode
    async with egress() as out:
        verdict = await refusal(out.operator.request(method, fault_peer.url))
    assert (verdict.reason, verdict.fault) == (reason, fault)
    said = verdict.message + verdict.remedy
    assert CANARY not in said
    assert "127.0.0.1" not in said
    assert ("TLS certificate" in said) == (mode in (FaultMode.BAD_TLS, FaultMode.TLS_TO_PLAIN))
    assert fault_peer.connections == (0 if mode is FaultMode.REFUSED else 1)
    assert len(fault_peer.requests) <= 1


@pytest.mark.parametrize("mode", [FaultMode.HANG, FaultMode.DRIP])
async def test_a_peer_that_hangs_is_left_at_the_callers_deadline(mode, fault_peer):
    """The deadline of the whole probe is the one that counts."""
    fault_peer.mode = mode
    started = time.monotonic()
    async with egress() as out:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await out.operator.request("GET", fault_peer.url)
    assert time.monotonic() - started < 1


async def test_a_timeout_below_us_is_the_shared_verdict(fault_peer):
    """The safety net, for whoever forgets a deadline."""
    fault_peer.mode = FaultMode.HANG
    async with Egress(EgressSettings(), longest_seconds=0.2) as out:
        assert await refusal(out.operator.request("GET", fault_peer.url)) == TIMED_OUT


async def test_a_kept_connection_that_closed_meanwhile_is_replaced(fault_peer):
    """A provider that drops idle connections earns no `unreachable`."""
    fault_peer.mode = FaultMode.CLOSE_ON_REUSE
    async with egress() as out:
        for _ in range(3):
            assert (await out.operator.request("POST", fault_peer.url, data=b"x")).status == 200
    assert fault_peer.connections == 3


async def test_a_private_authority_is_trusted_through_ca_file_on_both_sides(fault_peer, tmp_path):
    """`[egress] ca_file`, beside the system's own."""
    ca_file = tmp_path / "ca.pem"
    fault_peer.authority.cert_pem.write_to_path(str(ca_file))
    async with egress(ca_file=str(ca_file), allow=("127.0.0.1",)) as out:
        assert (await out.operator.request("GET", fault_peer.tls_url)).status == 200
        assert (await out.callers.request("GET", fault_peer.tls_url)).status == 200


def test_a_ca_file_that_cannot_be_read_refuses_to_start_and_is_named(tmp_path):
    """Configuration mistakes show at the start."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ValueError, match=r"egress\.ca_file"):
            Egress(EgressSettings(ca_file=str(path)))


# Logs


@pytest.mark.parametrize("mode", list(FaultMode))
async def test_nothing_of_a_request_or_an_answer_is_logged(mode, fault_peer, caplog):
    """Requirement 30: at DEBUG, through every fault, with a canary on both sides."""
    caplog.set_level(logging.DEBUG)
    fault_peer.mode = mode
    async with egress() as out:
        request = out.operator.request(
            "POST", f"{fault_peer.url}/?q=mine", headers={"Authorization": "mine"}, data=b"mine"
        )
        (ended,) = await asyncio.gather(asyncio.wait_for(request, 0.2), return_exceptions=True)
    assert isinstance(ended, Answer | NotVerified | TimeoutError)
    for text in (repr(ended), caplog.text):
        assert "mine" not in text
        assert CANARY not in text
    assert not [one for one in caplog.records if one.name.startswith(("aiohttp.client", "aiohttp.internal"))]


async def test_interim_answers_without_end_are_given_up_and_hold_nobody_up(fault_peer):
    """Requirement 11: a peer that says 100 Continue for ever ends the request, and the loop goes on meanwhile."""
    fault_peer.mode = FaultMode.INTERIM
    async with egress(allow=(f"127.0.0.1:{fault_peer.port}",)) as out:
        for session in (out.operator, out.callers):
            verdict = await refusal(session.request("GET", fault_peer.url))
            assert verdict.reason is Reason.PROVIDER_ERROR
    assert fault_peer.connections == 2
