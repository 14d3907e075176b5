"""The core service of verifying: lanes, quotas, and which verdict is kept. The probes are the tests' own."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.core.changes import Change, Draft
from service.core.credentials import Credentials
from service.core.envelope import Envelope
from service.core.errors import NoSuchCredential, NotAllowed, Overloaded, RateLimited, StoreUnavailable
from service.core.lanes import CALLERS_LANE, Lanes
from service.core.model import Caller, Credential, Principal, PrincipalKind, Role
from service.core.probing import Probing, Quotas
from service.core.records import Records
from service.core.shared import FileType, SharedCredentials, SharedFile
from service.core.verification import Verification
from service.core.watching import Pace
from service.keyrings.file import FileKeyRing
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.api.payloads import CANARY
from tests.core.silence import SILENT
from verifiers import aws_key, gcp_hmac
from verifiers.base import Payload, Probe, Run, Verifier
from verifiers.egress import Egress
from verifiers.registry import Registry
from verifiers.settings import EgressSettings, ProviderSettings
from verifiers.verdict import WORKS, Fault, NotVerified, Reason, Verdict, failed, unknown

KEY = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": CANARY}
FILE = f"[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {CANARY}\n".encode()
BAD = failed(Reason.BAD_SECRET, Fault.CREDENTIAL, "It is wrong.", "Mend it.")
DOWN = unknown(Reason.UNREACHABLE, Fault.NETWORK, "Nobody answers.", "Try again.")
DEADLINE = 0.3


def a_caller(role: Role = Role.ADMIN, id_: str = "id-1", teamspaces: frozenset[str] | None = None) -> Caller:
    return Caller(Principal(PrincipalKind.API_KEY, id_, "ada", "ws_default", role, teamspaces), "request-1")


CALLER = a_caller()


@dataclass
class Provider:
    """What the probes of a test say, and how often they were asked."""

    says: Verdict = WORKS
    asked: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def probe(self, payload: Payload, run: Run) -> Verdict:
        self.asked += 1
        self.arrived.set()
        with run.check("authenticates"):
            await self.may_answer.wait()
            if self.says is not WORKS:
                raise NotVerified(self.says)
        run.identity["account"] = payload["access_key_id"]
        return WORKS

    async def asked_and_waiting(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Start a verification whose probe then waits for `may_answer`."""
        self.may_answer.clear()
        self.arrived.clear()
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(2):
            await self.arrived.wait()
        return task


class NoVerdicts:
    """A store that can do everything but keep a verdict."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.tried = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def record_report(self, *_: object, **__: object) -> bool:
        self.tried += 1
        raise StoreUnavailable


@dataclass
class House:
    """Verification over a store, with probes of the test's own."""

    credentials: Credentials
    shared: SharedCredentials
    verification: Verification
    lanes: Lanes

    async def store_key(self, name: str = "one") -> Credential:
        return await self.credentials.create(CALLER, "", Draft(name, payload()))

    async def verify_stored(self, caller: Caller = CALLER, name: str = "one") -> Any:
        return await self.verification.verify_stored(caller, "", name, "AWS")

    async def status(self, name: str = "one") -> str | None:
        return (await self.credentials.get(CALLER, "", name)).status


Build = Callable[..., House]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vouch.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(path)
    yield store
    await store.close()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def build(store: SqliteStore, provider: Provider) -> AsyncIterator[Build]:
    envelope = Envelope(FileKeyRing("k1", {"k1": os.urandom(32)}))
    async with Egress(EgressSettings()) as egress:

        def made(
            probe: Probe = provider.probe,
            *,
            capacity: int = 10,
            per_caller: int = 0,
            per_target: int = 0,
            overall: int = 0,
            deadline: float = DEADLINE,
            over: Any = store,
        ) -> House:
            registry = Registry([Verifier(aws_key.KIND, probe), Verifier(gcp_hmac.KIND, probe)])
            records = Records(over, envelope, SILENT)
            credentials, shared = Credentials(records, registry), SharedCredentials(records)
            lanes = Lanes(capacity)

            async def start_run(_workspace: str) -> Run:
                return Run(egress, ProviderSettings())

            probing = Probing(
                registry,
                start_run=start_run,
                deadline=deadline,
                lanes=lanes,
                quotas=Quotas(Windows(per_caller), Windows(per_target), Windows(overall)),
                count=lambda *_labels: None,
            )
            verification = Verification(over, records, credentials, shared, probing, SILENT, Pace(0))
            return House(credentials, shared, verification, lanes)

        yield made


def payload(endpoint: str | None = None, **changes: str) -> Payload:
    kind = aws_key.KIND
    return kind.split(kind.schema().load({**KEY, "endpoint": endpoint, **changes}))


def google_payload() -> Payload:
    kind = gcp_hmac.KIND
    return kind.split(kind.schema().load(KEY))


def audited(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT action, outcome FROM audit ORDER BY seq").fetchall()


def said(report: Any) -> tuple[str, str, str]:
    return report.verdict.outcome.value, report.verdict.reason.value, report.verdict.fault.value


# Lanes


async def test_a_lane_is_full_at_its_capacity_and_the_others_are_not() -> None:
    """Requirement 34."""
    lanes = Lanes(2)
    async with lanes.enter("AWS"), lanes.enter("AWS"):
        with pytest.raises(Overloaded) as caught:
            async with lanes.enter("AWS"):
                pass
        assert caught.value.retry_after >= 1
        async with lanes.enter("GCP"), lanes.enter(CALLERS_LANE):
            pass
    async with lanes.enter("AWS"), lanes.enter("AWS"):
        with pytest.raises(Overloaded):
            async with lanes.enter("AWS"):
                pass


async def test_a_place_is_free_again_after_an_exception() -> None:
    lanes = Lanes(1)
    for error in (ValueError(), asyncio.CancelledError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            async with lanes.enter("AWS"):
                raise error
    async with lanes.enter("AWS"):
        with pytest.raises(Overloaded):
            async with lanes.enter("AWS"):
                pass


async def test_a_place_is_free_again_when_the_caller_is_gone(build: Build, provider: Provider) -> None:
    """Requirement 34."""
    house = build(capacity=1, deadline=5)
    waiting = await provider.asked_and_waiting(house.verification.verify_payload(CALLER, "", payload()))
    with pytest.raises(Overloaded):
        await house.verification.verify_payload(CALLER, "", payload())
    assert provider.asked == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    provider.may_answer.set()
    assert said(await house.verification.verify_payload(CALLER, "", payload()))[0] == "verified"


async def test_a_place_is_free_again_after_the_deadline(build: Build, provider: Provider) -> None:
    """Requirement 34."""
    house = build(capacity=1, deadline=0.05)
    provider.may_answer.clear()
    for _ in range(3):
        report = await house.verification.verify_payload(CALLER, "", payload())
        assert said(report) == ("unknown", "timeout", "network")


async def test_endpoints_that_callers_name_have_a_lane_of_their_own(build: Build, provider: Provider) -> None:
    """Requirement 34: whoever's endpoint hangs fills neither a provider's lane nor is held up by one that is full."""
    house = build(capacity=1, deadline=5)
    named = payload("https://minio.example.org")
    waiting = await provider.asked_and_waiting(house.verification.verify_payload(CALLER, "", named))
    with pytest.raises(Overloaded):
        await house.verification.verify_payload(CALLER, "", payload("https://other.example.org"))
    own = await provider.asked_and_waiting(house.verification.verify_payload(CALLER, "", payload()))
    with pytest.raises(Overloaded):
        await house.verification.verify_payload(CALLER, "", payload())
    google = await provider.asked_and_waiting(house.verification.verify_payload(CALLER, "", google_payload()))
    provider.may_answer.set()
    reports = await asyncio.gather(waiting, own, google)
    assert [said(one)[0] for one in reports] == ["verified"] * 3


# Quotas


async def test_a_quota_per_caller_is_hit_before_any_probe(build: Build, provider: Provider) -> None:
    """Requirement 13."""
    house = build(per_caller=2)
    await house.store_key()
    await house.verification.verify_payload(CALLER, "", payload())
    await house.verify_stored()
    with pytest.raises(RateLimited) as caught:
        await house.verification.verify_payload(CALLER, "", payload())
    assert 1 <= caught.value.retry_after <= 60
    with pytest.raises(RateLimited):
        await house.verify_stored()
    assert provider.asked == 2
    await house.verification.verify_payload(a_caller(id_="id-2"), "", payload())
    assert provider.asked == 3


ONE_HOST = {
    "an IPv6 address": ("https://[fd00::1]/", "https://[fd00:0::1]:9000/bucket", "https://[FD00:0:0:0:0:0:0:1]"),
    "a name": ("https://X.invalid", "https://x.invalid.", "http://x.INVALID:9000/path"),
    "an IPv4 address": ("https://10.0.0.1", "https://10.0.0.1:9000/bucket", "http://10.0.0.1/"),
}


@pytest.mark.parametrize("host", ONE_HOST)
async def test_a_quota_per_target_counts_every_spelling_of_a_host_as_one(
    build: Build, provider: Provider, host: str
) -> None:
    """Requirement 13."""
    for spelling in ONE_HOST[host]:
        provider.asked = 0
        house = build(per_target=1)
        await house.verification.verify_payload(CALLER, "", payload(ONE_HOST[host][0]))
        with pytest.raises(RateLimited):
            await house.verification.verify_payload(a_caller(id_="id-2"), "", payload(spelling))
        await house.verification.verify_payload(CALLER, "", payload("https://another.invalid"))
        assert provider.asked == 2


async def test_no_quota_per_target_counts_the_operators_own_endpoints(build: Build, provider: Provider) -> None:
    house = build(per_target=1)
    for _ in range(3):
        await house.verification.verify_payload(CALLER, "", payload())
    assert provider.asked == 3


async def test_a_full_lane_and_a_quota_keep_the_stored_verdict(build: Build, provider: Provider) -> None:
    house = build(per_caller=1)
    await house.store_key()
    await house.verify_stored()
    with pytest.raises(RateLimited):
        await house.verify_stored()
    assert await house.status() == "verified"


# Who may


async def test_a_viewer_verifies_nothing(build: Build, provider: Provider) -> None:
    """Requirement 13: verifying has its own permission."""
    house = build()
    await house.store_key()
    await house.shared.create(CALLER, SharedFile("one", FileType.TEXT, FILE))
    viewer = a_caller(Role.VIEWER)
    for work in (
        house.verification.verify_payload(viewer, "", payload()),
        house.verify_stored(viewer),
        house.verification.verify_shared(viewer, "one", None),
    ):
        with pytest.raises(NotAllowed):
            await work
    with pytest.raises(NotAllowed):
        await house.verification.verify_payload(a_caller(teamspaces=frozenset({"red"})), "", payload())
    assert provider.asked == 0
    assert said(await house.verify_stored(a_caller(Role.VERIFIER)))[0] == "verified"


async def test_what_is_not_there_asks_nobody(build: Build, provider: Provider) -> None:
    house = build()
    with pytest.raises(NoSuchCredential):
        await house.verify_stored()
    with pytest.raises(NoSuchCredential):
        await house.verification.verify_shared(CALLER, "one", None)
    assert provider.asked == 0


# Which verdict is kept


async def test_a_verdict_is_kept_and_recorded(build: Build, provider: Provider, path: Path) -> None:
    house = build()
    before = await house.store_key()
    report = await house.verify_stored()
    after = await house.credentials.get(CALLER, "", "one")
    assert (after.status, after.revision, after.version) == ("verified", before.revision + 1, before.version)
    assert after.updated_at == before.updated_at
    assert after.verification is not None
    assert orjson.loads(after.verification) == report.to_dict()
    provider.says = BAD
    assert said(await house.verify_stored()) == ("failed", "bad_secret", "credential")
    assert await house.status() == "failed"
    assert audited(path) == [
        ("credential.create", "done"),
        ("credential.verify", "verified: ok"),
        ("credential.verify", "failed: bad_secret"),
    ]
    assert CANARY not in after.verification


async def test_an_unknown_keeps_the_stored_verdict(build: Build, provider: Provider, path: Path) -> None:
    house = build()
    await house.store_key()
    await house.verify_stored()
    before = await house.credentials.get(CALLER, "", "one")
    provider.says = DOWN
    assert said(await house.verify_stored()) == ("unknown", "unreachable", "network")
    after = await house.credentials.get(CALLER, "", "one")
    assert (
        (after.status, after.verification) == (before.status, before.verification) == ("verified", before.verification)
    )
    assert orjson.loads(after.attempt or "")["reason"] == "unreachable"
    assert after.revision == before.revision + 1
    assert len(audited(path)) == 2
    provider.says = WORKS
    await house.verify_stored()
    assert (await house.credentials.get(CALLER, "", "one")).attempt is None


async def test_verifying_a_payload_keeps_and_records_nothing(build: Build, path: Path) -> None:
    house = build()
    before = await house.store_key()
    await house.verification.verify_payload(CALLER, "", payload())
    assert await house.credentials.get(CALLER, "", "one") == before
    assert audited(path) == [("credential.create", "done")]


async def test_a_verdict_on_a_payload_that_was_replaced_meanwhile_is_not_kept(build: Build, provider: Provider) -> None:
    house = build(deadline=5)
    await house.store_key()
    waiting = await provider.asked_and_waiting(house.verify_stored())
    changed = await house.credentials.update(
        CALLER, "", "one", Change(payload=payload(secret_access_key="another")), None
    )
    provider.may_answer.set()
    assert said(await waiting)[0] == "verified"
    assert await house.credentials.get(CALLER, "", "one") == changed
    assert changed.status is None


async def test_a_verdict_survives_a_rename_meanwhile(build: Build, provider: Provider) -> None:
    house = build(deadline=5)
    await house.store_key()
    waiting = await provider.asked_and_waiting(house.verify_stored())
    await house.credentials.update(CALLER, "", "one", Change(name="two", allowed_in_tasks=True), None)
    provider.may_answer.set()
    await waiting
    after = await house.credentials.get(CALLER, "", "two")
    assert (after.status, after.allowed_in_tasks) == ("verified", True)


async def test_a_verdict_on_what_was_deleted_meanwhile_goes_to_no_namesake(build: Build, provider: Provider) -> None:
    house = build(deadline=5)
    await house.store_key()
    waiting = await provider.asked_and_waiting(house.verify_stored())
    await house.credentials.delete(CALLER, "", "one", None)
    await house.store_key()
    provider.may_answer.set()
    assert said(await waiting)[0] == "verified"
    assert await house.status() is None


async def test_a_verdict_on_a_file_that_was_replaced_meanwhile_is_not_kept(
    build: Build, provider: Provider, path: Path
) -> None:
    house = build(deadline=5)
    await house.shared.create(CALLER, SharedFile("one", FileType.TEXT, FILE))
    waiting = await provider.asked_and_waiting(house.verification.verify_shared(CALLER, "one", None))
    await house.shared.replace(CALLER, SharedFile("one", FileType.TEXT, FILE.replace(b"AKIA", b"ASIA")))
    provider.may_answer.set()
    assert said(await waiting)[0] == "verified"
    record, _content = await house.shared.open(CALLER, "one")
    assert record.status is None


async def test_a_file_of_no_known_kind_is_a_verdict_without_a_probe(
    build: Build, provider: Provider, path: Path
) -> None:
    house = build()
    await house.shared.create(CALLER, SharedFile("one", FileType.TEXT, b"hello"))
    report = await house.verification.verify_shared(CALLER, "one", None)
    assert (said(report), report.provider, report.type) == (("failed", "not_recognised", "credential"), None, None)
    assert provider.asked == 0
    record, _content = await house.shared.open(CALLER, "one")
    assert record.status == "failed"
    assert audited(path)[-1] == ("credential.verify", "failed: not_recognised")


@pytest.mark.parametrize("verdict", [WORKS, BAD])
async def test_a_verdict_that_the_store_can_not_keep_is_told_all_the_same(
    build: Build, provider: Provider, store: SqliteStore, caplog: pytest.LogCaptureFixture, verdict: Verdict
) -> None:
    provider.says = verdict
    broken = NoVerdicts(store)
    house = build(over=broken)
    one = await house.store_key()
    await house.shared.create(CALLER, SharedFile("one", FileType.TEXT, FILE))
    assert (await house.verify_stored()).verdict is verdict
    assert (await house.verification.verify_shared(CALLER, "one", None)).verdict is verdict
    assert broken.tried == 2
    assert await house.status() is None
    assert one.id in caplog.text
    assert CANARY not in caplog.text


# Probes that do not do what they should


async def _raises(error: Exception) -> Verdict:
    raise error


async def _says_nothing() -> Any:
    return None


async def _says_a_word() -> Any:
    return "verified"


async def _swallows_cancellation() -> Verdict:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(10)
    return WORKS


async def _gives_up_by_itself() -> Verdict:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(10)
    return WORKS


ODD: dict[str, Callable[[], Awaitable[Any]]] = {
    "raises what it read": lambda: _raises(ValueError(CANARY)),
    "raises a group": lambda: _raises(ExceptionGroup("two", [ValueError(CANARY), OSError()])),
    "runs out of stack": lambda: _raises(RecursionError()),
    "runs out of memory": lambda: _raises(MemoryError()),
    "raises an error of the core's": lambda: _raises(StoreUnavailable()),
    "returns None": _says_nothing,
    "returns a word": _says_a_word,
    "swallows cancellation": _swallows_cancellation,
    "lets a timeout of its own out": _gives_up_by_itself,
}


@pytest.mark.parametrize("case", ODD)
async def test_a_probe_that_misbehaves_is_unknown(build: Build, case: str, caplog: pytest.LogCaptureFixture) -> None:
    async def probe(_payload: Payload, _run: Run) -> Any:
        return await ODD[case]()

    house = build(probe, capacity=1, deadline=0.1)
    await house.store_key()
    for _ in range(2):  # and leaves its place in the lane
        started = time.monotonic()
        report = await house.verify_stored()
        assert report.verdict.outcome.value == "unknown"
        assert time.monotonic() - started < 1
        assert CANARY not in repr(report) + caplog.text
    assert await house.status() is None


async def test_cancellation_from_outside_is_no_verdict(build: Build, provider: Provider, path: Path) -> None:
    """Requirement 40."""
    house = build(deadline=5)
    await house.store_key()
    waiting = await provider.asked_and_waiting(house.verify_stored())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await house.status() is None
    assert audited(path) == [("credential.create", "done")]
