"""Writing the audit trail."""

from dataclasses import astuple
from typing import Any

from service.core.audit import AuditRecord
from service.core.model import timestamp
from service.storage.postgres.connecting import Session

_COLUMNS = (
    "at, actor_kind, actor_id, actor_name, workspace, teamspace, family, action, target, outcome, request_id, address"
)
# S608: no value is ever in it.
_APPEND = (
    f"INSERT INTO audit ({_COLUMNS}) "  # noqa: S608
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING seq"
)
_GET = f"SELECT {_COLUMNS} FROM audit WHERE seq = $1"  # noqa: S608


async def append(session: Session, audit: AuditRecord) -> bool:
    """Add a record, in the transaction of what it records; always True."""
    number: int = await session.fetchval(_APPEND, *_row(audit))
    session.trace = (number, audit)
    return True


async def is_kept(session: Session, number: int, audit: AuditRecord) -> bool:
    """Whether a record is there under its number."""
    row = await session.fetchrow(_GET, number)
    return row is not None and tuple(row) == _row(audit)


def _row(audit: AuditRecord) -> tuple[Any, ...]:
    at, *texts = astuple(audit)
    return (timestamp(at), *(_storable(text) for text in texts))


def _storable(text: str) -> str:
    """PostgreSQL has no text with a NUL. No name has one, but better a record that is not quite exact than none."""
    return str(text).replace("\0", "\ufffd")
