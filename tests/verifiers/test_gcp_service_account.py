"""The Google service-account verifier against a token endpoint that really checks the assertion."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers.google import TokenEndpoint, pem, rsa_key
from tests.verifiers.google_keys import BAD_KEYS, CANARY, ask, checks, said
from verifiers.gcp_service_account import KIND, LIFETIME
from verifiers.verdict import Outcome

# What the provider says


async def test_a_good_key_is_verified_and_says_whose_it_is(google: TokenEndpoint) -> None:
    file = google.make_key(email="etl@proj-7.iam.gserviceaccount.com", project="proj-7")
    report = await ask(google, file)
    assert said(report) == ("verified", "ok", "none")
    assert report.identity == {
        "email": "etl@proj-7.iam.gserviceaccount.com",
        "project_id": "proj-7",
        "key_id": file["private_key_id"],
    }
    assert checks(report) == {"key_file": "pass", "token_uri_pinned": "pass", "authenticates": "pass"}


async def test_one_bounded_call_proves_it(google: TokenEndpoint) -> None:
    file = google.make_key()
    await ask(google, file)
    (request,) = google.requests
    assert request.header == {"typ": "JWT", "alg": "RS256", "kid": file["private_key_id"]}
    assert set(request.claims) == {"iss", "scope", "aud", "iat", "exp"}
    assert request.claims["aud"] == "https://oauth2.googleapis.com/token"
    assert request.claims["exp"] - request.claims["iat"] == LIFETIME <= 3600
    assert request.headers["User-Agent"].startswith("vouch/")


async def test_a_key_of_4096_bits_works_too(google: TokenEndpoint) -> None:
    file = google.make_key()
    big = generate_private_key(public_exponent=65537, key_size=4096)
    google.accounts[file["client_email"]].keys[file["private_key_id"]] = big
    assert said(await ask(google, {**file, "private_key": pem(big)})) == ("verified", "ok", "none")


async def test_a_key_in_the_older_pem_form_works_too(google: TokenEndpoint) -> None:
    older = rsa_key(0).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert said(await ask(google, {**google.make_key(), "private_key": older})) == ("verified", "ok", "none")


async def test_a_rotated_key_is_a_bad_secret(google: TokenEndpoint) -> None:
    file = google.make_key()
    google.accounts[file["client_email"]].keys[file["private_key_id"]] = rsa_key(1)
    report = await ask(google, file)
    assert said(report) == ("failed", "bad_secret", "credential")
    assert checks(report)["authenticates"] == "fail"
    assert report.identity == {}


async def test_a_deleted_key_is_a_bad_secret(google: TokenEndpoint) -> None:
    file = google.make_key()
    del google.accounts[file["client_email"]].keys[file["private_key_id"]]
    assert said(await ask(google, file)) == ("failed", "bad_secret", "credential")


async def test_a_deleted_account_is_disabled(google: TokenEndpoint) -> None:
    file = google.make_key()
    del google.accounts[file["client_email"]]
    assert said(await ask(google, file)) == ("failed", "disabled", "credential")


async def test_a_disabled_account_is_disabled(google: TokenEndpoint) -> None:
    file = google.make_key()
    google.accounts[file["client_email"]].disabled = True
    assert said(await ask(google, file)) == ("failed", "disabled", "credential")


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(hours=-2)])
async def test_a_wrong_clock_of_ours_says_nothing_about_the_key(google: TokenEndpoint, ahead: timedelta) -> None:
    report = await ask(google, google.make_key(), ahead=ahead)
    assert said(report) == ("unknown", "clock_skew", "service")
    assert checks(report)["authenticates"] == "skip"


async def test_a_redirect_is_not_followed(google: TokenEndpoint) -> None:
    """Requirement 4."""
    google.answer_with(307, b"", {"Location": f"{google.origin}/token"})
    assert said(await ask(google, google.make_key())) == ("unknown", "provider_error", "provider")
    assert len(google.requests) == 1


async def test_nobody_at_the_endpoint_is_unreachable(google: TokenEndpoint) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    report = await ask(google, google.make_key(), token_uri=f"http://127.0.0.1:{port}/token")
    assert said(report) == ("unknown", "unreachable", "network")


async def test_an_endpoint_that_hangs_is_a_timeout(google: TokenEndpoint) -> None:
    release = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        report = await ask(google, google.make_key(), token_uri=f"http://127.0.0.1:{port}/token", deadline=0.4)
        release.set()
    assert said(report) == ("unknown", "timeout", "network")


# What the file may not choose


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[int]]]:
    """A listener that a hostile key file names, and the connections that were made to it."""
    connections: list[int] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token", connections


async def test_the_files_own_token_uri_is_never_contacted(google: TokenEndpoint, trap: tuple[str, list[int]]) -> None:
    """Requirement 7."""
    address, connections = trap
    file = {**google.make_key(), "token_uri": address, "auth_uri": address, "client_x509_cert_url": address}
    report = await ask(google, file)
    assert said(report) == ("verified", "ok", "none")
    assert checks(report) == {"key_file": "pass", "token_uri_pinned": "warn", "authenticates": "pass"}
    assert connections == []
    assert len(google.requests) == 1
    assert address not in json.dumps(report.to_dict())


@pytest.mark.parametrize("token_uri", [5, ["https://evil.example"], {}, "", "x" * 5000])
async def test_a_token_uri_of_any_type_is_ignored(google: TokenEndpoint, token_uri: object) -> None:
    report = await ask(google, {**google.make_key(), "token_uri": token_uri})
    assert said(report) == ("verified", "ok", "none")
    assert checks(report)["token_uri_pinned"] == "warn"


@pytest.mark.parametrize(
    "token_uri",
    [
        None,
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    ],
)
async def test_what_google_wrote_into_files_is_no_reason_to_warn(google: TokenEndpoint, token_uri: str | None) -> None:
    assert checks(await ask(google, {**google.make_key(), "token_uri": token_uri}))["token_uri_pinned"] == "pass"


@pytest.mark.parametrize("universe", ["apis-tpczero.goog", "googleapis.com.evil.example", "", 5, {}])
async def test_a_foreign_universe_is_not_contacted(google: TokenEndpoint, universe: object) -> None:
    """Requirement 7."""
    report = await ask(google, {**google.make_key(), "universe_domain": universe})
    assert said(report) == ("unknown", "blocked_endpoint", "policy")
    assert google.requests == []


async def test_an_older_file_without_a_universe_is_googles_own(google: TokenEndpoint) -> None:
    file = google.make_key()
    del file["universe_domain"]
    assert said(await ask(google, file)) == ("verified", "ok", "none")


@pytest.mark.parametrize("name", ["no key at all", "a wrong exponent", "an elliptic-curve key"])
async def test_a_key_that_does_not_load_is_malformed_without_a_call(google: TokenEndpoint, name: str) -> None:
    report = await ask(google, {**google.make_key(), "private_key": BAD_KEYS[name]})
    assert said(report) == ("failed", "malformed", "credential")
    assert google.requests == []


async def test_a_verification_costs_little_of_the_processor(google: TokenEndpoint) -> None:
    """OpenSSL's own check of the key takes 40 ms and holds the interpreter, thread or not; ours is quick."""
    file = google.make_key()
    await ask(google, file)  # imports google-auth
    started = time.process_time()
    for _ in range(20):
        assert said(await ask(google, file)) == ("verified", "ok", "none")
    assert (time.process_time() - started) / 20 < 0.020  # the peer's own work included


async def test_a_stored_file_that_no_longer_reads_is_malformed(google: TokenEndpoint) -> None:
    report = await ask(google, KIND.split({"key_text": f"{{{CANARY}", "account_id": "a", "key_id": "b"}))
    assert said(report) == ("failed", "malformed", "credential")
    assert CANARY not in json.dumps(report.to_dict())


# What must not be seen


@pytest.mark.parametrize("case", ["good", "bad secret", "hostile", "garbage", "unreachable", "damaged"])
async def test_nothing_secret_is_in_report_log_or_repr(
    google: TokenEndpoint, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    file = google.make_key()
    token_uri = ""
    match case:
        case "bad secret":
            google.accounts[file["client_email"]].keys[file["private_key_id"]] = rsa_key(1)
        case "hostile":
            file |= {"token_uri": f"https://{CANARY}.example/", "note": CANARY, "project_id": f"{CANARY} !"}
        case "garbage":
            google.answer_with(400, {"error": f"{CANARY} x", "error_description": CANARY, "x": CANARY})
        case "unreachable":
            token_uri = "http://127.0.0.1:1/token"
        case "damaged":
            file["private_key"] = BAD_KEYS["a wrong exponent"]
    report = await ask(google, file, token_uri=token_uri)
    lines = [line for line in file["private_key"].split("\n") if line and not line.startswith("-")]
    assertions = [request.form["assertion"] for request in google.requests]
    seen = json.dumps(report.to_dict()) + repr(report) + caplog.text + "".join(map(repr, caplog.records))
    for hidden in (*lines, *assertions, *google.tokens, CANARY):
        assert hidden not in seen
    assert report.verdict.outcome in Outcome
