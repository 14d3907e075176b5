"""GET, PUT and DELETE of `/v1/credentials/{id}`: create or replace, conditions, and what the other dialects see."""

import asyncio
import uuid
from urllib.parse import quote

import pytest

from service.config import Config
from tests.api.native import (
    OTHER_KEY,
    error_of,
    fields_of,
    file_item,
    get,
    item,
    key_item,
    new_id,
    path,
    providers,
    put,
    v4_key,
    walk,
)
from tests.api.payloads import KINDS
from tests.conftest import Start, Vouch
from tests.peers.entra import Entra
from verifiers.settings import EgressSettings

PRINCIPAL = {
    "name": "robot",
    "provider": "AZURE",
    "type": "service_principal",
    "payload": {
        "tenant_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "66666666-7777-8888-9999-000000000000",
        "client_secret": "a~client~secret",
        "account_name": "storageacct",
    },
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_created_then_replaced_and_shown_without_its_secret(vouch: Vouch, kind: str) -> None:
    id_, (provider, type_, slot, sub, payload, secret) = new_id(), KINDS[kind]
    body = item(kind, "one", allowed_in_tasks=True)
    created = await vouch.call("PUT", path(id_), body)
    assert created.status == 201
    shown = created.json_body
    assert shown == await get(vouch, id_)
    assert {name: shown[name] for name in ("id", "kind", "name", "teamspace_id", "provider", "type")} == {
        "id": id_,
        "kind": "access",
        "name": "one",
        "teamspace_id": "",
        "provider": provider,
        "type": type_,
    }
    assert (shown["allowed_in_tasks"], shown["provider_default"], shown["version"]) == (True, False, 1)
    assert [shown[name] for name in ("status", "verification", "attempt")] == [None, None, None]
    assert {**shown["payload"], **payload} == {
        **payload,
        **{name: value for name, value in shown["payload"].items() if name not in payload},
    }
    assert not secret or shown["payload"][secret] == ""
    assert shown["created_at"] == shown["updated_at"] == shown["payload_changed_at"]
    # The v4 dialect has the very same one.
    v4 = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    assert (v4["id"], set(v4) & {"credential", "role", "token"}) == (id_, {slot})
    assert v4[slot][sub] == {name: shown["payload"][name] for name in v4[slot][sub]}
    replaced = await vouch.call("PUT", path(id_), body | {"name": "two", "allowed_in_tasks": False})
    assert (replaced.status, replaced.json_body["name"], replaced.json_body["allowed_in_tasks"]) == (200, "two", False)
    assert replaced.json_body["created_at"] == shown["created_at"]
    assert len(await walk(vouch, 10)) == 1


async def test_what_the_v4_dialect_made_is_had_and_replaced_by_its_id(vouch: Vouch) -> None:
    await vouch.call("POST", "/v4/credentials?teamspace_id=red", v4_key())
    id_ = (await vouch.call("GET", "/v4/credentials/one?teamspace_id=red")).json_body["data"]["id"]
    shown = await get(vouch, id_)
    assert (shown["teamspace_id"], shown["name"]) == ("red", "one")
    replaced = await put(vouch, key_item("one", OTHER_KEY, teamspace_id="red", provider_default=True), id_)
    assert (replaced["version"], replaced["payload"]["access_key_id"]) == (2, OTHER_KEY["access_key_id"])
    assert (await vouch.call("DELETE", path(id_))).status == 204
    assert (await vouch.call("GET", "/v4/credentials/one?teamspace_id=red")).status == 404
    assert error_of(await vouch.call("DELETE", path(id_))) == (404, 1200)


async def test_a_put_again_changes_nothing_that_counts(vouch: Vouch) -> None:
    """RFC 9110 section 9.2.2: the same secret again is no new payload; its age and its version stay."""
    for body in (key_item("one", allowed_in_tasks=True), file_item("one", "some text"), PRINCIPAL):
        id_ = new_id()
        first = await put(vouch, body, id_)
        again = await put(vouch, body, id_)
        moving = {"updated_at"}
        assert {k: v for k, v in again.items() if k not in moving} == {
            k: v for k, v in first.items() if k not in moving
        }
        assert (await get(vouch, id_, "/versions"))["data"][0]["version"] == 1


async def test_a_put_is_the_whole_credential_what_is_left_out_is_its_default(vouch: Vouch) -> None:
    id_ = new_id()
    await put(vouch, item("aws key", "one", allowed_in_tasks=True, provider_default=True), id_)
    bare = await put(vouch, key_item("one"), id_)
    assert (bare["allowed_in_tasks"], bare["provider_default"]) == (False, False)
    assert "endpoint" not in bare["payload"]
    assert (bare["payload"]["use_path_style"], bare["version"]) == (False, 2)


async def test_a_put_can_change_the_type_and_the_provider(vouch: Vouch) -> None:
    id_ = new_id()
    await put(vouch, item("azure key", "one"), id_)
    for kind in ("azure sas", "gcp hmac", "aws role"):
        changed = await put(vouch, item(kind, "one"), id_)
        assert (changed["provider"], changed["type"]) == KINDS[kind][:2]
    assert [one["type"] for one in await walk(vouch, 10, provider="AWS")] == ["arn"]


async def test_a_default_takes_the_flag_from_the_one_before(vouch: Vouch) -> None:
    first = await put(vouch, key_item("one", provider_default=True))
    await put(vouch, key_item("two", provider_default=True))
    assert [(one["name"], one["provider_default"]) for one in await walk(vouch, 10)] == [("one", False), ("two", True)]
    await put(vouch, key_item("one", provider_default=True), first["id"])
    assert [one["provider_default"] for one in await walk(vouch, 10)] == [True, False]


async def test_an_etag_is_for_one_representation(vouch: Vouch) -> None:
    """Requirement 39."""
    id_ = new_id()
    created = await vouch.call("PUT", path(id_), key_item())
    tag = created.headers["ETag"]
    assert tag.startswith('"')
    assert (await vouch.call("GET", path(id_))).headers["ETag"] == tag
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        unchanged = await vouch.call("GET", path(id_), headers={"If-None-Match": header})
        assert (unchanged.status, unchanged.headers["ETag"], await unchanged.read()) == (304, tag, b"")
    assert (await vouch.call("GET", path(id_), headers={"If-None-Match": '"other"'})).status == 200
    replaced = await vouch.call("PUT", path(id_), key_item("two"), headers={"If-Match": tag})
    assert replaced.status == 200
    assert replaced.headers["ETag"] != tag
    for method, body in (("PUT", key_item("three")), ("DELETE", None)):
        stale = await vouch.call(method, path(id_), body, headers={"If-Match": tag})
        assert error_of(stale) == (412, 1202)
    assert (await get(vouch, id_))["name"] == "two"
    assert (await vouch.call("DELETE", path(id_), headers={"If-Match": replaced.headers["ETag"]})).status == 204


async def test_a_tag_of_a_deleted_one_is_not_that_of_its_successor_under_the_same_id(vouch: Vouch) -> None:
    """Requirement 39: clients choose ids, and may choose one again."""
    id_ = new_id()
    old = (await vouch.call("PUT", path(id_), key_item("one"))).headers["ETag"]
    await vouch.call("DELETE", path(id_))
    assert (await vouch.call("PUT", path(id_), key_item("another"))).status == 201
    assert (await vouch.call("GET", path(id_), headers={"If-None-Match": old})).status == 200
    assert (await vouch.call("DELETE", path(id_), headers={"If-Match": old})).status == 412


async def test_conditions_say_whether_there_must_be_one(vouch: Vouch) -> None:
    """RFC 9110 sections 13.1.1 and 13.1.2."""
    id_ = new_id()
    for wanted in ('"some"', "*", "garbage"):
        refused = await vouch.call("PUT", path(id_), key_item(), headers={"If-Match": wanted})
        assert error_of(refused) == (412, 1202), wanted
    assert await walk(vouch, 10) == []
    new = {"If-None-Match": "*"}
    assert (await vouch.call("PUT", path(id_), key_item(), headers=new)).status == 201
    assert error_of(await vouch.call("PUT", path(id_), key_item("two"), headers=new)) == (412, 1202)
    assert (await vouch.call("PUT", path(id_), key_item("two"), headers={"If-Match": "*"})).status == 200
    assert (await vouch.call("DELETE", path(new_id()), headers={"If-Match": '"x"'})).status == 404


async def test_writers_at_once_make_one_credential(vouch: Vouch) -> None:
    """Requirement 39: one creates it, and the others replace it or are told."""
    id_ = new_id()
    answers = await asyncio.gather(*(vouch.call("PUT", path(id_), key_item("one")) for _ in range(20)))
    assert sorted(one.status for one in answers) == [200] * 19 + [201]
    other = new_id()
    new = {"If-None-Match": "*"}
    answers = await asyncio.gather(
        *(vouch.call("PUT", path(other), key_item(f"n{number}"), headers=new) for number in range(20))
    )
    assert sorted(one.status for one in answers) == [201] + [412] * 19
    tag = (await vouch.call("GET", path(id_))).headers["ETag"]
    answers = await asyncio.gather(
        *(vouch.call("PUT", path(id_), key_item(f"m{number}"), headers={"If-Match": tag}) for number in range(20))
    )
    assert sorted(one.status for one in answers) == [200] + [412] * 19
    assert len(await walk(vouch, 10)) == 2


async def test_puts_and_deletes_at_once_leave_all_or_nothing(vouch: Vouch) -> None:
    """Requirement 40: no answer is a 5xx or a 404 to a PUT, and what is left is whole."""
    id_ = new_id()

    async def one(number: int) -> int:
        if number % 2:
            return int((await vouch.call("DELETE", path(id_))).status)
        return int((await vouch.call("PUT", path(id_), key_item(f"n{number}"))).status)

    statuses = await asyncio.gather(*(one(number) for number in range(40)))
    assert {status for number, status in enumerate(statuses) if number % 2 == 0} <= {200, 201}
    assert set(statuses) <= {200, 201, 204, 404}
    assert statuses.count(201) - statuses.count(204) == len(await walk(vouch, 10))


async def test_names_and_ids_that_are_taken_are_a_409(vouch: Vouch) -> None:
    made = await put(vouch, key_item("one"))
    await put(vouch, key_item("two"))
    assert error_of(await vouch.call("PUT", path(new_id()), key_item("one"))) == (409, 1201)
    assert error_of(await vouch.call("PUT", path(made["id"]), key_item("two"))) == (409, 1201)
    # The two kinds, and teamspaces, have names of their own.
    assert (await vouch.call("PUT", path(new_id()), file_item("one", "x"))).status == 201
    assert (await vouch.call("PUT", path(new_id()), key_item("one", teamspace_id="red"))).status == 201
    assert (await get(vouch, made["id"]))["name"] == "one"


async def test_the_kind_and_the_teamspace_of_a_credential_stay(vouch: Vouch) -> None:
    made, file = await put(vouch, key_item("one")), await put(vouch, file_item("one", "x"))
    assert fields_of(await vouch.call("PUT", path(made["id"]), key_item("one", teamspace_id="red"))) == ["teamspace_id"]
    assert fields_of(await vouch.call("PUT", path(made["id"]), file_item("one", "x"))) == ["kind"]
    assert set(fields_of(await vouch.call("PUT", path(file["id"]), key_item("one", teamspace_id="red")))) == {
        "kind",
        "teamspace_id",
    }


@pytest.mark.parametrize(
    "id_",
    [
        "x",
        "one",
        "00000000-0000-0000-0000-000000000000",
        str(uuid.uuid4()).upper(),
        uuid.uuid4().hex,
        "{" + str(uuid.uuid4()) + "}",
        f"urn:uuid:{uuid.uuid4()}",
        f"{uuid.uuid4()}\n",
        f"{uuid.uuid4()} ",
        "\x00",
        "é",
        "%2F",
        "x" * 5000,
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_an_id_that_is_none_is_refused_by_put_and_unknown_to_the_rest(vouch: Vouch, id_: str) -> None:
    """Requirement 22."""
    where = path(quote(id_, safe=""))
    assert fields_of(await vouch.call("PUT", where, key_item())) == ["id"]
    for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/verify"), ("GET", "/versions")):
        assert error_of(await vouch.call(method, f"{where}{below}")) == (404, 1200), (method, below)


async def test_a_service_principal_has_its_place_here_and_none_on_the_v4_wire(
    start: Start, config: Config, entra: Entra
) -> None:
    """It is seen there, without a slot, can be renamed, flagged and verified by name, and is no answer to a type."""
    vouch = await start(providers(config, authority=entra.authority, egress=EgressSettings(ca_file=entra.ca_file)))
    made = await put(vouch, PRINCIPAL | {"payload": entra.register()})
    assert made["payload"]["client_secret"] == ""
    v4 = (await vouch.call("GET", "/v4/credentials/robot")).json_body["data"]
    assert (v4["id"], v4["provider"]) == (made["id"], "AZURE")
    assert not set(v4) & {"credential", "role", "token"}
    listed = (await vouch.call("GET", "/v4/credentials?provider=AZURE")).json_body
    assert [one["name"] for one in listed["data"]] == ["robot"]
    assert (await vouch.call("GET", "/v4/credentials?type=key")).json_body["data"] == []
    renamed = await vouch.call("PATCH", "/v4/credentials/robot", {"name": "droid", "allowed_in_tasks": True})
    assert renamed.status == 204
    assert (await vouch.call("POST", "/v4/credentials/verify", {"name": "droid", "provider": "AZURE"})).status == 200
    after = await get(vouch, made["id"])
    assert (after["name"], after["status"], after["allowed_in_tasks"]) == ("droid", "verified", True)
    assert [one["id"] for one in await walk(vouch, 5, type="service_principal")] == [made["id"]]
