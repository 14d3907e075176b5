"""Whose turn it is to be verified or warned of, in PostgreSQL: functions that run in a transaction."""

from collections.abc import Callable
from typing import Final

from service.core.kept import Due, Event, Watch
from service.core.model import Credential, Family, Sealed, Timestamp
from service.storage.postgres import event_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import changed, fetchrow
from service.storage.rows import CREDENTIAL, CREDENTIAL_COLUMNS, at_most, credential

SHARED_LANE: Final = "shared"

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_START = (
    "INSERT INTO watch (credential, lane, due_at, claim, rejections) VALUES ($1, $2, $3, NULL, $4) "
    "ON CONFLICT (credential) DO UPDATE SET "
    "lane = excluded.lane, due_at = excluded.due_at, claim = NULL, rejections = excluded.rejections"
)
_RESTART = "UPDATE watch SET due_at = $1, claim = NULL, rejections = 0 WHERE credential = $2"
_MOVE = "UPDATE watch SET lane = $1 WHERE credential = $2"
_GO_ON = (
    "UPDATE watch SET due_at = $2, claim = NULL, rejections = $3 "
    "WHERE credential = $1 AND ($4::text IS NULL OR claim = $4)"
)
_SEQ = "SELECT seq FROM credential WHERE id = $1"
# By an array: see `event_rows`. And in two statements: the second sees the credentials as they are once nobody else can
# give them another payload, for that moves the turn too.
_BRING_FORWARD = (
    "UPDATE watch SET due_at = $3 WHERE credential IN (SELECT credential FROM watch WHERE lane = $1 AND due_at > $2 "
    "ORDER BY due_at DESC LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING credential"
)
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT credential, due_at AS was FROM watch WHERE lane = $1 AND due_at <= $2
    AND NOT EXISTS (SELECT FROM lane_pause WHERE lane_pause.lane = $1 AND lane_pause.until > $2)
    ORDER BY due_at LIMIT $5 FOR UPDATE OF watch SKIP LOCKED
), taken AS (
    UPDATE watch SET due_at = $3, claim = $4 WHERE credential = ANY(ARRAY(SELECT credential FROM due))
    RETURNING credential
)
SELECT credential FROM taken JOIN due USING (credential) ORDER BY was
"""
_CLAIMED = f"""
SELECT {CREDENTIAL}, key_id, sealed, rejections FROM unnest($1::bigint[]) WITH ORDINALITY AS turn (seq, place)
JOIN credential USING (seq) JOIN envelope ON envelope.credential = seq JOIN watch ON watch.credential = seq
ORDER BY place
"""  # noqa: S608
_PAUSE = (
    "INSERT INTO lane_pause AS here (lane, until) VALUES ($1, $2) "
    "ON CONFLICT (lane) DO UPDATE SET until = excluded.until WHERE excluded.until > here.until"
)
_COUNT = "SELECT coalesce(sum(n), 0)::bigint FROM watch_count WHERE lane = $1"
_EXPIRING = (
    f"SELECT {CREDENTIAL}, seq FROM credential WHERE warn_of IS NOT NULL AND warn_of <= $1 "  # noqa: S608
    "ORDER BY warn_of LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
)
_WARNED = "UPDATE credential SET warn_of = NULL WHERE seq = ANY($1::bigint[])"


def lane(family: str, provider: str) -> str:
    """In which lane a credential is watched."""
    return SHARED_LANE if family == Family.SHARED else provider


async def start(session: Session, seq: int, one: Credential) -> None:
    """A credential got a payload: it is due at once, if it is watched.

    Whoever has claimed it for the payload before has no say any more.
    """
    if one.family == Family.ACCESS or one.status is not None:
        await session.execute(_START, seq, lane(one.family, one.provider), one.updated_at, 0)
    else:
        await session.execute(_RESTART, one.updated_at, seq)


async def move(session: Session, seq: int, one: Credential) -> None:
    """The lane of a watched credential follows it."""
    await session.execute(_MOVE, lane(one.family, one.provider), seq)


async def go_on(session: Session, seq: int, watch: Watch, begin_in: str | None = None) -> bool:
    """Say when a credential is due next; False if the claim is not its any more.

    Args:
        session: in a transaction.
        seq: the credential's row.
        watch: when, and by whose claim.
        begin_in: the lane in which it is watched from now on, should it not be watched yet; None to leave it so.
    """
    if changed(await session.execute(_GO_ON, seq, watch.due_at, watch.rejections, watch.claim)):
        return True
    if begin_in is None or watch.claim is not None:
        return False
    await session.execute(_START, seq, begin_in, watch.due_at, watch.rejections)
    return True


async def put_off(session: Session, credential_id: str, watch: Watch) -> bool:
    """The same by the credential's id."""
    seq = await session.fetchval(_SEQ, credential_id)
    return seq is not None and await go_on(session, seq, watch)


async def bring_forward(session: Session, lane: str, beyond: Timestamp, to: Timestamp, limit: int) -> int:
    """Let turns that lie further ahead come earlier; how many it were."""
    return len(await session.fetch(_BRING_FORWARD, lane, beyond, to, at_most(limit)))


async def claim_due(session: Session, lane: str, now: Timestamp, until: Timestamp, claim: str, limit: int) -> list[Due]:
    """Take those of a lane whose turn it is and that nobody else is taking, longest due first."""
    turns = [row[0] for row in await session.fetch(_CLAIM, lane, now, until, claim, at_most(limit))]
    if not turns:
        return []
    rows = await session.fetch(_CLAIMED, turns)
    sealed, rejections = CREDENTIAL_COLUMNS, CREDENTIAL_COLUMNS + 2
    return [Due(credential(tuple(row)), Sealed(*row[sealed:rejections]), claim, row[rejections]) for row in rows]


async def pause(session: Session, lane: str, until: Timestamp) -> bool:
    """Let nobody take any of a lane until then; False if it is paused for longer already."""
    return changed(await session.execute(_PAUSE, lane, until))


async def count(session: Session, lane: str) -> int:
    """How many are watched in a lane."""
    row = await fetchrow(session, _COUNT, lane)
    return row[0] if row else 0


async def claim_expiring(
    session: Session, before: Timestamp, event: Callable[[Credential], Event | None], limit: int
) -> list[Credential]:
    """Take those that end by then and whose end nobody was warned of, the next end first."""
    rows = await session.fetch(_EXPIRING, before, at_most(limit))
    ones = [credential(tuple(row)) for row in rows]
    await session.execute(_WARNED, [row[-1] for row in rows])
    for one in ones:
        made = event(one)
        if made is not None:
            await event_rows.append(session, made)
    return ones
