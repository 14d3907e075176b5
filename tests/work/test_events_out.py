"""Events of a whole service: what requests in each dialect bring about, and what a receiver, a log and a scrape see."""

import base64
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.config import Config
from service.work.settings import WebhookSettings
from tests.api.payloads import CANARY, create_body
from tests.api.test_store_faults import database
from tests.conftest import Start, Vouch
from tests.observe.test_metrics import samples
from tests.peers.aws_stub import AwsStub
from tests.peers.webhook import WebhookReceiver
from tests.work.house import BAD, DOWN, GOOD
from verifiers.settings import AwsSettings, EgressSettings, ProviderSettings

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@pytest.fixture
def telling(config: Config, tmp_path: Path, receiver: WebhookReceiver, aws_stub: AwsStub) -> Config:
    """A configuration that tells the receiver."""
    file = tmp_path / "webhook-secret"
    file.write_text(SECRET)
    return replace(
        config,
        egress=EgressSettings(allow=(receiver.allowed,)),
        providers=ProviderSettings(aws=AwsSettings(sts_endpoint=aws_stub.url)),
        webhooks=WebhookSettings(receiver.url, str(file)),
    )


def key_body(name: str) -> dict[str, Any]:
    """An AWS key that the provider itself is asked about."""
    body = create_body("aws key", name)
    del body["credential"]["aws"]["endpoint"]
    return body


def sas_body(name: str) -> dict[str, Any]:
    """A SAS that ends in three days."""
    end = datetime.now(UTC) + timedelta(days=3)
    sas = f"sv=2023-11-03&ss=b&srt=sco&sp=rl&se={end:%Y-%m-%dT%H:%M:%SZ}&sig=Y0FuQXJZ"
    return {"name": name, "provider": "AZURE", "token": {"azure": {"account_name": "storageacct", "sas_token": sas}}}


async def make(vouch: Vouch, body: dict[str, Any]) -> str:
    """Create a credential; its id."""
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    return str((await vouch.call("GET", f"/v4/credentials/{body['name']}")).json_body["data"]["id"])


async def verify(vouch: Vouch, name: str) -> int:
    return int((await vouch.call("POST", "/v4/credentials/verify", {"name": name, "provider": "AWS"})).status)


async def test_what_happens_to_credentials_is_told_to_whom_it_may_concern_and_nothing_secret_with_it(
    start: Start, telling: Config, receiver: WebhookReceiver, aws_stub: AwsStub, lines: list[Any]
) -> None:
    """Requirement 30."""
    vouch = await start(telling)
    ids = {name: await make(vouch, key_body(name)) for name in ("one", "two", "three")}
    ids["sas"] = await make(vouch, sas_body("sas"))
    file = {"credential_name": "file", "type": "text", "text_value": f"{CANARY} text"}
    assert (await vouch.call("POST", "/api/credentials", file)).status == 201
    aws_stub.script(BAD, BAD, DOWN, GOOD, GOOD)
    assert [await verify(vouch, "one") for _ in range(5)] == [422, 422, 502, 200, 200]
    assert (await vouch.call("DELETE", "/v4/credentials/one")).status == 204
    assert (await vouch.call("DELETE", f"/v1/credentials/{ids['two']}")).status == 204
    assert (await vouch.call("DELETE", "/api/credentials/file")).status == 204
    assert (await vouch.call("DELETE", "/v4/credentials/none")).status == 404
    text = await (await vouch.call("GET", "/metrics", key=None)).text()
    counted = {dict(labels)["type"]: n for (name, labels), n in samples(text).items() if name == "vouch_events_total"}
    assert counted["credential.verdict_changed"] == 2
    assert counted["credential.deleted"] == 3
    # What is not delivered yet is delivered after a restart, and that is when the end that comes near is noticed.
    await vouch.client.close()
    await start(telling)
    came = await receiver.wait_for(6, 15)
    told = [Webhook(SECRET).verify(one.body, dict(one.headers)) for one in came]
    assert Counter(one["type"] for one in told) == {
        "credential.verdict_changed": 2,
        "credential.deleted": 3,
        "credential.expiring": 1,
    }
    facts = [one["data"] for one in told]
    verdicts = sorted((one["from"] or "", one["to"], one["reason"]) for one in facts if "to" in one)
    assert verdicts == [("", "failed", "bad_secret"), ("failed", "verified", "ok")]
    assert Counter(one["name"] for one in facts) == {"one": 3, "two": 1, "file": 1, "sas": 1}
    assert all(one["credential_id"] == ids[one["name"]] for one in facts if one["name"] != "file")
    assert len({one.id for one in came}) == 6
    logged = [line for line in lines if line["event"].startswith("credential.")]
    assert Counter(line["event"] for line in logged) == Counter(one["type"] for one in told)
    assert {line["credential_id"] for line in logged} == {one["credential_id"] for one in facts}
    for line in logged:
        assert not {"name", "payload"} & set(line)
    everything = receiver.bodies + json.dumps([dict(one.headers) for one in came]) + str(lines) + text
    for secret in (CANARY, "Y0FuQXJZ", SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in everything


async def test_without_a_webhook_nothing_is_kept_to_be_delivered(start: Start, config: Config) -> None:
    vouch = await start(config)
    await make(vouch, key_body("one"))
    assert (await vouch.call("DELETE", "/v4/credentials/one")).status == 204
    with database(vouch) as db:
        assert db.execute("SELECT count(*) FROM event").fetchall() == [(0,)]


async def test_a_receiver_that_is_blocked_stops_neither_the_start_nor_requests(
    start: Start, telling: Config, receiver: WebhookReceiver
) -> None:
    """Requirement 6: a name that points inside is found out only when it is looked up."""
    url = receiver.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
    config = replace(
        telling,
        egress=EgressSettings(ports=(receiver.port,)),
        webhooks=replace(telling.webhooks, url=url),
    )
    vouch = await start(config)
    await make(vouch, key_body("one"))
    assert (await vouch.call("DELETE", "/v4/credentials/one")).status == 204
    assert (await vouch.call("GET", "/readyz", key=None)).status == 200
    assert not receiver.received


async def test_a_verdict_that_comes_with_a_change_is_told_like_any_other(
    start: Start, telling: Config, receiver: WebhookReceiver, aws_stub: AwsStub
) -> None:
    vouch = await start(telling)
    id_ = await make(vouch, key_body("one"))
    aws_stub.script(BAD, GOOD)
    assert await verify(vouch, "one") == 422
    new = key_body("one")["credential"]
    new["aws"]["secret_access_key"] = f"{CANARY}another"
    answer = await vouch.call("PATCH", "/v4/credentials/one", {"credential": new}, headers={"Prefer": "verify"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (204, "verify")
    came = await receiver.wait_for(2, 15)
    told = [Webhook(SECRET).verify(one.body, dict(one.headers))["data"] for one in came]
    assert sorted((one["from"] or "", one["to"]) for one in told) == [("", "failed"), ("failed", "verified")]
    assert {one["credential_id"] for one in told} == {id_}
