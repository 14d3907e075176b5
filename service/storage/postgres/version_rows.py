"""Payloads that were rotated away, in PostgreSQL."""

from service.core.kept import KeptVersion
from service.core.model import Sealed, Timestamp
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import fetch, fetchrow
from service.storage.rows import MAX_INTEGER, at_most

_VERSION = "old.version, old.provider, old.type, old.public, old.status, old.made_at, old.replaced_at"
_OF = (
    "FROM credential JOIN credential_version AS old ON old.credential = credential.seq "
    "WHERE credential.id = $1 AND credential.workspace = $2"
)

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_KEEP = (
    "INSERT INTO credential_version "
    "(credential, version, provider, type, public, status, made_at, replaced_at, key_id, sealed) "
    "SELECT seq, version, provider, type, public, status, payload_changed_at, $2, key_id, sealed "
    "FROM credential JOIN envelope ON envelope.credential = credential.seq WHERE seq = $1"
)
_DROP = (
    "DELETE FROM credential_version WHERE credential = $1 AND version <= "
    "(SELECT version FROM credential_version WHERE credential = $1 ORDER BY version DESC LIMIT 1 OFFSET $2)"
)
_LIST = f"SELECT {_VERSION} {_OF} ORDER BY old.version DESC"
_GET_SEALED = f"SELECT {_VERSION}, old.key_id, old.sealed {_OF} AND old.version = $3"


async def keep(session: Session, seq: int, replaced_at: Timestamp, most: int) -> None:
    """Keep the payload that a credential has now, for it is about to be replaced; at most so many in all.

    Args:
        session: in a transaction that has locked the credential.
        seq: the credential's row.
        replaced_at: when it is replaced.
        most: how many are kept, this one among them.
    """
    await session.execute(_KEEP, seq, replaced_at)
    await session.execute(_DROP, seq, at_most(most))


async def every(session: Session, workspace: str, credential_id: str) -> list[KeptVersion]:
    """The kept ones of a credential, newest first."""
    return [KeptVersion(*row) for row in await fetch(session, _LIST, credential_id, workspace)]


async def get_sealed(
    session: Session, workspace: str, credential_id: str, version: int
) -> tuple[KeptVersion, Sealed] | None:
    """One of them, with its envelope."""
    row = await fetchrow(session, _GET_SEALED, credential_id, workspace, max(-1, min(version, MAX_INTEGER)))
    return (KeptVersion(*row[:-2]), Sealed(*row[-2:])) if row else None
