"""`expires_at` and the age of a payload: told by the material, kept beside it, and never older than it."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Config, CredentialsConfig
from tests.api.native import (
    SOME_KEY,
    file_item,
    get,
    item,
    key_item,
    new_id,
    path,
    providers,
    put,
    walk,
)
from tests.api.payloads import KINDS, SAS
from tests.conftest import Start, Vouch
from tests.peers.azurite import Azurite


def ending(year: int | str) -> dict[str, Any]:
    """The payload of a SAS that ends then."""
    return {"account_name": "storageacct", "sas_token": SAS.replace("se=2099-01-01T00:00:00Z", f"se={year}")}


def sas_item(payload: dict[str, Any], name: str = "one") -> dict[str, Any]:
    return {"name": name, "provider": "AZURE", "type": "azure_token", "payload": payload}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2031-02-03T04:05:06Z", "2031-02-03T04:05:06.000000Z"),
        ("2031-02-03T04:05Z", "2031-02-03T04:05:00.000000Z"),
        ("2031-02-03", "2031-02-03T00:00:00.000000Z"),
        ("2031-02-03T04%3A05%3A06Z", "2031-02-03T04:05:06.000000Z"),
        ("2001-02-03T04:05:06Z", "2001-02-03T04:05:06.000000Z"),
    ],
)
async def test_a_sas_tells_when_it_ends_whoever_sends_it(vouch: Vouch, written: str, kept: str) -> None:
    """In POST, PATCH and PUT, whichever form of time Azure allows."""
    payload = ending(written)
    one = await put(vouch, sas_item(payload))
    assert one["expires_at"] == kept
    body = {"name": "two", "provider": "AZURE", "token": {"azure": payload}}
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    other = await put(vouch, sas_item(ending("2040-01-01"), "three"))
    change = {"token": {"azure": payload}}
    assert (await vouch.call("PATCH", "/v4/credentials/three", change)).status == 204
    await put(vouch, item("azure key", "four"), fourth := new_id())
    await put(vouch, sas_item(payload, "four"), fourth)
    assert other["expires_at"] != kept
    assert [each["expires_at"] for each in await walk(vouch, 10)] == [kept] * 4


async def test_what_does_not_tell_ends_at_no_known_time(vouch: Vouch) -> None:
    for kind in KINDS:
        made = await put(vouch, item(kind, kind))
        assert (made["expires_at"] is None) == (kind != "azure sas")
    assert (await put(vouch, file_item("file", SAS)))["expires_at"] is None
    # By a stored access policy: the policy knows, and not the SAS.
    policy = {"account_name": "storageacct", "sas_token": SAS.replace("se=2099-01-01T00:00:00Z", "si=a-policy")}
    assert (await put(vouch, sas_item(policy)))["expires_at"] is None


async def test_an_end_follows_the_payload_and_not_other_changes(vouch: Vouch) -> None:
    id_ = (await put(vouch, sas_item(ending("2031-01-01T00:00:00Z"))))["id"]
    blank = ending("2031-01-01T00:00:00Z") | {"sas_token": ""}
    renamed = await put(vouch, sas_item(blank, "renamed"), id_)
    assert (renamed["expires_at"], renamed["version"]) == ("2031-01-01T00:00:00.000000Z", 1)
    flags = {"allowed_in_tasks": True}
    assert (await vouch.call("PATCH", "/v4/credentials/renamed", flags)).status == 204
    assert (await get(vouch, id_))["expires_at"] == "2031-01-01T00:00:00.000000Z"
    key = {"credential": {"azure": KINDS["azure key"][4]}}
    assert (await vouch.call("PATCH", "/v4/credentials/renamed", key)).status == 204
    assert (await get(vouch, id_))["expires_at"] is None


async def test_an_end_is_rotated_and_rolled_back_with_its_payload(
    start: Start, config: Config, azurite: Azurite
) -> None:
    settings = replace(providers(config, azure=azurite.operator_endpoint), credentials=CredentialsConfig(1))
    vouch = await start(settings)
    ends = [datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) for days in (10, 20)]
    payloads = [{"account_name": azurite.account, "sas_token": azurite.account_sas(se=end)} for end in ends]
    shown = [f"{end:%Y-%m-%dT%H:%M:%S}.000000Z" for end in ends]
    id_ = (await put(vouch, sas_item(payloads[0])))["id"]
    rotated = await vouch.call("POST", path(id_, "/rotate"), {"payload": payloads[1]})
    assert (rotated.status, rotated.json_body["expires_at"]) == (200, shown[1])
    assert (await vouch.call("POST", path(id_, "/rollback"))).json_body["expires_at"] == shown[0]
    soon = (ends[0] + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    assert [one["id"] for one in await walk(vouch, 5, expires_before=soon)] == [id_]
    # One that has ended is refused offline, and stays what it was.
    past = {"account_name": azurite.account, "sas_token": azurite.account_sas(se=ends[0] - timedelta(days=30))}
    refused = await vouch.call("POST", path(id_, "/rotate"), {"payload": past})
    assert (refused.status, refused.json_body["verification"]["reason"]) == (422, "expired")
    assert (await get(vouch, id_))["expires_at"] == shown[0]


async def test_the_age_is_that_of_the_payload(vouch: Vouch) -> None:
    id_ = (await put(vouch, key_item()))["id"]
    first = await get(vouch, id_)
    assert first["payload_age_days"] == 0
    for days, right in ((0.9, 0), (1.1, 1), (400.5, 400), (-3, 0)):
        moment = datetime.now(UTC) - timedelta(days=days)
        with closing(sqlite3.connect(vouch.config.database)) as other, other:
            other.execute("UPDATE credential SET payload_changed_at = ?", (f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",))
        assert (await get(vouch, id_))["payload_age_days"] == right
    old = (await get(vouch, id_))["payload_changed_at"]
    await put(vouch, key_item("renamed"), id_)
    assert (await get(vouch, id_))["payload_changed_at"] == old
    changed = await put(vouch, key_item("renamed", {**SOME_KEY, "secret_access_key": "new"}), id_)
    assert (changed["payload_changed_at"], changed["payload_age_days"]) == (changed["updated_at"], 0)


async def test_verifying_tells_the_end_of_what_was_stored_before_ends_were_kept(vouch: Vouch) -> None:
    old = "sv=2023-11-03&ss=b&srt=sco&sp=rl&se=2021-01-01T00:00:00Z&sig=Y0FuQXJZ"
    body = {"name": "old", "provider": "AZURE", "token": {"azure": {"account_name": "storageacct", "sas_token": old}}}
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    id_ = (await vouch.call("GET", "/v4/credentials/old")).json_body["data"]["id"]
    with closing(sqlite3.connect(vouch.config.database)) as db, db:
        db.execute("UPDATE credential SET expires_at = NULL")
    report = await vouch.call("POST", f"/v1/credentials/{id_}/verify")
    assert (report.json_body["outcome"], report.json_body["reason"]) == ("failed", "expired")
    shown = (await vouch.call("GET", f"/v1/credentials/{id_}")).json_body
    assert shown["expires_at"] == "2021-01-01T00:00:00.000000Z"
    assert (shown["status"], shown["version"]) == ("failed", 1)
