"""Credentials as they are written to PostgreSQL: functions that run in a transaction.

Locks are taken in this order, so that hardly any two transactions wait for each other: a scope's defaults, credentials,
their turns, the counts of credentials, of turns, of events.
"""

from typing import Final, NamedTuple

import asyncpg

from service.core.audit import AuditRecord
from service.core.errors import NameTaken
from service.core.kept import Event, KeptReport
from service.core.model import Credential, Sealed
from service.storage.postgres import audit_rows, event_rows, history_rows, version_rows, watch_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.credential_reads import IN_SCOPE
from service.storage.postgres.errors import TryAgain
from service.storage.rows import CREDENTIAL, CREDENTIAL_COLUMNS

NAME_TAKEN: Final = "A credential of this name exists already."

_VALUES = ", ".join(f"${number}" for number in range(1, CREDENTIAL_COLUMNS + 1))

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
# One round trip for all of a new credential. $1 to $19 are its columns; of $19, its end, nobody was warned.
_CREATE = f"""
WITH added AS (
    INSERT INTO credential ({CREDENTIAL}, warn_of) VALUES ({_VALUES}, $19) ON CONFLICT DO NOTHING RETURNING seq
), sealed AS (
    INSERT INTO envelope (credential, key_id, sealed) SELECT seq, $20, $21 FROM added
), counted AS (
    INSERT INTO credential_count AS here (workspace, teamspace, family, provider, type, n)
    SELECT $2, $3, $4, $6, $7, 1 FROM added
    ON CONFLICT (workspace, teamspace, family, provider, type) DO UPDATE SET n = here.n + 1
)
SELECT seq FROM added
"""  # noqa: S608
_TAKEN = f"SELECT 1 FROM credential WHERE ({IN_SCOPE} AND name = $4) OR id = $5 LIMIT 1"  # noqa: S608
# Keeps others from setting the flag until the end of the transaction: a row that is not there yet can't be locked. Two
# scopes that hash to one number only wait for each other.
_LOCK_DEFAULTS = "SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(1) || $2 || chr(1) || $3, 20))"
_TAKE_DEFAULT = (
    "UPDATE credential SET provider_default = false, revision = revision + 1, updated_at = $6 "  # noqa: S608
    f"WHERE {IN_SCOPE} AND provider = $4 AND provider_default AND id <> $5"
)
_OF_REVISION = (
    f"SELECT seq, name, provider, type FROM credential WHERE id = $4 AND {IN_SCOPE} AND revision = $5 "  # noqa: S608
    "FOR NO KEY UPDATE"
)
# Of an end that stays, whoever was warned stays warned.
_UPDATE = """
UPDATE credential SET name = $2, provider = $3, type = $4, provider_default = $5, allowed_in_tasks = $6, version = $7,
    revision = $8, updated_at = $9, public = $10, status = $11, verification = $12, attempt = $13,
    payload_changed_at = $14, expires_at = $15,
    warn_of = CASE WHEN expires_at IS NOT DISTINCT FROM $15 THEN warn_of ELSE $15 END
WHERE seq = $1
"""
_PUT_ENVELOPE = (
    "INSERT INTO envelope (credential, key_id, sealed) VALUES ($1, $2, $3) "
    "ON CONFLICT (credential) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed"
)
_COUNT = (
    "INSERT INTO credential_count AS here (workspace, teamspace, family, provider, type, n) "
    "VALUES ($1, $2, $3, $4, $5, 1) "
    "ON CONFLICT (workspace, teamspace, family, provider, type) DO UPDATE SET n = here.n + 1"
)
_UNCOUNT = f"UPDATE credential_count SET n = n - 1 WHERE {IN_SCOPE} AND provider = $4 AND type = $5"  # noqa: S608


async def create(
    session: Session, one: Credential, sealed: Sealed, audit: AuditRecord, report: KeptReport | None
) -> bool:
    """Add a credential and its envelope; its turn comes at once."""
    if one.provider_default:
        await session.execute(_LOCK_DEFAULTS, *one.scope)
        await _take_default(session, one)
    seq = await session.fetchval(_CREATE, *one, *sealed)
    if seq is None:
        # The flag of the default is unique too, and a release that takes no lock may have set it.
        if await session.fetchval(_TAKEN, *one.scope, one.name, one.id):
            raise NameTaken(NAME_TAKEN)
        raise TryAgain
    await watch_rows.start(session, seq, one)
    if report is not None:
        await history_rows.append(session, seq, report)
    return await audit_rows.append(session, audit)


class Change(NamedTuple):
    """What `Store.update_credential` is given."""

    one: Credential
    sealed: Sealed | None
    audit: AuditRecord
    expected_revision: int
    keep_versions: int | None
    report: KeptReport | None


async def update(session: Session, change: Change) -> bool:
    """Replace a record of the expected revision, and its envelope if one is given."""
    one = change.one
    if one.provider_default:
        await session.execute(_LOCK_DEFAULTS, *one.scope)
    found = await session.fetchrow(_OF_REVISION, *one.scope, one.id, change.expected_revision)
    if found is None:
        return False
    seq, name, provider, type_ = found
    if name != one.name and await session.fetchval(_TAKEN, *one.scope, one.name, ""):
        raise NameTaken(NAME_TAKEN)
    if change.sealed is not None and change.keep_versions is not None:
        await version_rows.keep(session, seq, one.payload_changed_at, change.keep_versions)
    await _replace(session, seq, one)
    if (provider, type_) != (one.provider, one.type):
        await _recount(session, one, provider, type_)
    if change.sealed is not None:
        await session.execute(_PUT_ENVELOPE, seq, *change.sealed)
        await watch_rows.start(session, seq, one)
    elif provider != one.provider:
        await watch_rows.move(session, seq, one)
    if change.report is not None:
        await history_rows.append(session, seq, change.report)
    return await audit_rows.append(session, change.audit)


async def delete(session: Session, one: Credential, audit: AuditRecord, event: Event | None) -> bool:
    """Remove a record of the given revision; all that hangs on it goes with it."""
    found = await session.fetchrow(_OF_REVISION, *one.scope, one.id, one.revision)
    if found is None:
        return False
    seq, _, provider, type_ = found
    await session.execute(_UNCOUNT, *one.scope, provider, type_)
    await session.execute("DELETE FROM credential WHERE seq = $1", seq)
    if event is not None:
        await event_rows.append(session, event)
    return await audit_rows.append(session, audit)


async def _replace(session: Session, seq: int, one: Credential) -> None:
    """Write the columns of a record, the flag of the default among them.

    Raises:
        NameTaken: somebody took the new name just now.
        TryAgain: somebody set the flag of the default just now.
    """
    # Before ours is set: at no moment may two rows have the flag.
    if one.provider_default:
        await _take_default(session, one)
    try:
        await session.execute(
            _UPDATE,
            seq,
            one.name,
            one.provider,
            one.type,
            one.provider_default,
            one.allowed_in_tasks,
            one.version,
            one.revision,
            one.updated_at,
            one.public,
            one.status,
            one.verification,
            one.attempt,
            one.payload_changed_at,
            one.expires_at,
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "credential_by_name":
            raise NameTaken(NAME_TAKEN) from None
        raise TryAgain from None


async def _take_default(session: Session, one: Credential) -> None:
    """The previous default of the provider loses the flag; its representation changes with it."""
    await session.execute(_TAKE_DEFAULT, *one.scope, one.provider, one.id, one.updated_at)


async def _recount(session: Session, one: Credential, provider: str, type_: str) -> None:
    """Keep the totals in step with another provider or type; two that change places take the two rows in one order."""
    steps = [((provider, type_), _UNCOUNT), ((one.provider, one.type), _COUNT)]
    for (each_provider, each_type), statement in sorted(steps):
        await session.execute(statement, *one.scope, each_provider, each_type)
