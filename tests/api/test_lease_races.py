"""Leases while what they are made of or for changes: held at STS, and let go when the change is done.

A right that ended before the answer came is no right to the answer: 409, and nothing is handed out.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service import bootstrap
from service.auth.passwords import hash_password
from service.config import Config
from service.core.access import Access
from tests.api.aws_leases import (
    ROLE,
    assert_nothing_handed_out,
    audited,
    before,
    hold,
    keep_key,
    key_body,
    lease,
    listed,
)
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import SESSION_SECRET, AwsStub

PASSWORD = "correct-horse-battery"
OTHER = {"access_key_id": "AKIAANOTHERANOTHER00", "secret_access_key": "another-secret-of-another-key"}


@pytest.fixture
async def vouch(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    """A vouch whose AWS is the stub."""
    return await start(before(config, aws_stub.url))


class Case:
    """A credential, and a consumer who is about to lease it."""

    def __init__(self, vouch: Vouch, id_: str, consumer: str) -> None:
        self.vouch = vouch
        self.id = id_
        self.consumer = consumer

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What an admin does meanwhile."""
        answer = await self.vouch.call(method, path, body)
        assert answer.status in (200, 201, 204), answer.json_body
        return answer

    async def revoke(self, key: str) -> None:
        """Beside the running service, as the command line does it."""
        opened = await bootstrap.open_store(self.vouch.config)
        try:
            access = Access(opened, hash_password)
            assert await access.revoke_api_key(bootstrap.operator(), key.split("_")[1])
        finally:
            await opened.close()


@pytest.fixture
async def case(vouch: Vouch) -> Case:
    return Case(vouch, await keep_key(vouch), await vouch.make_key("consumer"))


async def delete(case: Case) -> None:
    await case.call("DELETE", "/v4/credentials/lake")


async def change_the_payload(case: Case) -> None:
    await case.call("PATCH", "/v4/credentials/lake", {"credential": {"aws": OTHER}})


async def forbid_tasks(case: Case) -> None:
    await case.call("PATCH", "/v4/credentials/lake", {"allowed_in_tasks": False})


async def revoke_the_caller(case: Case) -> None:
    await case.revoke(case.consumer)


async def rotate(case: Case) -> None:
    await case.call("POST", f"/v1/credentials/{case.id}/rotate", {"payload": OTHER, "force": True})


async def replace_by_a_namesake(case: Case) -> None:
    await delete(case)
    await case.call("POST", "/v4/credentials", key_body() | {"allowed_in_tasks": True})


async def replace_under_the_same_id(case: Case) -> None:
    """`PUT` makes one with the id that its caller says: a new one is at its first version, too."""
    await delete(case)
    body = {"kind": "access", "name": "lake", "provider": "AWS", "type": "key", "allowed_in_tasks": True}
    await case.call("PUT", f"/v1/credentials/{case.id}", body | {"payload": OTHER})


Race = Callable[[Case], Awaitable[None]]
AGAINST: list[Race] = [
    delete,
    change_the_payload,
    forbid_tasks,
    revoke_the_caller,
    rotate,
    replace_by_a_namesake,
    replace_under_the_same_id,
]


@pytest.mark.parametrize("race", AGAINST, ids=[one.__name__ for one in AGAINST])
async def test_what_ends_the_right_while_sts_is_asked_keeps_the_session_in(
    case: Case, aws_stub: AwsStub, race: Race
) -> None:
    """Requirement 23."""
    held, leasing = await hold(aws_stub, lambda: lease(case.vouch, case.id, key=case.consumer))
    await race(case)
    held.let_go.set()
    answer = await leasing
    assert (answer.status, answer.json_body["code"]) == (409, 1204), answer.json_body
    await assert_nothing_handed_out(case.vouch, answer)


async def test_a_stock_sdk_is_told_the_same(case: Case, aws_stub: AwsStub) -> None:
    """Requirement 23: the SDK asks again, and is told then why."""
    path = f"/v1/aws/credentials?name=lake&role_arn={ROLE}"
    held, leasing = await hold(aws_stub, lambda: case.vouch.call("GET", path, key=case.consumer))
    await case.revoke(case.consumer)
    held.let_go.set()
    answer = await leasing
    assert (answer.status, answer.json_body["code"]) == (409, "1204")
    await assert_nothing_handed_out(case.vouch, answer)
    assert (await case.vouch.call("GET", path, key=case.consumer)).status == 401


async def rename(case: Case) -> None:
    await case.call("PATCH", "/v4/credentials/lake", {"name": "another name"})


async def make_default(case: Case) -> None:
    await case.call("PATCH", "/v4/credentials/lake", {"provider_default": True})


async def send_the_same_payload_blank(case: Case) -> None:
    """As clients do that send back what they read: nothing of the payload changes."""
    shown = (await case.call("GET", "/v4/credentials/lake")).json_body["data"]["credential"]["aws"]
    assert shown["secret_access_key"] == ""
    await case.call("PATCH", "/v4/credentials/lake", {"credential": {"aws": shown}})


async def revoke_another(case: Case) -> None:
    await case.revoke(await case.vouch.make_key("consumer"))


BESIDE: list[Race] = [rename, make_default, send_the_same_payload_blank, revoke_another]


@pytest.mark.parametrize("race", BESIDE, ids=[one.__name__ for one in BESIDE])
async def test_what_does_not_matter_keeps_nobody_from_a_lease(case: Case, aws_stub: AwsStub, race: Race) -> None:
    held, leasing = await hold(aws_stub, lambda: lease(case.vouch, case.id, key=case.consumer))
    await race(case)
    held.let_go.set()
    answer = await leasing
    assert answer.status == 200, answer.json_body
    assert answer.json_body["material"]["secret_access_key"] == SESSION_SECRET
    (row,) = await listed(case.vouch)
    assert row["id"] == answer.json_body["id"]


async def test_a_user_who_is_deleted_meanwhile_gets_nothing(case: Case, aws_stub: AwsStub) -> None:
    """Requirement 23."""
    opened = await bootstrap.open_store(case.vouch.config)
    try:
        access = Access(opened, hash_password)
        who = {"name": "ada", "password": PASSWORD, "role": "consumer", "workspace": "ws_default"}
        await access.create_user(bootstrap.operator(), **who)
        basic = {"Authorization": "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()}
        path = f"/v1/aws/credentials?name=lake&role_arn={ROLE}"
        held, leasing = await hold(aws_stub, lambda: case.vouch.call("GET", path, key=None, headers=basic))
        assert await access.delete_user(bootstrap.operator(), "ada")
    finally:
        await opened.close()
    held.let_go.set()
    answer = await leasing
    assert answer.status == 409
    await assert_nothing_handed_out(case.vouch, answer)


async def test_of_many_who_wait_only_those_with_a_right_are_served(case: Case, aws_stub: AwsStub) -> None:
    """Requirement 23: whose key was revoked is known by each lease alone."""
    keys = [await case.vouch.make_key("consumer") for _ in range(6)]
    waiting = [await hold(aws_stub, lambda key=key: lease(case.vouch, case.id, key=key)) for key in keys]
    for key in keys[::2]:
        await case.revoke(key)
    for held, _task in waiting:
        held.let_go.set()
    answers = await asyncio.gather(*(task for _held, task in waiting))
    assert [one.status for one in answers] == [409, 200] * 3
    assert {one["caller"]["id"] for one in await listed(case.vouch)} == {key.split("_")[1] for key in keys[1::2]}
    assert len(audited(case.vouch.config)) == 3
