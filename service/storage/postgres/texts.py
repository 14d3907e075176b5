"""Asking with texts that nobody has checked: PostgreSQL has none with a NUL, so nothing is ever found by one."""

from typing import Any

import asyncpg

from service.storage.postgres.connecting import Session


async def fetch(session: Session, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """The rows that a query finds. Outside of a transaction only: a refused text would end it."""
    try:
        return await session.fetch(statement, *arguments)
    except asyncpg.CharacterNotInRepertoireError:
        return []


async def fetchrow(session: Session, statement: str, *arguments: Any) -> asyncpg.Record | None:
    """The only row that a query finds, likewise."""
    try:
        return await session.fetchrow(statement, *arguments)
    except asyncpg.CharacterNotInRepertoireError:
        return None


def before_nul(text: str) -> str:
    """Where in an order by code point a text belongs among those without a NUL: they come after both or neither."""
    return text.partition("\0")[0]


def changed(tag: str) -> bool:
    """Whether a statement changed a row, by the command tag that it ended with (`UPDATE 1`, `INSERT 0 1`)."""
    return not tag.endswith(" 0")
