"""A canary in every secret, through every path of credentials by id, and then a search for it everywhere.

All of it is requirement 30: no secret in answers, logs at DEBUG, errors, the database or its WAL.
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
from service.config import Config, CredentialsConfig, VerificationConfig
from tests.api.leaks import FAULTS, Watch, hear, needles, secrets_of
from tests.api.native import VERIFY, file_item, item, new_id, path, providers
from tests.api.payloads import CANARY, KINDS, SAS, key_file
from tests.conftest import Vouch
from tests.peers.aws_stub import AwsStub
from verifiers.aws_role import IDENTITY
from verifiers.settings import EgressSettings

OWN_SECRET = f"{CANARY}/of/the/service/itself/0123456789"
SECOND: dict[str, dict[str, Any]] = {
    "aws key": {"secret_access_key": f"{CANARY}/the/second/one/0123456789", "session_token": f"{CANARY}/a/session"},
    "aws role": {"external_id": "ext-5678"},
    "azure key": {"account_key": base64.b64encode(f"{CANARY}/the/second/one".encode()).decode()},
    "azure sas": {"sas_token": SAS.replace("sig=Y0Fu", "sig=c2Vj")},
    "gcp hmac": {"secret_access_key": f"{CANARY}abcdef0123456789012345"},
    "gcp service account": {"key_text": key_file(private_key_id="f" * 40)},
}
"""What each kind is rotated to."""


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
        url = stub.url
        settings = replace(
            providers(config, aws=url, azure=url, authority=url, gcp=url, storage=url),
            egress=EgressSettings(allow=(stub.allowed,)),
            verification=VerificationConfig(deadline_seconds=0.2),
            credentials=CredentialsConfig(2),
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


async def assert_broken_ones_say_nothing(watch: Watch, vouch: Vouch, id_: str, rotation: Any) -> None:
    """It is in the database, and sealed: an envelope that does not open says nothing either."""
    with closing(sqlite3.connect(vouch.config.database)) as other, other:
        for table in ("envelope", "credential_version"):
            other.execute(f"UPDATE {table} SET sealed = substr(sealed, 1, length(sealed) - 1)")
    for below, body in (("/verify", None), ("/rollback", None)):
        assert (await hear(watch, vouch, "POST", path(id_, below), body)).status == 500
    assert (await hear(watch, vouch, "POST", path(id_, "/rotate"), rotation)).status in (200, 422, 502, 504)
    assert (await hear(watch, vouch, "DELETE", path(id_))).status == 204


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_access_credentials_secret_gets_nowhere(
    launch: Launch, watch: Watch, aws_stub: AwsStub, kind: str, fault: str
) -> None:
    vouch, id_ = await launch(aws_stub), new_id()
    first, payload, secret = item(kind, "one"), KINDS[kind][4], KINDS[kind][5]
    if "endpoint" in payload:
        # What callers name is reached too.
        first["payload"] |= {"endpoint": aws_stub.url}
    second = first | {"payload": first["payload"] | SECOND[kind]}
    texts = [SECOND[kind][name] for name in SECOND[kind] if name != "external_id"]
    secrets = [*secrets_of(kind), *texts, OWN_SECRET]
    rotation = {"payload": second["payload"]}
    known = {200, 422, 502, 504}
    for method, where, body, headers, statuses in (
        ("PUT", path(id_), first, {}, {201}),
        ("PUT", path(id_), first, {}, {200}),
        ("PUT", path(id_), second, VERIFY, {200, 422}),
        ("PUT", path(id_), first, VERIFY, {200, 422}),
        ("PUT", path(id_), first | {"payload": first["payload"] | ({secret: ""} if secret else {})}, {}, {200}),
        ("PUT", path(new_id()), second, VERIFY, {409, 422}),
        ("PUT", path(id_), first, {}, {200}),
        ("POST", path(id_, "/verify"), None, {}, {200}),
        ("POST", path(id_, "/rotate"), rotation, {}, known),
        ("POST", path(id_, "/rotate"), rotation | {"force": True}, {}, known),
        ("POST", path(id_, "/rotate"), {"payload": first["payload"], "force": True}, {}, {*known, 400}),
        ("POST", path(id_, "/rotate"), rotation | {"provider": "NONE"}, {}, {400}),
        ("POST", path(id_, "/rotate"), {"payload": {"x": second["payload"]}}, {}, {400}),
        ("POST", path(id_, "/rotate"), rotation, {"If-Match": '"x"'}, {412}),
        ("PUT", path(id_), second | {"type": payload.get(secret, "x")[:60]}, {}, {400}),
        ("PUT", path(id_), second | {"payload": texts}, {}, {400}),
        ("PUT", path(id_), second | {"colour": texts}, {}, {400}),
        ("GET", path(id_), None, {}, {200}),
        ("GET", path(id_, "/versions"), None, {}, {200}),
        ("GET", path(id_, "/verifications"), None, {}, {200}),
        ("GET", "/v1/credentials", None, {}, {200}),
        ("GET", "/v1/external-id", None, {}, {200}),
        ("GET", "/metrics", None, {}, {200}),
    ):
        if method != "GET":
            aws_stub.script(FAULTS[fault](secrets))
        answer = await hear(watch, vouch, method, where, body, headers=headers)
        assert answer.status in statuses, (method, where, answer.status)
    assert aws_stub.received
    # A payload that was replaced is there too, and sealed.
    with closing(sqlite3.connect(vouch.config.database)) as other:
        kept = other.execute("SELECT count(*) FROM credential_version").fetchone()[0]
    assert kept or fault == "refused"
    hidden = needles(*secrets, vouch.admin_key.rpartition("_")[2])
    watch.assert_without(hidden)
    if kept:
        assert (await hear(watch, vouch, "POST", path(id_, "/rollback"))).status == 200
        await assert_broken_ones_say_nothing(watch, vouch, id_, rotation)
    watch.assert_without(hidden)
    await vouch.client.close()
    watch.assert_without(hidden)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("type_", ["text", "binary"])
async def test_a_shared_credentials_content_gets_nowhere_here(
    launch: Launch, watch: Watch, aws_stub: AwsStub, type_: str, fault: str
) -> None:
    """The one way to its content is the other dialect's."""
    vouch, id_ = await launch(aws_stub), new_id()
    tokens = [f"{CANARY}/number/{number}/0123456789abcdef" for number in range(2)]
    lines = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {}\n"
    files = [lines.format(token).encode() for token in tokens]
    sent = [file.decode() if type_ == "text" else base64.b64encode(file).decode() for file in files]
    first, second = (file_item("one", content, type_) for content in sent)
    for method, where, body, headers, statuses in (
        ("PUT", path(id_), first, {}, {201}),
        ("PUT", path(id_), second, VERIFY, {200, 422}),
        ("PUT", path(id_), first, {}, {200}),
        ("PUT", path(id_), first | {"payload": {"content": ""}}, VERIFY, {200, 422}),
        ("POST", path(id_, "/verify"), None, {}, {200}),
        ("POST", path(id_, "/rotate"), {"payload": {"content": sent[1]}}, {}, {422, 502, 504}),
        ("POST", path(id_, "/rotate"), {"payload": {"content": sent[1]}, "force": True}, {}, {200, 422}),
        ("POST", path(id_, "/rotate"), {"payload": {"content": [sent[1]]}}, {}, {400}),
        ("PUT", path(id_), first | {"type": sent[1]}, {}, {400}),
        ("PUT", path(id_), first | {"payload": {"content": {"x": sent[1]}}}, {}, {400}),
        ("PUT", path(id_), first | {"payload": {"content": f"{sent[1]}\u20ac"}, "type": "binary"}, {}, {400}),
        ("GET", path(id_), None, {}, {200}),
        ("GET", path(id_, "/versions"), None, {}, {200}),
        ("GET", path(id_, "/verifications"), None, {}, {200}),
        ("GET", "/v1/credentials?kind=shared", None, {}, {200}),
    ):
        if method != "GET":
            aws_stub.script(FAULTS[fault](list(tokens)))
        answer = await hear(watch, vouch, method, where, body, headers=headers)
        assert answer.status in statuses, (method, where, answer.status)
    hidden = needles(*tokens, *files)
    watch.assert_without(hidden)
    if fault != "refused":
        assert (await hear(watch, vouch, "POST", path(id_, "/rollback"))).status == 200
        rotation = {"payload": {"content": sent[1]}}
        await assert_broken_ones_say_nothing(watch, vouch, id_, rotation)
    await vouch.client.close()
    watch.assert_without(hidden)


async def test_the_search_finds_what_it_looks_for(launch: Launch, watch: Watch, aws_stub: AwsStub) -> None:
    """That nothing was found above says something only if the search works."""
    vouch, named = await launch(aws_stub), f"{CANARY}-in-a-name"
    await hear(watch, vouch, "PUT", path(new_id()), item("aws key", named))
    logging.getLogger("vouch.test").debug("as JSON: %s", json.dumps({"a": named}))
    watch.raised(ValueError({"a": named}))
    hits = {place for place, hay in watch.places().items() if any(needle in hay for needle in needles(named))}
    assert {"answers", "errors", "output", "records", "vouch.db-wal"} <= hits
