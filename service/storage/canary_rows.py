"""The canary, and whether there is anything it stands for."""

import sqlite3

from service.core.model import Sealed


def get(connection: sqlite3.Connection) -> Sealed | None:
    """The canary, if there is one."""
    rows = connection.execute("SELECT key_id, sealed FROM canary").fetchall()
    return Sealed(*rows[0]) if rows else None


def put(connection: sqlite3.Connection, canary: Sealed) -> bool:
    """Keep the canary instead of an older one; always True."""
    connection.execute("INSERT OR REPLACE INTO canary (only, key_id, sealed) VALUES (1, ?, ?)", tuple(canary))
    return True


def touch(connection: sqlite3.Connection) -> bool:
    """Write the canary's row as it is; True if there is one, and so something to commit."""
    return connection.execute("UPDATE canary SET only = only").rowcount == 1


def holds_secrets(connection: sqlite3.Connection) -> bool:
    """Whether any envelope is there: a credential's, a kept version's or the service's own."""
    found: int = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM envelope) OR EXISTS (SELECT 1 FROM credential_version) "
        "OR EXISTS (SELECT 1 FROM service_secret)"
    ).fetchall()[0][0]
    return found == 1
