"""API keys and users in SQLite: functions for the connections' threads, the writing ones inside a transaction."""

import sqlite3

from service.core.audit import AuditRecord
from service.core.errors import NameTaken
from service.core.model import ApiKey, User, timestamp
from service.storage import audit_rows
from service.storage.rows import API_KEY, USER, api_key, api_key_row, user, user_row

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_GET_KEY = f"SELECT {API_KEY} FROM api_key WHERE id = ?"  # noqa: S608
_LIST_KEYS = f"SELECT {API_KEY} FROM api_key ORDER BY created_at, id"  # noqa: S608
_ADD_KEY = f"INSERT INTO api_key ({API_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_GET_USER = f"SELECT {USER} FROM user WHERE name = ?"  # noqa: S608
_LIST_USERS = f"SELECT {USER} FROM user ORDER BY name"  # noqa: S608
_ADD_USER = f"INSERT INTO user ({USER}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608


def get_api_key(connection: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """One API key, whatever its state."""
    rows = connection.execute(_GET_KEY, (key_id,)).fetchall()
    return api_key(rows[0]) if rows else None


def list_api_keys(connection: sqlite3.Connection) -> list[ApiKey]:
    """All API keys, oldest first."""
    return [api_key(row) for row in connection.execute(_LIST_KEYS).fetchall()]


def create_api_key(connection: sqlite3.Connection, key: ApiKey, audit: AuditRecord) -> bool:
    """Add an API key."""
    connection.execute(_ADD_KEY, api_key_row(key))
    return audit_rows.append(connection, audit)


def revoke_api_key(connection: sqlite3.Connection, key_id: str, audit: AuditRecord) -> bool:
    """Revoke a key that is not revoked yet. An expired one can be: the operator's word is kept all the same."""
    changed = connection.execute(
        "UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (timestamp(audit.at), key_id)
    ).rowcount
    return changed == 1 and audit_rows.append(connection, audit)


def get_user(connection: sqlite3.Connection, name: str) -> User | None:
    """One user."""
    rows = connection.execute(_GET_USER, (name,)).fetchall()
    return user(rows[0]) if rows else None


def list_users(connection: sqlite3.Connection) -> list[User]:
    """All users by name."""
    return [user(row) for row in connection.execute(_LIST_USERS).fetchall()]


def create_user(connection: sqlite3.Connection, one: User, audit: AuditRecord) -> bool:
    """Add a user of a new name."""
    if connection.execute("SELECT 1 FROM user WHERE name = ?", (one.name,)).fetchall():
        raise NameTaken("A user of this name exists already.")
    connection.execute(_ADD_USER, user_row(one))
    return audit_rows.append(connection, audit)


def delete_user(connection: sqlite3.Connection, name: str, audit: AuditRecord) -> bool:
    """Remove a user."""
    gone = connection.execute("DELETE FROM user WHERE name = ?", (name,)).rowcount
    return gone == 1 and audit_rows.append(connection, audit)
