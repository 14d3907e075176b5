"""Stores on PostgreSQL for tests, opened and closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from service.storage.postgres.connecting import Limits
from service.storage.postgres.store import PostgresStore, open_postgres

FEW = Limits(pool_max=4)
"""Fewer connections than the tests have writers at once: some of them wait."""

SOON = Limits(pool_max=4, pool_wait=0.5, statement=0.5, lock=0.3)
"""Everything is given up soon."""


@asynccontextmanager
async def opened(url: str, limits: Limits = FEW) -> AsyncIterator[PostgresStore]:
    """A store on a database."""
    store = await open_postgres(url, limits)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def beside(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the same database, as another program has it."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "vouch"})
    try:
        yield connection
    finally:
        await connection.close()


def name_of(url: str) -> str:
    """The database's name in its address."""
    return url.rpartition("/")[2].partition("?")[0]
