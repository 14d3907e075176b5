"""Leases while a provider fails in the middle: a clear answer, and nothing of any material anywhere.

"Anywhere" is the answer, the list, the audit trail, the log at every level, the database and its WAL.
"""

import asyncio
import json
import logging
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from service.config import Config
from service.observe import logs
from tests.api.aws_leases import (
    MATERIAL,
    STORED_SECRET,
    THROUGH_A_ROLE,
    Held,
    assert_nothing_handed_out,
    audited,
    before,
    hold,
    keep_key,
    key_body,
    lease,
    listed,
    own_session,
    session,
    store,
)
from tests.api.leaks import Watch, needles
from tests.api.payloads import create_body
from tests.cli.test_cli import serving
from tests.conftest import Start
from tests.peers.aws_stub import CAPTIVE_PORTAL, AwsStub, Scripted, sts_error
from tests.peers.faults import CANARY, FaultMode, FaultPeer
from tests.peers.google import TokenEndpoint
from verifiers.settings import GcpSettings, ProviderSettings

DEADLINE = 0.4
OWN = {"ttl_seconds": 900}


@pytest.fixture
async def watch(
    config: Config, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[Watch]:
    """What comes out, with logging at DEBUG."""
    logs.configure("DEBUG", "json")
    root = logging.getLogger()
    root.addHandler(caplog.handler)
    with caplog.at_level(logging.DEBUG):
        yield Watch(Path(config.data_dir), caplog, capfd)
    root.removeHandler(caplog.handler)


class Said(NamedTuple):
    """What a fault comes to."""

    status: int
    code: int
    reason: str


UNREACHABLE = Said(502, 1401, "unreachable")
PROVIDER_ERROR = Said(502, 1401, "provider_error")
TIMEOUT = Said(504, 1401, "timeout")
THROTTLED = Said(503, 1401, "throttled")

FAULTS: dict[FaultMode, Said] = {
    FaultMode.RESET: UNREACHABLE,
    FaultMode.TRUNCATED: UNREACHABLE,
    FaultMode.EARLY_CLOSE: UNREACHABLE,
    FaultMode.REFUSED: UNREACHABLE,
    FaultMode.HANG: TIMEOUT,
    FaultMode.DRIP: TIMEOUT,
    FaultMode.UNAVAILABLE: PROVIDER_ERROR,
    FaultMode.THROTTLED: THROTTLED,
    FaultMode.GARBAGE: PROVIDER_ERROR,
    FaultMode.NOT_HTTP: PROVIDER_ERROR,
    FaultMode.FOUND: PROVIDER_ERROR,
    FaultMode.BAD_TLS: UNREACHABLE,
}


def assert_said(answer: Any, said: Said) -> None:
    """The status, the stable code and the report; and when to come again, if the provider says so."""
    body = answer.json_body
    report = body["verification"]
    assert (answer.status, body["code"], report["reason"]) == said, body
    assert report["outcome"] == "unknown"
    assert report["remedy"]
    assert ("Retry-After" in answer.headers) == (said is THROTTLED)


@pytest.mark.parametrize("wanted", [THROUGH_A_ROLE, OWN], ids=["AssumeRole", "GetSessionToken"])
@pytest.mark.parametrize("mode", FAULTS)
async def test_a_fault_of_sts_is_told_and_leaves_nothing(
    start: Start, config: Config, watch: Watch, fault_peer: FaultPeer, mode: FaultMode, wanted: dict[str, Any]
) -> None:
    """Requirement 30."""
    fault_peer.mode = mode
    vouch = await start(before(config, fault_peer.url, deadline=DEADLINE))
    id_ = await keep_key(vouch)
    started = time.monotonic()
    answer = await lease(vouch, id_, wanted)
    assert time.monotonic() - started < DEADLINE + 1
    assert_said(answer, FAULTS[mode])
    if mode is FaultMode.THROTTLED:
        assert answer.headers["Retry-After"] == "7"
    await assert_nothing_handed_out(vouch, answer, CANARY)
    watch.answers.append(await answer.text())
    watch.assert_without(needles(STORED_SECRET, CANARY))


@pytest.mark.parametrize(
    "mode", [FaultMode.RESET, FaultMode.HANG, FaultMode.UNAVAILABLE, FaultMode.THROTTLED, FaultMode.GARBAGE]
)
async def test_a_fault_between_googles_two_calls_lets_the_wide_token_go_nowhere(
    start: Start, config: Config, watch: Watch, google: TokenEndpoint, fault_peer: FaultPeer, mode: FaultMode
) -> None:
    """Requirement 30: the first call gave a token for all that the account may do."""
    fault_peer.mode = mode
    vouch = await start(before_google(config, google, fault_peer.url))
    key_file = google.make_key()
    id_ = await store(vouch, {"name": "robot", "provider": "GCP", "token": {"gcp": {"key_text": json.dumps(key_file)}}})
    answer = await lease(vouch, id_, {"scope": {"bucket": "raw"}})
    assert_said(answer, FAULTS[mode])
    (wide,) = google.tokens
    await assert_nothing_handed_out(vouch, answer, wide, CANARY)
    watch.answers.append(await answer.text())
    watch.assert_without(needles(wide, *key_file["private_key"].splitlines()[1:-2]))


def before_google(config: Config, google: TokenEndpoint, sts: str) -> Config:
    """A vouch whose Google gives tokens well, and narrows them there."""
    asked = before(config, "http://127.0.0.1:9", deadline=2.0)
    return replace(asked, providers=ProviderSettings(gcp=GcpSettings(google.token_uri, sts_endpoint=sts)))


# An answer that breaks off

Ending = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


async def reset(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02)  # a reset overtakes what the client has not read
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def stall(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def breaking_off(body: str, ending: Ending) -> AsyncIterator[str]:
    """A server whose answer is all there but for its last byte, and then ends so; its URL."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write((head + body[:-1]).encode())
                await writer.drain()
                await ending(writer)
                await reader.read()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in filter(None, serving):
            task.cancel()
        await asyncio.gather(*filter(None, serving))


@pytest.mark.parametrize(
    ("ending", "said"),
    [(close, UNREACHABLE), (reset, UNREACHABLE), (stall, TIMEOUT)],
    ids=["cut", "reset", "stall"],
)
@pytest.mark.parametrize(
    ("wanted", "given"), [(THROUGH_A_ROLE, session), (OWN, own_session)], ids=["AssumeRole", "GetSessionToken"]
)
async def test_a_session_that_did_not_arrive_whole_is_none(
    start: Start,
    config: Config,
    watch: Watch,
    wanted: dict[str, Any],
    given: Callable[[], Scripted],
    ending: Ending,
    said: Said,
) -> None:
    """Requirement 30: the secret had arrived already."""
    async with breaking_off(given().body.rstrip(), ending) as url:
        vouch = await start(before(config, url, deadline=DEADLINE))
        answer = await lease(vouch, await keep_key(vouch), wanted)
        assert_said(answer, said)
        await assert_nothing_handed_out(vouch, answer)
        watch.answers.append(await answer.text())
        watch.assert_without(needles(*MATERIAL, STORED_SECRET))


# Answers that are whole, and wrong

WRONG: dict[str, tuple[Scripted, Said]] = {
    "a captive portal": (Scripted(200, CAPTIVE_PORTAL), PROVIDER_ERROR),
    "an empty body": (Scripted(200), PROVIDER_ERROR),
    "a session that has ended": (session(-1), PROVIDER_ERROR),
    "a session without its end": (
        Scripted(200, session().body.replace("<Expiration>", "<Ended>").replace("</Expiration>", "</Ended>")),
        PROVIDER_ERROR,
    ),
    "a session with a status that is none": (Scripted(500, session().body), PROVIDER_ERROR),
    "the session of another question": (own_session(), PROVIDER_ERROR),
    "two sessions": (Scripted(200, session().body.replace("</AssumeRoleResult>", session().body)), PROVIDER_ERROR),
    "throttling by its code": (sts_error("Throttling", 400, **{"Retry-After": "9"}), THROTTLED),
    "an internal failure": (sts_error("InternalFailure", 500), PROVIDER_ERROR),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_answer_that_is_no_session_is_none(
    start: Start, config: Config, watch: Watch, aws_stub: AwsStub, name: str
) -> None:
    """Requirement 30."""
    scripted, said = WRONG[name]
    vouch = await start(before(config, aws_stub.url, deadline=DEADLINE))
    aws_stub.script(scripted)
    answer = await lease(vouch, await keep_key(vouch))
    assert_said(answer, said)
    await assert_nothing_handed_out(vouch, answer)
    watch.answers.append(await answer.text())
    watch.assert_without(needles(*MATERIAL, STORED_SECRET))


async def test_a_stock_sdk_is_told_the_same(start: Start, config: Config, fault_peer: FaultPeer) -> None:
    fault_peer.mode = FaultMode.THROTTLED
    vouch = await start(before(config, fault_peer.url, deadline=DEADLINE))
    await keep_key(vouch)
    answer = await vouch.call("GET", "/v1/aws/credentials?name=lake")
    assert (answer.status, answer.json_body["code"], answer.headers["Retry-After"]) == (503, "1401", "7")
    await assert_nothing_handed_out(vouch, answer)


async def test_after_a_fault_the_next_lease_is_made(start: Start, config: Config, aws_stub: AwsStub) -> None:
    """A fault says nothing of the credential, and is remembered of nobody."""
    vouch = await start(before(config, aws_stub.url, deadline=DEADLINE))
    id_ = await keep_key(vouch)
    aws_stub.script(Scripted(503), session())
    assert (await lease(vouch, id_)).status == 502
    got = await vouch.call("GET", "/v4/credentials/lake")
    assert "status" not in got.json_body["data"]
    assert (await lease(vouch, id_)).status == 200


async def test_what_was_handed_out_is_in_the_answer_alone(
    start: Start, config: Config, watch: Watch, aws_stub: AwsStub
) -> None:
    """Requirement 30: the log, the database and its WAL hold nothing of it."""
    vouch = await start(before(config, aws_stub.url))
    id_ = await keep_key(vouch)
    aws_stub.script(session(), session(3600))
    assert MATERIAL[0] in await (await lease(vouch, id_)).text()
    query = f"name=lake&role_arn={THROUGH_A_ROLE['role_arn']}&external_id=job:7"
    assert MATERIAL[0] in await (await vouch.call("GET", f"/v1/aws/credentials?{query}")).text()
    assert len(await listed(vouch)) == 2
    watch.assert_without(needles(*MATERIAL, STORED_SECRET))
    assert b'"event":"request"' in watch.places()["output"]


# Room, and the end


async def test_a_full_lane_is_a_503_at_once_and_everything_else_goes_on(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 34."""
    vouch = await start(before(config, aws_stub.url, concurrency=1))
    id_ = await keep_key(vouch)
    blobs = await store(vouch, create_body("azure key", "blobs"))
    held, first = await hold(aws_stub, lambda: lease(vouch, id_))
    started = time.monotonic()
    full = await lease(vouch, id_)
    assert time.monotonic() - started < 1
    assert (full.status, full.json_body["code"]) == (503, 1501)
    assert int(full.headers["Retry-After"]) >= 1
    assert "verification" not in full.json_body
    assert (await lease(vouch, blobs, {"scope": {"bucket": "raw"}})).status == 200
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws role", "another"))).status == 201
    assert (await vouch.call("GET", "/v4/credentials/another")).status == 200
    assert (await vouch.call("DELETE", "/v4/credentials/another")).status == 204
    assert (await vouch.call("GET", "/readyz", key=None)).status == 200
    held.let_go.set()
    assert (await first).status == 200
    assert len(aws_stub.received) == 1
    aws_stub.script(session())
    assert (await lease(vouch, id_)).status == 200


async def test_a_job_that_hangs_up_frees_its_place_and_gets_no_lease(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 40."""
    vouch = await start(before(config, aws_stub.url, concurrency=1))
    id_ = await keep_key(vouch)
    held, first = await hold(aws_stub, lambda: lease(vouch, id_))
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    held.let_go.set()
    aws_stub.script(session())
    async with asyncio.timeout(2):
        while (answer := await lease(vouch, id_)).status == 503:  # noqa: ASYNC110 - it happens in the service
            await asyncio.sleep(0.02)
    assert answer.status == 200
    (row,) = await listed(vouch)
    assert row["id"] == answer.json_body["id"]
    assert len(audited(vouch.config)) == 1


async def test_a_stop_in_the_middle_is_a_503_and_no_lease(tmp_path: Path, aws_stub: AwsStub) -> None:
    """Requirement 35: with a deadline beyond `shutdown_seconds`, the job is told, and not cut off."""
    (tmp_path / "config.toml").write_text(
        "[server]\nshutdown_seconds = 2.0\n[verification]\ndeadline_seconds = 30.0\n"
        f'[providers.aws]\nsts_endpoint = "{aws_stub.url}"\n'
    )
    held = Held(session())
    aws_stub.script(held)
    with serving(tmp_path) as (url, process):
        key = (tmp_path / "vouch-data" / "admin-key").read_text().strip()
        async with aiohttp.ClientSession(url, headers={"X-TILEDB-REST-API-KEY": key}) as client:
            async with client.post("/v4/credentials", json=key_body() | {"allowed_in_tasks": True}) as made:
                assert made.status == 201
            async with client.get("/v1/resolve?provider=AWS&name=lake") as found:
                id_ = (await found.json())["id"]
            asking = asyncio.ensure_future(_post(client, f"/v1/credentials/{id_}/lease"))
            await held.arrived.wait()
            process.send_signal(signal.SIGTERM)
            status, told = await asking
            assert (status, told["code"]) == (503, 1501)
            assert "verification" not in told
            assert await asyncio.to_thread(process.wait, 10) == 0
            held.let_go.set()
    log = (tmp_path / "log").read_text()
    for file in (tmp_path / "vouch-data").iterdir():
        log += file.read_bytes().decode("latin-1")
    for secret in (*MATERIAL, STORED_SECRET):
        assert secret not in log
    assert "credential.lease" not in log


async def _post(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with client.post(path, json=THROUGH_A_ROLE) as answer:
        return answer.status, await answer.json()


async def test_vouch_starts_no_call_for_a_partition_that_it_does_not_know(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 9."""
    vouch = await start(before(config, aws_stub.url))
    id_ = await keep_key(vouch)
    answer = await lease(vouch, id_, {"role_arn": "arn:aws-cn:iam::123456789012:role/jobs"})
    assert answer.status == 502
    assert answer.json_body["verification"]["reason"] == "unsupported"
    assert aws_stub.received == []
    await assert_nothing_handed_out(vouch, answer)
