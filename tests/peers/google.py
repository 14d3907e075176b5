"""Google's token endpoint on loopback: it really checks the RS256 assertion, and answers in Google's words.

What it checks, and what it says, is in the sections "HTTP/REST" and "Error codes" of
https://developers.google.com/identity/protocols/oauth2/service-account. Beside it are the peers that take its tokens:
`tests/peers/google_storage.py`.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers.google_storage import Rights, SecurityTokenService, Storage

AUDIENCE = "https://oauth2.googleapis.com/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST = 3600  # seconds between iat and exp
SKEW = 300  # seconds that iat may be ahead

BAD_SIGNATURE = "Invalid JWT Signature."
NOT_FOUND = "Invalid grant: account not found"
BAD_AUDIENCE = "Invalid JWT: Failed audience check."
BAD_TIME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)
BAD_SCOPE = "Invalid OAuth scope or ID token audience provided."


@cache
def rsa_key(number: int) -> RSAPrivateKey:
    """The same key for the same number all through the test run: making one takes a tenth of a second."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: RSAPrivateKey) -> str:
    """A private key as key files have it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass(frozen=True)
class Refused(Exception):
    """An OAuth error to answer with."""

    error: str
    description: str
    status: int = 400


@dataclass
class Account:
    """A service account: its keys by id, and whether it is disabled."""

    keys: dict[str, RSAPrivateKey] = field(default_factory=dict)
    disabled: bool = False


@dataclass(frozen=True)
class Recorded:
    """One request as it came: the form, and the assertion's header and claims without any check."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class TokenEndpoint:
    """The endpoint, its accounts, what it was asked, and the access tokens that it gave.

    A token ends with its assertion; `hour_long` makes it live an hour whatever was asked, for Google promises neither.
    `sts` narrows the tokens, and `storage` takes them.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.requests: list[Recorded] = []
        self.tokens: list[str] = []
        self.origin = ""
        self.hour_long = False
        self.rights: dict[str, Rights] = {}
        self.sts = SecurityTokenService(self.rights)
        self.storage = Storage(self.rights)
        self._forced: tuple[int, bytes, dict[str, str]] | None = None

    @property
    def token_uri(self) -> str:
        """Where it is, for `[providers.gcp] token_uri`."""
        return f"{self.origin}/token"

    @property
    def sts_endpoint(self) -> str:
        """Where tokens are narrowed, for `[providers.gcp] sts_endpoint`."""
        return f"{self.origin}/v1/token"

    def make_key(
        self, email: str = "etl@proj-1.iam.gserviceaccount.com", project: str = "proj-1", *, number: int = 0
    ) -> dict[str, Any]:
        """Register a key of an account, and return the key file as Google makes it, `token_uri` included."""
        key_id = secrets.token_hex(20)
        self.accounts.setdefault(email, Account()).keys[key_id] = rsa_key(number)
        return {
            "type": "service_account",
            "project_id": project,
            "private_key_id": key_id,
            "private_key": pem(rsa_key(number)),
            "client_email": email,
            "client_id": "104727004242420010001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": AUDIENCE,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email}",
            "universe_domain": "googleapis.com",
        }

    def answer_with(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer everything so from now on; `body` is bytes, or goes out as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._forced = (status, sent, {"Content-Type": "application/json", **(headers or {})})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        header, claims = _unchecked(form.get("assertion", ""))
        self.requests.append(Recorded(request.path, dict(request.headers), form, header, claims))
        if self._forced is not None:
            status, body, headers = self._forced
            return web.Response(status=status, body=body, headers=headers)
        try:
            self._check(request, form, header, claims)
        except Refused as refused:
            body = {"error": refused.error, "error_description": refused.description}
            return web.json_response(body, status=refused.status)
        self.tokens.append(f"ya29.c.{secrets.token_urlsafe(48)}")
        seconds = LONGEST - 1 if self.hour_long else int(claims["exp"] - time.time())
        self.rights[self.tokens[-1]] = Rights(claims["iss"], claims["scope"], time.time() + seconds)
        return web.json_response(
            {"access_token": self.tokens[-1], "expires_in": seconds, "token_type": "Bearer"},
            headers={"Cache-Control": "no-cache, no-store"},
        )

    def _check(
        self, request: web.Request, form: Mapping[str, str], header: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> None:
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused("invalid_request", "Bad Request")
        if form.get("grant_type") != GRANT:
            raise Refused("unsupported_grant_type", "Invalid grant_type")
        if not claims:
            raise Refused("invalid_request", "Bad Request")
        account = self.accounts.get(str(claims.get("iss")))
        if account is None:
            raise Refused("invalid_grant", NOT_FOUND)
        if account.disabled:
            raise Refused("disabled_client", "The OAuth client was disabled.", status=401)
        key = account.keys.get(str(header.get("kid")))
        if key is None or not _signed_by(key, form["assertion"]):
            raise Refused("invalid_grant", BAD_SIGNATURE)
        if not _timely(claims.get("iat"), claims.get("exp"), time.time()):
            raise Refused("invalid_grant", BAD_TIME)
        if not str(claims.get("scope", "")).startswith("https://www.googleapis.com/auth/"):
            raise Refused("invalid_scope", BAD_SCOPE)
        if claims.get("aud") != AUDIENCE:
            raise Refused("invalid_grant", BAD_AUDIENCE)


def _timely(iat: object, exp: object, now: float) -> bool:
    if not isinstance(iat, int) or not isinstance(exp, int):
        return False
    return iat <= now + SKEW and exp > now and 0 < exp - iat <= LONGEST


def _unchecked(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        read = jwt.decode_complete(assertion, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}, {}
    return read["header"], read["payload"]


def _signed_by(key: RSAPrivateKey, assertion: str) -> bool:
    try:
        jwt.PyJWS().decode(assertion, key.public_key(), algorithms=["RS256"])
    except jwt.PyJWTError:
        return False
    return True


@pytest.fixture
async def google() -> AsyncIterator[TokenEndpoint]:
    """A token endpoint of its own for one test."""
    endpoint = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/token", endpoint.handle)
    app.router.add_post("/v1/token", endpoint.sts.handle)
    app.router.add_routes(endpoint.storage.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield endpoint
    await runner.cleanup()
