"""The six operations of the v4 dialect over all six kinds: section 1 of the wire contract."""

import re
from typing import Any

import pytest

from tests.api.payloads import CANARY, KINDS, create_body
from tests.conftest import Vouch

ALL_KINDS = pytest.mark.parametrize("kind", KINDS)


@ALL_KINDS
async def test_a_created_credential_comes_back_with_its_public_fields_and_an_empty_secret(
    vouch: Vouch, kind: str
) -> None:
    provider, _type, slot, sub, payload, secret = KINDS[kind]
    created = await vouch.call("POST", "/v4/credentials", create_body(kind, "one", allowed_in_tasks=True))
    assert created.status == 201
    assert await created.read() == b""
    assert created.headers["Location"] == "/v4/credentials/one"

    answer = await vouch.call("GET", "/v4/credentials/one")
    assert answer.status == 200
    assert list(answer.json_body) == ["data"]
    data = answer.json_body["data"]
    assert data["id"] == data["uuid"]
    assert (data["name"], data["provider"], data["credential_type"]) == ("one", provider, "workspace")
    assert data["allowed_in_tasks"] is True
    assert data["provider_default"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", data["created_at"])
    assert "status" not in data
    assert "verification" not in data
    shown = data[slot][sub]
    assert {name: shown[name] for name in payload} == {
        name: "" if name == secret else value for name, value in payload.items()
    }
    assert CANARY not in await answer.text()


async def test_a_service_accounts_id_and_key_id_are_taken_from_its_file(vouch: Vouch) -> None:
    body = create_body("gcp service account", "robot")
    body["token"]["gcp"] |= {"account_id": "ignored@elsewhere", "key_id": "ignored"}
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    shown = (await vouch.call("GET", "/v4/credentials/robot")).json_body["data"]["token"]["gcp"]
    assert shown == {
        "account_id": "robot@a-project.iam.gserviceaccount.com",
        "key_id": "0123456789abcdef0123456789abcdef01234567",
        "key_text": "",
    }


async def test_a_list_is_by_code_point_filtered_and_paged(vouch: Vouch) -> None:
    names = ["b", "a", "Z", "é", "𝔷", "ｚ"]
    for name in names:
        assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", name))).status == 201
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws role", "role"))).status == 201
    assert (await vouch.call("POST", "/v4/credentials", create_body("azure sas", "sas"))).status == 201

    async def page(query: str) -> tuple[list[str], dict[str, int]]:
        answer = await vouch.call("GET", f"/v4/credentials?{query}")
        assert answer.status == 200
        return [one["name"] for one in answer.json_body["data"]], answer.json_body["pagination_metadata"]

    everything = sorted([*names, "role", "sas"])
    assert await page("") == (everything, {"page": 1, "per_page": 100, "total_pages": 1, "total_items": 8})
    assert await page("page=2&per_page=3") == (
        everything[3:6],
        {"page": 2, "per_page": 3, "total_pages": 3, "total_items": 8},
    )
    assert (await page("page=9&per_page=3"))[0] == []
    assert (await page("page=9007199254740991&per_page=1000"))[0] == []
    assert await page("provider=AWS&type=arn") == (
        ["role"],
        {"page": 1, "per_page": 100, "total_pages": 1, "total_items": 1},
    )
    assert (await page("type=key"))[1]["total_items"] == 6
    assert (await page("provider=GCP"))[1] == {"page": 1, "per_page": 100, "total_pages": 0, "total_items": 0}
    assert (await page("unnamed=1&unnamed=2"))[1]["total_items"] == 8


async def test_a_patch_changes_what_it_names_and_nothing_else(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "old", allowed_in_tasks=True))
    before = (await vouch.call("GET", "/v4/credentials/old")).json_body["data"]
    patched = await vouch.call("PATCH", "/v4/credentials/old", {"name": "new", "provider": None})
    assert patched.status == 204
    assert await patched.read() == b""
    assert (await vouch.call("GET", "/v4/credentials/old")).status == 404
    after = (await vouch.call("GET", "/v4/credentials/new")).json_body["data"]
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | {"name": "new"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][5]])
async def test_sending_back_what_was_read_keeps_the_stored_secret(vouch: Vouch, kind: str) -> None:
    _provider, _type, slot, _sub, _payload, _secret = KINDS[kind]
    await vouch.call("POST", "/v4/credentials", create_body(kind, "one"))
    shown = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    answer = await vouch.call("PATCH", "/v4/credentials/one", {slot: shown[slot], "allowed_in_tasks": True})
    assert answer.status == 204
    after = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    assert after[slot] == shown[slot]
    assert after["allowed_in_tasks"] is True


async def test_an_empty_secret_beside_another_endpoint_is_refused(vouch: Vouch) -> None:
    """Requirement 12: changing an endpoint means sending the secret again."""
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    payload = KINDS["aws key"][4] | {"secret_access_key": "", "endpoint": "https://evil.example"}
    answer = await vouch.call("PATCH", "/v4/credentials/one", {"credential": {"aws": payload}})
    assert answer.status == 400
    (wrong,) = answer.json_body["validation_error"]["fields"]
    assert wrong["field"] == "credential.aws.secret_access_key"


async def test_another_provider_needs_its_payload(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    answer = await vouch.call("PATCH", "/v4/credentials/one", {"provider": "GCP"})
    assert answer.status == 400
    assert answer.json_body["validation_error"]["fields"][0]["field"] == "provider"
    body = create_body("gcp hmac", "one")
    del body["name"]
    assert (await vouch.call("PATCH", "/v4/credentials/one", body)).status == 204
    after = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    assert after["provider"] == "GCP"
    assert "aws" not in after["credential"]
    without_provider = await vouch.call("PATCH", "/v4/credentials/one", {"role": create_body("aws role", "x")["role"]})
    assert without_provider.status == 400
    assert without_provider.json_body["validation_error"]["fields"][0]["field"] == "role.aws"


async def test_a_deleted_credential_is_gone(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    deleted = await vouch.call("DELETE", "/v4/credentials/one")
    assert deleted.status == 204
    assert await deleted.read() == b""
    for method in ("GET", "DELETE"):
        assert (await vouch.call(method, "/v4/credentials/one")).status == 404
    assert (await vouch.call("PATCH", "/v4/credentials/one", {})).status == 404
    assert (await vouch.call("GET", "/v4/credentials")).json_body["data"] == []


async def test_a_taken_name_is_a_conflict_on_create_and_on_rename(vouch: Vouch) -> None:
    for name in ("one", "two"):
        await vouch.call("POST", "/v4/credentials", create_body("aws key", name))
    for answer in (
        await vouch.call("POST", "/v4/credentials", create_body("gcp hmac", "one")),
        await vouch.call("PATCH", "/v4/credentials/two", {"name": "one"}),
    ):
        assert answer.status == 409
        assert answer.json_body["code"] == 1201


async def test_there_is_one_default_a_provider_and_scope(vouch: Vouch) -> None:
    async def defaults(query: str = "") -> list[str]:
        listed = (await vouch.call("GET", f"/v4/credentials?{query}")).json_body["data"]
        return [one["name"] for one in listed if one["provider_default"]]

    for name in ("a", "b"):
        await vouch.call("POST", "/v4/credentials", create_body("aws key", name, provider_default=True))
    await vouch.call("POST", "/v4/credentials", create_body("gcp hmac", "g", provider_default=True))
    await vouch.call("POST", "/v4/credentials?teamspace_id=t", create_body("aws key", "t", provider_default=True))
    assert await defaults() == ["b", "g"]
    etag = (await vouch.call("GET", "/v4/credentials/b")).headers["ETag"]
    assert (await vouch.call("PATCH", "/v4/credentials/a", {"provider_default": True})).status == 204
    assert await defaults() == ["a", "g"]
    assert (await vouch.call("GET", "/v4/credentials/b")).headers["ETag"] != etag
    assert (await vouch.call("PATCH", "/v4/credentials/a", {"provider_default": False})).status == 204
    assert await defaults() == ["g"]
    assert await defaults("teamspace_id=t") == ["t"]


async def test_a_teamspace_has_names_of_its_own(vouch: Vouch) -> None:
    created = await vouch.call("POST", "/v4/credentials?teamspace_id=blue%20team", create_body("aws key", "ö/"[:1]))
    assert created.headers["Location"] == "/v4/credentials/%C3%B6?teamspace_id=blue%20team"
    assert (await vouch.call("GET", "/v4/credentials/%C3%B6")).status == 404
    found = (await vouch.call("GET", created.headers["Location"])).json_body["data"]
    assert found["credential_type"] == "teamspace"


async def test_a_credential_may_be_called_verify(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "verify"))
    assert (await vouch.call("GET", "/v4/credentials/verify")).json_body["data"]["name"] == "verify"
    assert (await vouch.call("DELETE", "/v4/credentials/verify")).status == 204


async def test_etags_spare_a_body_and_guard_a_write(vouch: Vouch) -> None:
    """Requirement 39."""
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    first = (await vouch.call("GET", "/v4/credentials/one")).headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', first)
    unchanged = await vouch.call("GET", "/v4/credentials/one", headers={"If-None-Match": first})
    assert unchanged.status == 304
    assert unchanged.headers["ETag"] == first
    for stale in ('"other"', f"W/{first}", "no tag"):
        for method, body in (("PATCH", {"allowed_in_tasks": True}), ("DELETE", None)):
            answer = await vouch.call(method, "/v4/credentials/one", body, headers={"If-Match": stale})
            assert (answer.status, answer.json_body["code"]) == (412, 1202)
    change: dict[str, Any] = {"allowed_in_tasks": True}
    patched = await vouch.call("PATCH", "/v4/credentials/one", change, headers={"If-Match": f'"x", {first}'})
    assert patched.status == 204
    second = (await vouch.call("GET", "/v4/credentials/one")).headers["ETag"]
    assert patched.headers["ETag"] == second != first
    assert (await vouch.call("DELETE", "/v4/credentials/one", headers={"If-Match": first})).status == 412
    assert (await vouch.call("DELETE", "/v4/credentials/one", headers={"If-Match": "*"})).status == 204
    await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))
    assert (await vouch.call("GET", "/v4/credentials/one")).headers["ETag"] != first
