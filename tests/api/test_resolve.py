"""`GET /v1/resolve`: which credential serves."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.api.payloads import create_body
from tests.conftest import Vouch


async def keep(vouch: Vouch, name: str, teamspace: str = "", **more: Any) -> None:
    body = create_body("aws role", name) | more
    answer = await vouch.call("POST", f"/v4/credentials?teamspace_id={teamspace}", body)
    assert answer.status == 201, await answer.text()


async def resolve(vouch: Vouch, query: str, key: str = "") -> Any:
    return await vouch.call("GET", f"/v1/resolve?provider=AWS{query}", key=key)


def told(answer: Any) -> tuple[str, str, bool]:
    assert answer.status == 200, answer.json_body
    return answer.json_body["name"], answer.json_body["via"], answer.json_body["fallback"]


async def test_the_named_one_serves_else_the_teamspaces_default_else_the_workspaces(vouch: Vouch) -> None:
    await keep(vouch, "common", provider_default=True)
    await keep(vouch, "own", "red", provider_default=True)
    await keep(vouch, "lake", "red")
    assert told(await resolve(vouch, "&teamspace_id=red&name=lake")) == ("lake", "name", False)
    assert told(await resolve(vouch, "&teamspace_id=red")) == ("own", "teamspace_default", False)
    assert told(await resolve(vouch, "&teamspace_id=blue")) == ("common", "workspace_default", False)
    assert told(await resolve(vouch, "")) == ("common", "workspace_default", False)
    assert (await resolve(vouch, "&teamspace_id=red")).json_body["teamspace_id"] == "red"


async def test_after_a_delete_the_default_serves_and_the_answer_says_so(vouch: Vouch) -> None:
    """The seed: what used a deleted credential will use the default, and may become unreachable."""
    await keep(vouch, "common", provider_default=True)
    await keep(vouch, "own", "red", provider_default=True)
    await keep(vouch, "lake", "red")
    await keep(vouch, "other", "red")
    for name, serving in (("lake", ("own", "teamspace_default")), ("own", ("common", "workspace_default"))):
        assert (await vouch.call("DELETE", f"/v4/credentials/{name}?teamspace_id=red")).status == 204
        with capture_logs() as lines:
            answer = await resolve(vouch, "&teamspace_id=red&name=lake")
        assert told(answer) == (*serving, True)
        (event,) = [line for line in lines if line["event"] == "credential.fallback"]
        assert event["credential_id"] == answer.json_body["id"]
        assert event["via"] == serving[1]
    # Deleting a default promotes no other: "other" is still there, and serves nobody who does not name it.
    assert (await vouch.call("DELETE", "/v4/credentials/common")).status == 204
    assert (await resolve(vouch, "&teamspace_id=red&name=lake")).status == 404
    assert (await resolve(vouch, "&teamspace_id=red")).status == 404
    assert told(await resolve(vouch, "&teamspace_id=red&name=other")) == ("other", "name", False)


async def test_a_name_is_that_of_the_level_that_is_asked_for(vouch: Vouch) -> None:
    await keep(vouch, "lake")
    assert (await resolve(vouch, "&teamspace_id=red&name=lake")).status == 404
    assert told(await resolve(vouch, "&name=lake")) == ("lake", "name", False)


async def test_a_caller_of_a_teamspace_never_gets_the_workspaces_default(vouch: Vouch) -> None:
    await keep(vouch, "common", provider_default=True)
    await keep(vouch, "own", "red")
    key = await vouch.make_key("consumer", teamspaces=["red"])
    assert (await resolve(vouch, "&teamspace_id=red", key)).status == 404
    assert (await resolve(vouch, "", key)).status == 403
    assert told(await resolve(vouch, "&teamspace_id=red&name=own", key)) == ("own", "name", False)


@pytest.mark.parametrize(
    ("role", "status"), [("consumer", 200), ("admin", 200), ("viewer", 403), ("verifier", 403), ("editor", 403)]
)
async def test_using_is_a_right_of_its_own(vouch: Vouch, role: str, status: int) -> None:
    """Requirement 20."""
    await keep(vouch, "common", provider_default=True)
    assert (await resolve(vouch, "", await vouch.make_key(role))).status == status


async def test_another_tenants_default_serves_nobody_here(vouch: Vouch) -> None:
    """Requirement 19."""
    stranger = await vouch.make_key("admin", workspace="ws_other")
    missing = await resolve(vouch, "&name=common", stranger)
    await keep(vouch, "common", provider_default=True)
    hidden = await resolve(vouch, "&name=common", stranger)
    assert missing.status == hidden.status == 404
    assert missing.json_body | {"request_id": ""} == hidden.json_body | {"request_id": ""}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("provider=aws", "provider"),
        ("", "provider"),
        ("provider=AWS&name=a/b", "name"),
        ("provider=AWS&name=", "name"),
        ("provider=AWS&provider=GCP", "provider"),
        ("provider=AWS&teamspace_id=%00", "teamspace_id"),
        ("provider=GCP&name=lake", "provider"),
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400_that_names_the_parameter(
    vouch: Vouch, query: str, field: str
) -> None:
    await keep(vouch, "lake")
    answer = await vouch.call("GET", f"/v1/resolve?{query}")
    assert (answer.status, answer.json_body["code"]) == (400, 1001)
    assert [one["field"] for one in answer.json_body["validation_error"]["fields"]] == [field]


async def test_the_answer_says_what_can_be_done_with_it_and_holds_no_payload(vouch: Vouch) -> None:
    await keep(vouch, "lake", allowed_in_tasks=True)
    answer = (await resolve(vouch, "&name=lake")).json_body
    assert answer["allowed_in_tasks"] is True
    assert answer["leasable"] is True
    assert answer["status"] is None
    assert "arn:aws" not in json.dumps(answer)
