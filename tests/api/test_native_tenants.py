"""Tenants, roles and teamspaces over every path of credentials by id."""

from typing import Any

import pytest

from service.config import Config
from tests.api.native import (
    CREDENTIALS,
    OTHER_KEY,
    WORKS,
    error_of,
    fields_of,
    file_item,
    get,
    key_item,
    new_id,
    path,
    providers,
    put,
    walk,
)
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub

ROTATION = {"payload": OTHER_KEY}
ON_ONE: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("HEAD", "", None),
    ("DELETE", "", None),
    ("POST", "/verify", None),
    ("GET", "/verifications", None),
    ("GET", "/verifications?limit=5", None),
    ("POST", "/rotate", ROTATION),
    ("POST", "/rotate", ROTATION | {"provider": "AZURE"}),
    ("POST", "/rotate", ROTATION | {"force": True}),
    ("POST", "/rotate", {"payload": {}}),
    ("POST", "/rotate", {"payload": {"content": "x"}}),
    ("POST", "/rollback", None),
    ("POST", "/rollback", {"version": 1}),
    ("GET", "/versions", None),
    ("POST", "/lease", {"purpose": "a job"}),
]
CONDITIONS: list[dict[str, str]] = [{}, {"If-Match": '"x"'}, {"If-None-Match": "*"}, {"Prefer": "verify"}]


def without_ids(answer: Any) -> tuple[int, Any, set[str], str]:
    body = {**(answer.json_body or {}), "request_id": ""}
    return answer.status, body, set(answer.headers), answer.headers["Cache-Control"]


@pytest.fixture
async def stocked(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    return await start(providers(config, aws=aws_stub.url))


@pytest.mark.parametrize(("method", "below", "body"), ON_ONE, ids=lambda value: repr(value)[:30])
async def test_another_tenants_credential_looks_like_none(
    stocked: Vouch, aws_stub: AwsStub, method: str, below: str, body: Any
) -> None:
    """Requirement 19: by its right id, with every condition, byte-identical but for the request id; nobody is asked."""
    stranger = await stocked.make_key("admin", workspace="ws_other")
    elsewhere = await stocked.make_key("admin", teamspaces=["blue"])
    level, red, file, missing = (new_id() for _ in range(4))
    await put(stocked, key_item(), level)
    await put(stocked, key_item(teamspace_id="red"), red)
    await put(stocked, file_item("file", "x"), file)
    before = [await get(stocked, id_) for id_ in (level, red, file)]
    for key in (stranger, elsewhere):
        for headers in CONDITIONS:
            none = await stocked.call(method, path(missing, below), body, key=key, headers=headers)
            assert none.status == 404
            for id_ in (level, red, file):
                hidden = await stocked.call(method, path(id_, below), body, key=key, headers=headers)
                assert without_ids(hidden) == without_ids(none), headers
                assert hidden.headers["Content-Length"] == none.headers["Content-Length"]
    assert [await get(stocked, id_) for id_ in (level, red, file)] == before
    assert aws_stub.received == []


async def test_nothing_can_be_put_over_what_is_another_tenants(stocked: Vouch, aws_stub: AwsStub) -> None:
    """Requirement 19: an id is unique everywhere, so all that can be said is that it is not free."""
    stranger = await stocked.make_key("admin", workspace="ws_other")
    elsewhere = await stocked.make_key("admin", teamspaces=["blue"])
    red, missing = new_id(), new_id()
    before = await put(stocked, key_item(teamspace_id="red"), red)
    for key, where in ((stranger, ""), (stranger, "red"), (elsewhere, "blue")):
        body = key_item("theirs", teamspace_id=where)
        for headers in ({"If-Match": '"x"'}, {"If-Match": "*"}):
            none = await stocked.call("PUT", path(missing), body, key=key, headers=headers)
            hidden = await stocked.call("PUT", path(red), body, key=key, headers=headers)
            assert none.status == 412
            assert without_ids(hidden) == without_ids(none)
        for headers in ({}, {"If-None-Match": "*"}):
            refused = await stocked.call("PUT", path(red), body, key=key, headers=headers)
            assert error_of(refused) == (409, 1201)
            assert "theirs" not in refused.json_body["message"]
    assert await get(stocked, red) == before
    assert await walk(stocked, 10, key=stranger) == []
    assert await walk(stocked, 10, teamspace_id="red") == [before]


async def test_a_teamspaces_credential_is_had_by_who_is_in_it(stocked: Vouch, aws_stub: AwsStub) -> None:
    inside = await stocked.make_key("editor", teamspaces=["red", "green"])
    id_ = new_id()
    aws_stub.script(WORKS, WORKS)
    for headers, body in (
        ({}, key_item(teamspace_id="")),
        ({}, key_item(teamspace_id="blue")),
        ({}, file_item("f", "x")),
    ):
        assert error_of(await stocked.call("PUT", path(id_), body, key=inside, headers=headers)) == (403, 1101)
    await put(stocked, key_item(teamspace_id="red"), id_, key=inside)
    assert (await stocked.call("POST", path(id_, "/verify"), key=inside)).json_body["outcome"] == "verified"
    assert (await stocked.call("POST", path(id_, "/rotate"), ROTATION, key=inside)).status == 200
    for below in ("", "/verifications", "/versions"):
        await get(stocked, id_, below, key=inside)
    assert (await stocked.call("POST", path(id_, "/rollback"), key=inside)).status == 200
    # It can't be taken along to another teamspace, also of one's own.
    moved = key_item(teamspace_id="green")
    assert fields_of(await stocked.call("PUT", path(id_), moved, key=inside)) == ["teamspace_id"]
    assert (await stocked.call("DELETE", path(id_), key=inside)).status == 204
    assert (await stocked.call("GET", "/v1/external-id", key=inside)).status == 200


READS = {"list", "get", "verifications", "versions", "external-id"}
WRITES = {"put", "put new", "put shared", "delete", "rotate", "rollback"}
ALLOWED: dict[str, set[str]] = {
    "consumer": set(),
    "viewer": READS,
    "verifier": READS | {"verify"},
    "editor": READS | WRITES | {"verify"},
    "admin": READS | WRITES | {"verify"},
}
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    "list": ("GET", CREDENTIALS, None),
    "get": ("GET", path("{id}"), None),
    "verifications": ("GET", path("{id}", "/verifications"), None),
    "versions": ("GET", path("{id}", "/versions"), None),
    "external-id": ("GET", "/v1/external-id", None),
    "verify": ("POST", path("{id}", "/verify"), None),
    "put": ("PUT", path("{id}"), key_item()),
    "put new": ("PUT", path("{new}"), key_item("new")),
    "put shared": ("PUT", path("{new}"), file_item("new", "x")),
    "rotate": ("POST", path("{id}", "/rotate"), ROTATION),
    "rollback": ("POST", path("{id}", "/rollback"), None),
    "delete": ("DELETE", path("{id}"), None),
}


@pytest.mark.parametrize("role", ALLOWED)
async def test_a_role_allows_what_it_says_and_denies_the_rest(stocked: Vouch, aws_stub: AwsStub, role: str) -> None:
    """Requirements 13, 20 and 31: also for what is not there, and nothing of it is for a cache."""
    assert set(OPERATIONS) == ALLOWED["admin"]
    key, id_ = await stocked.make_key(role), new_id()
    await put(stocked, key_item(), id_)
    aws_stub.script(*[WORKS] * 4)
    for name, (method, where, body) in OPERATIONS.items():
        for target in (new_id(), id_):
            if target != id_ and name == "put":
                continue
            answer = await stocked.call(method, where.format(id=target, new=new_id()), body, key=key)
            assert (answer.status != 403) == (name in ALLOWED[role]), (name, target == id_, await answer.text())
            assert answer.status != 500
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.status != 403 or answer.json_body["code"] == 1101


async def test_prefer_verify_needs_the_permission_to_write_and_asks_nobody_without(
    stocked: Vouch, aws_stub: AwsStub
) -> None:
    """Requirement 13."""
    for role in ("consumer", "viewer", "verifier"):
        key = await stocked.make_key(role)
        answer = await stocked.call("PUT", path(new_id()), key_item(), key=key, headers={"Prefer": "verify"})
        assert answer.status == 403
    assert aws_stub.received == []


async def test_nobody_gets_in_without_a_key_and_nothing_is_for_a_cache(stocked: Vouch) -> None:
    """Requirements 20 and 31."""
    id_ = new_id()
    tag = (await stocked.call("PUT", path(id_), key_item())).headers["ETag"]
    for method, where, body in OPERATIONS.values():
        answer = await stocked.call(method, where.format(id=id_, new=new_id()), body, key=None)
        assert error_of(answer) == (401, 1100)
        assert answer.headers["Cache-Control"] == "no-store"
    unchanged = await stocked.call("GET", path(id_), headers={"If-None-Match": tag})
    assert (unchanged.status, unchanged.headers["Cache-Control"]) == (304, "no-store")
