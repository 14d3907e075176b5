"""Payloads that were rotated away, in SQLite: functions for the connections' threads."""

import sqlite3

from service.core.kept import KeptVersion
from service.core.model import Sealed, Timestamp
from service.storage.rows import MAX_INTEGER, at_most

_VERSION = "old.version, old.provider, old.type, old.public, old.status, old.made_at, old.replaced_at"
_OF = (
    "FROM credential JOIN credential_version AS old ON old.credential = credential.seq "
    "WHERE credential.id = ? AND credential.workspace = ?"
)

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_KEEP = (
    "INSERT INTO credential_version "
    "(credential, version, provider, type, public, status, made_at, replaced_at, key_id, sealed) "
    "SELECT seq, version, provider, type, public, status, payload_changed_at, ?, key_id, sealed "
    "FROM credential JOIN envelope ON envelope.credential = credential.seq WHERE seq = ?"
)
_DROP = (
    "DELETE FROM credential_version WHERE credential = :credential AND version <= (SELECT version "
    "FROM credential_version WHERE credential = :credential ORDER BY version DESC LIMIT 1 OFFSET :kept)"
)
_LIST = f"SELECT {_VERSION} {_OF} ORDER BY old.version DESC"
_GET_SEALED = f"SELECT {_VERSION}, old.key_id, old.sealed {_OF} AND old.version = ?"


def keep(connection: sqlite3.Connection, seq: int, replaced_at: Timestamp, most: int) -> None:
    """Keep the payload that a credential has now, for it is about to be replaced; at most so many in all.

    Args:
        seq: the credential's row.
        replaced_at: when it is replaced.
        most: how many are kept, this one among them.
    """
    connection.execute(_KEEP, (replaced_at, seq))
    connection.execute(_DROP, {"credential": seq, "kept": at_most(most)})


def every(connection: sqlite3.Connection, workspace: str, credential_id: str) -> list[KeptVersion]:
    """The kept ones of a credential, newest first."""
    return [KeptVersion(*row) for row in connection.execute(_LIST, (credential_id, workspace)).fetchall()]


def get_sealed(
    connection: sqlite3.Connection, workspace: str, credential_id: str, version: int
) -> tuple[KeptVersion, Sealed] | None:
    """One of them, with its envelope."""
    wanted = max(-1, min(version, MAX_INTEGER))
    rows = connection.execute(_GET_SEALED, (credential_id, workspace, wanted)).fetchall()
    return (KeptVersion(*rows[0][:-2]), Sealed(*rows[0][-2:])) if rows else None
