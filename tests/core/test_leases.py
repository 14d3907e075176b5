"""The core service of leases: what it tells a leaser, what it refuses, and what has to hold when one is recorded.

The leasers are the tests' own; the store is a real one.
"""

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.passwords import hash_password
from service.core.access import Access
from service.core.changes import Change, Draft
from service.core.credentials import Credentials
from service.core.envelope import Envelope
from service.core.errors import (
    Conflict,
    Invalid,
    LastVerdictFailed,
    NotAllowed,
    NotLeasable,
    Overloaded,
    RateLimited,
    StoreUnavailable,
    VerificationUnknown,
    VouchError,
)
from service.core.kept import Lease
from service.core.lanes import Lanes
from service.core.leases import Granted, LeaseBounds, LeaseRequest, Leases, _source_identity
from service.core.model import Caller, Credential, Principal, PrincipalKind, Role
from service.core.records import Records
from service.keyrings.file import FileKeyRing
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.api.payloads import CANARY
from tests.core.silence import SILENT
from verifiers import aws_key, azure_key
from verifiers.base import Payload, Run, Verifier
from verifiers.egress import Egress
from verifiers.lease_terms import LeaseAccess, LeaseScope, LeaseTerms, Material, MaterialForm, TermsRefused
from verifiers.registry import Registry
from verifiers.settings import EgressSettings, ProviderSettings
from verifiers.verdict import WORKS, Verdict

STORED = f"{CANARY}/of/the/stored/key"
GIVEN = f"{CANARY}/of/the/material"
BOUNDS = LeaseBounds(default_ttl_seconds=600, max_ttl_seconds=3600, source_identity=True)
OPERATOR = Caller(Principal(PrincipalKind.OPERATOR, "operator", "operator", "ws_default", Role.ADMIN))


@dataclass
class Provider:
    """What the leasers were told, and what they answer: material for the seconds that were asked for, and `longer`."""

    longer: float = 0.0
    fails: Exception | None = None
    told: list[LeaseTerms] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def lease(self, payload: Payload, terms: LeaseTerms, _run: Run) -> Material:
        self.told.append(terms)
        self.payloads.append(payload)
        self.arrived.set()
        await self.may_answer.wait()
        if self.fails is not None:
            raise self.fails
        end = datetime.now(UTC) + timedelta(seconds=terms.seconds + self.longer)
        return Material(MaterialForm.AWS_SESSION, {"session_token": GIVEN}, end, narrowed=True)

    async def asked_and_waiting(self, work: Awaitable[Granted]) -> asyncio.Task[Granted]:
        """Start a lease whose leaser then waits for `may_answer`."""
        self.may_answer.clear()
        self.arrived.clear()
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(2):
            await self.arrived.wait()
        return task


class Unwritable:
    """A store that can do everything but keep a lease."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create_lease(self, *_: object, **__: object) -> bool:
        raise StoreUnavailable


async def probe(_payload: Payload, _run: Run) -> Verdict:
    return WORKS


@dataclass
class House:
    """Leasing over a store, and a consumer with an API key of its own."""

    credentials: Credentials
    leases: Leases
    lanes: Lanes
    access: Access
    caller: Caller
    path: Path

    async def keep(self, payload: Payload | None = None, name: str = "lake", **more: Any) -> Credential:
        draft = Draft(name, payload or aws(), **({"allowed_in_tasks": True} | more))
        return await self.credentials.create(OPERATOR, "", draft)

    async def change(self, one: Credential, change: Change) -> None:
        await self.credentials.update(OPERATOR, "", one.name, change, if_match=None)

    async def lease(self, one: Credential, *, caller: Caller | None = None, **wanted: Any) -> Granted:
        return await self.leases.grant(caller or self.caller, one.id, LeaseRequest(**wanted))

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql).fetchall()

    def write(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(sql)

    @property
    def audited(self) -> list[str]:
        """The outcomes of the audit records of leases."""
        return [text for (text,) in self.read("SELECT outcome FROM audit WHERE action = 'credential.lease'")]

    def assert_nothing_kept(self) -> None:
        """No lease is listed, none audited."""
        assert self.read("SELECT count(*) FROM lease") == [(0,)]
        assert self.audited == []


Build = Callable[..., Awaitable[House]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(tmp_path / "vouch.db")
    yield store
    await store.close()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def build(store: SqliteStore, provider: Provider, tmp_path: Path) -> AsyncIterator[Build]:
    envelope = Envelope(FileKeyRing("k1", {"k1": os.urandom(32)}))
    async with Egress(EgressSettings()) as egress:

        async def start_run(_workspace: str) -> Run:
            return Run(egress, ProviderSettings())

        async def made(
            bounds: LeaseBounds = BOUNDS,
            *,
            capacity: int = 10,
            quota: int = 0,
            deadline: float = 5,
            over: Any = store,
        ) -> House:
            registry = Registry([Verifier(one.KIND, probe, provider.lease) for one in (aws_key, azure_key)])
            records = Records(store, envelope, SILENT)
            lanes = Lanes(capacity)
            leases = Leases(
                over,
                records,
                registry,
                start_run=start_run,
                deadline=deadline,
                lanes=lanes,
                quota=Windows(quota),
                bounds=bounds,
            )
            access = Access(store, hash_password)
            row, _text = await access.create_api_key(OPERATOR, name="a job", role="consumer", workspace="ws_default")
            caller = Caller(Principal(PrincipalKind.API_KEY, row.id, row.name, row.workspace, row.role), "request-1")
            return House(Credentials(records, registry), leases, lanes, access, caller, tmp_path / "vouch.db")

        yield made


@pytest.fixture
async def house(build: Build) -> House:
    return await build()


def aws(**changes: str) -> Payload:
    kind = aws_key.KIND
    return kind.split(kind.schema().load({"access_key_id": "AKIAEXAMPLE", "secret_access_key": STORED, **changes}))


def azure() -> Payload:
    kind = azure_key.KIND
    return kind.split(kind.schema().load({"account_name": "storageacct", "account_key": "Y0FuQXJZc0VjUmVU"}))


# What a leaser is told


async def test_a_leaser_is_told_what_was_asked_for_and_by_whom(house: House, provider: Provider) -> None:
    scope = LeaseScope("raw", "a/", LeaseAccess.READ_WRITE)
    arn = "arn:aws:iam::123456789012:role/x"
    got = await house.lease(await house.keep(), ttl_seconds=900, scope=scope, role_arn=arn, external_id="e-1")
    (terms,) = provider.told
    assert terms == LeaseTerms(
        seconds=900,
        scope=scope,
        session=f"vouch-{got.lease.id}",
        source_identity=f"api_key-{house.caller.principal.id}",
        role_arn=arn,
        external_id="e-1",
        proven=False,
    )
    assert provider.payloads[0]["secret_access_key"] == STORED


async def test_every_lease_has_a_session_of_its_own(house: House, provider: Provider) -> None:
    """Whoever reads the provider's trail finds the lease, and by that who had it."""
    one = await house.keep()
    ids = {(await house.lease(one)).lease.id for _ in range(3)}
    assert {terms.session for terms in provider.told} == {f"vouch-{id_}" for id_ in ids}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9-]{2,64}", terms.session) for terms in provider.told)


async def test_without_terms_a_lease_is_whole_and_as_long_as_is_configured(house: House, provider: Provider) -> None:
    await house.lease(await house.keep())
    (terms,) = provider.told
    assert (terms.seconds, terms.scope, terms.role_arn, terms.external_id) == (600, None, "", "")


async def test_an_operator_can_keep_who_asked_from_the_provider(build: Build, provider: Provider) -> None:
    house = await build(replace(BOUNDS, source_identity=False))
    await house.lease(await house.keep())
    assert provider.told[0].source_identity == ""


@pytest.mark.parametrize(("status", "proven"), [("NULL", False), ("'verified'", True), ("'failed'", False)])
async def test_a_leaser_is_told_whether_the_credential_is_known_to_work(
    house: House, provider: Provider, status: str, proven: bool
) -> None:
    one = await house.keep()
    house.write(f"UPDATE credential SET status = {status}")
    await house.lease(one, force=True)
    assert provider.told[0].proven is proven


# Who asked, as AWS is told

PRINTABLE = st.text(min_size=1, max_size=600)
KINDS = st.sampled_from(PrincipalKind)


def principal(kind: PrincipalKind = PrincipalKind.API_KEY, id_: str = "0f1e", name: str = "a job") -> Principal:
    return Principal(kind, id_, name, "ws_default", Role.CONSUMER)


def workload(subject: str, issuer: str = "https://one.example") -> Principal:
    return principal(PrincipalKind.WORKLOAD, f"{issuer}#{subject}", subject)


@given(KINDS, PRINTABLE, PRINTABLE)
def test_a_source_identity_is_always_one_that_aws_takes(kind: PrincipalKind, id_: str, name: str) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, `SourceIdentity`."""
    assert re.fullmatch(r"[A-Za-z0-9_=,.@-]{2,64}", _source_identity(principal(kind, id_, name)))


@given(KINDS, PRINTABLE, PRINTABLE)
def test_a_source_identity_tells_callers_apart(kind: PrincipalKind, one: str, other: str) -> None:
    same = _source_identity(principal(kind, one, one)) == _source_identity(principal(kind, other, other))
    assert same == (one == other)


@given(PRINTABLE)
def test_a_source_identity_never_begins_as_aws_own_do(id_: str) -> None:
    """`aws:` is kept for AWS's own."""
    for kind in PrincipalKind:
        assert _source_identity(principal(kind, id_, id_)).startswith(f"{kind.value}-")


def test_an_api_key_is_named_by_its_id_and_not_by_what_people_call_it() -> None:
    assert _source_identity(principal(id_="0f1e2d", name="nightly")) == "api_key-0f1e2d"


def test_what_does_not_fit_is_replaced_and_then_told_apart_by_a_hash() -> None:
    told = [_source_identity(principal(PrincipalKind.USER, one, one)) for one in ("ada/1", "ada 1", "ada-1")]
    assert [one.startswith("user-ada-1") for one in told] == [True] * 3
    assert len(set(told)) == 3
    assert told[2] == "user-ada-1"


def test_a_long_one_is_cut_and_told_apart_by_a_hash() -> None:
    told = {_source_identity(principal(id_="a" * length)) for length in (56, 57, 58, 255)}
    assert len(told) == 4
    assert max(map(len, told)) == 64


def test_one_subject_of_two_issuers_is_two_source_identities() -> None:
    """Even one of letters that fit: another issuer may know the same."""
    for subject in ("loader", "system:serviceaccount:etl:loader", "a" * 339):
        told = {
            _source_identity(workload(subject, issuer)) for issuer in ("https://one.example", "https://two.example")
        }
        assert len(told) == 2
        start = f"workload-{subject.replace(':', '-')}"[:51]
        assert all(one.startswith(start) for one in told)


# Bounds


@pytest.mark.parametrize("seconds", [0, -1, 3601, 10**9])
async def test_a_time_out_of_bounds_is_refused_before_anybody_is_asked(
    house: House, provider: Provider, seconds: int
) -> None:
    with pytest.raises(Invalid) as caught:
        await house.lease(await house.keep(), ttl_seconds=seconds)
    assert list(caught.value.fields) == ["ttl_seconds"]
    assert provider.told == []


@pytest.mark.parametrize("seconds", [1, 3600])
async def test_the_bounds_themselves_are_within(house: House, provider: Provider, seconds: int) -> None:
    await house.lease(await house.keep(), ttl_seconds=seconds)
    assert provider.told[0].seconds == seconds


@pytest.mark.parametrize("longer", [61 + 5, 86_400, 10**9])
async def test_material_that_outlives_the_operators_bound_is_thrown_away(
    house: House, provider: Provider, longer: float
) -> None:
    """Its end is the provider's word: what was asked for is no bound by itself."""
    provider.longer = longer
    with pytest.raises(NotLeasable) as caught:
        await house.lease(await house.keep(), ttl_seconds=3600)
    assert "max_ttl_seconds" in str(caught.value)
    assert GIVEN not in str(caught.value)
    house.assert_nothing_kept()


async def test_material_that_lives_longer_than_asked_for_but_within_the_bound_is_handed_out(
    house: House, provider: Provider
) -> None:
    """The list says until when it lives, not until when it was asked for; and clocks may differ a little."""
    provider.longer = 2000
    got = await house.lease(await house.keep(), ttl_seconds=600)
    left = datetime.fromisoformat(got.lease.expires_at) - datetime.now(UTC)
    assert 2590 <= left.total_seconds() <= 2600
    provider.longer = 50
    await house.lease(await house.keep(name="other"), ttl_seconds=3600)


# What is recorded


async def test_a_lease_is_recorded_with_all_that_was_asked_for(house: House) -> None:
    """Requirement 29."""
    one = await house.keep()
    house.write("UPDATE credential SET status = 'failed'")
    arn = "arn:aws:iam::123456789012:role/x"
    got = await house.lease(one, scope=LeaseScope("raw", "a/"), role_arn=arn, purpose="nightly", force=True)
    lease = got.lease
    (listed,) = await house.leases.list(OPERATOR, teamspace=None, credential_id=None, live=True, before=None, limit=9)
    assert listed.lease == lease
    assert listed.caller_revoked is False
    assert lease == Lease(
        id=lease.id,
        workspace="ws_default",
        teamspace="",
        credential_id=one.id,
        credential_name="lake",
        provider="AWS",
        type="key",
        purpose="nightly",
        narrowed_to='{"access":"read","bucket":"raw","prefix":"a/"}',
        role_arn=arn,
        forced=True,
        caller_kind="api_key",
        caller_id=house.caller.principal.id,
        caller_name="a job",
        issued_at=lease.issued_at,
        expires_at=lease.expires_at,
    )
    (told,) = house.audited
    for part in (lease.id, lease.expires_at, '"bucket":"raw"', '"prefix":"a/"', '"access":"read"', arn, "forced"):
        assert part in told


async def test_what_was_not_asked_for_is_not_said(house: House) -> None:
    await house.lease(await house.keep())
    (told,) = house.audited
    assert "forced" not in told
    assert "role" not in told
    assert "bucket" not in told


async def test_nothing_of_a_secret_is_recorded_or_shown(house: House) -> None:
    """Requirement 30."""
    got = await house.lease(await house.keep())
    assert GIVEN not in repr(got)
    for file in house.path.parent.iterdir():
        content = file.read_bytes()
        assert GIVEN.encode() not in content, file
        assert STORED.encode() not in content, file


async def test_what_can_not_be_recorded_does_not_leave(build: Build, store: SqliteStore, provider: Provider) -> None:
    """Requirement 29."""
    house = await build(over=Unwritable(store))
    one = await house.keep()
    with pytest.raises(StoreUnavailable):
        await house.lease(one)
    assert len(provider.told) == 1
    house.assert_nothing_kept()


# Races


async def delete(house: House, one: Credential) -> None:
    await house.credentials.delete(OPERATOR, "", one.name, if_match=None)


async def change_payload(house: House, one: Credential) -> None:
    await house.change(one, Change(payload=aws(secret_access_key="another" * 5)))


async def forbid_tasks(house: House, one: Credential) -> None:
    await house.change(one, Change(allowed_in_tasks=False))


async def revoke(house: House, _one: Credential) -> None:
    assert await house.access.revoke_api_key(OPERATOR, house.caller.principal.id)


async def replace_by_a_namesake(house: House, one: Credential) -> None:
    await delete(house, one)
    await house.keep(name=one.name)


async def forbid_and_allow_with_another_payload(house: House, one: Credential) -> None:
    await forbid_tasks(house, one)
    await change_payload(house, one)
    await house.change(one, Change(allowed_in_tasks=True))


Race = Callable[[House, Credential], Awaitable[None]]
AGAINST: list[Race] = [
    delete,
    change_payload,
    forbid_tasks,
    revoke,
    replace_by_a_namesake,
    forbid_and_allow_with_another_payload,
]


@pytest.mark.parametrize("race", AGAINST, ids=[one.__name__ for one in AGAINST])
async def test_what_changes_while_the_provider_is_asked_keeps_the_material_in(
    house: House, provider: Provider, race: Race
) -> None:
    """Requirement 23: whoever has the answer last has no right to it any more."""
    one = await house.keep()
    leasing = await provider.asked_and_waiting(house.lease(one))
    await race(house, one)
    provider.may_answer.set()
    with pytest.raises(Conflict) as caught:
        await leasing
    assert caught.value.code == 1204
    house.assert_nothing_kept()


async def rename(house: House, one: Credential) -> None:
    await house.change(one, Change(name="another name"))


async def make_default(house: House, one: Credential) -> None:
    await house.change(one, Change(provider_default=True))


async def forbid_and_allow(house: House, one: Credential) -> None:
    await forbid_tasks(house, one)
    await house.change(one, Change(allowed_in_tasks=True))


async def revoke_another(house: House, _one: Credential) -> None:
    row, _text = await house.access.create_api_key(OPERATOR, name="x", role="consumer", workspace="ws_default")
    assert await house.access.revoke_api_key(OPERATOR, row.id)


BESIDE: list[Race] = [rename, make_default, forbid_and_allow, revoke_another]


@pytest.mark.parametrize("race", BESIDE, ids=[one.__name__ for one in BESIDE])
async def test_what_does_not_matter_to_a_lease_keeps_nobody_from_it(
    house: House, provider: Provider, race: Race
) -> None:
    one = await house.keep()
    leasing = await provider.asked_and_waiting(house.lease(one))
    await race(house, one)
    provider.may_answer.set()
    got = await leasing
    assert got.material.values["session_token"] == GIVEN
    assert house.read("SELECT id FROM lease") == [(got.lease.id,)]


async def test_a_user_who_is_deleted_meanwhile_gets_nothing(house: House, provider: Provider) -> None:
    """Requirement 23."""
    await house.access.create_user(
        OPERATOR, name="ada", password="correct-horse-battery", role="consumer", workspace="ws_default"
    )
    ada = Caller(principal(PrincipalKind.USER, "ada", "ada"))
    one = await house.keep()
    await house.lease(one, caller=ada)
    leasing = await provider.asked_and_waiting(house.lease(one, caller=ada))
    assert await house.access.delete_user(OPERATOR, "ada")
    provider.may_answer.set()
    with pytest.raises(Conflict):
        await leasing
    assert house.read("SELECT count(*) FROM lease") == [(1,)]


async def test_a_workload_needs_no_row_of_its_own(house: House) -> None:
    """Whether it still has a right to it, its issuer knows alone."""
    got = await house.lease(await house.keep(), caller=Caller(workload("a" * 339)))
    assert got.lease.caller_name == "a" * 339


# Faults


async def test_a_provider_that_does_not_answer_is_given_up_at_the_deadline(build: Build, provider: Provider) -> None:
    house = await build(deadline=0.05)
    provider.may_answer.clear()
    with pytest.raises(VerificationUnknown) as caught:
        async with asyncio.timeout(3):
            await house.lease(await house.keep())
    assert caught.value.report.verdict.reason.value == "timeout"
    house.assert_nothing_kept()


async def test_a_leaser_that_is_broken_says_nothing_of_what_it_held(
    house: House, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30."""
    provider.fails = ValueError(f"{GIVEN} {STORED}")
    with pytest.raises(VerificationUnknown) as caught:
        await house.lease(await house.keep())
    assert caught.value.report.verdict.reason.value == "provider_error"
    for text in (str(caught.value), repr(caught.value.report), caplog.text):
        assert CANARY not in text
    house.assert_nothing_kept()


async def test_terms_that_a_kind_can_not_meet_are_the_callers_to_change(house: House, provider: Provider) -> None:
    provider.fails = TermsRefused({"scope.prefix": "Too long."})
    with pytest.raises(Invalid) as caught:
        await house.lease(await house.keep())
    assert caught.value.fields == {"scope.prefix": "Too long."}


async def test_whoever_leaves_in_the_middle_leaves_nothing_behind(build: Build, provider: Provider) -> None:
    """Requirement 40."""
    house = await build(capacity=1)
    one = await house.keep()
    leasing = await provider.asked_and_waiting(house.lease(one))
    leasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leasing
    house.assert_nothing_kept()
    provider.may_answer.set()
    await house.lease(one)


# Room


async def test_a_full_lane_is_said_at_once_and_holds_up_no_other_provider(build: Build, provider: Provider) -> None:
    """Requirement 34."""
    house = await build(capacity=1)
    one, other = await house.keep(), await house.keep(azure(), "blobs")
    leasing = await provider.asked_and_waiting(house.lease(one))
    with pytest.raises(Overloaded) as caught:
        await house.lease(one)
    assert caught.value.retry_after >= 1
    assert len(provider.told) == 1
    elsewhere = await provider.asked_and_waiting(house.lease(other))
    async with house.lanes.enter("AWS"), house.lanes.enter("AZURE"):
        """Verifications have lanes of their own: jobs that start fill none of them."""
    provider.may_answer.set()
    assert (await leasing).lease.provider == "AWS"
    assert (await elsewhere).lease.provider == "AZURE"
    await house.lease(one)


async def test_when_the_service_stops_those_who_wait_are_told(house: House, provider: Provider) -> None:
    """Requirement 35."""
    one = await house.keep()
    leasing = await provider.asked_and_waiting(house.lease(one))
    house.lanes.stop()
    with pytest.raises(Overloaded, match="shutting down"):
        await leasing
    with pytest.raises(Overloaded, match="shutting down"):
        await house.lease(one)
    house.assert_nothing_kept()


async def test_a_quota_is_hit_before_anybody_is_asked(build: Build, provider: Provider) -> None:
    """Requirement 13."""
    house = await build(quota=2)
    one = await house.keep()
    for _ in range(2):
        await house.lease(one)
    with pytest.raises(RateLimited):
        await house.lease(one)
    assert len(provider.told) == 2
    await house.lease(one, caller=Caller(workload("loader")))


# Who and what


async def test_only_those_who_may_use_credentials_get_one(house: House, provider: Provider) -> None:
    """Requirement 20."""
    one = await house.keep()
    for role in (Role.VIEWER, Role.VERIFIER, Role.EDITOR):
        who = replace(house.caller, principal=replace(house.caller.principal, role=role))
        with pytest.raises(NotAllowed):
            await house.lease(one, caller=who)
    assert provider.told == []
    house.assert_nothing_kept()


@pytest.mark.parametrize(
    ("change", "error"),
    [("allowed_in_tasks = 0", NotAllowed), ("status = 'failed'", LastVerdictFailed)],
)
async def test_what_may_not_be_used_is_refused_before_anybody_is_asked(
    house: House, provider: Provider, change: str, error: type[VouchError]
) -> None:
    one = await house.keep()
    house.write(f"UPDATE credential SET {change}")
    with pytest.raises(error):
        await house.lease(one)
    assert provider.told == []
    house.assert_nothing_kept()


async def test_force_overrides_a_verdict_and_nothing_else(house: House, provider: Provider) -> None:
    one = await house.keep()
    house.write("UPDATE credential SET status = 'failed'")
    assert (await house.lease(one, force=True)).lease.forced
    house.write("UPDATE credential SET allowed_in_tasks = 0")
    with pytest.raises(NotAllowed):
        await house.lease(one, force=True)
    assert len(provider.told) == 1
