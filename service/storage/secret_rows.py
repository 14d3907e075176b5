"""Sealed secrets of the service itself, in SQLite: functions for the connections' threads."""

import sqlite3

from service.core.model import Sealed


def get(connection: sqlite3.Connection, name: str) -> Sealed | None:
    """One of them."""
    rows = connection.execute("SELECT key_id, sealed FROM service_secret WHERE name = ?", (name,)).fetchall()
    return Sealed(*rows[0]) if rows else None


def add(connection: sqlite3.Connection, name: str, sealed: Sealed) -> bool:
    """Keep one, unless there is one of that name."""
    added = connection.execute(
        "INSERT INTO service_secret (name, key_id, sealed) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, *sealed),
    )
    return added.rowcount == 1
