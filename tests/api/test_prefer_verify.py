"""`Prefer: verify` on POST and PATCH of `/v4/credentials`, and on PUT of `/v1/credentials/{id}`: asked, then saved."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from service.config import Config, VerificationConfig
from tests.api.native import (
    OTHER_KEY,
    REFUSED,
    SILENT,
    SOME_KEY,
    VERIFY,
    WORKS,
    Gate,
    error_of,
    fields_of,
    file_item,
    get,
    history,
    key_item,
    new_id,
    path,
    providers,
    put,
    v4_key,
    walk,
)
from tests.api.payloads import CANARY
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub, sts_error
from tests.peers.azurite import Azurite
from tests.peers.moto import Moto, allow

AWS_FILE = "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"
ONE = "/v4/credentials/one"
APPLIED = "Preference-Applied"


@pytest.fixture
async def asking(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    return await start(providers(config, aws=aws_stub.url))


Write = Callable[[Vouch, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Way:
    """A way of writing: what it answers when it wrote, and whether there was a credential before."""

    write: Write
    status: int
    replaces: bool


async def post(vouch: Vouch, payload: dict[str, Any]) -> Any:
    return await vouch.call("POST", "/v4/credentials", v4_key("one", payload), headers=VERIFY)


async def patch(vouch: Vouch, payload: dict[str, Any]) -> Any:
    return await vouch.call("PATCH", ONE, {"credential": {"aws": payload}}, headers=VERIFY)


async def put_new(vouch: Vouch, payload: dict[str, Any]) -> Any:
    return await vouch.call("PUT", path(new_id()), key_item("one", payload), headers=VERIFY)


async def put_again(vouch: Vouch, payload: dict[str, Any]) -> Any:
    (there,) = await walk(vouch, 5)
    return await vouch.call("PUT", path(there["id"]), key_item("one", payload), headers=VERIFY)


async def put_file(vouch: Vouch, payload: dict[str, Any]) -> Any:
    body = file_item("one", AWS_FILE.format(**payload))
    return await vouch.call("PUT", path(new_id()), body, headers=VERIFY)


WAYS = {
    "POST": Way(post, 201, replaces=False),
    "PATCH": Way(patch, 204, replaces=True),
    "PUT new": Way(put_new, 201, replaces=False),
    "PUT": Way(put_again, 200, replaces=True),
    "PUT of a file": Way(put_file, 201, replaces=False),
}


async def prepared(vouch: Vouch, way: Way, aws_stub: AwsStub) -> list[dict[str, Any]]:
    """What is there before: a verified key where one is to be replaced."""
    if way.replaces:
        aws_stub.script(WORKS)
        assert (await put_new(vouch, SOME_KEY)).status == 201
    return await walk(vouch, 5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_works_is_saved_with_its_verdict(asking: Vouch, aws_stub: AwsStub, way: Way) -> None:
    before = await prepared(asking, way, aws_stub)
    aws_stub.script(WORKS)
    saved = await way.write(asking, OTHER_KEY)
    assert (saved.status, saved.headers[APPLIED]) == (way.status, "verify")
    (after,) = await walk(asking, 5)
    assert (after["status"], after["attempt"], after["version"]) == ("verified", None, len(before) + 1)
    assert (await history(asking, after["id"]))[0] == (after["version"], "write", "verified")
    assert len(aws_stub.received) == 1 + len(before)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_is_refused_is_not_saved(asking: Vouch, aws_stub: AwsStub, way: Way) -> None:
    """422 with the report; the old one stays, with its verdict and its tag."""
    before = await prepared(asking, way, aws_stub)
    aws_stub.script(REFUSED)
    refused = await way.write(asking, OTHER_KEY)
    assert error_of(refused) == (422, 1400)
    report = refused.json_body["verification"]
    assert (report["outcome"], report["reason"], report["provider"]) == ("failed", "unknown_key", "AWS")
    assert report["remedy"]
    assert APPLIED not in refused.headers
    assert await walk(asking, 5) == before
    if before:
        assert len(await history(asking, before[0]["id"])) == 1
        assert (await get(asking, before[0]["id"], "/versions"))["data"][0]["version"] == 1


UNKNOWN = {"5xx": SILENT, "throttled": sts_error("Throttling", 400), "hangs": "hang"}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_nobody_can_say_is_saved_without_a_verdict(
    start: Start, config: Config, aws_stub: AwsStub, way: Way, answer: Any
) -> None:
    """Not applied, as there is no verdict; the attempt is shown here, and no status in the v4 dialect."""
    quick = VerificationConfig(deadline_seconds=0.3)
    asking = await start(replace(providers(config, aws=aws_stub.url), verification=quick))
    before = await prepared(asking, way, aws_stub)
    gate = Gate(SILENT) if answer == "hang" else answer
    aws_stub.script(gate)
    saved = await way.write(asking, OTHER_KEY)
    assert saved.status == way.status
    assert APPLIED not in saved.headers
    (after,) = await walk(asking, 5)
    assert (after["status"], after["verification"], after["attempt"]["outcome"]) == (None, None, "unknown")
    assert after["version"] == len(before) + 1
    assert (await history(asking, after["id"]))[0] == (after["version"], "write", "unknown")
    if after["kind"] == "access":
        assert not {"status", "verification", "attempt"} & set((await asking.call("GET", ONE)).json_body["data"])
    if isinstance(gate, Gate):
        gate.opened.set()


async def test_what_stays_is_verified_too_and_keeps_its_old_verdict_if_nobody_can_say(
    asking: Vouch, aws_stub: AwsStub
) -> None:
    """A change of other things than the payload; the old verdict is no answer to what was preferred now."""
    (before,) = await prepared(asking, WAYS["PATCH"], aws_stub)
    aws_stub.script(WORKS, SILENT, SILENT, REFUSED)
    flags = {"allowed_in_tasks": True}
    assert (await asking.call("PATCH", ONE, flags, headers=VERIFY)).headers[APPLIED] == "verify"
    unsaid = await asking.call("PATCH", ONE, {"name": "two"}, headers=VERIFY)
    assert (unsaid.status, unsaid.headers.get(APPLIED)) == (204, None)
    blank = key_item("two", {**SOME_KEY, "secret_access_key": ""})
    unsaid = await asking.call("PUT", path(before["id"]), blank, headers=VERIFY)
    assert (unsaid.status, unsaid.headers.get(APPLIED)) == (200, None)
    after = await get(asking, before["id"])
    assert (after["name"], after["status"], after["version"]) == ("two", "verified", 1)
    assert after["attempt"]["outcome"] == "unknown"
    refused = await asking.call("PUT", path(before["id"]), blank | {"name": "three"}, headers=VERIFY)
    assert error_of(refused) == (422, 1400)
    assert (await get(asking, before["id"]))["name"] == "two"


@pytest.mark.parametrize("name", ["PATCH", "PUT"])
async def test_a_payload_that_somebody_else_changed_meanwhile_stays(
    asking: Vouch, aws_stub: AwsStub, name: str
) -> None:
    (before,) = await prepared(asking, WAYS[name], aws_stub)
    aws_stub.script(gate := Gate(WORKS))
    running = asyncio.create_task(WAYS[name].write(asking, OTHER_KEY))
    await asyncio.wait_for(gate.asked.wait(), 5)
    theirs = {"access_key_id": "AKIATHEIRS0000000000", "secret_access_key": "x" * 40}
    await put(asking, key_item("one", theirs), before["id"])
    gate.opened.set()
    assert error_of(await running) == (409, 1204)
    after = await get(asking, before["id"])
    assert (after["payload"]["access_key_id"], after["version"], after["status"]) == (theirs["access_key_id"], 2, None)
    assert len(await history(asking, before["id"])) == 1


async def test_one_that_comes_or_goes_meanwhile_is_told(asking: Vouch, aws_stub: AwsStub) -> None:
    """Made by somebody else, under its name or its id; deleted by somebody else. Nothing of ours is left."""
    id_ = new_id()
    for meanwhile, status in ((key_item("one"), 409), (key_item("other"), 409)):
        where = id_ if meanwhile["name"] == "other" else new_id()
        aws_stub.script(gate := Gate(WORKS))
        running = asyncio.create_task(asking.call("PUT", path(id_), key_item("one", OTHER_KEY), headers=VERIFY))
        await asyncio.wait_for(gate.asked.wait(), 5)
        await put(asking, meanwhile, where)
        gate.opened.set()
        assert (await running).status == status
        (after,) = await walk(asking, 5)
        assert (after["id"], after["payload"]["access_key_id"]) == (where, SOME_KEY["access_key_id"])
        await asking.call("DELETE", path(where))
    for name in ("PATCH", "PUT"):
        (before,) = await prepared(asking, WAYS[name], aws_stub)
        aws_stub.script(gate := Gate(WORKS))
        running = asyncio.create_task(WAYS[name].write(asking, OTHER_KEY))
        await asyncio.wait_for(gate.asked.wait(), 5)
        await asking.call("DELETE", path(before["id"]))
        gate.opened.set()
        assert (await running).status == (404 if name == "PATCH" else 409)
        assert await walk(asking, 5) == []


@pytest.mark.parametrize("name", ["PATCH", "PUT"])
async def test_a_provider_that_hangs_holds_up_nobody_elses_change(asking: Vouch, aws_stub: AwsStub, name: str) -> None:
    """Requirement 34: the question is asked before the record is taken."""
    (before,) = await prepared(asking, WAYS[name], aws_stub)
    aws_stub.script(gate := Gate(WORKS))
    running = asyncio.create_task(WAYS[name].write(asking, OTHER_KEY))
    await asyncio.wait_for(gate.asked.wait(), 5)
    started = time.perf_counter()
    assert (await asking.call("PATCH", ONE, {"allowed_in_tasks": True})).status == 204
    assert (await asking.call("PATCH", ONE, {"allowed_in_tasks": False})).status == 204
    assert time.perf_counter() - started < 1
    assert not running.done()
    gate.opened.set()
    # Those changed no payload: both are there.
    assert (await running).status == WAYS[name].status
    assert (await get(asking, before["id"]))["version"] == 2


async def test_what_is_wrong_is_told_before_anybody_is_asked(asking: Vouch, aws_stub: AwsStub) -> None:
    await asking.call("POST", "/v4/credentials", v4_key())
    (there,) = await walk(asking, 5)
    stale = {**VERIFY, "If-Match": '"x"'}
    moved = key_item("one", {**SOME_KEY, "secret_access_key": "", "endpoint": "https://evil.example.org"})
    for method, where, body, headers, status in (
        ("POST", "/v4/credentials", v4_key("a/b"), VERIFY, 400),
        ("PATCH", ONE, {"credential": {"aws": OTHER_KEY}}, stale, 412),
        ("PATCH", "/v4/credentials/none", {"credential": {"aws": OTHER_KEY}}, VERIFY, 404),
        ("PATCH", ONE, {"provider": "GCP"}, VERIFY, 400),
        ("PUT", path(there["id"]), key_item(), stale, 412),
        ("PUT", path(there["id"]), key_item(), {**VERIFY, "If-None-Match": "*"}, 412),
        ("PUT", path(there["id"]), moved, VERIFY, 400),
        ("PUT", path(new_id()), key_item("two", {**SOME_KEY, "secret_access_key": ""}), VERIFY, 400),
        ("PUT", path(new_id()), file_item("two", ""), VERIFY, 400),
    ):
        assert (await asking.call(method, where, body, headers=headers)).status == status, (method, where)
    assert aws_stub.received == []
    refused = await asking.call("PUT", path(there["id"]), moved, headers=VERIFY)
    assert fields_of(refused) == ["payload.secret_access_key"]


@pytest.mark.parametrize(
    ("preference", "asked"),
    [
        *((text, 1) for text in ("verify", "VERIFY", "return=minimal, verify", "verify; x=1", "respond-async,verify")),
        *((text, 0) for text in ("verify=false", "verified", '"verify"', "return=verify", "")),
    ],
)
async def test_the_preference_is_one_of_a_list(asking: Vouch, aws_stub: AwsStub, preference: str, asked: int) -> None:
    """RFC 7240 section 2: another one is not this one, and is no error."""
    aws_stub.script(WORKS)
    answer = await asking.call("POST", "/v4/credentials", v4_key(), headers={"Prefer": preference})
    assert (answer.status, len(aws_stub.received), APPLIED in answer.headers) == (201, asked, bool(asked))


async def test_it_holds_against_real_providers(start: Start, config: Config, moto: Moto, azurite: Azurite) -> None:
    vouch = await start(providers(config, aws=moto.url, azure=azurite.operator_endpoint))
    pair = moto.user(allow("s3:*"))
    wrong = {"secret_access_key": f"{CANARY}{'x' * 28}"}
    refused = await post(vouch, pair.payload | wrong)
    assert (refused.status, refused.json_body["verification"]["reason"]) == (422, "bad_secret")
    assert CANARY not in await refused.text()
    assert (await post(vouch, pair.payload)).status == 201
    assert (await patch(vouch, pair.payload | wrong)).status == 422
    kept = {"name": "one", "provider": "AWS"}
    assert (await vouch.call("POST", "/v4/credentials/verify", kept)).status == 200
    sas = {"account_name": azurite.account, "sas_token": azurite.account_sas()}
    body = {"name": "sas", "provider": "AZURE", "token": {"azure": sas}}
    assert (await vouch.call("POST", "/v4/credentials", body, headers=VERIFY)).headers[APPLIED] == "verify"
    shown = (await vouch.call("GET", "/v4/credentials/sas")).json_body["data"]
    assert (shown["status"], shown["verification"]["identity"]["account"]) == ("verified", azurite.account)
