"""Events that are not delivered yet, in SQLite: functions for the connections' threads, in a transaction."""

import sqlite3

from service.core.kept import Event, Outgoing
from service.core.model import Timestamp
from service.storage.rows import at_most

_INSERT = "INSERT INTO event (id, type, at, body, attempts, due_at) VALUES (?, ?, ?, ?, 0, ?)"
# By when they are due, not by their numbers: one that fails over and over holds up no other.
_DUE = (
    "SELECT id, type, at, body, attempts, seq FROM event INDEXED BY event_due "
    "WHERE due_at <= ? ORDER BY due_at, seq LIMIT ?"
)
_CLAIM = "UPDATE event SET due_at = ?, claim = ? WHERE seq = ?"
_FINISH = "DELETE FROM event WHERE id = ? AND claim = ?"
_RETRY = "UPDATE event SET attempts = attempts + 1, due_at = ?, claim = NULL WHERE id = ? AND claim = ?"


def append(connection: sqlite3.Connection, event: Event) -> bool:
    """Keep an event, to be delivered at once; always True."""
    connection.execute(_INSERT, (*event, event.at))
    return True


def claim(connection: sqlite3.Connection, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Outgoing]:
    """Take those that are due, longest due first: of those that were never tried, the oldest."""
    rows = connection.execute(_DUE, (now, at_most(limit))).fetchall()
    connection.executemany(_CLAIM, [(until, claim, row[-1]) for row in rows])
    return [Outgoing(Event(*row[:4]), claim, row[4]) for row in rows]


def finish(connection: sqlite3.Connection, outgoing: Outgoing) -> bool:
    """Drop one, if it is still claimed by this claim."""
    return connection.execute(_FINISH, (outgoing.event.id, outgoing.claim)).rowcount == 1


def retry(connection: sqlite3.Connection, outgoing: Outgoing, due_at: Timestamp) -> bool:
    """Let one go, for a later attempt, if it is still claimed by this claim."""
    return connection.execute(_RETRY, (due_at, outgoing.event.id, outgoing.claim)).rowcount == 1


def count(connection: sqlite3.Connection) -> int:
    """How many there are."""
    found: int = connection.execute("SELECT n FROM event_count").fetchall()[0][0]
    return found
