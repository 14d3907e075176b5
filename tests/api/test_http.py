"""Below and around the dialects: request ids, headers, malformed HTTP, proxies, readiness."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from aiohttp import web

from service import bootstrap
from service.app import create_app
from service.config import Config
from service.observe import logs
from service.server import Runner
from tests.api.payloads import CANARY, create_body
from tests.conftest import Start, Vouch


async def test_a_plain_request_id_is_kept_and_any_other_replaced(vouch: Vouch) -> None:
    kept = await vouch.call("GET", "/v4/credentials", headers={"X-Request-ID": "abc-1.2_3"})
    assert kept.headers["X-Request-ID"] == "abc-1.2_3"
    for bad in ("", "x" * 65, "a b", '"><script>'):
        answer = await vouch.call("GET", "/v4/none/none", headers={"X-Request-ID": bad})
        assert answer.headers["X-Request-ID"] not in ("", bad)
        assert answer.json_body["request_id"] == answer.headers["X-Request-ID"]


async def test_nothing_under_the_dialects_may_be_cached(vouch: Vouch) -> None:
    """Requirement 31."""
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    for path in ("/v4/credentials", "/v4/credentials/one", "/v4/credentials/none", "/v4/nothing"):
        for key in ("", None):
            answer = await vouch.call("GET", path, key=key)
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "vouch"


async def test_operations_need_no_authentication_and_everything_else_does(vouch: Vouch) -> None:
    """Requirement 20: default deny."""
    for path in ("/livez", "/readyz", "/version", "/openapi.json", "/docs"):
        assert (await vouch.call("GET", path, key=None)).status == 200
    for method, path in (
        ("GET", "/v4/credentials"),
        ("POST", "/v4/credentials/verify"),
        ("DELETE", "/v4/credentials/x"),
    ):
        answer = await vouch.call(method, path, key=None)
        assert (answer.status, answer.json_body["code"]) == (401, 1100)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_two_schemes_are_a_400(vouch: Vouch) -> None:
    """Requirement 14."""
    headers = {"Authorization": f"Bearer {vouch.admin_key}"}
    answer = await vouch.call("GET", "/v4/credentials", headers=headers)
    assert (answer.status, answer.json_body["code"]) == (400, 1002)
    assert (await vouch.call("GET", "/v4/credentials", key=None, headers=headers)).status == 200


async def test_readiness_names_each_part_and_goes_before_the_service(vouch: Vouch) -> None:
    """Requirement 35: readiness turns off first."""
    from service.app_keys import HEALTH

    ready = await vouch.call("GET", "/readyz", key=None)
    assert ready.json_body == {"status": "ready", "checks": {"store": "ok", "key_ring": "ok"}}
    vouch.client.server.app[HEALTH].draining = True
    draining = await vouch.call("GET", "/readyz", key=None)
    assert draining.status == 503
    assert draining.json_body["checks"]["service"] == "draining"
    assert (await vouch.call("GET", "/livez", key=None)).status == 200


async def test_anonymous_callers_have_the_configured_role_and_no_more(start: Start, config: Config) -> None:
    vouch = await start(replace(config, auth=replace(config.auth, anonymous_role="viewer")))
    assert (await vouch.call("GET", "/v4/credentials", key=None)).status == 200
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"), key=None)).status == 403
    wrong = await vouch.call("GET", "/v4/credentials", key="vouch_0123456789abcdef_wrong")
    assert wrong.status == 401


@asynccontextmanager
async def listening(config: Config) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a vouch as `vouch serve` runs it."""
    await bootstrap.first_start(config, terminal=True)
    runner = Runner(create_app(config), header_seconds=config.server.header_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "raw",
    [
        f"GET / HTTP/1.1\r\nX-TILEDB-REST-API-KEY: {CANARY}\x01\r\n\r\n",
        f"GET / HTTP/1.1\r\nAuthorization {CANARY}\r\n\r\n",
        f"{CANARY}\r\n\r\n",
        f"GET / HTTP/1.1\r\nX-Long: {CANARY}{'x' * 20_000}\r\n\r\n",
        f"POST / HTTP/1.1\r\nContent-Length: {CANARY}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nX: {CANARY}\r\nContent-Length: 2\r\n\r\n{{}}",
    ],
)
async def test_malformed_http_is_answered_and_logged_without_being_quoted(
    config: Config, raw: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirement 30."""
    logs.configure("DEBUG", "json")
    with caplog.at_level(logging.DEBUG):
        async with listening(config) as (reader, writer):
            writer.write(raw.encode())
            answer = await asyncio.wait_for(reader.read(), 5)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b'"code":1000' in answer
    assert CANARY.encode() not in answer
    printed = capsys.readouterr()
    assert CANARY not in printed.out + printed.err + caplog.text


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.1",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8", "10.0.0.0/8"), "1.2.3.4, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        (("127.0.0.0/8",), "not an address", "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_says_who_the_client_is(
    start: Start,
    config: Config,
    capsys: pytest.CaptureFixture[str],
    trusted: tuple[str, ...],
    forwarded: str,
    expected: str,
) -> None:
    logs.configure("INFO", "json")
    vouch = await start(replace(config, server=replace(config.server, trusted_proxies=trusted)))
    await vouch.call("GET", "/v4/credentials", headers={"X-Forwarded-For": forwarded})
    assert f'"address":"{expected}"' in capsys.readouterr().err


@pytest.mark.parametrize("sent", ["", "GET /li", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_does_not_say_what_it_wants_is_closed(config: Config, sent: str) -> None:
    """Requirement 33."""
    impatient = replace(config, server=replace(config.server, header_seconds=0.2))
    async with listening(impatient) as (reader, writer):
        writer.write(sent.encode())
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 3) == b""
    async with listening(impatient) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n")
        await asyncio.sleep(0.4)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in (await reader.readuntil(b"Date: ") + await reader.readuntil(b" 200 "))


async def test_a_body_that_does_not_arrive_is_a_408(start: Start, config: Config) -> None:
    """Requirement 33."""
    vouch = await start(replace(config, server=replace(config.server, body_seconds=0.2)))

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(2)
        yield b"}"

    headers = {"Content-Type": "application/json"}
    answer = await vouch.call("POST", "/v4/credentials", data=slowly(), headers=headers)
    assert (answer.status, answer.json_body["code"]) == (408, 1000)


async def test_an_object_of_a_hundred_thousand_fields_is_refused_in_a_few_words(vouch: Vouch) -> None:
    """Requirement 32."""
    raw = "{" + ",".join(f'"{number}":1' for number in range(90_000)) + "}"
    headers = {"Content-Type": "application/json"}
    for method, path in (("POST", "/v4/credentials"), ("PATCH", "/v4/credentials/x"), ("POST", "/api/credentials")):
        answer = await vouch.call(method, path, data=io.BytesIO(raw.encode()), headers=headers)
        assert answer.status == 400
        assert len(await answer.read()) < 1000
    many = {"name": "x", "provider": "AWS"} | {str(number): 1 for number in range(3_000)}
    answer = await vouch.call("POST", "/v4/credentials", many)
    assert len(answer.json_body["validation_error"]["fields"]) == 100


async def test_a_name_may_have_braces(vouch: Vouch) -> None:
    body = create_body("aws key", "a{b}")
    created = await vouch.call("POST", "/v4/credentials", body)
    assert (await vouch.call("GET", created.headers["Location"])).json_body["data"]["name"] == "a{b}"


async def test_bad_utf_8_in_a_query_is_a_400(vouch: Vouch) -> None:
    assert (await vouch.client.get("/v4/credentials?teamspace_id=%ff", headers=key(vouch))).status == 400


def key(vouch: Vouch) -> dict[str, str]:
    return {"X-TILEDB-REST-API-KEY": vouch.admin_key}


async def test_two_hundred_changes_of_one_record_at_once_all_happen(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    calls = [vouch.call("PATCH", "/v4/credentials/one", {"allowed_in_tasks": bool(n % 2)}) for n in range(200)]
    assert {answer.status for answer in await asyncio.gather(*calls)} == {204}
