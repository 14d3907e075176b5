"""Every hostile token that we know of, against a real issuer on loopback: none authenticates anybody."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import get_algorithm_by_name

from service.auth.issuer import LONGEST_TOKEN
from service.auth.tokens import Tokens
from service.core.errors import NotAuthenticated
from tests.peers.issuer import (
    ABSENT,
    AUDIENCE,
    Issuer,
    altered,
    b64,
    confused,
    ec_key,
    public_jwk,
    rsa_key,
    sign,
    unsigned,
)


def under(header: bytes, claims: dict[str, Any] | None = None) -> str:
    """A token under a header of exactly these bytes, rightly signed."""
    signed = f"{b64(header)}.{b64(json.dumps(claims or {}).encode())}"
    return f"{signed}.{b64(get_algorithm_by_name('RS256').sign(signed.encode(), rsa_key(0)))}"


Mint = Callable[[Issuer], str]
PAST, FUTURE = int(time.time()) - 3600, int(time.time()) + 3600
FOREIGN = rsa_key(1)

HOSTILE: dict[str, Mint] = {
    "no algorithm, no signature": lambda i: unsigned(i.claims()),
    "no algorithm in another case": lambda i: unsigned(i.claims(), "nOnE"),
    "no algorithm with a signature": lambda i: unsigned(i.claims(), "none", "AAAA"),
    "listed algorithm, empty signature": lambda i: unsigned(i.claims(), "RS256"),
    "public key as HS256 secret": lambda i: confused(i.claims(), rsa_key(0)),
    "public key as HS384 secret": lambda i: confused(i.claims(), rsa_key(0), "HS384"),
    "public key as HS512 secret": lambda i: confused(i.claims(), rsa_key(0), "HS512"),
    "unlisted algorithm": lambda i: sign(ec_key(ec.SECP521R1()), "ES512", i.claims(), {"kid": "rsa-1"}),
    "algorithm that is a list": lambda i: i.mint(headers={"alg": ["RS256"]}),
    "algorithm that is a number": lambda i: i.mint(headers={"alg": 1}),
    "no algorithm member": lambda i: i.mint(headers={"alg": None}),
    "another algorithm of the same key than signed": lambda i: i.mint(headers={"alg": "RS512"}),
    "PS where the key says RS": lambda i: sign(rsa_key(0), "PS256", i.claims(), {"kid": "rsa-1"}),
    "EC under an RSA key's id": lambda i: sign(ec_key(), "ES256", i.claims(), {"kid": "rsa-1"}),
    "a stranger's key under ours' id": lambda i: sign(FOREIGN, "RS256", i.claims(), {"kid": "rsa-1"}),
    "unknown key id": lambda i: i.mint(headers={"kid": "nobody's"}),
    "empty key id": lambda i: i.mint(headers={"kid": ""}),
    "key id that is a path": lambda i: i.mint(headers={"kid": "../../dev/null"}),
    "key id that is a number": lambda i: i.mint(headers={"kid": 7}),
    "wrong audience": lambda i: i.mint(aud="https://other.example"),
    "audience as a prefix": lambda i: i.mint(aud=AUDIENCE + "/"),
    "no audience": lambda i: i.mint(aud=ABSENT),
    "empty audiences": lambda i: i.mint(aud=[]),
    "audience of the wrong type": lambda i: i.mint(aud={"a": AUDIENCE}),
    "wrong issuer": lambda i: i.mint(iss="https://other.example"),
    "issuer with a slash more": lambda i: i.mint(iss=i.url + "/"),
    "issuers as a list": lambda i: i.mint(iss=[i.url]),
    "no issuer": lambda i: i.mint(iss=ABSENT),
    "no expiry": lambda i: i.mint(exp=ABSENT),
    "null expiry": lambda i: i.mint(exp=None),
    "expired": lambda i: i.mint(exp=PAST),
    "expired a second ago": lambda i: i.mint(exp=int(time.time()) - 1),
    "expiry as text": lambda i: i.mint(exp=str(FUTURE)),
    "expiry that is true": lambda i: i.mint(exp=True),
    "expiry that is no number": lambda i: i.mint(exp=float("nan")),
    "expiry without end": lambda i: i.mint(exp=float("inf")),
    "expiry beyond floats": lambda i: i.mint(exp=10**400),
    "not yet valid": lambda i: i.mint(nbf=FUTURE),
    "not yet valid, as text": lambda i: i.mint(nbf="soon"),
    "null not-before": lambda i: i.mint(nbf=None),
    "issued in the future": lambda i: i.mint(iat=FUTURE),
    "issued as text": lambda i: i.mint(iat="now"),
    "unknown critical extension": lambda i: i.mint(headers={"crit": ["exp"], "exp": FUTURE}),
    "critical extension that libraries know": lambda i: i.mint(headers={"crit": ["b64"], "b64": True}),
    "unencoded payload": lambda i: i.mint(headers={"crit": ["b64"], "b64": False}),
    "empty critical list": lambda i: i.mint(headers={"crit": []}),
    "null critical list": lambda i: under(b'{"alg":"RS256","kid":"rsa-1","crit":null}', i.claims()),
    "a logout token": lambda i: i.mint(headers={"typ": "logout+jwt"}),
    "type that is a number": lambda i: i.mint(headers={"typ": 1}),
    "changed claims": lambda i: altered(i.mint(), role="admin"),
    "key sent along as jwk": lambda i: sign(
        FOREIGN, "RS256", i.claims(), {"kid": "own", "jwk": public_jwk(FOREIGN, "own")}
    ),
    "giant": lambda i: i.mint(padding="x" * LONGEST_TOKEN),
    "two segments": lambda i: i.mint().rpartition(".")[0],
    "four segments": lambda i: i.mint() + ".AAAA",
    "five segments, as if encrypted": lambda i: i.mint() + ".AAAA.AAAA",
    "padding": lambda i: i.mint() + "=",
    "a blank inside": lambda i: i.mint().replace(".", ". ", 1),
    "line end": lambda i: i.mint() + "\n",
    "not ASCII": lambda i: i.mint()[:-1] + "é",
    "not base64": lambda i: "a.a.a",
    "header that is no JSON": lambda i: under(b"{"),
    "header that is a list": lambda i: under(b"[]"),
    "header that is not UTF-8": lambda i: under(b"\xff" * 8),
    "header nested deep": lambda i: under(b"[" * 3000),
    "header with a number of 5,000 digits": lambda i: under(b'{"alg":"RS256","n":' + b"1" * 5000 + b"}"),
    "claims that are no JSON": lambda i: sign(rsa_key(0), "RS256", b"{", {"kid": "rsa-1"}),
    "claims that are a list": lambda i: sign(rsa_key(0), "RS256", b"[]", {"kid": "rsa-1"}),
    "claims nested deep": lambda i: sign(rsa_key(0), "RS256", b"[" * 5000, {"kid": "rsa-1"}),
    "claims that are not UTF-8": lambda i: sign(rsa_key(0), "RS256", b"\xff" * 8, {"kid": "rsa-1"}),
    "subject that is a number": lambda i: i.mint(sub=7),
    "empty": lambda i: "",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_token_authenticates_nobody(issuer: Issuer, tokens: Tokens, name: str) -> None:
    """Requirement 18: none, RS to HS, wrong audience and issuer, no expiry, unknown `crit` and more are 401."""
    token = HOSTILE[name](issuer)
    with pytest.raises(NotAuthenticated) as caught:
        await tokens.check(token)
    assert str(caught.value).endswith(".")
    assert len(token) < 20 or token not in str(caught.value)


@pytest.mark.parametrize("header", ["jku", "x5u"])
async def test_an_address_in_the_header_is_never_visited(issuer: Issuer, tokens: Tokens, header: str) -> None:
    """Requirement 18: keys come from the configured issuer alone."""
    stranger = Issuer()
    await stranger.start()
    stranger.rotate("theirs", rsa_key(1))
    token = sign(rsa_key(1), "RS256", issuer.claims(), {"kid": "theirs", header: stranger.jwks_url})
    with pytest.raises(NotAuthenticated):
        await tokens.check(token)
    assert stranger.requests == {}
    # Nor does such a header spoil a good token.
    assert (await tokens.check(issuer.mint(headers={header: stranger.jwks_url}))).id == "somebody"
    assert stranger.requests == {}
    await stranger.stop()


async def test_every_flipped_character_of_the_signature_is_noticed(issuer: Issuer, tokens: Tokens) -> None:
    token = issuer.mint()
    await tokens.check(token)
    start = token.rindex(".") + 1
    for place in range(start, len(token), 16):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(NotAuthenticated):
            await tokens.check(token[:place] + other + token[place + 1 :])
