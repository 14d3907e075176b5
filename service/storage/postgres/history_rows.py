"""What was said of credentials, in PostgreSQL."""

from typing import NamedTuple

from service.core.audit import AuditRecord
from service.core.kept import Event, KeptReport, Watch
from service.core.model import Credential
from service.core.store import REPORTS_KEPT
from service.storage.postgres import audit_rows, event_rows, watch_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import fetch
from service.storage.rows import MAX_INTEGER, at_most

UNKNOWN = "unknown"
"""The outcome of a verification that could say nothing."""

# The DELETE does not see the new row yet: it leaves one less than there may be.
_APPEND = f"""
WITH added AS (
    INSERT INTO verification (credential, version, checked_at, trigger, outcome, report) VALUES ($1, $2, $3, $4, $5, $6)
)
DELETE FROM verification WHERE credential = $1 AND seq <=
    (SELECT seq FROM verification WHERE credential = $1 ORDER BY seq DESC LIMIT 1 OFFSET {REPORTS_KEPT - 1})
"""  # noqa: S608 - no value is in it
_PAGE = (
    "SELECT said.seq, said.version, checked_at, trigger, outcome, report "
    "FROM credential JOIN verification AS said ON said.credential = credential.seq "
    "WHERE credential.id = $1 AND credential.workspace = $2 AND said.seq < $3 "
    "ORDER BY said.seq DESC LIMIT $4"
)
_OF_VERSION = (
    "SELECT seq, status, family, provider FROM credential "
    "WHERE id = $1 AND workspace = $2 AND teamspace = $3 AND family = $4 AND version = $5 "
    "AND created_at = $6 FOR NO KEY UPDATE"
)
_SET_VERDICT = (
    "UPDATE credential SET status = $2, verification = $3, attempt = NULL, revision = revision + 1 WHERE seq = $1"
)
_SET_ATTEMPT = "UPDATE credential SET attempt = $2, revision = revision + 1 WHERE seq = $1"


class Recorded(NamedTuple):
    """That a report was kept, and whether the status changed by it."""

    status_changed: bool


async def append(session: Session, seq: int, report: KeptReport) -> None:
    """Add a report to the history of a credential by its row; the oldest goes if they are too many.

    In a transaction that has locked the credential, or made it: so the numbers of a history are in the order of its
    commits.
    """
    await session.execute(_APPEND, seq, *report[1:])


async def record(
    session: Session,
    one: Credential,
    report: KeptReport,
    audit: AuditRecord | None,
    watch: Watch | None,
    event: Event | None,
) -> Recorded | None:
    """Keep a report on the payload's version that it was about, and all that follows from it."""
    # Another one may be under the same id by now.
    found = await session.fetchrow(_OF_VERSION, one.id, *one.scope, report.version, one.created_at)
    if found is None:
        return None
    seq, status, family, provider = found
    await append(session, seq, report)
    known = report.outcome != UNKNOWN
    if known:
        await session.execute(_SET_VERDICT, seq, report.outcome, report.report)
    else:
        await session.execute(_SET_ATTEMPT, seq, report.report)
    if watch is not None:
        await watch_rows.go_on(session, seq, watch, watch_rows.lane(family, provider) if known else None)
    changed = known and status != report.outcome
    if changed and event is not None:
        await event_rows.append(session, event)
    if audit is not None:
        await audit_rows.append(session, audit)
    return Recorded(changed)


async def page(
    session: Session, workspace: str, credential_id: str, before: int | None, limit: int
) -> list[KeptReport]:
    """The history of a credential, newest first."""
    bound = MAX_INTEGER if before is None else at_most(before)
    rows = await fetch(session, _PAGE, credential_id, workspace, bound, at_most(limit))
    return [KeptReport(*row) for row in rows]
