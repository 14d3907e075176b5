"""Replicas of the service without its wire: one database file, real verifiers and providers, a clock of the tests'."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.core.changes import Draft
from service.core.credentials import Credentials
from service.core.envelope import Envelope
from service.core.events import Events
from service.core.lanes import Lanes
from service.core.model import Caller, Credential, Family, Principal, PrincipalKind, Role, Scope, timestamp
from service.core.probing import Probing, Quotas
from service.core.records import Records
from service.core.shared import FileType, SharedCredentials, SharedFile
from service.core.verification import Verification
from service.core.watching import Pace
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore, open_sqlite
from service.work.schedule import Schedule
from tests.api.payloads import CANARY
from tests.peers.aws_stub import CALLER_IDENTITY, AwsStub, Scripted, sts_error
from verifiers.base import Payload, Run, Verifier
from verifiers.egress import Egress
from verifiers.registry import Registry, load_registry
from verifiers.settings import AwsSettings, EgressSettings, ProviderSettings

CALLER = Caller(Principal(PrincipalKind.API_KEY, "id-1", "ada", "ws_default", Role.ADMIN), "request-1")
HOUR = 3600.0
DAY = 86_400.0
OFTEN = 0.01
"""Seconds between two looks of a schedule under test."""

GOOD = Scripted(200, CALLER_IDENTITY)
BAD = sts_error("SignatureDoesNotMatch")
DOWN = Scripted(503, "<html>later</html>")
THROTTLED = sts_error("Throttling", 400)


class Clock:
    """The time, which goes on only when it is told to."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Options:
    """How a replica is made; what is not said is like in a service by default, but for a schedule that looks often."""

    providers: ProviderSettings = field(default_factory=ProviderSettings)
    allow: tuple[str, ...] = ()
    interval: float = DAY
    warning: timedelta = timedelta(days=14)
    deadline: float = 5.0
    capacity: int = 500
    per_target: int = 0
    idle_seconds: float = OFTEN
    deliver: bool = False
    jitter: Callable[[], float] = lambda: 0.5
    registry: Registry | None = None
    over: Callable[[SqliteStore], Any] = lambda store: store
    lock_timeout: float = 2.0


@dataclass
class Replica:
    """One replica: its parts, and what it counted."""

    store: Any
    records: Records
    credentials: Credentials
    shared: SharedCredentials
    verification: Verification
    schedule: Schedule
    lanes: Lanes
    events: Counter[str]
    outcomes: Counter[tuple[str | None, str, str]]

    async def add(self, name: str, payload: Payload) -> Credential:
        return await self.credentials.create(CALLER, "", Draft(name, payload))

    async def add_keys(self, count: int, endpoint: str | None = None) -> list[str]:
        """Store so many AWS keys; their names, which are their access key ids too."""
        names = [f"AKIA{number:04}" for number in range(count)]
        for name in names:
            await self.add(name, aws_key(name, endpoint))
        return names

    async def add_file(self, name: str, content: bytes) -> None:
        await self.shared.create(CALLER, SharedFile(name, FileType.TEXT, content))

    async def get(self, name: str, family: Family = Family.ACCESS) -> Credential:
        found = await self.store.get_credential(Scope("ws_default", "", family.value), name)
        assert found is not None
        return found

    async def status(self, name: str) -> str | None:
        return (await self.get(name)).status

    async def history(self, name: str, family: Family = Family.ACCESS) -> list[tuple[str, str]]:
        """Trigger and outcome of each verification, oldest first."""
        one = await self.get(name, family)
        kept = await self.store.list_reports("ws_default", one.id, before=None, limit=1000)
        return [(report.trigger, report.outcome) for report in reversed(kept)]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Its schedule runs beside the block."""
        task = asyncio.create_task(self.schedule.run())
        try:
            yield
        finally:
            assert not task.done(), task
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class House:
    """Makes replicas over one database file and one key ring."""

    def __init__(self, path: Path, envelope: Envelope, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self._envelope = envelope
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "House":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def replica(self, **options: Any) -> Replica:
        """Another replica; see `Options`."""
        chosen = Options(**options)
        opened = await open_sqlite(self.path, lock_timeout=chosen.lock_timeout)
        self._stack.push_async_callback(opened.close)
        egress = await self._stack.enter_async_context(Egress(EgressSettings(allow=chosen.allow)))
        store = chosen.over(opened)
        registry = chosen.registry or load_registry()
        counted: Counter[str] = Counter()
        outcomes: Counter[tuple[str | None, str, str]] = Counter()
        events = Events(deliver=chosen.deliver, count=lambda type_: counted.update([type_]))
        records = Records(store, self._envelope, events, now=self.clock)
        credentials, shared = Credentials(records, registry), SharedCredentials(records)
        lanes, pace = Lanes(chosen.capacity), Pace(chosen.interval, chosen.jitter)

        async def start_run(_workspace: str) -> Run:
            return Run(egress, chosen.providers)

        probing = Probing(
            registry,
            start_run=start_run,
            deadline=chosen.deadline,
            lanes=lanes,
            quotas=Quotas(Windows(0), Windows(chosen.per_target), Windows(0)),
            count=lambda *labels: outcomes.update([labels]),
        )
        verification = Verification(store, records, credentials, shared, probing, events, pace)
        schedule = Schedule(
            store,
            records,
            verification,
            events,
            pace,
            lanes=("AWS", "AZURE", "GCP"),
            warning=chosen.warning,
            deadline=chosen.deadline,
            idle_seconds=chosen.idle_seconds,
            now=self.clock,
        )
        return Replica(store, records, credentials, shared, verification, schedule, lanes, counted, outcomes)

    def rows(self, query: str) -> list[Any]:
        """What is in the database, as another program sees it."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(query).fetchall()

    def write(self, statement: str) -> None:
        """Change it as another program would."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(statement)

    def due_in(self, name: str) -> float:
        """Seconds until a credential is due."""
        (row,) = self.rows(
            "SELECT due_at FROM watch JOIN credential ON seq = watch.credential WHERE name = " + f"'{name}'"
        )
        return (datetime.fromisoformat(row[0]) - self.clock.at).total_seconds()

    def settled(self) -> bool:
        """Whether nothing is due, and nobody has a turn."""
        due = f"SELECT count(*) FROM watch WHERE due_at <= '{timestamp(self.clock.at)}' OR claim IS NOT NULL"
        return self.rows(due) == [(0,)]


def at(stub: AwsStub) -> ProviderSettings:
    """AWS is at the stub."""
    return ProviderSettings(aws=AwsSettings(sts_endpoint=stub.url))


def aws_key(access_key_id: str = "AKIAEXAMPLE", endpoint: str | None = None, **changes: str) -> Payload:
    return payload("AWS", "key", access_key_id=access_key_id, secret_access_key=CANARY, endpoint=endpoint, **changes)


def payload(provider: str, type_: str, **values: Any) -> Payload:
    """A payload of an installed kind."""
    kind = verifier(provider, type_).kind
    return kind.split(kind.schema().load(values))


def verifier(provider: str, type_: str) -> Verifier:
    found = load_registry().get(provider, type_)
    assert found is not None
    return found


def aws_file(access_key_id: str = "AKIASHARED") -> bytes:
    return f"[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {CANARY}\n".encode()


def asked(stub: AwsStub) -> Counter[str]:
    """How often a stub was asked with which access key."""
    found = [one.headers["Authorization"].split("Credential=")[1].split("/")[0] for one in stub.received]
    return Counter(found)


async def until(holds: Callable[[], bool], seconds: float = 8.0) -> None:
    """Wait for something to hold."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        await asyncio.sleep(0.005)


async def a_while(looks: int = 15) -> None:
    """Long enough for a schedule to look that often, on a machine with nothing else to do."""
    await asyncio.sleep(OFTEN * looks)
