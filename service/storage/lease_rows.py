"""Leases in SQLite: functions for the connections' threads, the writing one inside a transaction."""

import json
import sqlite3
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.core.audit import AuditRecord
from service.core.kept import Lease, ListedLease
from service.core.model import Credential, Timestamp, timestamp
from service.core.store import LEASE_KEPT_DAYS
from service.storage import audit_rows
from service.storage.rows import LEASE, MAX_INTEGER, lease_row, listed_lease

DROPPED_AT_ONCE: Final = 20
"""Old leases that one new one drops at most: more than it adds, so a backlog melts; few, so that none pays for it."""

_KEPT: Final = timedelta(days=LEASE_KEPT_DAYS)

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_INSERT = f"INSERT INTO lease ({LEASE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_DROP = (
    "DELETE FROM lease WHERE seq IN "
    "(SELECT seq FROM lease INDEXED BY lease_ended WHERE expires_at < ? ORDER BY expires_at LIMIT ?)"
)

# Text times compare as times. A user who was made after the lease is another one of the same name.
_REVOKED = """
CASE caller_kind
WHEN 'api_key' THEN NOT EXISTS (
    SELECT 1 FROM api_key WHERE api_key.id = lease.caller_id AND api_key.revoked_at IS NULL
    AND (api_key.expires_at IS NULL OR api_key.expires_at > :now))
WHEN 'user' THEN NOT EXISTS (
    SELECT 1 FROM user WHERE user.name = lease.caller_id AND user.created_at <= lease.issued_at)
END
"""

# Live leases are the newest, but for some: from the oldest live one on, the history before it is never read.
_LIVE = """
AND one.expires_at > :live_at AND one.seq >=
    (SELECT min(seq) FROM lease INDEXED BY lease_live WHERE workspace = :workspace AND expires_at > :live_at)
"""

# `INDEXED BY`: with no statistics SQLite would rather walk all workspaces' leases by number, or sort. A statement whose
# index is missing fails, and the tests run every one.
_INDEX = {
    (False, False): "lease_by_workspace",
    (True, False): "lease_by_teamspace",
    (False, True): "lease_by_credential",
    (True, True): "lease_by_both",
}


class Wanted(NamedTuple):
    """Which leases a page is of; the values of the statements' parameters. See `Store.list_leases`."""

    workspace: str
    teamspaces: frozenset[str] | None
    credential_id: str | None
    live_at: Timestamp | None
    before: int | None
    limit: int


# A version alone would also be that of a credential that was put under the same id meanwhile.
_STILL_MEANT = (
    "SELECT 1 FROM credential WHERE id = ? AND workspace = ? AND version = ? AND payload_changed_at = ? "
    "AND family = 'access' AND allowed_in_tasks = 1"
)
_CALLER_STILL_THERE = {
    "api_key": "SELECT 1 FROM api_key WHERE id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
    "user": "SELECT 1 FROM user WHERE name = ? AND created_at <= ?",
}


def create(connection: sqlite3.Connection, lease: Lease, audit: AuditRecord, made_of: Credential | None = None) -> bool:
    """Add a lease, unless what it is made of or for is not what it was; and drop some that nobody lists any more."""
    if made_of is not None and not _still(connection, lease, made_of):
        return False
    connection.execute(_INSERT, lease_row(lease))
    dropped_before = timestamp(datetime.fromisoformat(lease.issued_at) - _KEPT)
    connection.execute(_DROP, (dropped_before, DROPPED_AT_ONCE))
    return audit_rows.append(connection, audit)


def _still(connection: sqlite3.Connection, lease: Lease, one: Credential) -> bool:
    """Whether the credential has the payload that the lease was made of, and its caller has not been revoked."""
    if not connection.execute(_STILL_MEANT, (one.id, one.workspace, one.version, one.payload_changed_at)).fetchall():
        return False
    there = _CALLER_STILL_THERE.get(lease.caller_kind)
    return there is None or bool(connection.execute(there, (lease.caller_id, lease.issued_at)).fetchall())


def page(connection: sqlite3.Connection, wanted: Wanted, now: Timestamp) -> list[ListedLease]:
    """One page, newest first.

    Args:
        wanted: which leases.
        now: the time at which a caller's API key may have expired.
    """
    which = (wanted.teamspaces is not None, wanted.credential_id is not None, wanted.live_at is not None)
    values = {
        "workspace": wanted.workspace,
        "teamspaces": json.dumps(sorted(wanted.teamspaces or ())),
        "credential_id": wanted.credential_id,
        "live_at": wanted.live_at,
        "before": MAX_INTEGER if wanted.before is None else max(0, min(wanted.before, MAX_INTEGER)),
        "limit": min(wanted.limit, MAX_INTEGER),
        "now": now,
    }
    return [listed_lease(row) for row in connection.execute(_PAGE[which], values).fetchall()]


def _page(by_teamspace: bool, by_credential: bool, live: bool) -> str:
    """The statement for a combination of filters. What is read does not grow with what is filtered out."""
    newest = (
        f"SELECT one.seq FROM lease AS one INDEXED BY {_INDEX[by_teamspace, by_credential]} "  # noqa: S608
        "WHERE one.workspace = :workspace AND one.seq < :before "
        + ("AND one.teamspace = team.value " if by_teamspace else "")
        + ("AND one.credential_id = :credential_id " if by_credential else "")
        + (_LIVE if live else "")
        + "ORDER BY one.seq DESC LIMIT :limit"
    )
    if by_teamspace:
        # A page of each teamspace, of which the newest are the page of all: one parameter, however many there are.
        newest = (
            "SELECT each.seq FROM json_each(:teamspaces) AS team "  # noqa: S608
            f"CROSS JOIN lease AS each ON each.seq IN ({newest})"
        )
    return f"SELECT seq, {LEASE}, {_REVOKED} FROM lease WHERE seq IN ({newest}) ORDER BY seq DESC LIMIT :limit"  # noqa: S608


_BOTH = (False, True)
_PAGE = {(team, one, live): _page(team, one, live) for team in _BOTH for one in _BOTH for live in _BOTH}
