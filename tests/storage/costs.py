"""What the embedded store's statements cost: their plans, and how many of SQLite's virtual instructions they take."""

import sqlite3
from collections.abc import Awaitable
from typing import Any

from service.storage.connection import Connection


async def traced(connection: Connection) -> list[str]:
    """The statements that one of the store's connections runs from now on, with their values in them."""
    statements: list[str] = []
    await connection.submit(lambda raw: raw.set_trace_callback(statements.append))
    return statements


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """What SQLite would do, a line for each table that it visits."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()]


async def steps(connection: Connection, call: Awaitable[Any]) -> tuple[int, Any]:
    """What one call costs on a connection, in hundreds of instructions (time would depend on the machine); its result.

    The first of its kind also parses.
    """
    count = 0

    def hundred() -> None:
        nonlocal count
        count += 1

    await connection.submit(lambda raw: raw.set_progress_handler(hundred, 100))
    result = await call
    await connection.submit(lambda raw: raw.set_progress_handler(None, 100))
    return count, result
