"""Microsoft Entra's token endpoint on loopback HTTPS: it really checks client credentials, and answers as Entra does.

The grant is https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow, first case; errors
have the shape and the codes of https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import asyncio
import json
import secrets
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jwt
import pytest
import trustme
from aiohttp import web

CANARY = "entra-canary-51c0"
"""In every description of an error, so that tests can look for it in what vouch says."""


@dataclass(frozen=True)
class Refused(Exception):
    """An error to answer with: the OAuth error, the AADSTS code, and the status."""

    error: str
    code: int
    text: str
    status: int = 400


@dataclass
class Application:
    """An application: its client secrets and whether each has expired, and what else stops it."""

    secrets: dict[str, bool] = field(default_factory=dict)
    disabled: bool = False
    blocked: bool = False


@dataclass(frozen=True)
class Recorded:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


@cache
def certificate_authority() -> trustme.CA:
    """One for the whole test run."""
    return trustme.CA()


def ca_file(folder: Path) -> str:
    """Write the PEM of `certificate_authority` to a folder, and return the file's path."""
    file = str(folder / "entra-ca.pem")
    certificate_authority().cert_pem.write_to_path(file)
    return file


class Entra:
    """The authority: its tenants and their applications, what it was asked, and the tokens that it gave.

    Attributes:
        authority: `https://127.0.0.1:PORT`.
        ca_file: the PEM file of the authority that issued its certificate.
        hanging: whether requests get no answer.
    """

    def __init__(self) -> None:
        self.tenants: dict[str, dict[str, Application]] = {}
        self.requests: list[Recorded] = []
        self.tokens: list[str] = []
        self.authority = ""
        self.ca_file = ""
        self.hanging = False
        self.closing = asyncio.Event()
        self._forced: tuple[int, bytes, dict[str, str]] | None = None

    def register(self, tenant: str = "", *, expired: bool = False) -> dict[str, str]:
        """Register an application with a client secret, and return what its file says."""
        tenant, client = tenant or str(uuid.uuid4()), str(uuid.uuid4())
        secret = f"{secrets.token_urlsafe(6)}~{secrets.token_urlsafe(24)}"
        self.tenants.setdefault(tenant, {})[client] = Application({secret: expired})
        return {"tenant_id": tenant, "client_id": client, "client_secret": secret}

    def application(self, values: Mapping[str, str]) -> Application:
        """What `register` made."""
        return self.tenants[values["tenant_id"]][values["client_id"]]

    def answer_with(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer everything so from now on; `body` is bytes, or goes out as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._forced = (status, sent, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append(Recorded(request.path, dict(request.headers), form))
        if self.hanging:
            await self.closing.wait()
        if self._forced is not None:
            status, body, headers = self._forced
            return web.Response(status=status, body=body, headers=headers)
        tenant = request.match_info["tenant"]
        try:
            self._check(request, tenant, form)
        except Refused as refused:
            return web.json_response(error_body(refused), status=refused.status)
        self.tokens.append(_token(tenant, form["client_id"]))
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": self.tokens[-1]},
            headers={"Cache-Control": "no-store, no-cache"},
        )

    def _check(self, request: web.Request, tenant: str, form: Mapping[str, str]) -> None:
        applications = self.tenants.get(tenant)
        if applications is None:
            raise Refused("invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if request.content_type != "application/x-www-form-urlencoded" or "client_id" not in form:
            raise Refused("invalid_request", 900144, "The request body must contain 'client_id'.")
        if form.get("grant_type") != "client_credentials":
            raise Refused("unsupported_grant_type", 70003, "The grant type is not supported.")
        if form.get("scope") != "https://storage.azure.com/.default":
            raise Refused("invalid_scope", 1002012, "The provided value for scope is not valid.")
        application = applications.get(form["client_id"])
        if application is None:
            raise Refused("unauthorized_client", 700016, f"Application '{form['client_id']}' was not found.")
        if application.disabled:
            raise Refused("unauthorized_client", 7000112, "Application is disabled.")
        expired = application.secrets.get(form.get("client_secret", ""))
        if expired is None:
            raise Refused("invalid_client", 7000215, "Invalid client secret provided.", 401)
        if expired:
            raise Refused("invalid_client", 7000222, "The provided client secret keys are expired.", 401)
        if application.blocked:
            raise Refused("invalid_grant", 53003, "Access has been blocked by Conditional Access policies.")


def error_body(refused: Refused) -> dict[str, object]:
    """The JSON of an error."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    ids = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
    return {
        "error": refused.error,
        "error_description": f"AADSTS{refused.code}: {refused.text} {CANARY} {ids}",
        "error_codes": [refused.code],
        "timestamp": now,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={refused.code}",
    }


def _token(tenant: str, client: str) -> str:
    """A token for storage with the claims that Entra's have, signed with a key that nobody knows."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": f"https://sts.windows.net/{tenant}/",
        "iat": now,
        "nbf": now,
        "exp": now + 3599,
        "appid": client,
        "tid": tenant,
        "ver": "1.0",
    }
    return jwt.encode(claims, secrets.token_bytes(32), algorithm="HS256")


@pytest.fixture
async def entra(tmp_path: Path) -> AsyncIterator[Entra]:
    """An authority of its own for one test."""
    peer = Entra()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority().issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    app = web.Application()
    app.router.add_post("/{tenant}/oauth2/v2.0/token", peer.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    peer.authority, peer.ca_file = f"https://127.0.0.1:{runner.addresses[0][1]}", ca_file(tmp_path)
    yield peer
    peer.closing.set()
    await runner.cleanup()
