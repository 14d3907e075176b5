"""A vouch whose AWS is a stub, credentials to lease there, and the sessions that the stub gives for them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.config import Config, VerificationConfig
from tests.api.payloads import KINDS, create_body
from tests.conftest import Vouch
from tests.peers.aws_stub import (
    ASSUMED_ROLE,
    OWN_SESSION,
    SESSION_SECRET,
    SESSION_TOKEN,
    AwsStub,
    Scripted,
)
from verifiers.settings import AwsSettings, GcpSettings, ProviderSettings

ROLE = "arn:aws:iam::123456789012:role/team/jobs"
THROUGH_A_ROLE = {"role_arn": ROLE, "external_id": "job:7", "ttl_seconds": 900}
STORED_SECRET: str = KINDS["aws key"][4]["secret_access_key"]
MATERIAL = (SESSION_SECRET, SESSION_TOKEN)


def session(seconds: float = 900, template: str = ASSUMED_ROLE) -> Scripted:
    """An answer of STS with a session that lives so long."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return Scripted(200, template.replace("2030-01-01T00:00:00Z", f"{end:%Y-%m-%dT%H:%M:%SZ}"))


def own_session(seconds: float = 900) -> Scripted:
    """The same of a key itself."""
    return session(seconds, OWN_SESSION)


def before(config: Config, sts: str, *, deadline: float = 5.0, google: str = "", **more: Any) -> Config:
    """The configuration of a vouch whose AWS, and perhaps Google, is there; `more` is for `[verification]`."""
    gcp = GcpSettings(token_uri=f"{google}/token", sts_endpoint=f"{google}/v1/token") if google else GcpSettings()
    return replace(
        config,
        providers=ProviderSettings(aws=AwsSettings(sts_endpoint=sts), gcp=gcp),
        verification=VerificationConfig(deadline_seconds=deadline, **more),
    )


async def store(vouch: Vouch, body: dict[str, Any]) -> str:
    """Store a credential that is allowed in tasks; its id."""
    answer = await vouch.call("POST", "/v4/credentials", body | {"allowed_in_tasks": True})
    assert answer.status == 201, answer.json_body
    got = await vouch.call("GET", f"/v4/credentials/{body['name']}")
    return str(got.json_body["data"]["id"])


def key_body(name: str = "lake") -> dict[str, Any]:
    """A key of AWS itself: one with an endpoint can't be leased."""
    body = create_body("aws key", name)
    del body["credential"]["aws"]["endpoint"], body["credential"]["aws"]["use_path_style"]
    return body


async def keep_key(vouch: Vouch, name: str = "lake") -> str:
    """Store an AWS key; its id."""
    return await store(vouch, key_body(name))


async def lease(vouch: Vouch, id_: str, wanted: Any = None, key: str = "") -> Any:
    """The answer to the wish for a lease, through a role if nothing else is said."""
    body = THROUGH_A_ROLE if wanted is None else wanted
    return await vouch.call("POST", f"/v1/credentials/{id_}/lease", body, key=key)


async def listed(vouch: Vouch) -> list[dict[str, Any]]:
    """The list of leases."""
    found: list[dict[str, Any]] = (await vouch.call("GET", "/v1/leases")).json_body["data"]
    return found


def audited(config: Config) -> list[str]:
    """The outcomes of the audit records of leases, oldest first."""
    with closing(sqlite3.connect(config.database)) as db:
        found = db.execute("SELECT outcome FROM audit WHERE action = 'credential.lease' ORDER BY seq").fetchall()
    return [text for (text,) in found]


async def assert_nothing_handed_out(vouch: Vouch, answer: Any, *secrets: str) -> None:
    """Neither material nor what it is made of is in the answer; no lease is listed, and none audited."""
    text = await answer.text()
    for secret in (*MATERIAL, STORED_SECRET, *secrets):
        assert secret not in text
    assert await listed(vouch) == []
    assert audited(vouch.config) == []


class Held:
    """An answer that STS gives only once it is let go."""

    def __init__(self, answer: Scripted) -> None:
        self._answer = answer
        self.arrived = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self) -> Scripted:
        self.arrived.set()
        await self.let_go.wait()
        return self._answer


async def hold(stub: AwsStub, asking: Callable[[], Awaitable[Any]]) -> tuple[Held, "asyncio.Task[Any]"]:
    """Ask for a lease through a role, up to where STS has the question and the answer is not there yet."""
    held = Held(session())
    stub.script(held)
    task = asyncio.ensure_future(asking())
    async with asyncio.timeout(5):
        await held.arrived.wait()
    return held, task
