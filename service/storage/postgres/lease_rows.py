"""Leases in PostgreSQL; what writes runs in a transaction."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.core.audit import AuditRecord
from service.core.kept import Lease, ListedLease
from service.core.model import Credential, Timestamp, timestamp
from service.core.store import LEASE_KEPT_DAYS
from service.storage.postgres import audit_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import fetch
from service.storage.rows import LEASE, MAX_INTEGER, at_most, lease_row, listed_lease

DROPPED_AT_ONCE: Final = 20
"""Old leases that one new one drops at most: more than it adds, so a backlog melts; few, so that none pays for it."""

_KEPT: Final = timedelta(days=LEASE_KEPT_DAYS)

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_INSERT = (
    f"INSERT INTO lease ({LEASE}) "  # noqa: S608
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
)
_DROP = (
    "DELETE FROM lease WHERE id = ANY(ARRAY("
    "SELECT id FROM lease WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
)

# Text times compare as times. A user who was made after the lease is another one of the same name.
_REVOKED = """
CASE caller_kind
WHEN 'api_key' THEN NOT EXISTS (
    SELECT FROM api_key WHERE api_key.id = lease.caller_id AND api_key.revoked_at IS NULL
    AND (api_key.expires_at IS NULL OR api_key.expires_at > {now}))
WHEN 'user' THEN NOT EXISTS (
    SELECT FROM user_account WHERE user_account.name = lease.caller_id AND user_account.created_at <= lease.issued_at)
END
"""

# Live leases are the newest, but for some: from the oldest live one on, the history before it is never read.
_LIVE = """
AND one.expires_at > {live_at} AND one.seq >=
    (SELECT min(oldest.seq) FROM lease AS oldest WHERE oldest.workspace = $1 AND oldest.expires_at > {live_at})
"""

# Shared locks: nobody gives the credential another payload, or revokes the caller, before the lease is kept. A version
# alone would also be that of a credential that was put under the same id meanwhile.
_STILL_MEANT = (
    "SELECT 1 FROM credential WHERE id = $1 AND workspace = $2 AND version = $3 AND payload_changed_at = $4 "
    "AND family = 'access' AND allowed_in_tasks FOR SHARE"
)
_CALLER_STILL_THERE = {
    "api_key": "SELECT 1 FROM api_key WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) "
    "FOR SHARE",
    "user": "SELECT 1 FROM user_account WHERE name = $1 AND created_at <= $2 FOR SHARE",
}


class Wanted(NamedTuple):
    """Which leases a page is of. See `Store.list_leases`."""

    workspace: str
    teamspaces: frozenset[str] | None
    credential_id: str | None
    live_at: Timestamp | None
    before: int | None
    limit: int


async def create(session: Session, lease: Lease, audit: AuditRecord, made_of: Credential | None = None) -> bool:
    """Add a lease, unless what it is made of or for is not what it was; and drop some that nobody lists any more."""
    if made_of is not None and not await _still(session, lease, made_of):
        return False
    await session.execute(_INSERT, *lease_row(lease))
    dropped_before = timestamp(datetime.fromisoformat(lease.issued_at) - _KEPT)
    await session.execute(_DROP, dropped_before, DROPPED_AT_ONCE)
    return await audit_rows.append(session, audit)


async def _still(session: Session, lease: Lease, one: Credential) -> bool:
    """Whether the credential has the payload that the lease was made of, and its caller has not been revoked."""
    if not await session.fetchval(_STILL_MEANT, one.id, one.workspace, one.version, one.payload_changed_at):
        return False
    there = _CALLER_STILL_THERE.get(lease.caller_kind)
    return there is None or bool(await session.fetchval(there, lease.caller_id, lease.issued_at))


async def page(session: Session, wanted: Wanted, now: Timestamp) -> list[ListedLease]:
    """One page, newest first.

    Args:
        session: that reads.
        wanted: which leases.
        now: the time at which a caller's API key may have expired.
    """
    teamspaces, credential_id, live_at = wanted.teamspaces, wanted.credential_id, wanted.live_at
    before = MAX_INTEGER if wanted.before is None else at_most(wanted.before)
    given = (
        # A text with a NUL is no teamspace, and would keep the others from being asked for.
        None if teamspaces is None else sorted(name for name in teamspaces if "\0" not in name),
        credential_id,
        live_at,
    )
    which = (teamspaces is not None, credential_id is not None, live_at is not None)
    values = [value for value in given if value is not None]
    rows = await fetch(session, _PAGE[which], wanted.workspace, before, at_most(wanted.limit), now, *values)
    return [listed_lease(tuple(row)) for row in rows]


def _page(by_teamspace: bool, by_credential: bool, live: bool) -> str:
    """The statement for a combination of filters. What is read does not grow with what is filtered out.

    $1 is the workspace, $2 where the page before ended, $3 the limit, $4 the time; then come the filters' values.
    """
    names = [
        name for name, there in (("team", by_teamspace), ("credential", by_credential), ("live_at", live)) if there
    ]
    number = {name: f"${place}" for place, name in enumerate(names, 5)}
    newest = (
        "SELECT one.seq FROM lease AS one WHERE one.workspace = $1 AND one.seq < $2 "  # noqa: S608
        + ("AND one.teamspace = team.name " if by_teamspace else "")
        + (f"AND one.credential_id = {number['credential']} " if by_credential else "")
        + (_LIVE.format(live_at=number["live_at"]) if live else "")
        + "ORDER BY one.seq DESC LIMIT $3"
    )
    if by_teamspace:
        # A page of each teamspace, of which the newest are the page of all: one parameter, however many there are.
        newest = (
            f"SELECT each.seq FROM unnest({number['team']}::text[]) AS team (name) "  # noqa: S608
            f"CROSS JOIN LATERAL ({newest}) AS each ORDER BY each.seq DESC LIMIT $3"
        )
    revoked = _REVOKED.format(now="$4")
    return (
        f"SELECT seq, {LEASE}, {revoked} FROM lease "  # noqa: S608
        f"WHERE workspace = $1 AND seq = ANY(ARRAY({newest})) ORDER BY seq DESC"
    )


_BOTH = (False, True)
_PAGE = {(team, one, live): _page(team, one, live) for team in _BOTH for one in _BOTH for live in _BOTH}
