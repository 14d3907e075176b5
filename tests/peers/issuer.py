"""An OAuth2 issuer on loopback: discovery, a key set, rotation, and tokens, hostile ones too."""

import base64
import hashlib
import hmac
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import jwt
import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "https://vouch.example"

ABSENT = object()
"""As a claim's value in `mint`: the token goes without it."""


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; another for another number. Making one takes 50 ms, so each is made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def b64(data: bytes) -> str:
    """Base64url without padding, as RFC 7515 section 2 has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(key: Any, key_id: str | None, **members: Any) -> dict[str, Any]:
    """The public key of a pair as a JSON Web Key."""
    public = key.public_key()
    for loader in (RSAAlgorithm, ECAlgorithm, OKPAlgorithm):
        try:
            jwk = loader.to_jwk(public, as_dict=True)
            break
        except (jwt.InvalidKeyError, AttributeError):
            continue
    jwk.pop("key_ops", None)
    if key_id is not None:
        jwk["kid"] = key_id
    return jwk | members


def pem(key: Any) -> bytes:
    """The public key as PEM: what an attacker knows."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Issuer:
    """The issuer. `keys` is what it signs with, `published` the members of its key set; change them at will.

    `requests` counts by path. `discovery` and `answer` override what it says; `on` false drops connections. With an
    authority it speaks TLS, with a certificate that this one signed. `wanted`, if set, is the bearer token without
    which it tells nothing, as Kubernetes' API server; `shown` are the `Authorization` headers that came.
    """

    def __init__(self, authority: trustme.CA | None = None, *, key: int = 0) -> None:
        self.authority = authority
        self.wanted = ""
        self.shown: list[str | None] = []
        self.keys: dict[str, tuple[Any, str]] = {}
        self.published: list[Any] = []
        self.requests: Counter[str] = Counter()
        self.discovery: dict[str, Any] = {}
        self.answer: web.Response | None = None
        self.on = True
        self.url = ""
        self._runner: web.AppRunner | None = None
        self.add("rsa-1", rsa_key(key), "RS256")

    def add(self, key_id: str, key: Any, algorithm: str, **members: Any) -> None:
        """Have another key, and publish it."""
        self.keys[key_id] = (key, algorithm)
        self.published.append(public_jwk(key, key_id, **{"use": "sig", "alg": algorithm} | members))

    def rotate(self, key_id: str, key: Any, algorithm: str = "RS256") -> None:
        """Have and publish this key alone."""
        self.keys.clear()
        self.published.clear()
        self.add(key_id, key, algorithm)

    @property
    def jwks_url(self) -> str:
        """Where the key set is."""
        return f"{self.url}/jwks"

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_get("/jwks", self._jwks)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        tls = None
        if self.authority is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("127.0.0.1").configure_cert(tls)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _discover(self, request: web.Request) -> web.Response:
        self._count(request)
        if self._refuses(request):
            return web.Response(status=401)
        return web.json_response({"issuer": self.url, "jwks_uri": self.jwks_url} | self.discovery)

    async def _jwks(self, request: web.Request) -> web.Response:
        self._count(request)
        if self._refuses(request):
            return web.Response(status=401)
        if self.answer is not None:
            given = self.answer
            return web.Response(status=given.status, body=given.body, headers=given.headers)
        return web.json_response({"keys": self.published})

    def _count(self, request: web.Request) -> None:
        self.requests[request.path] += 1
        if not self.on:
            assert request.transport is not None
            request.transport.abort()

    def _refuses(self, request: web.Request) -> bool:
        self.shown.append(request.headers.get("Authorization"))
        return bool(self.wanted) and self.shown[-1] != f"Bearer {self.wanted}"

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token with these changes."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": now,
            "exp": now + 300,
            "workspace": "ws_default",
            "role": "editor",
        }
        return {name: value for name, value in (good | changes).items() if value is not ABSENT}

    def mint(self, key_id: str = "rsa-1", *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token signed with one of the keys. A header of None is left out."""
        key, algorithm = self.keys[key_id]
        return sign(key, algorithm, self.claims(**changes), {"kid": key_id} | (headers or {}))


def sign(key: Any, algorithm: str, claims: dict[str, Any] | bytes, headers: dict[str, Any]) -> str:
    """A JWS of any claims (or any bytes) under any header: nothing is checked on the way."""
    header = {"alg": algorithm, "typ": "JWT"} | headers
    header = {name: value for name, value in header.items() if value is not None}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    by = jwt.get_algorithm_by_name(algorithm)
    return f"{signed}.{b64(by.sign(signed.encode(), by.prepare_key(key)))}"


def unsigned(claims: dict[str, Any], algorithm: str = "none", signature: str = "") -> str:
    """A token of the algorithm `none`, or one that claims another and isn't signed."""
    header = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}.{signature}"


def confused(claims: dict[str, Any], key: Any, algorithm: str = "HS256") -> str:
    """A token signed by HMAC with the issuer's public key as the secret (RFC 8725 section 2.1)."""
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    header = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(hmac.new(pem(key), signed.encode(), digest).digest())}"


def altered(token: str, **changes: Any) -> str:
    """The token with other claims under the old signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{header}.{b64(json.dumps(claims | changes).encode())}.{signature}"


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A key on P-256, or on the curve that is named."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def ed_key() -> ed25519.Ed25519PrivateKey:
    """An Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer that listens, with one RSA key."""
    one = Issuer()
    await one.start()
    yield one
    await one.stop()
