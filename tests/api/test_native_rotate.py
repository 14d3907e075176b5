"""`POST /v1/credentials/{id}/rotate`: verified first, swapped only then, and never half."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from service.config import Config, CredentialsConfig, VerificationConfig
from tests.api.native import (
    OTHER_KEY,
    REFUSED,
    SILENT,
    SOME_KEY,
    WORKS,
    Gate,
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
from tests.api.payloads import KINDS
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub, Scripted, sts_error
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, allow

THIRD_KEY = {"access_key_id": "AKIAEXAMPLE000000002", "secret_access_key": "u" * 40}
AWS_FILE = "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"


@pytest.fixture
async def asking(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    quick = VerificationConfig(deadline_seconds=0.4)
    return await start(replace(providers(config, aws=aws_stub.url), verification=quick))


async def rotate(vouch: Vouch, id_: str, payload: Any, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """The answer to a rotation."""
    return await vouch.call("POST", path(id_, "/rotate"), {"payload": payload, **more}, headers=headers or {})


async def versions(vouch: Vouch, id_: str) -> list[tuple[int, bool, Any]]:
    """Number, whether it is the present one, and key id, of each payload that is there."""
    told = (await get(vouch, id_, "/versions"))["data"]
    return [(one["version"], one["current"], one["payload"].get("access_key_id")) for one in told]


async def test_a_verified_payload_takes_the_old_ones_place_which_is_kept(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item("one", allowed_in_tasks=True)))["id"]
    aws_stub.script(REFUSED, WORKS)
    await asking.call("POST", path(id_, "/verify"))
    before = await get(asking, id_)
    done = await rotate(asking, id_, OTHER_KEY)
    assert done.status == 200
    after = done.json_body
    assert after == await get(asking, id_)
    assert (after["version"], after["status"], after["attempt"]) == (2, "verified", None)
    assert after["payload"] == {**OTHER_KEY, "secret_access_key": "", "session_token": "", "use_path_style": False}
    assert (after["name"], after["allowed_in_tasks"]) == ("one", True)
    assert after["payload_changed_at"] > before["payload_changed_at"]
    assert done.headers["ETag"] == (await asking.call("GET", path(id_))).headers["ETag"]
    assert await history(asking, id_) == [(2, "rotation", "verified"), (1, "request", "failed")]
    current, kept = (await get(asking, id_, "/versions"))["data"]
    assert (current["current"], current["replaced_at"], current["status"]) == (True, None, "verified")
    assert kept == {
        "version": 1,
        "current": False,
        "provider": "AWS",
        "type": "key",
        "payload": before["payload"],
        "status": "failed",
        "made_at": before["payload_changed_at"],
        "replaced_at": after["payload_changed_at"],
    }


async def test_a_refused_payload_changes_nothing(asking: Vouch, aws_stub: AwsStub) -> None:
    """Not even with force; the old one and its verdict stay."""
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(WORKS, REFUSED, REFUSED)
    await asking.call("POST", path(id_, "/verify"))
    before, tag = await get(asking, id_), (await asking.call("GET", path(id_))).headers["ETag"]
    for force in (False, True):
        refused = await rotate(asking, id_, OTHER_KEY, force=force)
        assert error_of(refused) == (422, 1400)
        assert refused.json_body["verification"]["reason"] == "unknown_key"
    assert await get(asking, id_) == before
    assert (await asking.call("GET", path(id_))).headers["ETag"] == tag
    assert await versions(asking, id_) == [(1, True, SOME_KEY["access_key_id"])]
    assert await history(asking, id_) == [(1, "request", "verified")]


UNKNOWN: list[tuple[Any, int]] = [
    (SILENT, 502),
    (sts_error("Throttling", 400, Retry_After="7"), 503),
    ("hang", 504),
    (Scripted(200, "<html>"), 502),
]


@pytest.mark.parametrize(("answer", "status"), UNKNOWN, ids=lambda value: repr(value)[:20])
async def test_where_nobody_can_say_the_old_one_stays_unless_it_is_forced(
    asking: Vouch, aws_stub: AwsStub, answer: Any, status: int
) -> None:
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(WORKS)
    await asking.call("POST", path(id_, "/verify"))
    before = await get(asking, id_)
    answers = [Gate(WORKS) if answer == "hang" else answer for _ in range(2)]
    aws_stub.script(*answers)
    refused = await rotate(asking, id_, OTHER_KEY)
    assert error_of(refused) == (status, 1401)
    assert refused.json_body["verification"]["outcome"] == "unknown"
    assert ("Retry-After" in refused.headers) == (status == 503)
    assert await get(asking, id_) == before
    forced = await rotate(asking, id_, OTHER_KEY, force=True)
    assert forced.status == 200
    shown = forced.json_body
    assert (shown["version"], shown["status"], shown["attempt"]["outcome"]) == (2, None, "unknown")
    assert (await versions(asking, id_))[1][0] == 1
    assert (await history(asking, id_))[0] == (2, "rotation", "unknown")
    for one in answers:
        if isinstance(one, Gate):
            one.opened.set()


async def test_what_can_not_be_a_new_payload_is_refused_before_anybody_is_asked(
    asking: Vouch, aws_stub: AwsStub
) -> None:
    id_ = (await put(asking, key_item()))["id"]
    file_id = (await put(asking, file_item("file", "some text")))["id"]
    role_id = (await put(asking, item("aws role", "role")))["id"]
    cases: list[tuple[str, dict[str, Any], set[str]]] = [
        (id_, {"payload": SOME_KEY}, {"payload"}),
        (id_, {"payload": {**SOME_KEY, "use_path_style": False}, "force": True}, {"payload"}),
        (file_id, {"payload": {"content": "some text"}}, {"payload"}),
        (role_id, {"payload": KINDS["aws role"][4]}, {"payload"}),
        (id_, {"payload": KINDS["azure key"][4], "provider": "AZURE"}, {"provider"}),
        (file_id, {"payload": {"content": "x"}, "provider": "AWS"}, {"provider"}),
        (id_, {"payload": KINDS["azure key"][4]}, {"payload.account_name", "payload.account_key"}),
        (id_, {"payload": {"content": "x"}}, {"payload.content"}),
        (id_, {"payload": OTHER_KEY | {"secret_access_key": ""}}, {"payload.secret_access_key"}),
        (file_id, {"payload": {"content": ""}}, {"payload.content"}),
        (file_id, {"payload": OTHER_KEY}, {"payload.content"}),
        (id_, {"payload": OTHER_KEY, "force": "yes"}, {"force"}),
        (id_, {"payload": OTHER_KEY, "name": "two"}, {"name"}),
        (id_, {"payload": []}, {"payload"}),
        (id_, {}, {"payload"}),
    ]
    for where, body, fields in cases:
        answer = await asking.call("POST", path(where, "/rotate"), body)
        assert answer.status == 400, body
        assert fields <= set(fields_of(answer)), body
    assert aws_stub.received == []
    for where in (id_, file_id, role_id):
        assert (await get(asking, where))["version"] == 1


async def test_two_rotations_at_once_are_one_rotation(asking: Vouch, aws_stub: AwsStub) -> None:
    """One 200, one 409, and one version kept."""
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(first := Gate(WORKS), second := Gate(WORKS))
    running = [asyncio.create_task(rotate(asking, id_, payload)) for payload in (OTHER_KEY, THIRD_KEY)]
    for gate in (first, second):
        await asyncio.wait_for(gate.asked.wait(), 5)
    first.opened.set()
    second.opened.set()
    done, lost = sorted(await asyncio.gather(*running), key=lambda one: one.status)
    assert (done.status, *error_of(lost)) == (200, 409, 1204)
    after = await versions(asking, id_)
    assert after[0] == (2, True, done.json_body["payload"]["access_key_id"])
    assert after[1:] == [(1, False, SOME_KEY["access_key_id"])]
    assert await history(asking, id_) == [(2, "rotation", "verified")]


async def test_a_change_meanwhile_wins_and_a_rename_is_none(asking: Vouch, aws_stub: AwsStub) -> None:
    for changed, status in ((key_item("one", THIRD_KEY), 409), (key_item("renamed"), 200)):
        id_ = (await put(asking, key_item()))["id"]
        aws_stub.script(gate := Gate(WORKS))
        running = asyncio.create_task(rotate(asking, id_, OTHER_KEY))
        await asyncio.wait_for(gate.asked.wait(), 5)
        await put(asking, changed, id_)
        gate.opened.set()
        assert (await running).status == status
        right = THIRD_KEY if status == 409 else OTHER_KEY
        after = await get(asking, id_)
        assert (after["payload"]["access_key_id"], after["name"]) == (right["access_key_id"], changed["name"])
        await asking.call("DELETE", path(id_))


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and put again"])
async def test_one_that_is_deleted_while_its_rotation_is_verified_stays_deleted(
    asking: Vouch, aws_stub: AwsStub, again: bool
) -> None:
    """Requirement 40: also where another one has come under the same id."""
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(gate := Gate(WORKS))
    running = asyncio.create_task(rotate(asking, id_, OTHER_KEY))
    await asyncio.wait_for(gate.asked.wait(), 5)
    assert (await asking.call("DELETE", path(id_))).status == 204
    if again:
        await put(asking, key_item("another", THIRD_KEY), id_)
    gate.opened.set()
    answer = await running
    if again:
        assert error_of(answer) == (409, 1204)
        assert await versions(asking, id_) == [(1, True, THIRD_KEY["access_key_id"])]
        return
    assert error_of(answer) == (404, 1200)
    for below in ("", "/versions", "/verifications"):
        assert error_of(await asking.call("GET", path(id_, below))) == (404, 1200)


async def test_a_stale_tag_stops_a_rotation_before_anybody_is_asked(asking: Vouch, aws_stub: AwsStub) -> None:
    """Requirement 39."""
    created = await asking.call("PUT", path(id_ := new_id()), key_item())
    await put(asking, key_item("two"), id_)
    stale = await rotate(asking, id_, OTHER_KEY, {"If-Match": created.headers["ETag"]})
    assert error_of(stale) == (412, 1202)
    assert aws_stub.received == []
    aws_stub.script(WORKS)
    tag = (await asking.call("GET", path(id_))).headers["ETag"]
    assert (await rotate(asking, id_, OTHER_KEY, {"If-Match": tag})).status == 200


async def test_rotation_against_real_providers(start: Start, config: Config, moto: Moto, google: TokenEndpoint) -> None:
    """A key, a service account of which one key is deleted, and a shared file."""
    settings = replace(providers(config, aws=moto.url, gcp=google.token_uri), credentials=CredentialsConfig(2))
    vouch = await start(settings)
    old, new = moto.user(allow("s3:*")), moto.user(allow("s3:*"))
    key_id = (await put(vouch, key_item("key", old.payload)))["id"]
    assert (await rotate(vouch, key_id, old.payload | {"secret_access_key": "x" * 40})).status == 422
    done = await rotate(vouch, key_id, new.payload)
    assert (done.status, done.json_body["verification"]["identity"]["arn"]) == (200, new.arn)
    assert (
        await rotate(vouch, key_id, {"access_key_id": "AKIANOBODY0000000000", "secret_access_key": "x"})
    ).status == 422
    file_id = (await put(vouch, file_item("file", AWS_FILE.format(**old.payload))))["id"]
    assert (await rotate(vouch, file_id, {"content": "no credential at all"})).status == 422
    content = AWS_FILE.format(**new.payload)
    assert (await rotate(vouch, file_id, {"content": content}, force=True)).json_body["status"] == "verified"
    assert (await vouch.call("GET", "/api/credentials/file")).json_body["text_value"] == content
    robot = {"name": "robot", "provider": "GCP", "type": "token"}
    robot_id = (await put(vouch, {**robot, "payload": {"key_text": json.dumps(google.make_key())}}))["id"]
    other = google.make_key()
    turned = await rotate(vouch, robot_id, {"key_text": json.dumps(other)})
    assert (turned.status, turned.json_body["payload"]["key_id"]) == (200, other["private_key_id"])
