"""`POST /v1/credentials/{id}/rollback` and `GET …/versions`: the way back, and how far it goes."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from service.config import Config, CredentialsConfig
from tests.api.native import (
    WORKS,
    error_of,
    fields_of,
    file_item,
    get,
    history,
    item,
    key_item,
    new_id,
    path,
    providers,
    put,
)
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub
from tests.peers.moto import Moto, allow

KEYS = [
    {"access_key_id": f"AKIAEXAMPLE00000000{number}", "secret_access_key": f"secret-of-number-{number}-{'s' * 20}"}
    for number in range(6)
]


def keeping(config: Config, aws_stub: AwsStub, keep: int) -> Config:
    return replace(providers(config, aws=aws_stub.url), credentials=CredentialsConfig(keep))


async def rotated(vouch: Vouch, aws_stub: AwsStub, times: int) -> str:
    """A credential with the first key that was rotated through the next ones; its id."""
    id_ = (await put(vouch, key_item("one", KEYS[0])))["id"]
    for payload in KEYS[1 : times + 1]:
        aws_stub.script(WORKS)
        assert (await vouch.call("POST", path(id_, "/rotate"), {"payload": payload})).status == 200
    return str(id_)


async def roll_back(vouch: Vouch, id_: str, version: int | None = None, **more: Any) -> Any:
    return await vouch.call("POST", path(id_, "/rollback"), None if version is None else {"version": version}, **more)


async def kept(vouch: Vouch, id_: str) -> list[tuple[int, int]]:
    """The number of each version that is there, and of its key: the present one first."""
    told = (await get(vouch, id_, "/versions"))["data"]
    return [(one["version"], int(one["payload"]["access_key_id"][-1])) for one in told]


@pytest.mark.parametrize("keep", [0, 1, 2, 5])
async def test_as_many_payloads_are_kept_as_the_operator_says(
    start: Start, config: Config, aws_stub: AwsStub, keep: int
) -> None:
    vouch = await start(keeping(config, aws_stub, keep))
    id_ = await rotated(vouch, aws_stub, 4)
    right = [(5, 4), (4, 3), (3, 2), (2, 1), (1, 0)]
    assert await kept(vouch, id_) == right[: keep + 1]
    if not keep:
        assert error_of(await roll_back(vouch, id_)) == (404, 1205)
        assert error_of(await roll_back(vouch, id_, 4)) == (404, 1205)
        assert (await get(vouch, id_))["version"] == 5


async def test_rolling_back_twice_toggles(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 1))
    id_ = await rotated(vouch, aws_stub, 1)
    for version, right in ((3, [(3, 0), (2, 1)]), (4, [(4, 1), (3, 0)]), (5, [(5, 0), (4, 1)])):
        back = await roll_back(vouch, id_)
        assert (back.status, back.json_body["version"], back.json_body["status"]) == (200, version, None)
        assert back.headers["ETag"] == (await vouch.call("GET", path(id_))).headers["ETag"]
        assert await kept(vouch, id_) == right
    # What was said of the payload when it was there before is history.
    assert await history(vouch, id_) == [(2, "rotation", "verified")]


async def test_the_secret_comes_back_and_is_the_right_one(start: Start, config: Config, moto: Moto) -> None:
    """Requirements 24 and 25: it is opened as the version it was, and sealed as the version it becomes."""
    vouch = await start(replace(providers(config, aws=moto.url), credentials=CredentialsConfig(2)))
    pairs = [moto.user(allow("s3:*")) for _ in range(3)]
    id_ = (await put(vouch, key_item("one", pairs[0].payload)))["id"]
    for pair in pairs[1:]:
        assert (await vouch.call("POST", path(id_, "/rotate"), {"payload": pair.payload})).status == 200
    await put(vouch, key_item("renamed", pairs[2].payload), id_)
    for version, right in ((1, 0), (2, 1), (3, 2), (4, 0)):
        assert (await roll_back(vouch, id_, version)).status == 200
        report = (await vouch.call("POST", path(id_, "/verify"))).json_body
        assert (report["outcome"], report["identity"]["arn"]) == ("verified", pairs[right].arn)
    assert (await get(vouch, id_))["name"] == "renamed"


async def test_a_version_by_its_number_or_none_of_that_number(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 2))
    id_ = await rotated(vouch, aws_stub, 3)
    for version in (1, 4, 99, 2**53 - 1):
        assert error_of(await roll_back(vouch, id_, version)) == (404, 1205)
    for wrong in (0, -1, 2**53, 1.0, "2", True, [2]):
        answer = await vouch.call("POST", path(id_, "/rollback"), {"version": wrong})
        assert fields_of(answer) == ["version"]
    assert fields_of(await vouch.call("POST", path(id_, "/rollback"), {"to": 2})) == ["to"]
    assert fields_of(await vouch.call("POST", path(id_, "/rollback"), [])) == ["body"]
    text = {"Content-Type": "text/plain"}
    assert (await vouch.call("POST", path(id_, "/rollback"), data=b"2", headers=text)).status == 415
    assert (await roll_back(vouch, id_, 2)).json_body["version"] == 5
    assert await kept(vouch, id_) == [(5, 1), (4, 3), (3, 2)]
    # An empty object, and null, mean the newest, as no body does.
    assert (await vouch.call("POST", path(id_, "/rollback"), {})).status == 200
    assert (await vouch.call("POST", path(id_, "/rollback"), {"version": None})).status == 200
    assert await kept(vouch, id_) == [(7, 1), (6, 3), (5, 1)]


async def test_other_changes_keep_no_version_and_drop_none(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 2))
    id_ = await rotated(vouch, aws_stub, 1)
    await put(vouch, key_item("one", KEYS[2]), id_)
    patch = {"credential": {"aws": KEYS[3]}}
    assert (await vouch.call("PATCH", "/v4/credentials/one", patch)).status == 204
    assert await kept(vouch, id_) == [(4, 3), (1, 0)]
    # A payload of another kind has its way back too.
    await put(vouch, item("gcp hmac", "one"), id_)
    assert (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]["provider"] == "GCP"
    back = (await roll_back(vouch, id_)).json_body
    assert (back["provider"], back["version"], back["payload"]["access_key_id"]) == ("AWS", 6, KEYS[0]["access_key_id"])
    told = (await get(vouch, id_, "/versions"))["data"]
    assert [(one["version"], one["provider"]) for one in told] == [(6, "AWS"), (5, "GCP"), (1, "AWS")]
    assert (await vouch.call("GET", "/v4/credentials?provider=GCP")).json_body["pagination_metadata"][
        "total_items"
    ] == 0


async def test_a_file_comes_back_as_it_was(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 1))
    file = "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"
    first, second = (file.format(**payload) for payload in KEYS[:2])
    id_ = (await put(vouch, file_item("file", first)))["id"]
    aws_stub.script(WORKS)
    assert (await vouch.call("POST", path(id_, "/rotate"), {"payload": {"content": second}})).status == 200
    for right in (first, second):
        assert (await roll_back(vouch, id_)).status == 200
        assert (await vouch.call("GET", "/api/credentials/file")).json_body["text_value"] == right


async def test_a_stale_tag_stops_it_and_two_at_once_are_one(start: Start, config: Config, aws_stub: AwsStub) -> None:
    """Requirement 39."""
    vouch = await start(keeping(config, aws_stub, 1))
    id_ = await rotated(vouch, aws_stub, 1)
    stale = await roll_back(vouch, id_, headers={"If-Match": '"other"'})
    assert error_of(stale) == (412, 1202)
    tag = (await vouch.call("GET", path(id_))).headers["ETag"]
    answers = await asyncio.gather(*(roll_back(vouch, id_, headers={"If-Match": tag}) for _ in range(5)))
    statuses = sorted(one.status for one in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    assert await kept(vouch, id_) == [(3, 0), (2, 1)]


async def test_a_version_is_gone_with_its_credential(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 2))
    id_ = await rotated(vouch, aws_stub, 2)
    assert (await vouch.call("DELETE", path(id_))).status == 204
    assert error_of(await roll_back(vouch, id_)) == (404, 1200)
    await put(vouch, key_item("one", KEYS[5]), id_)
    assert await kept(vouch, id_) == [(1, 5)]
    assert error_of(await roll_back(vouch, id_)) == (404, 1205)
    with closing(sqlite3.connect(vouch.config.database)) as other:
        assert other.execute("SELECT count(*) FROM credential_version").fetchone() == (0,)


SWAPS = [
    "UPDATE credential_version AS one SET sealed = two.sealed FROM credential_version AS two "
    "WHERE one.version = 2 AND two.version = 1",
    "UPDATE credential_version SET sealed = (SELECT sealed FROM envelope) WHERE version = 2",
    "UPDATE credential_version SET public = replace(public, 'AKIAEXAMPLE', 'AKIAEVILKEY') WHERE version = 2",
    "UPDATE credential_version SET provider = 'GCP' WHERE version = 2",
    "UPDATE credential_version SET type = 'arn' WHERE version = 2",
    "DELETE FROM credential_version WHERE version = 1; UPDATE credential_version SET version = 1",
]


@pytest.mark.parametrize("swap", SWAPS)
async def test_what_was_sealed_for_one_version_opens_as_no_other(
    start: Start, config: Config, aws_stub: AwsStub, swap: str
) -> None:
    """Requirements 25 and 28: whoever writes to the database gains nothing, and the present payload stays."""
    vouch = await start(keeping(config, aws_stub, 2))
    id_ = await rotated(vouch, aws_stub, 2)
    with closing(sqlite3.connect(vouch.config.database)) as other, other:
        other.executescript(swap)
    before = await get(vouch, id_)
    assert error_of(await roll_back(vouch, id_)) == (500, 1900)
    assert await get(vouch, id_) == before
    aws_stub.script(WORKS)
    assert (await vouch.call("POST", path(id_, "/verify"))).json_body["outcome"] == "verified"


async def test_a_kept_version_of_another_credential_opens_nowhere_else(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 25."""
    vouch = await start(keeping(config, aws_stub, 1))
    id_ = await rotated(vouch, aws_stub, 1)
    other_id = (await put(vouch, key_item("two", KEYS[0]), new_id()))["id"]
    aws_stub.script(WORKS)
    assert (await vouch.call("POST", path(other_id, "/rotate"), {"payload": KEYS[1]})).status == 200
    with closing(sqlite3.connect(vouch.config.database)) as other, other:
        rows = other.execute("SELECT credential, sealed FROM credential_version ORDER BY credential").fetchall()
        for (seq, _own), (_seq, alien) in zip(rows, reversed(rows), strict=True):
            other.execute("UPDATE credential_version SET sealed = ? WHERE credential = ?", (alien, seq))
    for one in (id_, other_id):
        assert error_of(await roll_back(vouch, one)) == (500, 1900)


async def test_what_comes_back_takes_no_default_from_another(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(keeping(config, aws_stub, 1))
    id_ = await rotated(vouch, aws_stub, 1)
    hmac = item("gcp hmac", "one") | {"provider_default": True}
    assert (await vouch.call("PUT", path(id_), hmac)).status == 200
    two = (await put(vouch, key_item("two", KEYS[2]) | {"provider_default": True}))["id"]
    assert (await roll_back(vouch, id_)).status == 200
    back = await get(vouch, id_)
    assert (back["provider"], back["provider_default"]) == ("AWS", False)
    assert (await get(vouch, two))["provider_default"] is True
