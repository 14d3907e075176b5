"""Credentials in SQLite: functions for the connections' threads, the writing ones inside a transaction."""

import sqlite3
from typing import Final, NamedTuple

from service.core.audit import AuditRecord
from service.core.errors import NameTaken
from service.core.kept import Event, KeptReport
from service.core.model import Credential, Scope, Sealed
from service.storage import audit_rows, event_rows, history_rows, version_rows, watch_rows
from service.storage.reader import snapshot
from service.storage.rows import CREDENTIAL, MAX_INTEGER, credential

NAME_TAKEN: Final = "A credential of this name exists already."

_IN_SCOPE = "workspace = ? AND teamspace = ? AND family = ?"
_FILTERS = {
    (False, False): "",
    (True, False): " AND provider = ?",
    (False, True): " AND type = ?",
    (True, True): " AND provider = ? AND type = ?",
}

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_GET = f"SELECT {CREDENTIAL} FROM credential WHERE {_IN_SCOPE} AND name = ?"  # noqa: S608
_GET_SEALED = (
    f"SELECT {CREDENTIAL}, key_id, sealed FROM credential "  # noqa: S608
    f"JOIN envelope ON envelope.credential = credential.seq WHERE {_IN_SCOPE} AND name = ?"
)
_FIND = (
    f"SELECT {CREDENTIAL}, key_id, sealed FROM credential "  # noqa: S608
    "JOIN envelope ON envelope.credential = credential.seq WHERE id = ? AND workspace = ?"
)
# The flag's value is in the text, because a parameter there could not use the partial index.
_GET_DEFAULT = f"SELECT {CREDENTIAL} FROM credential WHERE {_IN_SCOPE} AND provider = ? AND provider_default = 1"  # noqa: S608
_PAGE = {
    which: f"SELECT {CREDENTIAL} FROM credential WHERE {_IN_SCOPE}{more} ORDER BY name LIMIT ? OFFSET ?"  # noqa: S608
    for which, more in _FILTERS.items()
}
_TOTAL = {
    which: f"SELECT coalesce(sum(n), 0) FROM credential_count WHERE {_IN_SCOPE}{more}"  # noqa: S608
    for which, more in _FILTERS.items()
}
_INSERT = (
    f"INSERT INTO credential ({CREDENTIAL}, warn_of) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq"
)
# Of an end that stays, whoever was warned stays warned.
_UPDATE = (
    "UPDATE credential SET name = :name, provider = :provider, type = :type, provider_default = :provider_default, "
    "allowed_in_tasks = :allowed_in_tasks, version = :version, revision = :revision, updated_at = :updated_at, "
    "public = :public, status = :status, verification = :verification, attempt = :attempt, "
    "payload_changed_at = :payload_changed_at, expires_at = :expires_at, "
    "warn_of = iif(expires_at IS :expires_at, warn_of, :expires_at) WHERE seq = :seq"
)
_PUT_ENVELOPE = (
    "INSERT INTO envelope (credential, key_id, sealed) VALUES (?, ?, ?) "
    "ON CONFLICT (credential) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed"
)
_OF_REVISION = f"SELECT seq, provider, type FROM credential WHERE id = ? AND {_IN_SCOPE} AND revision = ?"  # noqa: S608
_DELETE = f"DELETE FROM credential WHERE id = ? AND {_IN_SCOPE} AND revision = ? RETURNING provider, type"  # noqa: S608
_HAS_ID = "SELECT 1 FROM credential WHERE id = ?"
_OWNER = f"SELECT id FROM credential WHERE {_IN_SCOPE} AND name = ?"  # noqa: S608
_TAKE_DEFAULT = (
    "UPDATE credential SET provider_default = 0, revision = revision + 1, updated_at = ? "  # noqa: S608
    f"WHERE {_IN_SCOPE} AND provider = ? AND provider_default = 1 AND id <> ?"
)
_ADD = f"UPDATE credential_count SET n = n + ? WHERE {_IN_SCOPE} AND provider = ? AND type = ?"  # noqa: S608


def get(connection: sqlite3.Connection, scope: Scope, name: str) -> Credential | None:
    """One credential, without its envelope."""
    rows = connection.execute(_GET, (*scope, name)).fetchall()
    return credential(rows[0]) if rows else None


def get_sealed(connection: sqlite3.Connection, scope: Scope, name: str) -> tuple[Credential, Sealed] | None:
    """One credential with its envelope."""
    rows = connection.execute(_GET_SEALED, (*scope, name)).fetchall()
    return (credential(rows[0]), Sealed(*rows[0][-2:])) if rows else None


def find(connection: sqlite3.Connection, workspace: str, credential_id: str) -> tuple[Credential, Sealed] | None:
    """One credential of a workspace by its id, with its envelope."""
    rows = connection.execute(_FIND, (credential_id, workspace)).fetchall()
    return (credential(rows[0]), Sealed(*rows[0][-2:])) if rows else None


def get_default(connection: sqlite3.Connection, scope: Scope, provider: str) -> Credential | None:
    """The provider's default, if the scope has one."""
    rows = connection.execute(_GET_DEFAULT, (*scope, provider)).fetchall()
    return credential(rows[0]) if rows else None


def page(
    connection: sqlite3.Connection, scope: Scope, provider: str | None, type_: str | None, offset: int, limit: int
) -> tuple[list[Credential], int]:
    """One page by name, and the total of the same moment."""
    which = (provider is not None, type_ is not None)
    wanted = (*scope, *(one for one in (provider, type_) if one is not None))
    bounds = (min(limit, MAX_INTEGER), min(offset, MAX_INTEGER))
    with snapshot(connection):
        rows = connection.execute(_PAGE[which], (*wanted, *bounds)).fetchall()
        total = connection.execute(_TOTAL[which], wanted).fetchall()[0][0]
    return [credential(row) for row in rows], total


def create(
    connection: sqlite3.Connection, one: Credential, sealed: Sealed, audit: AuditRecord, report: KeptReport | None
) -> bool:
    """Add a credential and its envelope; its turn comes at once."""
    if _owner(connection, one.scope, one.name) is not None or connection.execute(_HAS_ID, (one.id,)).fetchall():
        raise NameTaken(NAME_TAKEN)
    if one.provider_default:
        _take_default(connection, one)
    seq = connection.execute(_INSERT, (*one, one.expires_at)).fetchall()[0][0]
    connection.execute(_PUT_ENVELOPE, (seq, *sealed))
    _count(connection, one.scope, one.provider, one.type, 1)
    watch_rows.start(connection, seq, one)
    if report is not None:
        history_rows.append(connection, seq, report)
    return audit_rows.append(connection, audit)


class Change(NamedTuple):
    """What `Store.update_credential` is given."""

    one: Credential
    sealed: Sealed | None
    audit: AuditRecord
    expected_revision: int
    keep_versions: int | None
    report: KeptReport | None


def update(connection: sqlite3.Connection, change: Change) -> bool:
    """Replace a record of the expected revision, and its envelope if one is given."""
    one = change.one
    found = connection.execute(_OF_REVISION, (one.id, *one.scope, change.expected_revision)).fetchall()
    if not found:
        return False
    seq, provider, type_ = found[0]
    if _owner(connection, one.scope, one.name) not in (None, one.id):
        raise NameTaken(NAME_TAKEN)
    # Before ours is set: at no moment may two rows have the flag.
    if one.provider_default:
        _take_default(connection, one)
    if change.sealed is not None and change.keep_versions is not None:
        version_rows.keep(connection, seq, one.payload_changed_at, change.keep_versions)
    connection.execute(_UPDATE, {**one._asdict(), "seq": seq})
    if (provider, type_) != (one.provider, one.type):
        _count(connection, one.scope, provider, type_, -1)
        _count(connection, one.scope, one.provider, one.type, 1)
    if change.sealed is not None:
        connection.execute(_PUT_ENVELOPE, (seq, *change.sealed))
        watch_rows.start(connection, seq, one)
    elif provider != one.provider:
        watch_rows.move(connection, seq, one)
    if change.report is not None:
        history_rows.append(connection, seq, change.report)
    return audit_rows.append(connection, change.audit)


def delete(connection: sqlite3.Connection, one: Credential, audit: AuditRecord, event: Event | None) -> bool:
    """Remove a record of the given revision; all that hangs on it goes with it."""
    gone = connection.execute(_DELETE, (one.id, *one.scope, one.revision)).fetchall()
    if not gone:
        return False
    provider, type_ = gone[0]
    _count(connection, one.scope, provider, type_, -1)
    if event is not None:
        event_rows.append(connection, event)
    return audit_rows.append(connection, audit)


def _owner(connection: sqlite3.Connection, scope: Scope, name: str) -> str | None:
    """The id of the credential that has a name. In a write transaction nobody can take it in between."""
    rows = connection.execute(_OWNER, (*scope, name)).fetchall()
    return rows[0][0] if rows else None


def _take_default(connection: sqlite3.Connection, one: Credential) -> None:
    """The previous default of the provider loses the flag; its representation changes with it."""
    connection.execute(_TAKE_DEFAULT, (one.updated_at, *one.scope, one.provider, one.id))


def _count(connection: sqlite3.Connection, scope: Scope, provider: str, type_: str, by: int) -> None:
    """Keep the totals in step; a write that would make one negative fails as a whole."""
    changed = connection.execute(_ADD, (by, *scope, provider, type_)).rowcount
    if not changed:
        connection.execute("INSERT INTO credential_count VALUES (?, ?, ?, ?, ?, ?)", (*scope, provider, type_, by))
