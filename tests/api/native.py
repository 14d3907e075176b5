"""Credentials by id, as a client of the native API sends, reads and verifies them."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from service.config import Config
from tests.api.payloads import KINDS
from tests.conftest import Vouch
from tests.peers.aws_stub import CALLER_IDENTITY, Scripted, sts_error
from verifiers.settings import AwsSettings, AzureSettings, GcpSettings, ProviderSettings

CREDENTIALS = "/v1/credentials"
VERIFY = {"Prefer": "verify"}
NOBODY = "http://127.0.0.1:9"
"""A closed port."""

SOME_KEY = {"access_key_id": "AKIAEXAMPLE000000000", "secret_access_key": "s" * 40}
OTHER_KEY = {"access_key_id": "AKIAEXAMPLE000000001", "secret_access_key": "t" * 40}

WORKS = Scripted(200, CALLER_IDENTITY)
REFUSED = sts_error("InvalidClientTokenId")
SILENT = Scripted(500)
"""Nobody can say."""


class Gate:
    """An answer that comes when the test says so; `asked` is set once the provider has the question."""

    def __init__(self, answer: Scripted) -> None:
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()
        self._answer = answer

    async def __call__(self) -> Scripted:
        self.asked.set()
        await asyncio.wait_for(self.opened.wait(), 5)
        return self._answer


def new_id() -> str:
    """A UUID, as clients make them."""
    return str(uuid.uuid4())


def providers(config: Config, *, aws: str = NOBODY, azure: str = NOBODY, **more: Any) -> Config:
    """A configuration whose providers are these peers, and its other parts; unset providers are a closed port."""
    settings = ProviderSettings(
        aws=AwsSettings(sts_endpoint=aws, s3_endpoint=aws, **more.pop("aws_more", {})),
        azure=AzureSettings(blob_endpoint=azure, authority=more.pop("authority", NOBODY)),
        gcp=GcpSettings(token_uri=more.pop("gcp", NOBODY), storage_endpoint=more.pop("storage", NOBODY)),
    )
    return replace(config, providers=settings, **more)


def item(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A credential of one of the six kinds of `KINDS`, as it is put."""
    provider, type_, _slot, _sub, payload, _secret = KINDS[kind]
    return {"name": name, "provider": provider, "type": type_, "payload": dict(payload), **more}


def key_item(name: str = "one", payload: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An AWS key without an endpoint: the provider that is asked is the configured one."""
    return {"name": name, "provider": "AWS", "type": "key", "payload": dict(payload or SOME_KEY), **more}


def file_item(name: str, content: str, type_: str = "text") -> dict[str, Any]:
    """A shared credential, as it is put."""
    return {"kind": "shared", "name": name, "type": type_, "payload": {"content": content}}


def v4_key(name: str = "one", payload: dict[str, Any] | None = None) -> dict[str, Any]:
    """The AWS key of `key_item` in the v4 dialect."""
    return {"name": name, "provider": "AWS", "credential": {"aws": dict(payload or SOME_KEY)}}


def path(id_: str, below: str = "") -> str:
    """Where a credential is."""
    return f"{CREDENTIALS}/{id_}{below}"


async def put(vouch: Vouch, body: dict[str, Any], id_: str | None = None, **more: Any) -> dict[str, Any]:
    """Create or replace one, which must succeed; what was answered."""
    answer = await vouch.call("PUT", path(id_ or new_id()), body, **more)
    assert answer.status in (200, 201), await answer.text()
    shown: dict[str, Any] = answer.json_body
    return shown


async def get(vouch: Vouch, id_: str, below: str = "", **more: Any) -> Any:
    """What is answered with 200 at its path, or below."""
    answer = await vouch.call("GET", path(id_, below), **more)
    assert answer.status == 200, await answer.text()
    return answer.json_body


async def history(vouch: Vouch, id_: str) -> list[tuple[int, str, str]]:
    """Version, trigger and outcome of each verification, newest first."""
    told = (await get(vouch, id_, "/verifications"))["data"]
    return [(one["version"], one["trigger"], one["verification"]["outcome"]) for one in told]


async def walk(vouch: Vouch, limit: int, key: str = "", **query: str) -> list[dict[str, Any]]:
    """Every credential of a list, page by page."""
    found: list[dict[str, Any]] = []
    wanted: dict[str, Any] = {**query, "limit": limit}
    while True:
        answer = await vouch.call("GET", CREDENTIALS, key=key, params=wanted)
        assert answer.status == 200, await answer.text()
        assert len(answer.json_body["data"]) <= limit
        found += answer.json_body["data"]
        if answer.json_body["next_cursor"] is None:
            return found
        wanted["cursor"] = answer.json_body["next_cursor"]


def fields_of(answer: Any) -> list[str]:
    """The fields that a 400 names."""
    assert (answer.status, answer.json_body["code"]) == (400, 1001), answer.json_body
    return [one["field"] for one in answer.json_body["validation_error"]["fields"]]


def error_of(answer: Any) -> tuple[int, int]:
    """The status and code of an error."""
    return answer.status, answer.json_body["code"]
