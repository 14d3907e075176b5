"""`GET /v1/external-id`, and what roles that ask for another one are told."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Config
from tests.api.native import VERIFY, error_of, get, new_id, path, providers, put
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import ASSUMED_ROLE, AwsStub, Scripted, sts_error
from tests.peers.moto import Moto, Pair, allow
from verifiers import aws_role

STRICT = {"require_issued_external_id": True}


@pytest.fixture
def own_identity(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The service's own user, in the environment; the process keeps its keys for a while."""
    service = moto.user(allow("sts:*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", service.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", service.secret_access_key)
    aws_role.IDENTITY.forget()
    yield service
    aws_role.IDENTITY.forget()


async def issued(vouch: Vouch, **more: Any) -> str:
    answer = await vouch.call("GET", "/v1/external-id", **more)
    assert answer.status == 200
    return str(answer.json_body["external_id"])


def role_item(moto: Moto, service: Pair, external_id: str, name: str = "role") -> dict[str, Any]:
    """A role whose trust policy asks for that external id."""
    payload = {"role_arn": moto.role(service, external_id), "external_id": external_id}
    return {"name": name, "provider": "AWS", "type": "arn", "payload": payload, "allowed_in_tasks": True}


async def verified(vouch: Vouch, id_: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The report, and the outcome of each check in it."""
    report = (await vouch.call("POST", path(id_, "/verify"))).json_body
    return report, {check["name"]: check["outcome"] for check in report["checks"]}


async def test_it_is_the_workspaces_own_for_ever(start: Start, config: Config) -> None:
    """Derived and unguessable: another one for each workspace, the same for every caller and after a restart."""
    vouch = await start(config)
    first = await issued(vouch)
    assert re.fullmatch(r"vouch-[a-z2-7]{32}", first)
    assert (await vouch.call("GET", "/v1/external-id")).json_body["workspace"] == "ws_default"
    for role in ("viewer", "verifier", "editor"):
        assert await issued(vouch, key=await vouch.make_key(role)) == first
    assert await issued(vouch, key=await vouch.make_key("viewer", teamspaces=["red"])) == first
    others = {await issued(vouch, key=await vouch.make_key("viewer", workspace=f"ws_{name}")) for name in "ab"}
    assert len(others | {first}) == 3
    assert error_of(await vouch.call("GET", "/v1/external-id", key=await vouch.make_key("consumer"))) == (403, 1101)
    await vouch.client.close()
    again = await start(config)
    assert await issued(again) == first


async def test_it_is_another_one_in_every_installation(start: Start, config: Config, tmp_path: Any) -> None:
    one, two = await start(config), await start(replace(config, data_dir=str(tmp_path / "other")))
    assert await issued(one) != await issued(two)


async def test_a_role_that_asks_for_another_one_is_warned_of(
    start: Start, config: Config, moto: Moto, own_identity: Pair
) -> None:
    vouch = await start(providers(config, aws=moto.url))
    own = await put(vouch, role_item(moto, own_identity, await issued(vouch)))
    other = await put(vouch, role_item(moto, own_identity, "chosen-by-somebody", "other"))
    report, checks = await verified(vouch, own["id"])
    assert (report["outcome"], checks["external_id_issued"]) == ("verified", "pass")
    report, checks = await verified(vouch, other["id"])
    assert (report["outcome"], checks["external_id_issued"]) == ("verified", "warn")
    (warned,) = (check for check in report["checks"] if check["name"] == "external_id_issued")
    assert warned["reason"] == "not_issued"
    assert (await get(vouch, other["id"]))["status"] == "verified"
    # Another workspace's issued one is another one here.
    theirs = await issued(vouch, key=await vouch.make_key("viewer", workspace="ws_other"))
    borrowed = await put(vouch, role_item(moto, own_identity, theirs, "borrowed"))
    assert (await verified(vouch, borrowed["id"]))[1]["external_id_issued"] == "warn"


async def test_the_operator_can_refuse_roles_that_ask_for_another_one(
    start: Start, config: Config, moto: Moto, own_identity: Pair
) -> None:
    """So one tenant can't borrow another's role through us: it is neither verified nor leased."""
    vouch = await start(providers(config, aws=moto.url, aws_more=STRICT))
    theirs = await issued(vouch, key=await vouch.make_key("viewer", workspace="ws_other"))
    for name, external_id in (("other", "chosen-by-somebody"), ("borrowed", theirs)):
        body = role_item(moto, own_identity, external_id, name)
        made = await put(vouch, body)
        report, checks = await verified(vouch, made["id"])
        assert (report["outcome"], report["reason"], report["fault"]) == ("unknown", "unsupported", "policy")
        assert checks == {"authenticates": "skip"}
        assert theirs not in str(report)
        assert (await get(vouch, made["id"]))["status"] is None
        lease = await vouch.call("POST", path(made["id"], "/lease"), {"purpose": "a job"})
        assert lease.status in (422, 502)
        assert "material" not in lease.json_body
        # Saved all the same, as anything of which nobody can say: without a verdict.
        saved = await vouch.call("PUT", path(new_id()), body | {"name": f"{name} two"}, headers=VERIFY)
        assert (saved.status, "Preference-Applied" in saved.headers) == (201, False)
        assert saved.json_body["attempt"]["reason"] == "unsupported"
        refused = await vouch.call(
            "POST",
            path(made["id"], "/rotate"),
            {"payload": body["payload"] | {"role_arn": moto.role(own_identity, external_id)}},
        )
        assert error_of(refused) == (502, 1401)


async def test_the_issued_one_is_verified_and_leased_where_it_is_required(
    start: Start, config: Config, aws_stub: AwsStub, own_identity: Pair
) -> None:
    """moto assumes a role without its external id, which is what must not be possible; so here AWS is scripted."""
    vouch = await start(providers(config, aws=aws_stub.url, aws_more=STRICT))
    external_id = await issued(vouch)
    payload = {"role_arn": "arn:aws:iam::123456789012:role/reader", "external_id": external_id}
    made = await put(
        vouch, {"name": "role", "provider": "AWS", "type": "arn", "payload": payload, "allowed_in_tasks": True}
    )
    soon = f"{datetime.now(UTC) + timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}"
    assumed, denied = Scripted(200, ASSUMED_ROLE.replace("2030-01-01T00:00:00Z", soon)), sts_error("AccessDenied")
    aws_stub.script(assumed, denied, denied, assumed)
    report, checks = await verified(vouch, made["id"])
    assert (report["outcome"], checks["external_id_issued"]) == ("verified", "pass"), report
    assert checks["external_id_enforced"] == "pass"
    lease = await vouch.call("POST", path(made["id"], "/lease"), {"purpose": "a job"})
    assert lease.status == 200, await lease.text()
    asked = [one.form.get("ExternalId") for one in aws_stub.received]
    assert asked == [external_id, None, None, external_id]
    # Where AWS would hand it out without its external id, it is used for nobody.
    aws_stub.script(assumed, assumed, assumed)
    assert (await verified(vouch, made["id"]))[0]["reason"] == "unsupported"
    assert (await vouch.call("POST", path(made["id"], "/lease"), {"purpose": "a job"})).status in (422, 502)
