"""The quotas on asking providers, in every way of asking, and the lanes: who is refused, and who feels nothing."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Config, LimitsConfig, VerificationConfig
from tests.api.payloads import create_body
from tests.api.test_tiledb_verify import providers
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import BUCKETS, CALLER_IDENTITY, OWN_SESSION, AwsStub, Scripted
from verifiers.settings import EgressSettings

PAIR = {"access_key_id": "AKIAEXAMPLE000000000", "secret_access_key": "s" * 40}
OTHER = {**PAIR, "secret_access_key": "t" * 40}
FILE = "[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"
VERIFY = {"Prefer": "verify"}
KNOWN = Scripted(200, CALLER_IDENTITY)


@dataclass(frozen=True)
class House:
    """What is stored: the credential `one`, and the file `file` with the same key. `more` is what both keys name."""

    vouch: Vouch
    one: str
    file: str
    more: Mapping[str, str]

    async def ask(self, way: str, key: str = "") -> Any:
        """One verification in that way, which would work if it were let."""
        method, path, body = WAYS[way](self)
        headers = VERIFY if "preferred" in way else {}
        return await self.vouch.call(method, path, body, key=key, headers=headers)

    def v4(self, name: str, pair: Mapping[str, str]) -> dict[str, Any]:
        return {"name": name, "provider": "AWS", "credential": {"aws": {**pair, **self.more}}}

    def v1(self, name: str, pair: Mapping[str, str]) -> dict[str, Any]:
        return {"name": name, "provider": "AWS", "type": "key", "payload": {**pair, **self.more}}

    async def stored(self) -> list[Any]:
        """Everything that a verification before saving could have changed."""
        paths = ("/v4/credentials", "/api/credentials", "/api/credentials/file/download", "/v1/credentials")
        found = [await (await self.vouch.call("GET", path)).read() for path in paths]
        found += [(await self.vouch.call("GET", f"/v1/credentials/{self.one}/versions")).json_body]
        return found


def _file(content: str) -> dict[str, Any]:
    return {"kind": "shared", "name": "file", "type": "text", "payload": {"content": content}}


WAYS: Mapping[str, Any] = {
    "a payload": lambda house: ("POST", "/v4/credentials/verify", house.v4("new", PAIR)),
    "a stored one": lambda house: ("POST", "/v4/credentials/verify", {"name": "one", "provider": "AWS"}),
    "preferred before a create": lambda house: ("POST", "/v4/credentials", house.v4("new", PAIR)),
    "preferred before a change": lambda house: (
        "PATCH",
        "/v4/credentials/one",
        {"credential": {"aws": {**OTHER, **house.more}}},
    ),
    "a shared file": lambda house: ("POST", "/api/credentials/file/verify", None),
    "by id": lambda house: ("POST", f"/v1/credentials/{house.one}/verify", None),
    "a shared file by id": lambda house: ("POST", f"/v1/credentials/{house.file}/verify", None),
    "preferred before a put": lambda house: ("PUT", f"/v1/credentials/{uuid.uuid4()}", house.v1("new", PAIR)),
    "preferred before a replacement": lambda house: ("PUT", f"/v1/credentials/{house.one}", house.v1("one", OTHER)),
    "preferred before a shared put": lambda house: (
        "PUT",
        f"/v1/credentials/{house.file}",
        _file(FILE.format(**OTHER)),
    ),
    "a rotation": lambda house: (
        "POST",
        f"/v1/credentials/{house.one}/rotate",
        {"payload": {**OTHER, **house.more}},
    ),
}
OF_FILES = {way for way in WAYS if "shared" in way}


async def build(start: Start, config: Config, stub: AwsStub, *, at_endpoint: bool = False, **limits: int) -> House:
    """A vouch with these limits. Storing asks nobody."""
    aws = replace(providers(config, aws=stub.url), limits=LimitsConfig(**limits))
    vouch = await start(replace(aws, egress=EgressSettings(allow=(stub.allowed,))))
    house = House(vouch, "", "", {"endpoint": stub.url} if at_endpoint else {})
    assert (await vouch.call("POST", "/v4/credentials", house.v4("one", PAIR))).status == 201
    shared = {"credential_name": "file", "type": "text", "text_value": FILE.format(**PAIR)}
    assert (await vouch.call("POST", "/api/credentials", shared)).status == 201
    listed = (await vouch.call("GET", "/v1/credentials")).json_body["data"]
    ids = {one["name"]: one["id"] for one in listed}
    assert stub.received == []
    return replace(house, one=ids["one"], file=ids["file"])


async def assert_limited(house: House, way: str, stub: AwsStub, key: str = "") -> None:
    """That it is 429 and says when to come back, that nobody was asked, and nothing saved."""
    asked, before = len(stub.received), await house.stored()
    answer = await house.ask(way, key)
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    body = answer.json_body
    assert body.get("code", body.get("error")) in (1500, "Too Many Requests")
    assert "verification" not in body
    assert len(stub.received) == asked
    assert await house.stored() == before


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_asks_the_provider_while_there_is_room(
    start: Start, config: Config, aws_stub: AwsStub, way: str
) -> None:
    """Or the other tests would show nothing."""
    house = await build(start, config, aws_stub)
    aws_stub.script(KNOWN)
    answer = await house.ask(way)
    assert answer.status in (200, 201, 204), await answer.text()
    assert len(aws_stub.received) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_who_has_asked_too_often_is_told_so(
    start: Start, config: Config, aws_stub: AwsStub, way: str
) -> None:
    """Requirement 13. Others may go on."""
    house = await build(start, config, aws_stub, verifications_per_caller=1)
    aws_stub.script(KNOWN, KNOWN)
    assert (await house.ask("a payload")).status == 200
    await assert_limited(house, way, aws_stub)
    other = await house.vouch.make_key("admin")
    assert (await house.ask("a payload", other)).status == 200


@pytest.mark.parametrize("way", WAYS)
async def test_all_callers_together_have_a_quota(start: Start, config: Config, aws_stub: AwsStub, way: str) -> None:
    """Requirement 13: whoever spent it."""
    house = await build(start, config, aws_stub, verifications_overall=2)
    aws_stub.script(KNOWN, KNOWN)
    for _ in range(2):
        assert (await house.ask("a payload", await house.vouch.make_key("verifier"))).status == 200
    await assert_limited(house, way, aws_stub)
    await assert_limited(house, way, aws_stub, await house.vouch.make_key("admin"))


@pytest.mark.parametrize("way", [way for way in WAYS if way not in OF_FILES])
async def test_a_host_that_callers_name_has_a_quota(start: Start, config: Config, aws_stub: AwsStub, way: str) -> None:
    """Requirement 13: whoever named it. A file names none."""
    house = await build(start, config, aws_stub, at_endpoint=True, verifications_per_target=1)
    aws_stub.script(Scripted(200, BUCKETS))
    assert (await house.ask("a payload", await house.vouch.make_key("verifier"))).status == 200
    await assert_limited(house, way, aws_stub)
    await assert_limited(house, way, aws_stub, await house.vouch.make_key("admin"))


async def test_a_quota_of_nought_is_off(start: Start, config: Config, aws_stub: AwsStub) -> None:
    off = {"verifications_per_caller": 0, "verifications_per_target": 0, "verifications_overall": 0}
    house = await build(start, config, aws_stub, at_endpoint=True, **off)
    aws_stub.script(*[Scripted(200, BUCKETS)] * 5)
    assert [(await house.ask("a payload")).status for _ in range(5)] == [200] * 5


LEASES = {
    "a lease": lambda house: ("POST", f"/v1/credentials/{house.one}/lease", {"ttl_seconds": 900}),
    "a container's": lambda _house: ("GET", "/v1/aws/credentials?name=one&ttl_seconds=900", None),
}


@pytest.mark.parametrize("way", LEASES)
async def test_a_caller_who_has_leased_too_often_is_told_so(
    start: Start, config: Config, aws_stub: AwsStub, way: str
) -> None:
    """Requirement 13, for leases: it is counted before anybody is asked, and verifying is counted apart."""
    house = await build(start, config, aws_stub, leases_per_caller=1)
    vouch = house.vouch
    assert (await vouch.call("PATCH", "/v4/credentials/one", {"allowed_in_tasks": True})).status == 204
    end = (datetime.now(UTC) + timedelta(seconds=900)).strftime("%Y-%m-%dT%H:%M:%SZ")
    session = Scripted(200, OWN_SESSION.replace("2030-01-01T00:00:00Z", end))
    aws_stub.script(session, session, KNOWN)
    method, path, body = LEASES[way](house)
    first, second = await vouch.make_key("consumer"), await vouch.make_key("consumer")

    async def ask(key: str) -> Any:
        return await vouch.call(method, path, body, headers={"Authorization": f"Bearer {key}"}, key=None)

    given = await ask(first)
    assert given.status == 200, await given.text()
    refused = await ask(first)
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(aws_stub.received) == 1
    assert len((await vouch.call("GET", "/v1/leases")).json_body["data"]) == 1
    assert (await ask(second)).status == 200
    assert (await house.ask("a payload")).status == 200


# Lanes


async def crud(house: House) -> list[int]:
    """The statuses of everything that asks no provider."""
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/v4/credentials", create_body("azure key", "lake", allowed_in_tasks=True)),
        ("GET", "/v4/credentials/lake", None),
        ("GET", "/v4/credentials", None),
        ("PATCH", "/v4/credentials/lake", {"provider_default": True}),
        ("GET", "/v1/credentials", None),
        ("GET", "/api/credentials", None),
        ("DELETE", "/v4/credentials/lake", None),
    ]
    return [(await house.vouch.call(*call)).status for call in calls]


@pytest.mark.parametrize("full", ["the provider's", "the callers'"])
async def test_a_full_lane_is_felt_by_no_other_and_by_no_request_that_asks_nobody(
    start: Start, config: Config, aws_stub: AwsStub, full: str
) -> None:
    """Requirement 34: a hanging provider fills its own lane, and a hanging endpoint that of the callers."""
    arrived, released = asyncio.Semaphore(0), asyncio.Event()

    async def hang() -> Scripted:
        arrived.release()
        await released.wait()
        return KNOWN

    slow = replace(config, verification=VerificationConfig(deadline_seconds=10.0, concurrency=2))
    house = await build(start, slow, aws_stub)
    at_endpoint = replace(house, more={"endpoint": aws_stub.url})
    stuck, free = (house, at_endpoint) if full == "the provider's" else (at_endpoint, house)
    aws_stub.script(hang, hang)
    waiting = [asyncio.ensure_future(stuck.ask("a payload")) for _ in range(2)]
    for _ in waiting:
        await arrived.acquire()
    refused = await stuck.ask("a payload")
    assert (refused.status, refused.json_body["code"], "Retry-After" in refused.headers) == (503, 1501, True)
    assert len(aws_stub.received) == 2
    aws_stub.script(KNOWN if free is house else Scripted(200, BUCKETS))
    assert (await free.ask("a payload")).status == 200
    google = await house.vouch.call("POST", "/v4/credentials/verify", create_body("gcp hmac", "x"))
    assert google.json_body["verification"]["reason"] == "unreachable"
    assert await crud(house) == [201, 200, 200, 204, 200, 200, 204]
    released.set()
    assert {(await one).status for one in waiting} <= {200, 502}
