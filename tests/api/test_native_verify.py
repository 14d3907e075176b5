"""`POST /v1/credentials/{id}/verify` and what is kept of it: the verdict, the attempt beside it, the history."""

import asyncio
from dataclasses import replace

import pytest

from service.config import Config, LimitsConfig
from service.core.store import REPORTS_KEPT
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
    key_item,
    new_id,
    path,
    providers,
    put,
)
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import CALLER_ARN, AwsStub, Scripted, sts_error
from tests.peers.azurite import Azurite
from tests.peers.moto import Moto, allow

AWS_FILE = "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"


@pytest.fixture
async def asking(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    """A vouch whose AWS is the stub, without limits."""
    limits = LimitsConfig(verifications_per_caller=0, verifications_overall=0)
    return await start(replace(providers(config, aws=aws_stub.url), limits=limits))


async def verify(vouch: Vouch, id_: str) -> tuple[str, str]:
    """Outcome and reason of a verification, which is answered with 200 whatever they are."""
    answer = await vouch.call("POST", path(id_, "/verify"))
    assert answer.status == 200, await answer.text()
    return answer.json_body["outcome"], answer.json_body["reason"]


async def test_a_verification_is_a_200_whatever_its_outcome(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item()))["id"]
    for answer, right in (
        (WORKS, ("verified", "ok")),
        (REFUSED, ("failed", "unknown_key")),
        (sts_error("SignatureDoesNotMatch"), ("failed", "bad_secret")),
        (sts_error("ExpiredToken"), ("failed", "expired")),
        (sts_error("Throttling", 400), ("unknown", "throttled")),
        (Scripted(503), ("unknown", "provider_error")),
        (Scripted(200, "garbage"), ("unknown", "provider_error")),
    ):
        aws_stub.script(answer)
        assert await verify(asking, id_) == right
    assert len(await history(asking, id_)) == 7


async def test_an_unknown_stands_beside_the_last_known_verdict(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(SILENT, WORKS, SILENT, REFUSED)
    await verify(asking, id_)
    first = await get(asking, id_)
    assert (first["status"], first["verification"], first["attempt"]["outcome"]) == (None, None, "unknown")
    v4 = (await asking.call("GET", "/v4/credentials/one")).json_body["data"]
    assert not {"status", "verification", "attempt"} & set(v4)
    await verify(asking, id_)
    known = await get(asking, id_)
    assert (known["status"], known["attempt"]) == ("verified", None)
    assert known["verification"]["identity"]["arn"] == CALLER_ARN
    await verify(asking, id_)
    beside = await get(asking, id_)
    assert (beside["status"], beside["verification"]) == ("verified", known["verification"])
    assert (beside["attempt"]["outcome"], beside["attempt"]["reason"]) == ("unknown", "provider_error")
    v4 = (await asking.call("GET", "/v4/credentials/one")).json_body["data"]
    assert (v4["status"], v4["verification"]) == ("verified", known["verification"])
    await verify(asking, id_)
    failed = await get(asking, id_)
    assert (failed["status"], failed["attempt"]) == ("failed", None)
    # It is the representation that changed, and not the credential.
    assert failed["updated_at"] == first["updated_at"] == failed["created_at"]
    outcomes = [outcome for _version, _trigger, outcome in await history(asking, id_)]
    assert outcomes == ["failed", "unknown", "verified", "unknown"]


async def test_another_payload_makes_the_verdict_stale_at_once(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item()))["id"]
    v4 = {"credential": {"aws": SOME_KEY}}
    aws_stub.script(WORKS, WORKS, WORKS)
    for change in ("put", "patch", "rename"):
        await verify(asking, id_)
        assert (await get(asking, id_))["status"] == "verified"
        if change == "put":
            await put(asking, key_item("one", OTHER_KEY), id_)
        elif change == "patch":
            assert (await asking.call("PATCH", "/v4/credentials/one", v4)).status == 204
        else:
            await put(asking, key_item("two"), id_)
        after = await get(asking, id_)
        known = None if change != "rename" else "verified"
        assert (after["status"], after["attempt"]) == (known, None), change
        assert (after["verification"] is None) == (known is None)
    # What was said of earlier payloads stays said, of those.
    assert await history(asking, id_) == [(version, "request", "verified") for version in (3, 2, 1)]


async def test_an_answer_on_a_payload_that_was_replaced_meanwhile_is_not_its_successors(
    asking: Vouch, aws_stub: AwsStub
) -> None:
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(gate := Gate(REFUSED))
    running = asyncio.create_task(verify(asking, id_))
    await asyncio.wait_for(gate.asked.wait(), 5)
    await put(asking, key_item("one", OTHER_KEY), id_)
    gate.opened.set()
    assert await running == ("failed", "unknown_key")
    after = await get(asking, id_)
    assert (after["status"], after["version"], await history(asking, id_)) == (None, 2, [])


async def test_a_credential_that_vanished_while_its_probe_ran_leaves_nothing(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(gate := Gate(WORKS))
    running = asyncio.create_task(verify(asking, id_))
    await asyncio.wait_for(gate.asked.wait(), 5)
    assert (await asking.call("DELETE", path(id_))).status == 204
    gate.opened.set()
    assert await running == ("verified", "ok")
    for below in ("", "/verifications", "/versions"):
        assert error_of(await asking.call("GET", path(id_, below))) == (404, 1200)


async def test_a_verdict_is_not_that_of_another_one_put_under_the_same_id(asking: Vouch, aws_stub: AwsStub) -> None:
    """No green light that nobody earned: both payloads are their credential's first."""
    id_ = (await put(asking, key_item()))["id"]
    aws_stub.script(gate := Gate(WORKS))
    running = asyncio.create_task(verify(asking, id_))
    await asyncio.wait_for(gate.asked.wait(), 5)
    assert (await asking.call("DELETE", path(id_))).status == 204
    await put(asking, key_item("one", OTHER_KEY), id_)
    gate.opened.set()
    assert await running == ("verified", "ok")
    after = await get(asking, id_)
    assert (after["status"], after["version"], await history(asking, id_)) == (None, 1, [])


async def test_the_history_is_bounded_and_walked_newest_first(asking: Vouch, aws_stub: AwsStub) -> None:
    id_ = (await put(asking, key_item()))["id"]
    other = (await put(asking, key_item("two")))["id"]
    for number in range(REPORTS_KEPT + 5):
        aws_stub.script(WORKS if number % 2 else REFUSED)
        await verify(asking, id_)
    aws_stub.script(SILENT)
    await verify(asking, other)
    whole = (await get(asking, id_, "/verifications?limit=1000"))["data"]
    assert len(whole) == REPORTS_KEPT
    times = [one["verification"]["checked_at"] for one in whole]
    assert times == sorted(times, reverse=True)
    assert [one["verification"]["outcome"] for one in whole[:3]] == ["failed", "verified", "failed"]
    walked, more = [], ""
    while True:
        page = await get(asking, id_, f"/verifications?limit=7{more}")
        walked += page["data"]
        if page["next_cursor"] is None:
            break
        more = f"&cursor={page['next_cursor']}"
    assert walked == whole
    assert len(await history(asking, other)) == 1
    for query in ("limit=0", "limit=x", "limit=1001", "cursor=x", "cursor=", "limit=1&limit=2"):
        wrong = await asking.call("GET", path(id_, f"/verifications?{query}"))
        assert fields_of(wrong) == [query.partition("=")[0]]
    listed = await asking.call("GET", "/v1/credentials?limit=1")
    alien = await asking.call("GET", path(id_, f"/verifications?cursor={listed.json_body['next_cursor']}"))
    assert fields_of(alien) == ["cursor"]


async def test_verdicts_of_both_dialects_are_one(start: Start, config: Config, moto: Moto, azurite: Azurite) -> None:
    vouch = await start(providers(config, aws=moto.url, azure=azurite.operator_endpoint))
    pair = moto.user(allow("s3:*"))
    id_ = (await put(vouch, key_item("one", pair.payload)))["id"]
    stored = {"name": "one", "provider": "AWS"}
    assert (await vouch.call("POST", "/v4/credentials/verify", stored)).status == 200
    assert (await get(vouch, id_))["status"] == "verified"
    file_id = (await put(vouch, file_item("file", AWS_FILE.format(**pair.payload))))["id"]
    assert await verify(vouch, file_id) == ("verified", "ok")
    shown = await get(vouch, file_id)
    assert (shown["status"], shown["verification"]["provider"], shown["verification"]["type"]) == (
        "verified",
        "AWS",
        "key",
    )
    assert (await vouch.call("POST", "/api/credentials/file/verify")).status == 200
    assert len(await history(vouch, file_id)) == 2
    # A file that is none of those we know is not verified by anybody.
    await put(vouch, file_item("file", "just text"), file_id)
    assert await verify(vouch, file_id) == ("failed", "not_recognised")
    sas = {"name": "sas", "provider": "AZURE", "type": "azure_token"}
    payload = {"account_name": azurite.account, "sas_token": azurite.account_sas()}
    sas_id = (await put(vouch, {**sas, "payload": payload}))["id"]
    assert await verify(vouch, sas_id) == ("verified", "ok")


async def test_quotas_count_before_anybody_is_asked(start: Start, config: Config, aws_stub: AwsStub) -> None:
    """Requirement 13."""
    limits = LimitsConfig(verifications_per_caller=3)
    vouch = await start(replace(providers(config, aws=aws_stub.url), limits=limits))
    id_ = (await put(vouch, key_item()))["id"]
    aws_stub.script(WORKS, WORKS, WORKS)
    await verify(vouch, id_)
    assert (await vouch.call("POST", path(id_, "/rotate"), {"payload": OTHER_KEY})).status == 200
    assert (await vouch.call("PUT", path(new_id()), key_item("two"), headers={"Prefer": "verify"})).status == 201
    for method, where, body, headers in (
        ("POST", path(id_, "/verify"), None, {}),
        ("POST", path(id_, "/rotate"), {"payload": SOME_KEY}, {}),
        ("PUT", path(new_id()), key_item("three"), {"Prefer": "verify"}),
        ("PUT", path(new_id()), file_item("three", AWS_FILE.format(**SOME_KEY)), {"Prefer": "verify"}),
    ):
        limited = await vouch.call(method, where, body, headers=headers)
        assert error_of(limited) == (429, 1500)
        assert int(limited.headers["Retry-After"]) > 0
    assert len(aws_stub.received) == 3
    assert (await get(vouch, id_))["version"] == 2
