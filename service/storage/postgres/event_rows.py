"""Events that are not delivered yet, in PostgreSQL; what writes runs in a transaction."""

from service.core.kept import Event, Outgoing
from service.core.model import Timestamp
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import changed
from service.storage.rows import at_most

_INSERT = "INSERT INTO event (id, type, at, body, attempts, due_at) VALUES ($1, $2, $3, $4, 0, $5)"
# By when they are due, not by their numbers: one that fails over and over holds up no other.
# By an array: of how many rows a join would be is not known when it is planned, and it would read the whole table.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT seq, due_at AS was FROM event WHERE due_at <= $1 ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE event SET due_at = $2, claim = $3 WHERE seq = ANY(ARRAY(SELECT seq FROM due))
    RETURNING id, type, at, body, attempts, seq
)
SELECT id, type, at, body, attempts FROM taken JOIN due USING (seq) ORDER BY was, seq
"""
_FINISH = "DELETE FROM event WHERE id = $1 AND claim = $2"
_RETRY = "UPDATE event SET attempts = attempts + 1, due_at = $1, claim = NULL WHERE id = $2 AND claim = $3"
_COUNT = "SELECT coalesce(sum(n), 0)::bigint FROM event_count"


async def append(session: Session, event: Event) -> bool:
    """Keep an event, to be delivered at once; always True."""
    await session.execute(_INSERT, *event, event.at)
    return True


async def claim(session: Session, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Outgoing]:
    """Take those that are due and that nobody else is taking, longest due first."""
    rows = await session.fetch(_CLAIM, now, until, claim, at_most(limit))
    return [Outgoing(Event(*row[:4]), claim, row[4]) for row in rows]


async def finish(session: Session, outgoing: Outgoing) -> bool:
    """Drop one, if it is still claimed by this claim."""
    return changed(await session.execute(_FINISH, outgoing.event.id, outgoing.claim))


async def retry(session: Session, outgoing: Outgoing, due_at: Timestamp) -> bool:
    """Let one go, for a later attempt, if it is still claimed by this claim."""
    return changed(await session.execute(_RETRY, due_at, outgoing.event.id, outgoing.claim))


async def count(session: Session) -> int:
    """How many there are."""
    found: int = await session.fetchval(_COUNT)
    return found
