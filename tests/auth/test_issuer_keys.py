"""The issuer's key set: when it is fetched, what of it is used, and what happens while the issuer is away."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from service.auth.issuer_keys import COOLDOWN_SECONDS, REFRESH_SECONDS, RETRY_SECONDS
from service.auth.settings import OAuth2Settings
from service.auth.tokens import Tokens
from service.core.errors import NotAuthenticated, Overloaded
from tests.auth.fakes import Clock
from tests.peers.issuer import (
    AUDIENCE,
    Issuer,
    b64,
    ec_key,
    public_jwk,
    rsa_key,
    sign,
)
from verifiers.egress import Egress


async def until_fetched(issuer: Issuer, times: int) -> None:
    async with asyncio.timeout(5):
        while issuer.requests["/jwks"] < times:  # noqa: ASYNC110 - it happens in a peer or a thread
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)


async def test_a_new_key_is_found_at_once_after_a_rotation(issuer: Issuer, tokens: Tokens) -> None:
    """Requirement 18."""
    await tokens.check(issuer.mint())
    issuer.rotate("rsa-2", rsa_key(1))
    assert (await tokens.check(issuer.mint("rsa-2"))).id == "somebody"
    assert issuer.requests["/jwks"] == 2


async def test_unknown_key_ids_cause_one_fetch_a_cooldown(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    """Requirement 18: a stranger sets no pace."""
    await tokens.check(issuer.mint())
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            await tokens.check(issuer.mint(headers={"kid": f"invented {number}"}))
    assert issuer.requests["/jwks"] == 2
    clock.advance(COOLDOWN_SECONDS)
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            await tokens.check(issuer.mint(headers={"kid": f"invented {number}"}))
    assert issuer.requests["/jwks"] == 3


async def test_requests_at_once_share_one_fetch(issuer: Issuer, tokens: Tokens) -> None:
    """Requirement 18."""
    await asyncio.gather(*(tokens.check(issuer.mint(sub=str(number))) for number in range(30)))
    assert issuer.requests["/jwks"] == 1
    issuer.rotate("rsa-2", rsa_key(1))
    await asyncio.gather(*(tokens.check(issuer.mint("rsa-2", sub=str(number))) for number in range(30)))
    assert issuer.requests["/jwks"] == 2


async def test_a_request_that_is_cancelled_leaves_the_fetch_to_the_others(issuer: Issuer, tokens: Tokens) -> None:
    first = asyncio.create_task(tokens.check(issuer.mint(sub="a")))
    second = asyncio.create_task(tokens.check(issuer.mint(sub="b")))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).id == "b"
    assert issuer.requests["/jwks"] == 1


async def test_the_old_set_serves_while_the_issuer_is_down(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    """Requirement 18."""
    await tokens.check(issuer.mint())
    issuer.on = False
    for minute in range(120):
        clock.advance(60)
        assert (await tokens.check(issuer.mint(sub=str(minute)))).id == str(minute)
    with pytest.raises(NotAuthenticated):
        await tokens.check(issuer.mint(headers={"kid": "invented"}))


async def test_a_stale_set_serves_at_once_and_is_refreshed_behind_the_request(
    issuer: Issuer, tokens: Tokens, clock: Clock
) -> None:
    await tokens.check(issuer.mint())
    old = issuer.mint(sub="old")
    issuer.rotate("rsa-2", rsa_key(1))
    clock.advance(REFRESH_SECONDS - 1)
    assert (await tokens.check(old)).id == "old"
    assert issuer.requests["/jwks"] == 1
    clock.advance(1)
    stale = sign(rsa_key(0), "RS256", issuer.claims(sub="stale"), {"kid": "rsa-1"})
    assert (await tokens.check(stale)).id == "stale"
    await until_fetched(issuer, 2)
    late = sign(rsa_key(0), "RS256", issuer.claims(sub="late"), {"kid": "rsa-1"})
    with pytest.raises(NotAuthenticated):
        await tokens.check(late)


async def test_without_any_keys_a_token_is_not_called_wrong(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    """Nothing is known about it: 503, not 401."""
    issuer.on = False
    with pytest.raises(Overloaded) as caught:
        await tokens.check(issuer.mint())
    assert caught.value.retry_after == RETRY_SECONDS
    assert "issuer" in str(caught.value)
    # A stranger's requests don't make ours to the issuer, but the pause passes.
    before = issuer.requests.total()
    for _ in range(20):
        with pytest.raises(Overloaded):
            await tokens.check(issuer.mint())
    assert issuer.requests.total() == before
    issuer.on = True
    clock.advance(RETRY_SECONDS)
    assert (await tokens.check(issuer.mint())).id == "somebody"


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
        web.Response(body=b""),
        web.Response(body=b"<html>"),
        web.Response(body=b"[]"),
        web.Response(body=b"null"),
        web.Response(body=b"\xff\xfe"),
        web.Response(body=b"[" * 60_000),
        web.Response(body=b'{"keys": {}}'),
        web.Response(body=b'{"keys": []}'),
        web.Response(body=b'{"keys": [1, null, [], "x"]}'),
        web.Response(body=b'{"keys": [], "padding": "' + b"x" * 70_000 + b'"}'),
    ],
)
async def test_a_key_set_that_is_none_leaves_the_old_one_in_place(
    issuer: Issuer, tokens: Tokens, answer: web.Response, clock: Clock
) -> None:
    await tokens.check(issuer.mint())
    issuer.answer = answer
    clock.advance(REFRESH_SECONDS)
    await tokens.check(issuer.mint(sub="during"))
    await until_fetched(issuer, 2)
    assert (await tokens.check(issuer.mint(sub="after"))).id == "after"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": ""},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "/jwks"},
    ],
)
async def test_a_discovery_document_that_is_anothers_or_broken_gives_no_keys(
    issuer: Issuer, tokens: Tokens, discovery: dict[str, Any]
) -> None:
    """Requirement 18: the issuer, exactly."""
    issuer.discovery = discovery
    with pytest.raises(Overloaded):
        await tokens.check(issuer.mint())
    assert issuer.requests["/jwks"] == 0


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


UNUSABLE: dict[str, dict[str, Any]] = {
    "for encryption": public_jwk(rsa_key(0), "k", use="enc"),
    "for signing alone": public_jwk(rsa_key(0), "k", key_ops=["sign"]),
    "operations of the wrong type": public_jwk(rsa_key(0), "k", key_ops="verify"),
    "for an algorithm that is not listed": public_jwk(rsa_key(0), "k", alg="RSA-OAEP"),
    "for HS256": public_jwk(rsa_key(0), "k", alg="HS256"),
    "for another algorithm": public_jwk(rsa_key(0), "k", alg="PS256"),
    "algorithm that is a list": public_jwk(rsa_key(0), "k", alg=["RS256"]),
    "too short": public_jwk(rsa_key(2, 1024), "k"),
    "symmetric": {"kty": "oct", "kid": "k", "k": b64(b"x" * 32)},
    "no type": without(public_jwk(rsa_key(0), "k"), "kty"),
    "type that is a list": public_jwk(rsa_key(0), "k", kty=["RSA"]),
    "no modulus": without(public_jwk(rsa_key(0), "k"), "n"),
    "empty modulus": public_jwk(rsa_key(0), "k", n=""),
    "modulus that is no base64": public_jwk(rsa_key(0), "k", n="é"),
    "modulus that is a number": public_jwk(rsa_key(0), "k", n=7),
    "exponent of one": public_jwk(rsa_key(0), "k", e=b64(b"\x01")),
    "key id that is a number": public_jwk(rsa_key(0), None, kid=7),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_key_that_is_not_for_this_is_not_used_and_does_not_spoil_the_others(
    issuer: Issuer, tokens: Tokens, name: str
) -> None:
    """Requirement 18."""
    issuer.published.append(UNUSABLE[name])
    assert (await tokens.check(issuer.mint())).id == "somebody"
    key = rsa_key(2, 1024) if name == "too short" else rsa_key(0)
    with pytest.raises(NotAuthenticated):
        await tokens.check(sign(key, "RS256", issuer.claims(), {"kid": "k"}))


async def test_an_algorithm_does_not_go_with_a_key_of_another_curve(issuer: Issuer, tokens: Tokens) -> None:
    key = ec_key(ec.SECP384R1())
    issuer.published.append(public_jwk(key, "p384"))
    assert (await tokens.check(sign(key, "ES384", issuer.claims(), {"kid": "p384"}))).id == "somebody"
    with pytest.raises(NotAuthenticated):
        await tokens.check(sign(ec_key(), "ES256", issuer.claims(), {"kid": "p384"}))


async def test_a_key_without_an_algorithm_serves_each_that_fits_its_type(issuer: Issuer, tokens: Tokens) -> None:
    issuer.published.append(public_jwk(rsa_key(1), "any"))
    for algorithm in ("RS256", "PS512"):
        token = sign(rsa_key(1), algorithm, issuer.claims(sub=algorithm), {"kid": "any"})
        assert (await tokens.check(token)).id == algorithm


async def test_a_published_private_key_is_taken_for_its_public_half(issuer: Issuer, tokens: Tokens) -> None:
    numbers = rsa_key(1).private_numbers()
    issuer.published.append(public_jwk(rsa_key(1), "leaky", d=b64(numbers.d.to_bytes(256, "big"))))
    token = sign(rsa_key(1), "RS256", issuer.claims(), {"kid": "leaky"})
    assert (await tokens.check(token)).id == "somebody"


async def test_a_token_without_a_key_id_is_checked_with_the_only_key_that_fits(issuer: Issuer, tokens: Tokens) -> None:
    assert (await tokens.check(issuer.mint(headers={"kid": None}))).id == "somebody"


async def test_a_token_without_a_key_id_is_refused_where_several_keys_fit(issuer: Issuer, tokens: Tokens) -> None:
    issuer.add("rsa-2", rsa_key(1), "RS256")
    with pytest.raises(NotAuthenticated):
        await tokens.check(issuer.mint(headers={"kid": None}))


async def test_what_is_under_way_stops_when_the_service_does(issuer: Issuer, egress: Egress) -> None:
    tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator)
    waiting = asyncio.create_task(tokens.check(issuer.mint()))
    await asyncio.sleep(0)
    await tokens.close()
    with pytest.raises((asyncio.CancelledError, Overloaded)):
        await waiting
