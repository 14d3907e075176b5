"""Leases over HTTP. An Azure account key makes them without asking anybody, so nothing here needs a provider."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from service.config import Config
from tests.api.payloads import CANARY, KINDS, create_body
from tests.conftest import Start, Vouch

ACCOUNT_KEY = KINDS["azure key"][4]["account_key"]
WANTED = {"purpose": "nightly load", "ttl_seconds": 600, "scope": {"bucket": "raw"}}
STRANGE_ID = "0b6c4a4e-0000-4000-8000-000000000000"


async def keep(vouch: Vouch, kind: str = "azure key", name: str = "lake", teamspace: str = "", **more: Any) -> str:
    """Store a credential that is allowed in tasks; its id."""
    body = create_body(kind, name) | {"allowed_in_tasks": True} | more
    where = f"?teamspace_id={teamspace}"
    assert (await vouch.call("POST", f"/v4/credentials{where}", body)).status == 201
    got = await vouch.call("GET", f"/v4/credentials/{name}{where}")
    return str(got.json_body["data"]["id"])


async def lease(vouch: Vouch, id_: str, wanted: Any = None, key: str = "") -> Any:
    return await vouch.call("POST", f"/v1/credentials/{id_}/lease", WANTED if wanted is None else wanted, key=key)


def read(config: Config, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(config.database)) as db:
        return db.execute(sql).fetchall()


async def test_a_consumer_gets_short_lived_material_and_never_the_key(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    consumer = await vouch.make_key("consumer")
    before = datetime.now(UTC)
    answer = await lease(vouch, id_, key=consumer)
    body = answer.json_body
    assert answer.status == 200, body
    assert answer.headers["Cache-Control"] == "no-store"
    assert body["credential_id"] == id_
    assert body["scope"] == {"bucket": "raw", "prefix": "", "access": "read"}
    assert body["narrowed"] is True
    assert body["material"]["form"] == "azure_sas"
    assert body["material"]["account_name"] == "storageacct"
    assert "sig=" in body["material"]["sas_token"]
    assert ACCOUNT_KEY not in json.dumps(body)
    left = (datetime.fromisoformat(body["expires_at"]) - before).total_seconds()
    assert 590 <= left <= 610


async def test_the_consumer_role_may_do_nothing_else(vouch: Vouch) -> None:
    """Requirement 20."""
    id_ = await keep(vouch)
    consumer = await vouch.make_key("consumer")
    others = [
        ("GET", "/v4/credentials", None),
        ("GET", "/v4/credentials/lake", None),
        ("POST", "/v4/credentials", create_body("aws key", "new")),
        ("PATCH", "/v4/credentials/lake", {"allowed_in_tasks": False}),
        ("DELETE", "/v4/credentials/lake", None),
        ("POST", "/v4/credentials/verify", {"name": "lake", "provider": "AZURE"}),
        ("GET", "/api/credentials", None),
        ("GET", "/api/credentials/x/download", None),
        ("DELETE", "/api/credentials/x", None),
        ("GET", "/v1/leases", None),
    ]
    for method, path, body in others:
        answer = await vouch.call(method, path, body, key=consumer)
        assert answer.status == 403, path
    assert (await lease(vouch, id_, key=consumer)).status == 200


@pytest.mark.parametrize("role", ["viewer", "verifier", "editor"])
async def test_other_roles_may_not_lease(vouch: Vouch, role: str) -> None:
    """Requirement 20: using is a right of its own."""
    id_ = await keep(vouch)
    key = await vouch.make_key(role)
    answer = await lease(vouch, id_, key=key)
    assert (answer.status, answer.json_body["code"]) == (403, 1101)
    assert (await vouch.call("GET", "/v1/leases", key=key)).status == 403


async def test_what_is_not_allowed_in_tasks_is_not_leased(vouch: Vouch) -> None:
    id_ = await keep(vouch, allowed_in_tasks=False)
    answer = await lease(vouch, id_)
    assert (answer.status, answer.json_body["code"]) == (403, 1101)
    assert "allowed_in_tasks" in answer.json_body["message"]
    assert (await vouch.call("PATCH", "/v4/credentials/lake", {"allowed_in_tasks": True})).status == 204
    assert (await lease(vouch, id_)).status == 200


async def test_a_credential_known_to_fail_is_refused_unless_forced(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    with closing(sqlite3.connect(vouch.config.database)) as db, db:
        db.execute("UPDATE credential SET status = 'failed'")
    refused = await lease(vouch, id_)
    assert (refused.status, refused.json_body["code"]) == (409, 1203)
    assert (await lease(vouch, id_, WANTED | {"force": True})).status == 200


async def test_a_lease_is_audited_with_the_row_that_lists_it(vouch: Vouch) -> None:
    """Requirement 29."""
    id_ = await keep(vouch)
    body = (await lease(vouch, id_)).json_body
    ((target, outcome),) = read(vouch.config, "SELECT target, outcome FROM audit WHERE action = 'credential.lease'")
    assert target == id_
    assert body["id"] in outcome
    assert body["expires_at"] in outcome
    assert "sig=" not in outcome


async def test_if_the_audit_record_cannot_be_written_no_material_leaves(vouch: Vouch) -> None:
    """Requirement 29."""
    id_ = await keep(vouch)
    with closing(sqlite3.connect(vouch.config.database)) as db, db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit WHEN new.action = 'credential.lease' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    answer = await lease(vouch, id_)
    assert answer.status in (500, 503)
    assert "sig=" not in await answer.text()
    assert read(vouch.config, "SELECT count(*) FROM lease") == [(0,)]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": -1}, "ttl_seconds"),
        ({"ttl_seconds": 31_536_000}, "ttl_seconds"),
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"ttl_seconds": "600"}, "ttl_seconds"),
        ({"ttl_seconds": 600.0}, "ttl_seconds"),
        ({"scope": {}}, "scope.bucket"),
        ({"scope": "raw"}, "scope"),
        ({"scope": {"bucket": "raw", "prefix": "a/../b"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": ".."}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "a*"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "a?"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "${aws:username}"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "/a"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "a\\b"}}, "scope.prefix"),
        ({"scope": {"bucket": "raw", "prefix": "a" * 513}}, "scope.prefix"),
        ({"scope": {"bucket": "*"}}, "scope.bucket"),
        ({"scope": {"bucket": "raw/deep"}}, "scope.bucket"),
        ({"scope": {"bucket": "s3://raw"}}, "scope.bucket"),
        ({"scope": {"bucket": "raw", "access": "admin"}}, "scope.access"),
        ({"scope": {"bucket": "raw", "region": "x"}}, "scope.region"),
        ({"purpose": "a\nb"}, "purpose"),
        ({"purpose": "a" * 256}, "purpose"),
        ({"force": "yes"}, "force"),
        ({"ttl": 5}, "ttl"),
        ({"role_arn": "arn:aws:iam::123456789012:role/x"}, "role_arn"),
    ],
    ids=json.dumps,
)
async def test_terms_that_make_no_sense_are_a_400_that_names_the_field(
    vouch: Vouch, wanted: dict[str, Any], field: str
) -> None:
    id_ = await keep(vouch)
    answer = await lease(vouch, id_, WANTED | wanted)
    assert (answer.status, answer.json_body["code"]) == (400, 1001)
    assert field in [one["field"] for one in answer.json_body["validation_error"]["fields"]]
    assert read(vouch.config, "SELECT count(*) FROM lease") == [(0,)]


async def test_the_operator_bounds_how_long_a_lease_lives(start: Start, config: Config) -> None:
    vouch = await start(replace(config, leases=replace(config.leases, default_ttl_seconds=60, max_ttl_seconds=120)))
    id_ = await keep(vouch)
    body = (await lease(vouch, id_, {"scope": {"bucket": "raw"}})).json_body
    lived = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["issued_at"])
    assert 50 <= lived.total_seconds() <= 61
    assert (await lease(vouch, id_, WANTED | {"ttl_seconds": 121})).status == 400


@pytest.mark.parametrize("kind", ["gcp hmac"])
async def test_kinds_that_cannot_be_leased_say_what_to_use_instead(vouch: Vouch, kind: str) -> None:
    id_ = await keep(vouch, kind)
    answer = await lease(vouch, id_)
    assert (answer.status, answer.json_body["code"]) == (422, 1403)
    assert "service account" in answer.json_body["message"]
    assert "verification" not in answer.json_body


async def test_a_shared_file_cannot_be_leased(vouch: Vouch) -> None:
    file = {"credential_name": "aws", "type": "text", "text_value": CANARY}
    assert (await vouch.call("POST", "/api/credentials", file)).status == 201
    ((id_,),) = read(vouch.config, "SELECT id FROM credential WHERE family = 'shared'")
    answer = await lease(vouch, id_)
    assert (answer.status, answer.json_body["code"]) == (422, 1403)
    assert "access credential" in answer.json_body["message"]
    assert CANARY not in await answer.text()


async def test_another_tenants_id_looks_like_none(vouch: Vouch) -> None:
    """Requirement 19."""
    id_ = await keep(vouch)
    stranger = await vouch.make_key("admin", workspace="ws_other")
    hidden, missing = await lease(vouch, id_, key=stranger), await lease(vouch, STRANGE_ID, key=stranger)
    assert hidden.status == missing.status == 404
    assert hidden.json_body | {"request_id": ""} == missing.json_body | {"request_id": ""}
    assert set(hidden.headers) == set(missing.headers)
    assert (await vouch.call("GET", "/v1/leases", key=stranger)).json_body == {"data": [], "next_cursor": None}


async def test_a_caller_of_one_teamspace_leases_only_there(vouch: Vouch) -> None:
    ids = {where: await keep(vouch, teamspace=where) for where in ("", "red", "blue")}
    key = await vouch.make_key("consumer", teamspaces=["red"])
    statuses = {where: (await lease(vouch, id_, key=key)).status for where, id_ in ids.items()}
    assert statuses == {"": 404, "red": 200, "blue": 404}


async def test_too_many_leases_are_a_429_before_anything_is_done(start: Start, config: Config) -> None:
    vouch = await start(replace(config, limits=replace(config.limits, leases_per_caller=3)))
    id_ = await keep(vouch)
    answers = await asyncio.gather(*(lease(vouch, id_) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 7
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status == 429)
    assert read(vouch.config, "SELECT count(*) FROM lease") == [(3,)]
    assert (await lease(vouch, id_, key=await vouch.make_key("consumer"))).status == 200


async def test_a_hundred_leases_at_once_are_all_made_and_all_different(vouch: Vouch) -> None:
    id_ = await keep(vouch)
    answers = await asyncio.gather(*(lease(vouch, id_) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json_body["id"] for answer in answers}) == 100
