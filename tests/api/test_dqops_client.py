"""DQOps' own client against a running vouch: its six operations, sync and async, with a token and without one."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from dqops.client import AuthenticatedClient, Client
from dqops.client.api.shared_credentials import (
    create_shared_credential,
    delete_shared_credential,
    download_shared_credential,
    get_all_shared_credentials,
    get_shared_credential,
    update_shared_credential,
)
from dqops.client.errors import UnexpectedStatus
from dqops.client.models import CredentialType, SharedCredentialModel

from service.config import AuthConfig, Config
from tests.conftest import Start, Vouch

BINARY = bytes(range(256)) * 3
TEXT = "[default]\naws_access_key_id = ключ\n\tкінець\r\n"
Call = Callable[..., Awaitable[Any]]


def call_sync(operation: Any, *arguments: Any, **more: Any) -> Awaitable[Any]:
    """The synchronous flavour, in a thread: the server is in this loop."""
    return asyncio.to_thread(operation.sync_detailed, *arguments, **more)


def call_async(operation: Any, *arguments: Any, **more: Any) -> Awaitable[Any]:
    """The asynchronous flavour."""
    answer: Awaitable[Any] = operation.asyncio_detailed(*arguments, **more)
    return answer


FLAVOURS = pytest.mark.parametrize("call", [call_sync, call_async], ids=["sync", "async"])


@asynccontextmanager
async def closing(client: Any) -> AsyncIterator[Any]:
    """The client opens its connections by itself, and leaves them open."""
    yield client
    client.get_httpx_client().close()
    await client.get_async_httpx_client().aclose()


async def every_operation(call: Call, client: Any) -> None:
    text = SharedCredentialModel(credential_name="a text", type=CredentialType.TEXT, text_value=TEXT)
    encoded = base64.b64encode(BINARY).decode()
    binary = SharedCredentialModel(credential_name="binary", type=CredentialType.BINARY, binary_value=encoded)
    for one in (binary, text):
        assert (await call(create_shared_credential, client=client, json_body=one)).status_code == 201
        assert (await call(create_shared_credential, client=client, json_body=one)).status_code == 409
    listed = (await call(get_all_shared_credentials, client=client)).parsed
    assert [(one.credential_name, one.type) for one in listed] == [
        ("a text", CredentialType.TEXT),
        ("binary", CredentialType.BINARY),
    ]
    assert all(one.can_edit and one.can_access_credential for one in listed)
    assert (await call(get_shared_credential, "a text", client=client)).parsed == text
    assert (await call(get_shared_credential, "binary", client=client)).parsed == binary
    downloaded = await call(download_shared_credential, "binary", client=client)
    assert (downloaded.status_code, downloaded.content) == (200, BINARY)
    assert downloaded.headers["Content-Type"] == "application/octet-stream"
    assert downloaded.headers["Content-Disposition"].startswith("attachment;")
    assert (await call(download_shared_credential, "a text", client=client)).content == TEXT.encode()
    changed = SharedCredentialModel(credential_name="binary", type=CredentialType.TEXT, text_value="")
    assert (await call(update_shared_credential, "binary", client=client, json_body=changed)).status_code == 204
    assert (await call(get_shared_credential, "binary", client=client)).parsed == changed
    assert (await call(update_shared_credential, "none", client=client, json_body=changed)).status_code == 406
    changed.credential_name = "none"
    assert (await call(update_shared_credential, "none", client=client, json_body=changed)).status_code == 404
    # The seed's own calls, where the package has them.
    assert [one.credential_name for one in await get_all_shared_credentials.asyncio(client=client)] == [
        "a text",
        "binary",
    ]
    assert await get_shared_credential.asyncio("a text", client=client) == text
    assert await download_shared_credential.asyncio("a text", client=client) == TEXT.encode()
    assert await asyncio.to_thread(download_shared_credential.sync, "a text", client=client) == TEXT.encode()
    assert (await call(delete_shared_credential, "binary", client=client)).status_code == 204
    for operation in (delete_shared_credential, get_shared_credential, download_shared_credential):
        assert (await call(operation, "binary", client=client)).status_code == 404


@FLAVOURS
async def test_with_a_token_every_operation_works(vouch: Vouch, call: Call) -> None:
    async with closing(AuthenticatedClient(f"{vouch.url}/", token=await vouch.make_key("editor"))) as client:
        await every_operation(call, client)


@FLAVOURS
async def test_without_a_token_every_operation_is_a_401(vouch: Vouch, call: Call) -> None:
    body = SharedCredentialModel(credential_name="x", type=CredentialType.TEXT, text_value="x")
    operations: list[tuple[Any, tuple[str, ...], dict[str, Any]]] = [
        (get_all_shared_credentials, (), {}),
        (create_shared_credential, (), {"json_body": body}),
        (get_shared_credential, ("x",), {}),
        (download_shared_credential, ("x",), {}),
        (update_shared_credential, ("x",), {"json_body": body}),
        (delete_shared_credential, ("x",), {}),
    ]
    async with closing(Client(f"{vouch.url}/")) as client:
        for operation, arguments, more in operations:
            assert (await call(operation, *arguments, client=client, **more)).status_code == 401


@FLAVOURS
async def test_without_a_token_every_operation_works_for_an_anonymous_editor(
    start: Start, config: Config, call: Call
) -> None:
    vouch = await start(replace(config, auth=AuthConfig(anonymous_role="editor")))
    async with closing(Client(f"{vouch.url}/")) as client:
        await every_operation(call, client)


async def test_the_client_that_raises_on_unexpected_statuses_raises_on_its_own_delete(vouch: Vouch) -> None:
    """Its bug: it expects no 204. What it asked for has happened."""
    token = await vouch.make_key("editor")
    body = SharedCredentialModel(credential_name="x", type=CredentialType.TEXT, text_value="x")
    async with closing(AuthenticatedClient(f"{vouch.url}/", token=token, raise_on_unexpected_status=True)) as client:
        assert (await create_shared_credential.asyncio_detailed(client=client, json_body=body)).status_code == 201
        assert await get_shared_credential.asyncio("x", client=client) == body
        with pytest.raises(UnexpectedStatus, match="204"):
            await delete_shared_credential.asyncio_detailed("x", client=client)
        assert await get_all_shared_credentials.asyncio(client=client) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
    ],
)
async def test_nobody_is_anonymous_from_elsewhere(start: Start, config: Config, headers: dict[str, str]) -> None:
    """A web page whose name resolves to a loopback address (DNS rebinding), or a proxy on the same machine."""
    vouch = await start(replace(config, auth=AuthConfig(anonymous_role="editor")))
    assert (await vouch.call("GET", "/api/credentials", key=None, headers=headers)).status == 401
    assert (
        await vouch.call("GET", "/api/credentials", key=None, headers={"Origin": "http://localhost:3000"})
    ).status == 200
