"""Tenants, roles and teamspaces over every route."""

from typing import Any

import pytest

from tests.api.payloads import create_body
from tests.conftest import Vouch

BODY = create_body("aws key", "one")
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/v4/credentials/one", None),
    ("PATCH", "/v4/credentials/one", {"allowed_in_tasks": True}),
    ("DELETE", "/v4/credentials/one", None),
    ("POST", "/v4/credentials/verify", {"name": "one", "provider": "AWS"}),
]


def without_ids(answer: Any) -> tuple[int, Any, set[str]]:
    return answer.status, answer.json_body | {"request_id": ""}, set(answer.headers)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_another_tenants_credential_looks_like_none(vouch: Vouch, method: str, path: str, body: Any) -> None:
    """Requirement 19: byte-identical but for the request id."""
    stranger = await vouch.make_key("admin", workspace="ws_other")
    missing = await vouch.call(method, path, body, key=stranger)
    assert missing.status == 404
    assert (await vouch.call("POST", "/v4/credentials", BODY)).status == 201
    hidden = await vouch.call(method, path, body, key=stranger)
    assert without_ids(hidden) == without_ids(missing)
    assert (await vouch.call("GET", "/v4/credentials", key=stranger)).json_body["data"] == []
    assert (await vouch.call("POST", "/v4/credentials", BODY, key=stranger)).status == 201
    assert (await vouch.call("GET", "/v4/credentials/one")).status == 200


ALLOWED = {
    "viewer": {"list", "get"},
    "verifier": {"list", "get", "verify"},
    "editor": {"list", "get", "verify", "create", "patch", "delete"},
    "admin": {"list", "get", "verify", "create", "patch", "delete"},
}
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    "list": ("GET", "/v4/credentials", None),
    "get": ("GET", "/v4/credentials/none", None),
    "verify": ("POST", "/v4/credentials/verify", {"name": "none", "provider": "AWS"}),
    "create": ("POST", "/v4/credentials", create_body("aws key", "new")),
    "patch": ("PATCH", "/v4/credentials/none", {}),
    "delete": ("DELETE", "/v4/credentials/none", None),
}


@pytest.mark.parametrize("role", ALLOWED)
async def test_a_role_allows_what_it_says_and_denies_the_rest(vouch: Vouch, role: str) -> None:
    """Requirements 13 and 20."""
    key = await vouch.make_key(role)
    for name, (method, path, body) in OPERATIONS.items():
        answer = await vouch.call(method, path, body, key=key)
        assert (answer.status != 403) == (name in ALLOWED[role]), name
        if answer.status == 403:
            assert answer.json_body["code"] == 1101


async def test_a_list_of_teamspaces_excludes_the_others_and_the_workspace_level(vouch: Vouch) -> None:
    key = await vouch.make_key("editor", teamspaces=["red"])
    assert (await vouch.call("POST", "/v4/credentials?teamspace_id=red", BODY, key=key)).status == 201
    for where in ("", "?teamspace_id=", "?teamspace_id=blue"):
        assert (await vouch.call("POST", f"/v4/credentials{where}", BODY, key=key)).status == 403
        assert (await vouch.call("GET", f"/v4/credentials{where}", key=key)).status == 403
        assert (await vouch.call("GET", f"/v4/credentials/one{where}", key=key)).status == 403
    assert (await vouch.call("GET", "/v4/credentials/one?teamspace_id=red")).status == 200


async def test_a_key_revoked_beside_the_running_service_is_dead_at_once(vouch: Vouch) -> None:
    """Requirement 23."""
    from service import bootstrap
    from service.auth.passwords import hash_password
    from service.core.access import Access

    key = await vouch.make_key("viewer")
    assert (await vouch.call("GET", "/v4/credentials", key=key)).status == 200
    store = await bootstrap.open_store(vouch.config)
    try:
        assert await Access(store, hash_password).revoke_api_key(bootstrap.operator(), key.split("_")[1])
    finally:
        await store.close()
    refused = await vouch.call("GET", "/v4/credentials", key=key)
    assert (refused.status, refused.json_body["code"]) == (401, 1100)
    assert "Basic" in refused.headers["WWW-Authenticate"]
