"""What an import and an export need of the service, put together beside it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from service import bootstrap
from service.config import Config
from service.core.catalog import Catalog
from service.core.credentials import Credentials
from service.core.envelope import Envelope
from service.core.errors import RefusesToStart, StoreUnavailable
from service.core.events import Events
from service.core.external_ids import ExternalIds
from service.core.lanes import Lanes
from service.core.probing import Probing, Quotas
from service.core.records import Records
from service.core.shared import SharedCredentials
from service.core.store import Store
from service.core.verification import Verification
from service.core.watching import Pace
from service.moving.importer import Into
from service.moving.stopping import Stop
from service.observe.limits import Windows
from verifiers.base import Run
from verifiers.egress import Egress
from verifiers.registry import Registry


@dataclass(frozen=True)
class Inside:
    """An open store with the services over it."""

    config: Config
    store: Store
    envelope: Envelope
    events: Events
    into: Into


@asynccontextmanager
async def opened(config: Config, registry: Registry) -> AsyncIterator[Inside]:
    """The store of a service that has been started once.

    Raises:
        RefusesToStart: there is none, or its key ring is not the right one. Neither is made here: a wrong folder would
            get a store that nobody looks for.
    """
    if not config.on_postgres and not config.database.exists():
        raise RefusesToStart(f"There is no store at {config.database} yet: start the service, or name its --config.")
    store = await bootstrap.open_store(config)
    try:
        if await store.get_canary() is None:
            raise RefusesToStart("The store has no key ring yet: start the service once.")
        envelope = await bootstrap.unlock(config, store)
        events = Events(deliver=bool(config.webhooks.url), count=lambda _type: None)
        records = Records(store, envelope, events)
        credentials, shared = Credentials(records, registry), SharedCredentials(records)
        into = Into(records, credentials, shared, Catalog(records, credentials, shared))
        yield Inside(config, store, envelope, events, into)
    finally:
        await store.close()


@asynccontextmanager
async def verifying(inside: Inside, registry: Registry, *, dry_run: bool) -> AsyncIterator[Verification]:
    """What asks providers, with the service's own settings and quotas."""
    config, limits, into = inside.config, inside.config.limits, inside.into
    async with AsyncExitStack() as stack:
        longest = config.verification.deadline_seconds + 1
        egress = await stack.enter_async_context(Egress(config.egress, longest_seconds=longest))
        store = cast(Store, _WithoutNewSecrets(inside.store)) if dry_run else inside.store
        external_ids = ExternalIds(store, inside.envelope)

        async def start_run(workspace: str) -> Run:
            try:
                issued = await external_ids.of(workspace)
            except StoreUnavailable:
                issued = ""
            return Run(egress, config.providers, issued_external_id=issued)

        probing = Probing(
            registry,
            start_run=start_run,
            deadline=config.verification.deadline_seconds,
            lanes=Lanes(config.verification.concurrency),
            quotas=Quotas(
                Windows(limits.verifications_per_caller),
                Windows(limits.verifications_per_target),
                Windows(limits.verifications_overall),
            ),
            count=lambda _provider, _outcome, _reason: None,
        )
        pace = Pace(config.verification.interval)
        yield Verification(inside.store, into.records, into.credentials, into.shared, probing, inside.events, pace)


class _WithoutNewSecrets:
    """A store that makes no secret of the service's own: a dry run writes nothing, not even that."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add_secret(self, _name: str, _sealed: object) -> bool:
        """Add none."""
        return False


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """A stop that the first SIGINT or SIGTERM sets; the second one ends at once."""
    stop, loop, task = Stop(), asyncio.get_running_loop(), asyncio.current_task()

    def ask() -> None:
        if stop.is_set and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
