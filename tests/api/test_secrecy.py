"""A canary in every secret, through every route and fault, and then a search for it wherever it could have got to.

All of it is requirement 30: no secret in answers, logs at any level, errors or their reprs, the database or its WAL.
"""

import base64
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from service import bootstrap
from service.app import create_app
from service.auth.passwords import hash_password
from service.config import Config, VerificationConfig
from service.core.access import Access
from tests.api.leaks import FAULTS, Watch, hear, needles, secrets_of
from tests.api.payloads import CANARY, KINDS, create_body
from tests.conftest import Vouch
from tests.peers.aws_stub import AwsStub
from verifiers.aws_role import IDENTITY
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, GcpSettings, ProviderSettings

PASSWORD = f"{CANARY} of ada"
OWN_SECRET = f"{CANARY}/of/the/service/itself/0123456789"


Launch = Callable[[AwsStub], Awaitable[Vouch]]


@pytest.fixture
def launch(config: Config, watch: Watch, aiohttp_client: Any, no_aws_identity: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Start a vouch whose every provider is the stub, and that shows the watch each exception of a handler."""
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHESERVICE0000")
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", OWN_SECRET)

    @web.middleware
    async def show(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        try:
            return await handler(request)
        except Exception as error:
            watch.raised(error)
            raise

    async def run(stub: AwsStub) -> Vouch:
        settings = replace(
            config,
            providers=ProviderSettings(
                aws=AwsSettings(sts_endpoint=stub.url, s3_endpoint=stub.url),
                azure=AzureSettings(blob_endpoint=stub.url, authority=stub.url),
                gcp=GcpSettings(token_uri=stub.url, storage_endpoint=stub.url),
            ),
            egress=EgressSettings(allow=(stub.allowed,)),
            verification=VerificationConfig(deadline_seconds=0.4),
        )
        key = await bootstrap.first_start(settings, terminal=True)
        assert key is not None
        app = create_app(settings)
        app.middlewares.append(show)
        return Vouch(await aiohttp_client(app), settings, key)

    # The process keeps the keys of its environment for a while.
    IDENTITY.forget()
    yield run
    IDENTITY.forget()


def wrong_bodies(kind: str) -> Iterator[dict[str, Any]]:
    """Bodies that are refused, with the secret at a wrong place, of a wrong type, or beside something wrong."""
    body = create_body(kind, "wrong")
    provider, _type, slot, sub, payload, secret = KINDS[kind]
    yield body | {"provider": "AZURE" if provider == "AWS" else "AWS"}
    yield body | {"name": "a/b"}
    yield body | {"colour": payload}
    yield body | {slot: payload}
    yield body | {slot: {sub: payload | {"colour": payload.get(secret, "")}}}
    if secret:
        for value in (
            [payload[secret]],
            {"is": payload[secret]},
            f"{payload[secret]}\x01\n",
            (payload[secret] * 50)[:70_000],
        ):
            yield body | {slot: {sub: payload | {secret: value}}}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_access_credentials_secret_gets_nowhere(
    launch: Launch, watch: Watch, aws_stub: AwsStub, kind: str, fault: str
) -> None:
    """Requirement 30: every operation and fault, for each of the six kinds."""
    vouch = await launch(aws_stub)
    secrets = [*secrets_of(kind), OWN_SECRET]
    hidden = needles(*secrets, vouch.admin_key.rpartition("_")[2])
    body, stored = create_body(kind, "one"), {"name": "one", "provider": KINDS[kind][0]}
    _provider, _type, slot, sub, payload, secret = KINDS[kind]
    if "endpoint" in payload:
        # What callers name is reached too.
        body[slot][sub] = payload | {"endpoint": aws_stub.url}
    statuses = []
    for method, path, sent in (
        ("POST", "/v4/credentials", body),
        ("POST", "/v4/credentials", body),
        ("GET", "/v4/credentials/one", None),
        ("GET", "/v4/credentials", None),
        ("PATCH", "/v4/credentials/one", {slot: body[slot]}),
        ("PATCH", "/v4/credentials/one", {slot: {sub: body[slot][sub] | ({secret: ""} if secret else {})}}),
        ("POST", "/v4/credentials/verify", body),
        ("POST", "/v4/credentials/verify", stored),
        ("GET", "/v4/credentials/one", None),
    ):
        if path.endswith("/verify"):
            aws_stub.script(FAULTS[fault](secrets))
        statuses.append((await hear(watch, vouch, method, path, sent)).status)
    assert statuses[:6] == [201, 409, 200, 200, 204, 204]
    assert set(statuses[6:8]) <= {422, 502, 503, 504}, statuses
    assert aws_stub.received
    assert watch.places()["vouch.db-wal"]
    for wrong in wrong_bodies(kind):
        for method, path in (("POST", "/v4/credentials"), ("POST", "/v4/credentials/verify")):
            assert (await hear(watch, vouch, method, path, wrong)).status == 400
    text = json.dumps(body)
    for raw, content_type in ((text[:-1], "application/json"), (text, "text/plain"), (f"[{text},", "application/json")):
        headers = {"Content-Type": content_type}
        assert (await hear(watch, vouch, "POST", "/v4/credentials", data=raw, headers=headers)).status in (400, 415)
    # It is in there, and sealed: an envelope that does not open says nothing either.
    with closing(sqlite3.connect(vouch.config.database)) as other, other:
        other.execute("UPDATE envelope SET sealed = substr(sealed, 1, length(sealed) - 1)")
    assert (await hear(watch, vouch, "POST", "/v4/credentials/verify", stored)).status == 500
    assert (await hear(watch, vouch, "DELETE", "/v4/credentials/one")).status == 204
    watch.assert_without(hidden)
    assert b'"event":"request"' in watch.places()["output"]
    await vouch.client.close()
    watch.assert_without(hidden)


FILES: dict[str, bytes] = {
    "aws": (
        f"[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {CANARY}/0123456789abcdef\n"
    ).encode(),
    "azure": (
        "tenant_id=11111111-2222-3333-4444-555555555555\nclient_id=66666666-7777-8888-9999-000000000000\n"
        f"client_secret={CANARY}~0123456789\naccount_name=storageacct\n"
    ).encode(),
    "google": KINDS["gcp service account"][4]["key_text"].encode(),
    "a malformed one": (
        f"[default]\naws_access_key_id = {CANARY}x\naws_secret_access_key = {CANARY} {CANARY}\n"
    ).encode(),
    "anything": f"{CANARY}0123 \x00\x01".encode() + bytes(range(128, 256)),
}


def secrets_in(file: str) -> list[str | bytes]:
    """A file is a secret as a whole; of those we know, the secret in it too."""
    content = FILES[file]
    if file == "google":
        return [content, *secrets_of("gcp service account")]
    at = content.index(CANARY.encode())
    return [content, content[at : at + len(CANARY) + 5]]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("file", FILES)
async def test_a_shared_credentials_content_goes_to_its_reader_and_nowhere_else(
    launch: Launch, watch: Watch, aws_stub: AwsStub, file: str, fault: str
) -> None:
    """Requirement 30."""
    vouch = await launch(aws_stub)
    content, secrets = FILES[file], secrets_in(file)
    encoded = base64.b64encode(content).decode()
    body = {"credential_name": "one", "type": "binary", "binary_value": encoded}
    # They are `binary` and `text` in turn, where they can be.
    other = {"credential_name": "one", "type": "text", "text_value": content.decode("latin-1")}
    viewer = await vouch.make_key("viewer")
    wrong = [
        other | {"credential_name": "a/b"},
        other | {"binary_value": encoded},
        other | {"type": "binary"},
        other | {"text_value": [encoded]},
        body | {"binary_value": f"{encoded}!"},
        body | {"colour": encoded},
    ]
    assert (await hear(watch, vouch, "POST", "/api/credentials", body)).status == 201
    for sent in [body, *wrong]:
        assert (await hear(watch, vouch, "POST", "/api/credentials", sent)).status in (400, 406, 409)
    for method, path, sent, status in (
        ("GET", "/api/credentials", None, {200}),
        ("PUT", "/api/credential/one", other, {204}),
        ("PUT", "/api/credential/none", other | {"credential_name": "none"}, {404}),
        ("PUT", "/api/credential/two", other, {406}),
        ("PUT", "/api/credential/one", body, {204}),
        ("POST", "/api/credentials/one/verify", None, {422, 502, 503, 504}),
        ("POST", "/api/credentials/one/verify?profile=none", None, {422}),
    ):
        aws_stub.script(FAULTS[fault](secrets))
        assert (await hear(watch, vouch, method, path, sent)).status in status, path
    for path in ("/api/credentials/one", "/api/credentials/one/download"):
        assert (await hear(watch, vouch, "GET", path, key=viewer)).status == 403
    # These two are for their reader alone; what they are kept out of is everything else.
    assert (await vouch.call("GET", "/api/credentials/one")).json_body["binary_value"] == encoded
    assert await (await vouch.call("GET", "/api/credentials/one/download")).read() == content
    assert (await hear(watch, vouch, "DELETE", "/api/credentials/one")).status == 204
    hidden = needles(*secrets, vouch.admin_key.rpartition("_")[2], viewer.rpartition("_")[2])
    watch.assert_without(hidden)
    await vouch.client.close()
    watch.assert_without(hidden)


async def test_passwords_and_api_keys_right_and_wrong_get_nowhere(
    launch: Launch, watch: Watch, aws_stub: AwsStub
) -> None:
    """Requirement 30."""
    vouch = await launch(aws_stub)
    store = await bootstrap.open_store(vouch.config)
    try:
        operator = bootstrap.operator()
        access = Access(store, hash_password)
        await access.create_user(operator, name="ada", password=PASSWORD, role="editor", workspace="ws_default")
    finally:
        await store.close()
    key = await vouch.make_key("editor")
    wrong_key = f"{key[:-12]}{CANARY}"
    basic = {
        name: "Basic " + base64.b64encode(text.encode()).decode()
        for name, text in (
            ("right", f"ada:{PASSWORD}"),
            ("wrong", f"ada:{PASSWORD}!"),
            ("nobody", f"nobody:{PASSWORD}"),
            ("in the name", f"{PASSWORD}:x"),
            ("no colon", PASSWORD),
        )
    }
    given: list[tuple[dict[str, str], int]] = [
        ({"X-TILEDB-REST-API-KEY": key}, 200),
        ({"X-TILEDB-REST-API-KEY": f"Bearer {key}"}, 200),
        ({"Authorization": f"Bearer {key}"}, 200),
        ({"Authorization": basic["right"]}, 200),
        ({"X-TILEDB-REST-API-KEY": key, "Authorization": basic["right"]}, 400),
        ({"X-TILEDB-REST-API-KEY": wrong_key}, 401),
        ({"X-TILEDB-REST-API-KEY": CANARY}, 401),
        ({"X-TILEDB-REST-API-KEY": basic["right"]}, 401),
        ({"Authorization": f"Bearer {wrong_key}"}, 401),
        ({"Authorization": f"Bearer {PASSWORD}"}, 401),
        ({"Authorization": f"Digest {PASSWORD}"}, 401),
        ({"Authorization": PASSWORD}, 401),
        *(({"Authorization": text}, 401) for name, text in basic.items() if name != "right"),
    ]
    for headers, status in given:
        for path in ("/v4/credentials", "/api/credentials", f"/v4/credentials?key={key}"):
            answer = await hear(watch, vouch, "GET", path, key=None, headers=headers)
            assert answer.status == status, headers
            # A key in a query is no authentication, and not repeated either: the test itself noted the path.
            watch.answers[-1] = watch.answers[-1].replace(path, "", 1)
    secrets = [
        PASSWORD,
        CANARY,
        key.rpartition("_")[2],
        wrong_key.rpartition("_")[2],
        vouch.admin_key.rpartition("_")[2],
    ]
    hidden = needles(*secrets, *(text.removeprefix("Basic ") for text in basic.values()))
    watch.assert_without(hidden)
    await vouch.client.close()
    assert "authentication failures" in watch.places()["output"].decode()
    watch.assert_without(hidden)


async def test_the_search_finds_what_it_looks_for(launch: Launch, watch: Watch, aws_stub: AwsStub) -> None:
    """That nothing was found above says something only if the search works."""
    vouch = await launch(aws_stub)
    named = f"{CANARY}-in-a-name"
    await hear(watch, vouch, "POST", "/v4/credentials", create_body("aws key", named))
    logging.getLogger("vouch.test").debug("as base64: %s", base64.b64encode(b"xy" + named.encode() + b"z").decode())
    watch.raised(ValueError({"a": named}))
    hits = {place for place, hay in watch.places().items() if any(needle in hay for needle in needles(named))}
    assert {"answers", "errors", "output", "records", "vouch.db-wal"} <= hits
