"""What was said of credentials, in SQLite: functions for the connections' threads, the writing one in a transaction."""

import sqlite3
from typing import NamedTuple

from service.core.audit import AuditRecord
from service.core.kept import Event, KeptReport, Watch
from service.core.model import Credential
from service.core.store import REPORTS_KEPT
from service.storage import audit_rows, event_rows, watch_rows
from service.storage.rows import MAX_INTEGER, at_most

UNKNOWN = "unknown"
"""The outcome of a verification that could say nothing."""

_INSERT = (
    "INSERT INTO verification (credential, version, checked_at, trigger, outcome, report) VALUES (?, ?, ?, ?, ?, ?)"
)
_DROP = (
    "DELETE FROM verification WHERE credential = :credential AND seq <= "
    "(SELECT seq FROM verification WHERE credential = :credential ORDER BY seq DESC LIMIT 1 OFFSET :kept)"
)
_PAGE = (
    "SELECT verification.seq, verification.version, checked_at, trigger, outcome, report "
    "FROM credential JOIN verification ON verification.credential = credential.seq "
    "WHERE credential.id = ? AND credential.workspace = ? AND verification.seq < ? "
    "ORDER BY verification.seq DESC LIMIT ?"
)
_OF_VERSION = (
    "SELECT seq, status, family, provider FROM credential "
    "WHERE id = ? AND workspace = ? AND teamspace = ? AND family = ? AND version = ? AND created_at = ?"
)
_SET_VERDICT = (
    "UPDATE credential SET status = ?, verification = ?, attempt = NULL, revision = revision + 1 WHERE seq = ?"
)
_SET_ATTEMPT = "UPDATE credential SET attempt = ?, revision = revision + 1 WHERE seq = ?"


class Recorded(NamedTuple):
    """That a report was kept, and whether the status changed by it."""

    status_changed: bool


def append(connection: sqlite3.Connection, seq: int, report: KeptReport) -> None:
    """Add a report to the history of a credential by its row; the oldest goes if they are too many."""
    connection.execute(_INSERT, (seq, *report[1:]))
    connection.execute(_DROP, {"credential": seq, "kept": REPORTS_KEPT})


def record(
    connection: sqlite3.Connection,
    one: Credential,
    report: KeptReport,
    audit: AuditRecord | None,
    watch: Watch | None,
    event: Event | None,
) -> Recorded | None:
    """Keep a report on the payload's version that it was about, and all that follows from it."""
    # Another one may be under the same id by now.
    found = connection.execute(_OF_VERSION, (one.id, *one.scope, report.version, one.created_at)).fetchall()
    if not found:
        return None
    seq, status, family, provider = found[0]
    append(connection, seq, report)
    known = report.outcome != UNKNOWN
    if known:
        connection.execute(_SET_VERDICT, (report.outcome, report.report, seq))
    else:
        connection.execute(_SET_ATTEMPT, (report.report, seq))
    if watch is not None:
        watch_rows.go_on(connection, seq, watch, watch_rows.lane(family, provider) if known else None)
    changed = known and status != report.outcome
    if changed and event is not None:
        event_rows.append(connection, event)
    if audit is not None:
        audit_rows.append(connection, audit)
    return Recorded(changed)


def page(
    connection: sqlite3.Connection, workspace: str, credential_id: str, before: int | None, limit: int
) -> list[KeptReport]:
    """The history of a credential, newest first."""
    bound = MAX_INTEGER if before is None else at_most(before)
    rows = connection.execute(_PAGE, (credential_id, workspace, bound, at_most(limit))).fetchall()
    return [KeptReport(*row) for row in rows]
