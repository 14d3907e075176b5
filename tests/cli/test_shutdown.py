"""Stopping as an orchestrator does it: SIGTERM to a real process, with work under way and without.

All of it is requirement 35.
"""

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.api.payloads import create_body
from tests.cli.test_cli import serving
from tests.peers.aws_stub import AwsStub, Scripted

DEADLINE = 1.5
SHUTDOWN = 6


def configure(
    folder: Path, stub: AwsStub | None = None, *, deadline: float = DEADLINE, shutdown: float = SHUTDOWN
) -> None:
    """A configuration with short times, and AWS at the stub."""
    endpoint = stub.url if stub else "http://127.0.0.1:9"
    (folder / "config.toml").write_text(
        f"[server]\nshutdown_seconds = {shutdown}\n[verification]\ndeadline_seconds = {deadline}\n"
        f'[providers.aws]\nsts_endpoint = "{endpoint}"\n'
    )


def headers(folder: Path) -> dict[str, str]:
    """What an admin of the service in that folder sends."""
    return {"X-TILEDB-REST-API-KEY": (folder / "vouch-data" / "admin-key").read_text().strip()}


async def ended(process: subprocess.Popen[str]) -> float:
    """Wait for the end, which must be a good one; the seconds that it took."""
    started = time.monotonic()
    assert await asyncio.to_thread(process.wait, SHUTDOWN + 5) == 0
    return time.monotonic() - started


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_with_nothing_under_way_it_ends_soon(tmp_path: Path, name: str) -> None:
    """Requirement 35: a connection that is kept open, and one that never said anything, hold nobody up."""
    configure(tmp_path)
    with serving(tmp_path) as (url, process):
        _reader, mute = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        async with aiohttp.ClientSession(url, headers=headers(tmp_path)) as session:
            async with session.get("/v4/credentials") as answer:
                assert answer.status == 200
            process.send_signal(signal.Signals[name])
            assert await ended(process) < 2
        mute.close()


async def test_a_verification_that_hangs_is_answered_before_the_process_ends(tmp_path: Path, aws_stub: AwsStub) -> None:
    """Requirement 35."""
    arrived = asyncio.Event()

    async def hang() -> Scripted:
        arrived.set()
        await asyncio.sleep(10)
        return Scripted(500)

    aws_stub.script(hang)
    configure(tmp_path, aws_stub)
    body = create_body("aws key", "one")
    del body["credential"]["aws"]["endpoint"]
    with serving(tmp_path) as (url, process):
        kept_open = aiohttp.TCPConnector(limit=1)
        async with (
            aiohttp.ClientSession(url, headers=headers(tmp_path)) as session,
            aiohttp.ClientSession(url, headers=headers(tmp_path), connector=kept_open) as other,
        ):
            async with other.get("/v4/credentials") as answer:
                assert answer.status == 200
            hanging = asyncio.ensure_future(_post(session, "/v4/credentials/verify", body))
            await arrived.wait()
            process.send_signal(signal.SIGTERM)
            end = asyncio.ensure_future(ended(process))
            await asyncio.sleep(0.6)
            assert not hanging.done()
            # On the connection that was open before, a 503; a new one is not let in.
            async with other.get("/v4/credentials") as answer:
                told = await answer.json()
                assert (answer.status, told["code"]) == (503, 1501)
                assert int(answer.headers["Retry-After"]) >= 1
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            status, report = await hanging
            assert (status, report["verification"]["reason"]) == (504, "timeout")
            assert await end < SHUTDOWN
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert "stopping" in events
    assert "stopped with requests under way" not in events


async def test_a_probe_that_outlasts_the_stop_is_told_so_and_the_process_still_ends_in_time(
    tmp_path: Path, aws_stub: AwsStub
) -> None:
    """Requirement 35: with a deadline longer than `shutdown_seconds`, a 503 and not a broken connection."""
    arrived = asyncio.Event()

    async def hang() -> Scripted:
        arrived.set()
        await asyncio.sleep(10)
        return Scripted(500)

    aws_stub.script(hang)
    configure(tmp_path, aws_stub, deadline=30.0, shutdown=3.0)
    body = create_body("aws key", "one")
    del body["credential"]["aws"]["endpoint"]
    with serving(tmp_path) as (url, process):
        async with aiohttp.ClientSession(url, headers=headers(tmp_path)) as session:
            hanging = asyncio.ensure_future(_post(session, "/v4/credentials/verify", body))
            await arrived.wait()
            process.send_signal(signal.SIGTERM)
            end = asyncio.ensure_future(ended(process))
            status, told = await hanging
            assert (status, told["code"]) == (503, 1501)
            assert await end < 3.0 + 1.0  # and a second for a loaded machine


async def _post(session: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with session.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def _read_one(reader: asyncio.StreamReader) -> int | None:
    """The status of a whole answer; None if not a byte of one came. Anything between the two fails."""
    try:
        first = await reader.read(1)
    except ConnectionError:
        first = b""
    if not first:
        return None
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    assert isinstance(json.loads(body), dict)
    return int(head.split(" ")[1])


async def _ask(port: int, request: bytes, statuses: list[int], *, kept_open: bool) -> None:
    """Ask over and over until the door is closed."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        try:
            while True:
                writer.write(request)
                status = await _read_one(reader)
                if status is not None:
                    statuses.append(status)
                if status is None or not kept_open:
                    break
        finally:
            writer.close()


async def test_under_load_every_request_that_was_accepted_gets_a_whole_answer(tmp_path: Path) -> None:
    """Requirement 35: what the service says it answered is what the clients got."""
    configure(tmp_path)
    with serving(tmp_path) as (url, process):
        port = int(url.rpartition(":")[2])
        head = [f"{name}: {value}" for name, value in headers(tmp_path).items()]
        request = "\r\n".join(["GET /v4/credentials HTTP/1.1", "Host: x", *head, "", ""]).encode()
        statuses: list[int] = []
        clients = [
            asyncio.ensure_future(_ask(port, request, statuses, kept_open=number % 2 == 0)) for number in range(20)
        ]
        await asyncio.sleep(0.5)
        before = len(statuses)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) < SHUTDOWN
        async with asyncio.timeout(5):
            await asyncio.gather(*clients)
    assert before > 20
    assert len(statuses) > before
    assert set(statuses) <= {200, 503}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert "stopped with requests under way" not in [line["event"] for line in lines]
    logged = [line["status"] for line in lines if line["event"] == "request"]
    assert sorted(logged) == sorted(statuses)
