"""Secrets in a PUT: empty ones stand for what is stored; shared credentials are the files that `/api` gives back."""

import base64
import io
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.api.native import (
    SOME_KEY,
    error_of,
    fields_of,
    file_item,
    get,
    item,
    key_item,
    new_id,
    path,
    put,
    walk,
)
from tests.api.payloads import KINDS
from tests.conftest import Vouch

WITH_SECRETS = [kind for kind in KINDS if KINDS[kind][5]]
SENDABLE = ("kind", "name", "teamspace_id", "provider", "type", "payload", "provider_default", "allowed_in_tasks")


def sendable(shown: dict[str, Any]) -> dict[str, Any]:
    """What was read, as it is sent back."""
    return {name: shown[name] for name in SENDABLE}


@pytest.mark.parametrize("kind", [*KINDS, "text", "binary"])
async def test_what_was_read_can_be_sent_back_and_keeps_the_secret(vouch: Vouch, kind: str) -> None:
    id_ = new_id()
    body = file_item("one", "QUJD", kind) if kind in ("text", "binary") else item(kind, "one")
    first = await put(vouch, body, id_)
    again = await put(vouch, sendable(first) | {"name": "two"}, id_)
    assert (again["version"], again["payload"], again["name"]) == (1, first["payload"], "two")
    if kind in ("text", "binary"):
        file = await vouch.call("GET", "/api/credentials/two/download")
        assert await file.read() == (b"QUJD" if kind == "text" else b"ABC")


async def test_an_optional_secret_that_is_not_there_is_no_obstacle(vouch: Vouch) -> None:
    """An AWS key is shown with an empty session token, whether or not it has one."""
    id_ = new_id()
    first = await put(vouch, sendable(await put(vouch, key_item())) | {"name": "copy", "payload": SOME_KEY}, id_)
    assert first["payload"]["session_token"] == ""
    changed = sendable(first)
    changed["payload"] |= {"secret_access_key": "another"}
    assert (await put(vouch, changed, id_))["version"] == 2
    changed["payload"] |= {"endpoint": "https://minio.example.org", "secret_access_key": "a third"}
    assert (await put(vouch, changed, id_))["version"] == 3
    changed["payload"] |= {"session_token": "a-session"}
    assert (await put(vouch, changed, id_))["version"] == 4
    # Now it is one that is stored: elsewhere it is not sent by itself (requirement 12).
    changed["payload"] |= {"session_token": "", "endpoint": "https://other.example.org"}
    assert fields_of(await vouch.call("PUT", path(id_), changed)) == ["payload.session_token"]
    del changed["payload"]["session_token"]
    assert (await put(vouch, changed, id_))["version"] == 5
    created = await vouch.call("PUT", path(new_id()), key_item("new", {**SOME_KEY, "session_token": ""}))
    assert created.status == 201


@pytest.mark.parametrize("kind", WITH_SECRETS)
async def test_nothing_is_created_of_an_empty_secret(vouch: Vouch, kind: str) -> None:
    secret = KINDS[kind][5]
    body = item(kind, "one")
    body["payload"][secret] = ""
    assert fields_of(await vouch.call("PUT", path(new_id()), body)) == [f"payload.{secret}"]
    assert await walk(vouch, 10) == []


async def test_no_file_is_created_empty(vouch: Vouch) -> None:
    for type_ in ("text", "binary"):
        assert fields_of(await vouch.call("PUT", path(new_id()), file_item("one", "", type_))) == ["payload.content"]
    assert await walk(vouch, 10) == []


CHANGED: list[tuple[str, dict[str, Any]]] = [
    ("aws key", {"endpoint": "https://evil.example.org"}),
    ("aws key", {"access_key_id": "AKIAANOTHER000000000"}),
    ("aws key", {"use_path_style": False}),
    ("azure key", {"blob_endpoint": "https://evil.example.org"}),
    ("azure sas", {"account_name": "otheraccount"}),
    ("gcp hmac", {"access_key_id": "GOOG1ANOTHER0123456789"}),
]


@pytest.mark.parametrize(("kind", "change"), CHANGED)
async def test_an_empty_secret_beside_other_fields_is_refused(vouch: Vouch, kind: str, change: dict[str, Any]) -> None:
    """Requirement 12: an endpoint that somebody changed must not get the stored secret."""
    id_, secret = new_id(), KINDS[kind][5]
    await put(vouch, item(kind, "one"), id_)
    body = item(kind, "one")
    body["payload"] |= {secret: "", **change}
    before = await get(vouch, id_)
    assert fields_of(await vouch.call("PUT", path(id_), body)) == [f"payload.{secret}"]
    assert await get(vouch, id_) == before


async def test_an_empty_secret_does_not_follow_to_another_kind(vouch: Vouch) -> None:
    id_ = new_id()
    await put(vouch, item("azure key", "one"), id_)
    for kind in ("azure sas", "gcp hmac"):
        body = item(kind, "one")
        body["payload"][KINDS[kind][5]] = ""
        assert fields_of(await vouch.call("PUT", path(id_), body)) == [f"payload.{KINDS[kind][5]}"]
    await put(vouch, file_item("one", "QUJD"), other := new_id())
    assert fields_of(await vouch.call("PUT", path(other), file_item("one", "", "binary"))) == ["payload.content"]


async def test_a_shared_credential_is_the_file_that_the_other_dialect_gives(vouch: Vouch) -> None:
    text, raw = "[default]\nlines = 'of ünicode'\n\ttab\u0000", bytes(range(256))
    await put(vouch, file_item("text", text), text_id := new_id())
    await put(vouch, file_item("raw", base64.b64encode(raw).decode(), "binary"), raw_id := new_id())
    assert (await vouch.call("GET", "/api/credentials/text")).json_body["text_value"] == text
    assert await (await vouch.call("GET", "/api/credentials/raw/download")).read() == raw
    assert [one["credential_name"] for one in (await vouch.call("GET", "/api/credentials")).json_body] == [
        "raw",
        "text",
    ]
    shown = await get(vouch, text_id)
    assert (shown["kind"], shown["provider"], shown["type"]) == ("shared", None, "text")
    assert shown["payload"] == {"content": ""}
    # And the other way round: a change there is a new version here.
    body = {"credential_name": "text", "type": "text", "text_value": "new"}
    assert (await vouch.call("PUT", "/api/credential/text", body)).status == 204
    assert (await get(vouch, text_id))["version"] == 2
    await put(vouch, file_item("renamed", "QUJD", "binary"), text_id)
    assert await (await vouch.call("GET", "/api/credentials/renamed/download")).read() == b"ABC"
    assert (await vouch.call("GET", "/api/credentials/text")).status == 404
    assert (await vouch.call("DELETE", path(raw_id))).status == 204
    assert (await vouch.call("GET", "/api/credentials/raw")).status == 404


WRONG: list[tuple[dict[str, Any], set[str]]] = [
    ({"payload": {"content": "AA"}, "type": "binary"}, {"payload.content"}),
    (
        {
            "payload": {
                "content": "A\nA==",
            },
            "type": "binary",
        },
        {"payload.content"},
    ),
    (
        {
            "payload": {
                "content": "é",
            },
            "type": "binary",
        },
        {"payload.content"},
    ),
    ({"payload": {"content": 1}}, {"payload.content"}),
    ({"payload": {"content": None}}, {"payload.content"}),
    ({"payload": {}}, {"payload.content"}),
    ({"payload": {"content": "x", "other": "x"}}, {"payload.other"}),
    ({"payload": []}, {"payload"}),
    ({"payload": "x"}, {"payload"}),
    ({"payload": None}, {"payload"}),
    ({"type": "key"}, {"type"}),
    ({"type": None}, {"type"}),
    ({"name": "a/b"}, {"name"}),
    ({"name": None}, {"name"}),
    ({"provider": "AWS"}, {"provider"}),
    ({"teamspace_id": "red"}, {"teamspace_id"}),
    ({"provider_default": True, "allowed_in_tasks": True}, {"provider_default", "allowed_in_tasks"}),
    ({"kind": "both"}, {"kind"}),
    ({"id": "x", "version": 1}, {"id", "version"}),
]


@pytest.mark.parametrize(("change", "fields"), WRONG, ids=lambda value: repr(value)[:40])
async def test_a_file_that_is_none_is_refused_by_field(vouch: Vouch, change: dict[str, Any], fields: set[str]) -> None:
    """Requirement 21."""
    assert set(fields_of(await vouch.call("PUT", path(new_id()), file_item("one", "x") | change))) == fields
    assert await walk(vouch, 10) == []


WRONG_KEYS: list[tuple[dict[str, Any], set[str]]] = [
    ({"provider": None}, {"provider"}),
    ({"provider": ""}, {"provider"}),
    ({"provider": 1}, {"provider"}),
    ({"type": None}, {"type"}),
    ({"payload": {}}, {"payload.access_key_id", "payload.secret_access_key"}),
    ({"payload": SOME_KEY | {"secret_access_key": 1, "x": 2}}, {"payload.secret_access_key", "payload.x"}),
    ({"payload": SOME_KEY | {"endpoint": "ftp://x"}}, {"payload.endpoint"}),
    ({"payload": [SOME_KEY]}, {"payload"}),
    ({"provider_default": "yes", "allowed_in_tasks": 1}, {"provider_default", "allowed_in_tasks"}),
    ({"teamspace_id": 1}, {"teamspace_id"}),
    ({"name": "ws_x"}, {"name"}),
    ({"name": "e\u0301"}, {"name"}),
    ({"workspace": "ws_other"}, {"workspace"}),
    ({"kind": "shared"}, {"provider", "type"}),
]


@pytest.mark.parametrize(("change", "fields"), WRONG_KEYS, ids=lambda value: repr(value)[:40])
async def test_a_key_that_is_none_is_refused_by_field(vouch: Vouch, change: dict[str, Any], fields: set[str]) -> None:
    """Requirement 21."""
    assert set(fields_of(await vouch.call("PUT", path(new_id()), key_item() | change))) == fields
    assert await walk(vouch, 10) == []


async def test_what_is_no_object_no_json_or_no_kind_is_a_4xx(vouch: Vouch) -> None:
    """Requirement 32."""
    where = path(new_id())
    for kind in (("AWS", "token"), ("OTHER", "key"), ("AZURE", "arn")):
        body = key_item() | {"provider": kind[0], "type": kind[1]}
        assert error_of(await vouch.call("PUT", where, body)) == (400, 1003)
    json = {"Content-Type": "application/json"}
    for data in (b"", b"{", b"[]", b"null", b"1", b'{"name": "\\ud800"}', b"\xff", b"[" * 100_000):
        answer = await vouch.call("PUT", where, data=data, headers=json)
        assert answer.status == 400, data[:20]
    lone = b'{"kind": "shared", "name": "one", "type": "text", "payload": {"content": "\\udc00"}}'
    assert (await vouch.call("PUT", where, data=lone, headers=json)).status == 400
    assert (await vouch.call("PUT", where, data=b"{}", headers={"Content-Type": "text/plain"})).status == 415
    assert (await vouch.call("PUT", where, data=io.BytesIO(b"x" * 1_048_577), headers=json)).status == 413
    assert (await vouch.call("PATCH", where, {})).status == 405


async def test_what_no_longer_opens_can_be_replaced(vouch: Vouch) -> None:
    """Requirement 28: a broken envelope says nothing, and a new payload is the way out."""
    await put(vouch, key_item(), id_ := new_id())
    await put(vouch, file_item("file", "x"), file_id := new_id())
    with closing(sqlite3.connect(vouch.config.database)) as other, other:
        other.execute("UPDATE envelope SET sealed = substr(sealed, 1, length(sealed) - 1)")
    for broken in (id_, file_id):
        assert error_of(await vouch.call("POST", path(broken, "/verify"))) == (500, 1900)
    assert (await put(vouch, key_item(), id_))["version"] == 2
    assert (await put(vouch, file_item("file", "x"), file_id))["version"] == 2
    assert (await vouch.call("GET", "/api/credentials/file")).json_body["text_value"] == "x"
