"""Leases of AWS over HTTP: what reaches STS, what comes of its answer, and what the list and the audit trail say."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from service.config import Config
from tests.api.aws_leases import (
    MATERIAL,
    ROLE,
    THROUGH_A_ROLE,
    assert_nothing_handed_out,
    audited,
    before,
    keep_key,
    lease,
    listed,
    own_session,
    session,
    store,
)
from tests.api.payloads import create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import SESSION_SECRET, AwsStub, sts_error
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, allow
from verifiers.aws_role import IDENTITY

OWN = {"ttl_seconds": 900}
SCOPE = {"bucket": "raw", "prefix": "a/", "access": "read_write"}


@pytest.fixture
async def vouch(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    """A vouch whose AWS is the stub."""
    return await start(before(config, aws_stub.url))


@pytest.fixture
def own_identity(no_aws_identity: pytest.MonkeyPatch) -> Iterator[str]:
    """The service's own AWS identity, in its environment; its access key id."""
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHESERVICE0000")
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", "of-the-service-itself")
    IDENTITY.forget()
    yield "AKIAOFTHESERVICE0000"
    IDENTITY.forget()


# What reaches STS


async def test_sts_is_told_who_asked_and_for_which_lease(vouch: Vouch, aws_stub: AwsStub) -> None:
    id_ = await keep_key(vouch)
    consumer = await vouch.make_key("consumer")
    aws_stub.script(session())
    body = (await lease(vouch, id_, key=consumer)).json_body
    (asked,) = aws_stub.received
    assert asked.form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": f"vouch-{body['id']}",
        "DurationSeconds": "900",
        "ExternalId": "job:7",
        "SourceIdentity": f"api_key-{consumer.split('_')[1]}",
    }
    assert "AKIAIOSFODNN7EXAMPLE" in asked.headers["Authorization"]


async def test_a_role_is_assumed_by_the_service_for_whoever_asked(
    vouch: Vouch, aws_stub: AwsStub, own_identity: str
) -> None:
    id_ = await store(vouch, create_body("aws role", "lake"))
    consumer = await vouch.make_key("consumer")
    aws_stub.script(session())
    answer = await lease(vouch, id_, OWN | {"scope": SCOPE}, key=consumer)
    assert answer.status == 200, answer.json_body
    (asked,) = aws_stub.received
    assert own_identity in asked.headers["Authorization"]
    assert asked.form["RoleArn"] == "arn:aws:iam::123456789012:role/team/reader"
    assert asked.form["ExternalId"] == "ext-1234"
    assert asked.form["RoleSessionName"] == f"vouch-{answer.json_body['id']}"
    assert asked.form["SourceIdentity"] == f"api_key-{consumer.split('_')[1]}"


async def test_two_leases_are_two_sessions(vouch: Vouch, aws_stub: AwsStub) -> None:
    id_ = await keep_key(vouch)
    aws_stub.script(session(), session())
    ids = [(await lease(vouch, id_)).json_body["id"] for _ in range(2)]
    assert [one.form["RoleSessionName"] for one in aws_stub.received] == [f"vouch-{one}" for one in ids]
    assert ids[0] != ids[1]


async def test_an_operator_can_keep_who_asked_from_aws(start: Start, config: Config, aws_stub: AwsStub) -> None:
    """A trust policy that does not allow sts:SetSourceIdentity would refuse it."""
    quiet = replace(config, leases=replace(config.leases, source_identity=False))
    vouch = await start(before(quiet, aws_stub.url))
    id_ = await keep_key(vouch)
    aws_stub.script(session())
    assert (await lease(vouch, id_)).status == 200
    (asked,) = aws_stub.received
    assert "SourceIdentity" not in asked.form
    assert asked.form["RoleSessionName"].startswith("vouch-")


async def test_a_policy_goes_with_a_scope_alone(vouch: Vouch, aws_stub: AwsStub) -> None:
    id_ = await keep_key(vouch)
    aws_stub.script(session(), session())
    whole = (await lease(vouch, id_)).json_body
    narrow = (await lease(vouch, id_, THROUGH_A_ROLE | {"scope": SCOPE})).json_body
    assert (whole["scope"], whole["narrowed"]) == (None, False)
    assert (narrow["scope"], narrow["narrowed"]) == (SCOPE, True)
    first, second = aws_stub.received
    assert "Policy" not in first.form
    policy = json.loads(second.form["Policy"])
    resources = [one["Resource"] for one in policy["Statement"]]
    assert "arn:aws:s3:::raw/a/*" in json.dumps(resources)


async def test_the_container_path_asks_for_the_same(vouch: Vouch, aws_stub: AwsStub) -> None:
    await keep_key(vouch)
    consumer = await vouch.make_key("consumer")
    aws_stub.script(session(3600))
    query = f"name=lake&role_arn={ROLE}&external_id=job:7&bucket=raw"
    answer = await vouch.call("GET", f"/v1/aws/credentials?{query}", key=consumer)
    assert answer.status == 200, answer.json_body
    assert answer.json_body["SecretAccessKey"] == SESSION_SECRET
    (asked,) = aws_stub.received
    (row,) = await listed(vouch)
    assert asked.form["RoleSessionName"] == f"vouch-{row['id']}"
    assert asked.form["SourceIdentity"] == f"api_key-{consumer.split('_')[1]}"
    assert asked.form["DurationSeconds"] == "3600"
    assert "Policy" in asked.form
    assert (row["role_arn"], row["forced"], row["purpose"]) == (ROLE, False, "container credentials")


async def test_aws_names_the_session_after_the_lease(start: Start, config: Config, moto: Moto) -> None:
    """What the account's own trail shows leads back to the lease, and to who had it."""
    vouch = await start(before(config, moto.url))
    user = moto.user(allow("sts:AssumeRole"))
    arn = moto.role(user, "job:7", allow("*"))
    id_ = await store(vouch, {"name": "lake", "provider": "AWS", "credential": {"aws": user.payload}})
    answer = await lease(vouch, id_, {"role_arn": arn, "external_id": "job:7"})
    assert answer.status == 200, answer.json_body
    told = moto.client("sts", answer.json_body["material"]).get_caller_identity()["Arn"]
    assert told.endswith(f"/vouch-{answer.json_body['id']}")
    assert ":assumed-role/" in told


async def test_a_refusal_is_the_callers_to_mend_and_leaves_nothing(vouch: Vouch, aws_stub: AwsStub) -> None:
    """Who may not set a source identity is told so: most trust policies do not allow it by themselves."""
    id_ = await keep_key(vouch)
    aws_stub.script(sts_error("AccessDenied"))
    answer = await lease(vouch, id_)
    assert (answer.status, answer.json_body["code"]) == (422, 1400)
    report = answer.json_body["verification"]
    assert (report["outcome"], report["reason"]) == ("failed", "denied")
    assert "SetSourceIdentity" in report["remedy"]
    await assert_nothing_handed_out(vouch, answer)


# The operator's bound, on the answer


@pytest.mark.parametrize(
    ("wanted", "given"),
    [(THROUGH_A_ROLE, session), (OWN, own_session)],
    ids=["AssumeRole", "GetSessionToken"],
)
async def test_a_session_that_outlives_the_operators_bound_is_thrown_away(
    vouch: Vouch, aws_stub: AwsStub, wanted: dict[str, Any], given: Callable[[float], Any]
) -> None:
    id_ = await keep_key(vouch)
    for seconds in (3700, 43_200, 10 * 365 * 86_400):
        aws_stub.script(given(seconds))
        answer = await lease(vouch, id_, wanted)
        assert (answer.status, answer.json_body["code"]) == (422, 1403)
        assert "max_ttl_seconds" in answer.json_body["message"]
        await assert_nothing_handed_out(vouch, answer)
    aws_stub.script(given(3600))
    assert (await lease(vouch, id_, wanted)).status == 200


async def test_the_bound_holds_for_stock_sdks_too(vouch: Vouch, aws_stub: AwsStub) -> None:
    await keep_key(vouch)
    aws_stub.script(own_session(43_200))
    answer = await vouch.call("GET", "/v1/aws/credentials?name=lake")
    assert (answer.status, answer.json_body["code"]) == (422, "1403")
    await assert_nothing_handed_out(vouch, answer)


@pytest.mark.parametrize("scope", [None, {"bucket": "raw"}], ids=["whole", "narrowed"])
async def test_a_google_token_that_outlives_the_operators_bound_is_thrown_away(
    start: Start, config: Config, google: TokenEndpoint, scope: dict[str, str] | None
) -> None:
    """Google promises no time: a token for a quarter of an hour may live a whole one."""
    bounded = replace(config, leases=replace(config.leases, default_ttl_seconds=900, max_ttl_seconds=900))
    vouch = await start(before(bounded, "http://127.0.0.1:9", google=google.origin))
    key_file = {"gcp": {"key_text": json.dumps(google.make_key())}}
    id_ = await store(vouch, {"name": "robot", "provider": "GCP", "token": key_file})
    wanted = {"scope": scope} if scope else {}
    google.hour_long = True
    answer = await lease(vouch, id_, wanted)
    assert (answer.status, answer.json_body["code"]) == (422, 1403), answer.json_body
    await assert_nothing_handed_out(vouch, answer, *google.tokens, *google.sts.tokens)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": vouch.admin_key}
    exchanged = await vouch.call("POST", "/v1/google/token?name=robot", key=None, data=form)
    assert (exchanged.status, exchanged.json_body["code"]) == (422, 1403)
    await assert_nothing_handed_out(vouch, exchanged, *google.tokens, *google.sts.tokens)
    google.hour_long = False
    assert (await lease(vouch, id_, wanted)).status == 200


# What the list and the audit trail say


async def test_the_list_and_the_trail_say_which_role_which_scope_and_whether_it_was_forced(
    vouch: Vouch, aws_stub: AwsStub
) -> None:
    """Requirement 29."""
    id_ = await keep_key(vouch)
    aws_stub.script(sts_error("InvalidClientTokenId"))
    assert (await vouch.call("POST", f"/v1/credentials/{id_}/verify")).json_body["outcome"] == "failed"
    assert (await lease(vouch, id_)).json_body["code"] == 1203
    aws_stub.script(session(), own_session())
    first = (await lease(vouch, id_, THROUGH_A_ROLE | {"scope": SCOPE, "force": True})).json_body
    second = (await lease(vouch, id_, OWN | {"force": True})).json_body
    second_row, first_row = await listed(vouch)
    names = ("id", "role_arn", "forced", "scope")
    assert [first_row[name] for name in names] == [first["id"], ROLE, True, SCOPE]
    assert [second_row[name] for name in names] == [second["id"], "", True, None]
    told = audited(vouch.config)
    assert len(told) == 2
    for part in (first["id"], first["expires_at"], ROLE, '"bucket":"raw"', '"prefix":"a/"', "read_write", "forced"):
        assert part in told[0]
    assert second["id"] in told[1]
    assert ROLE not in told[1]
    assert not any(secret in text for text in told for secret in MATERIAL)


async def test_force_where_nothing_had_to_be_overridden_is_said_too(vouch: Vouch, aws_stub: AwsStub) -> None:
    """It was asked for: a verdict that came meanwhile would have been overridden."""
    id_ = await keep_key(vouch)
    aws_stub.script(session(), session())
    for force in (False, True):
        assert (await lease(vouch, id_, THROUGH_A_ROLE | {"force": force})).json_body["forced"] is force
    assert [one["forced"] for one in await listed(vouch)] == [True, False]
    assert ["forced" in text for text in audited(vouch.config)] == [False, True]


async def test_the_answer_says_when_aws_ends_it_and_not_when_that_was_hoped_for(
    vouch: Vouch, aws_stub: AwsStub
) -> None:
    id_ = await keep_key(vouch)
    aws_stub.script(session(1800))
    body = (await lease(vouch, id_)).json_body
    left = (datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 1780 <= left <= 1800
    (row,) = await listed(vouch)
    assert row["expires_at"] == body["expires_at"]
    assert re.fullmatch(r"[0-9a-f-]{36}", row["id"])
