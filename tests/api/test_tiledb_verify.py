"""`POST /v4/credentials/verify` against the real peers: 200 when it works, and what each other verdict becomes."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from service.config import Config, LimitsConfig, VerificationConfig
from tests.api.payloads import create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub, Scripted, sts_error
from tests.peers.azurite import Azurite
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, allow
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, GcpSettings, ProviderSettings

SOME_KEY = {"access_key_id": "AKIAEXAMPLE000000000", "secret_access_key": "s" * 40}
PREFER = {"Prefer": "return=representation"}


async def hang() -> Scripted:
    """No answer before any deadline here."""
    await asyncio.sleep(3)
    return Scripted(500)


def providers(config: Config, *, aws: str = "", azure: str = "", gcp: str = "", storage: str = "") -> Config:
    """A configuration whose providers are these peers; unset ones are a closed port."""
    none = "http://127.0.0.1:9"
    settings = ProviderSettings(
        aws=AwsSettings(sts_endpoint=aws or none, s3_endpoint=aws or none),
        azure=AzureSettings(blob_endpoint=azure or none),
        gcp=GcpSettings(token_uri=gcp or none, storage_endpoint=storage or none),
    )
    return replace(config, providers=settings)


def aws_key(payload: dict[str, Any], name: str = "one") -> dict[str, Any]:
    return {"name": name, "provider": "AWS", "credential": {"aws": payload}}


async def test_each_kind_verifies_against_its_real_peer(
    start: Start, config: Config, moto: Moto, azurite: Azurite, google: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = moto.user(allow("*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", service.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", service.secret_access_key)
    good = moto.user(allow("s3:*"))
    bad = {"secret_access_key": "x" * 40}
    vouch = await start(
        providers(config, aws=moto.url, azure=azurite.operator_endpoint, gcp=google.token_uri, storage=moto.url)
    )
    file = google.make_key()
    account = {"account_name": azurite.account}
    other_key = json.loads(create_body("gcp service account", "x")["token"]["gcp"]["key_text"])["private_key"]
    cases: list[tuple[str, str, str, dict[str, Any], dict[str, Any] | None]] = [
        ("AWS", "credential", "aws", good.payload, good.payload | bad),
        ("AWS", "role", "aws", {"role_arn": moto.role(service), "external_id": "an-id"}, None),
        (
            "AZURE",
            "credential",
            "azure",
            account | {"account_key": azurite.key},
            account | {"account_key": "YWFh" * 22},
        ),
        (
            "AZURE",
            "token",
            "azure",
            account | {"sas_token": azurite.account_sas()},
            account | {"sas_token": azurite.account_sas().partition("sig=")[0] + "sig=" + "A" * 43 + "%3D"},
        ),
        ("GCP", "credential", "gcp", good.payload, good.payload | bad),
        (
            "GCP",
            "token",
            "gcp",
            {"key_text": json.dumps(file)},
            {"key_text": json.dumps(file | {"private_key": other_key})},
        ),
    ]
    for provider, slot, sub, right, wrong in cases:
        body = {"name": "one", "provider": provider, slot: {sub: right}}
        answer = await vouch.call("POST", "/v4/credentials/verify", body)
        assert (answer.status, await answer.read()) == (200, b""), f"{provider} {slot}: {await answer.text()}"
        told = await vouch.call("POST", "/v4/credentials/verify", body, headers=PREFER)
        assert told.status == 200
        assert told.headers["Preference-Applied"] == "return=representation"
        assert (told.json_body["outcome"], told.json_body["provider"]) == ("verified", provider)
        assert {"reason", "fault", "type", "identity", "checks", "checked_at", "duration_ms", "remedy"} <= set(
            told.json_body
        )
        if wrong is None:
            continue
        refused = await vouch.call("POST", "/v4/credentials/verify", {**body, slot: {sub: wrong}})
        assert (refused.status, refused.json_body["code"]) == (422, 1400), f"{provider} {slot}: {await refused.text()}"
        report = refused.json_body["verification"]
        assert (report["outcome"], report["reason"], report["fault"]) == ("failed", "bad_secret", "credential")
        assert report["remedy"].endswith(".")
    assert (await vouch.call("GET", "/v4/credentials")).json_body["data"] == []


async def test_verifying_a_stored_credential_keeps_the_last_known_verdict(
    start: Start, config: Config, aws_stub: AwsStub, moto: Moto
) -> None:
    vouch = await start(providers(config, aws=moto.url))
    pair = moto.user(allow("s3:*"))
    stored = {"name": "one", "provider": "AWS"}
    await vouch.call("POST", "/v4/credentials", aws_key(pair.payload))
    before = await vouch.call("GET", "/v4/credentials/one")
    assert (await vouch.call("POST", "/v4/credentials/verify", stored)).status == 200
    after = await vouch.call("GET", "/v4/credentials/one")
    shown = after.json_body["data"]
    assert (shown["status"], shown["verification"]["identity"]["account"]) == ("verified", Moto.account)
    assert shown["updated_at"] == before.json_body["data"]["updated_at"]
    assert after.headers["ETag"] != before.headers["ETag"]
    # Another payload is another question: the old answer goes.
    wrong = {"credential": {"aws": pair.payload | {"secret_access_key": "x" * 40}}}
    assert (await vouch.call("PATCH", "/v4/credentials/one", wrong)).status == 204
    assert "status" not in (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    assert (await vouch.call("POST", "/v4/credentials/verify", stored)).status == 422
    assert (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]["status"] == "failed"
    other = await vouch.call("POST", "/v4/credentials/verify", stored | {"provider": "GCP"})
    assert (other.status, other.json_body["validation_error"]["fields"][0]["field"]) == (400, "provider")


async def test_an_unknown_leaves_the_last_known_status_as_it_was(start: Start, config: Config, moto: Moto) -> None:
    pair = moto.user(allow("s3:*"))
    first = await start(providers(config, aws=moto.url))
    await first.call("POST", "/v4/credentials", aws_key(pair.payload))
    stored = {"name": "one", "provider": "AWS"}
    assert (await first.call("POST", "/v4/credentials/verify", stored)).status == 200
    second = await start(providers(config))
    unknown = await second.call("POST", "/v4/credentials/verify", stored)
    assert (unknown.status, unknown.json_body["code"]) == (502, 1401)
    assert unknown.json_body["verification"]["reason"] == "unreachable"
    assert (await second.call("GET", "/v4/credentials/one")).json_body["data"]["status"] == "verified"


async def test_a_blocked_endpoint_is_stored_and_refused_when_verified(vouch: Vouch) -> None:
    """Requirement 6, and section 1 of the contract: our policy, not their key."""
    for endpoint in (
        "http://127.0.0.1:9000",
        "https://169.254.169.254/latest",
        "https://2130706433/",
        "https://[::1]/",
    ):
        body = create_body("aws key", "one")
        body["credential"]["aws"]["endpoint"] = endpoint
        answer = await vouch.call("POST", "/v4/credentials/verify", body)
        assert (answer.status, answer.json_body["code"]) == (422, 1402), endpoint
        report = answer.json_body["verification"]
        assert (report["outcome"], report["reason"], report["fault"]) == ("unknown", "blocked_endpoint", "policy")
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201


async def test_an_allowed_private_endpoint_is_reached(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(replace(config, egress=EgressSettings(allow=(f"127.0.0.1:{moto.port}",))))
    pair = moto.user(allow("s3:*"))
    body = aws_key(pair.payload | {"endpoint": moto.url, "use_path_style": True})
    assert (await vouch.call("POST", "/v4/credentials/verify", body)).status == 200
    body["credential"]["aws"]["secret_access_key"] = "x" * 40
    assert (await vouch.call("POST", "/v4/credentials/verify", body)).status == 422


UNKNOWN = {"hang": (504, "timeout"), "throttled": (503, "throttled"), "broken": (502, "provider_error")}


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_what_is_unknown_has_the_status_of_its_reason(
    start: Start, config: Config, aws_stub: AwsStub, fault: str
) -> None:
    aws_stub.script(
        {"hang": hang, "throttled": sts_error("Throttling", 400, Retry_After="7"), "broken": Scripted(500, "oops")}[
            fault
        ]
    )
    patient = replace(providers(config, aws=aws_stub.url), verification=VerificationConfig(deadline_seconds=0.3))
    vouch = await start(patient)
    answer = await vouch.call("POST", "/v4/credentials/verify", aws_key(SOME_KEY))
    assert (answer.status, answer.json_body["verification"]["reason"]) == UNKNOWN[fault]
    assert answer.json_body["code"] == 1401
    assert (answer.headers.get("Retry-After") == "7") == (fault == "throttled")


async def test_a_full_lane_is_said_at_once_and_others_go_on(start: Start, config: Config, aws_stub: AwsStub) -> None:
    """Requirement 34."""
    arrived = asyncio.Event()

    async def arrive() -> Scripted:
        arrived.set()
        return await hang()

    aws_stub.script(arrive)
    slow = VerificationConfig(deadline_seconds=1.0, concurrency=1)
    vouch = await start(replace(providers(config, aws=aws_stub.url), verification=slow))
    body = aws_key(SOME_KEY)
    first = asyncio.ensure_future(vouch.call("POST", "/v4/credentials/verify", body))
    await arrived.wait()
    full = await vouch.call("POST", "/v4/credentials/verify", body)
    assert (full.status, full.json_body["code"], "Retry-After" in full.headers) == (503, 1501, True)
    assert (await vouch.call("GET", "/v4/credentials")).status == 200
    assert (await vouch.call("POST", "/v4/credentials/verify", create_body("gcp hmac", "x"))).status == 502
    assert (await first).status == 504


async def test_quotas_per_caller_and_per_target_are_429_before_any_call(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 13."""
    limits = LimitsConfig(verifications_per_caller=3, verifications_per_target=1)
    vouch = await start(replace(providers(config, aws=aws_stub.url), limits=limits))
    blocked = create_body("aws key", "one")
    assert (await vouch.call("POST", "/v4/credentials/verify", blocked)).status == 422
    again = await vouch.call("POST", "/v4/credentials/verify", blocked)
    assert (again.status, again.json_body["code"]) == (429, 1500)
    assert int(again.headers["Retry-After"]) >= 1
    await vouch.call("POST", "/v4/credentials/verify", blocked)
    own = aws_key(SOME_KEY)
    assert (await vouch.call("POST", "/v4/credentials/verify", own)).status == 429
    assert aws_stub.received == []
    other = await vouch.make_key("verifier")
    assert (await vouch.call("POST", "/v4/credentials/verify", own, key=other)).status == 502
