"""Whose turn it is to be verified or warned of, in SQLite: functions for the connections' threads, in a transaction."""

import sqlite3
from collections.abc import Callable
from typing import Final

from service.core.kept import Due, Event, Watch
from service.core.model import Credential, Family, Sealed, Timestamp
from service.storage import event_rows
from service.storage.rows import CREDENTIAL, CREDENTIAL_COLUMNS, at_most, credential

SHARED_LANE: Final = "shared"

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_START = (
    "INSERT INTO watch (credential, lane, due_at, claim, rejections) VALUES (?, ?, ?, NULL, ?) "
    "ON CONFLICT (credential) DO UPDATE SET "
    "lane = excluded.lane, due_at = excluded.due_at, claim = NULL, rejections = excluded.rejections"
)
_RESTART = "UPDATE watch SET due_at = ?, claim = NULL, rejections = 0 WHERE credential = ?"
_MOVE = "UPDATE watch SET lane = ? WHERE credential = ?"
_GO_ON = (
    "UPDATE watch SET due_at = :due_at, claim = NULL, rejections = :rejections "
    "WHERE credential = :credential AND (:claim IS NULL OR claim = :claim)"
)
_SEQ = "SELECT seq FROM credential WHERE id = ?"
# CROSS JOIN keeps the order: the turns come first, and each brings its credential and its envelope.
_DUE = (
    f"SELECT {CREDENTIAL}, key_id, sealed, rejections, watch.credential "  # noqa: S608
    "FROM watch INDEXED BY watch_due CROSS JOIN credential ON credential.seq = watch.credential "
    "CROSS JOIN envelope ON envelope.credential = watch.credential "
    "WHERE watch.lane = :lane AND watch.due_at <= :now "
    "AND NOT EXISTS (SELECT 1 FROM lane_pause WHERE lane_pause.lane = :lane AND lane_pause.until > :now) "
    "ORDER BY watch.due_at LIMIT :limit"
)
_CLAIM = "UPDATE watch SET due_at = ?, claim = ? WHERE credential = ?"
_BRING_FORWARD = (
    "UPDATE watch SET due_at = :to WHERE credential IN "
    "(SELECT credential FROM watch WHERE lane = :lane AND due_at > :beyond ORDER BY due_at DESC LIMIT :limit)"
)
_PAUSE = (
    "INSERT INTO lane_pause (lane, until) VALUES (?, ?) "
    "ON CONFLICT (lane) DO UPDATE SET until = excluded.until WHERE excluded.until > until"
)
_EXPIRING = (
    f"SELECT {CREDENTIAL}, seq FROM credential INDEXED BY credential_to_warn_of "  # noqa: S608
    "WHERE warn_of IS NOT NULL AND warn_of <= ? ORDER BY warn_of LIMIT ?"
)
_WARNED = "UPDATE credential SET warn_of = NULL WHERE seq = ?"


def lane(family: str, provider: str) -> str:
    """In which lane a credential is watched."""
    return SHARED_LANE if family == Family.SHARED else provider


def start(connection: sqlite3.Connection, seq: int, one: Credential) -> None:
    """A credential got a payload: it is due at once, if it is watched.

    Whoever has claimed it for the payload before has no say any more.
    """
    if one.family == Family.ACCESS or one.status is not None:
        connection.execute(_START, (seq, lane(one.family, one.provider), one.updated_at, 0))
    else:
        connection.execute(_RESTART, (one.updated_at, seq))


def move(connection: sqlite3.Connection, seq: int, one: Credential) -> None:
    """The lane of a watched credential follows it."""
    connection.execute(_MOVE, (lane(one.family, one.provider), seq))


def go_on(connection: sqlite3.Connection, seq: int, watch: Watch, begin_in: str | None = None) -> bool:
    """Say when a credential is due next; False if the claim is not its any more.

    Args:
        seq: the credential's row.
        watch: when, and by whose claim.
        begin_in: the lane in which it is watched from now on, should it not be watched yet; None to leave it so.
    """
    values = {"credential": seq, "due_at": watch.due_at, "rejections": watch.rejections, "claim": watch.claim}
    if connection.execute(_GO_ON, values).rowcount:
        return True
    if begin_in is None or watch.claim is not None:
        return False
    connection.execute(_START, (seq, begin_in, watch.due_at, watch.rejections))
    return True


def put_off(connection: sqlite3.Connection, credential_id: str, watch: Watch) -> bool:
    """The same by the credential's id."""
    rows = connection.execute(_SEQ, (credential_id,)).fetchall()
    return bool(rows) and go_on(connection, rows[0][0], watch)


def claim_due(
    connection: sqlite3.Connection, lane: str, now: Timestamp, until: Timestamp, claim: str, limit: int
) -> list[Due]:
    """Take those of a lane whose turn it is, longest due first."""
    rows = connection.execute(_DUE, {"lane": lane, "now": now, "limit": at_most(limit)}).fetchall()
    connection.executemany(_CLAIM, [(until, claim, row[-1]) for row in rows])
    sealed, rejections = CREDENTIAL_COLUMNS, CREDENTIAL_COLUMNS + 2
    return [Due(credential(row), Sealed(*row[sealed:rejections]), claim, row[rejections]) for row in rows]


def bring_forward(connection: sqlite3.Connection, lane: str, beyond: Timestamp, to: Timestamp, limit: int) -> int:
    """Let turns that lie further ahead come earlier."""
    return connection.execute(_BRING_FORWARD, {"lane": lane, "beyond": beyond, "to": to, "limit": limit}).rowcount


def pause(connection: sqlite3.Connection, lane: str, until: Timestamp) -> bool:
    """Let nobody take any of a lane until then; False if it is paused for longer already."""
    return connection.execute(_PAUSE, (lane, until)).rowcount == 1


def count(connection: sqlite3.Connection, lane: str) -> int:
    """How many are watched in a lane."""
    rows = connection.execute("SELECT n FROM watch_count WHERE lane = ?", (lane,)).fetchall()
    return rows[0][0] if rows else 0


def claim_expiring(
    connection: sqlite3.Connection, before: Timestamp, event: Callable[[Credential], Event | None], limit: int
) -> list[Credential]:
    """Take those that end by then and whose end nobody was warned of, the next end first."""
    rows = connection.execute(_EXPIRING, (before, at_most(limit))).fetchall()
    ones = [credential(row) for row in rows]
    for one in ones:
        made = event(one)
        if made is not None:
            event_rows.append(connection, made)
    connection.executemany(_WARNED, [(row[-1],) for row in rows])
    return ones
