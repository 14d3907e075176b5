"""`GET /v1/leases`: who has what, until when, and whether they should still."""

from collections.abc import Callable
from typing import Any

import pytest

from service import bootstrap
from service.auth.passwords import hash_password
from service.core.access import Access
from tests.api.test_leases import keep, lease
from tests.conftest import Vouch


async def test_leases_are_listed_newest_first_and_page_by_page(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    made = [(await lease(vouch, id_)).json_body["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await vouch.call("GET", f"/v1/leases?limit=2{cursor}")).json_body
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_a_listed_lease_says_who_and_what_for_and_holds_no_material(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    body = (await lease(vouch, id_)).json_body
    answer = await vouch.call("GET", "/v1/leases")
    (one,) = answer.json_body["data"]
    assert {name: one[name] for name in ("id", "credential_id", "purpose", "expires_at", "scope")} == {
        name: body[name] for name in ("id", "credential_id", "purpose", "expires_at", "scope")
    }
    assert one["caller"]["kind"] == "api_key"
    assert one["caller"]["revoked"] is False
    assert "material" not in one
    assert "sig=" not in await answer.text()


async def test_a_live_lease_of_a_revoked_caller_is_noted(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    consumer = await vouch.make_key("consumer")
    assert (await lease(vouch, id_, key=consumer)).status == 200
    store = await bootstrap.open_store(vouch.config)
    try:
        assert await Access(store, hash_password).revoke_api_key(bootstrap.operator(), consumer.split("_")[1])
    finally:
        await store.close()
    assert (await lease(vouch, id_, key=consumer)).status == 401
    (one,) = (await vouch.call("GET", "/v1/leases?live=true")).json_body["data"]
    assert one["caller"]["revoked"] is True


FILTERS: list[tuple[str, Callable[[dict[str, str]], set[str]]]] = [
    ("", lambda ids: {"", "red"}),
    ("?teamspace_id=", lambda ids: {""}),
    ("?teamspace_id=red", lambda ids: {"red"}),
    ("?teamspace_id=blue", lambda ids: set()),
    ("?live=true", lambda ids: {"", "red"}),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[query for query, _ in FILTERS])
async def test_leases_are_filtered(vouch: Vouch, query: str, expected: Callable[[Any], set[str]]) -> None:
    ids = {where: await keep(vouch, teamspace=where) for where in ("", "red")}
    for id_ in ids.values():
        assert (await lease(vouch, id_)).status == 200
    page = (await vouch.call("GET", f"/v1/leases{query}")).json_body["data"]
    assert {one["teamspace_id"] for one in page} == expected(ids)
    (one,) = (await vouch.call("GET", f"/v1/leases?credential_id={ids['red']}")).json_body["data"]
    assert one["credential_id"] == ids["red"]


async def test_an_admin_of_a_teamspace_sees_its_leases_alone(vouch: Vouch) -> None:
    for where in ("", "red"):
        assert (await lease(vouch, await keep(vouch, teamspace=where))).status == 200
    key = await vouch.make_key("admin", teamspaces=["red"])
    page = (await vouch.call("GET", "/v1/leases", key=key)).json_body["data"]
    assert [one["teamspace_id"] for one in page] == ["red"]
    assert (await vouch.call("GET", "/v1/leases?teamspace_id=", key=key)).status == 403


async def test_a_lease_outlives_its_credential_in_the_list(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    assert (await lease(vouch, id_)).status == 200
    assert (await vouch.call("DELETE", "/v4/credentials/lake")).status == 204
    (one,) = (await vouch.call("GET", "/v1/leases")).json_body["data"]
    assert (one["credential_id"], one["credential_name"]) == (id_, "lake")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=LTE", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("live=1", "live"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_bad_query_is_a_400_that_names_the_parameter(vouch: Vouch, query: str, field: str) -> None:
    answer = await vouch.call("GET", f"/v1/leases?{query}")
    assert (answer.status, answer.json_body["code"]) == (400, 1001)
    assert [one["field"] for one in answer.json_body["validation_error"]["fields"]] == [field]
