"""Databases as earlier versions of the schema left them, written with SQL alone: today's code knows today's schema."""

import sqlite3
import time
from pathlib import Path

from service.core.model import Credential, Family, Scope
from service.storage.migrations import load
from service.storage.opening import make_file, prepare_to_write
from tests.contracts.records import TEAM, a_credential, a_lease, a_seal, at

SHARED = Scope("ws_default", "", Family.SHARED.value)
EARLY_COLUMNS = 16
"""Of a credential in the first two schemas: the first of today's."""

ONES = [
    a_credential("one", provider_default=True, updated_at=at(7)),
    a_credential(
        "näme",
        TEAM,
        provider="GCP",
        type="token",
        version=2,
        revision=3,
        updated_at=at(5),
        payload_changed_at=at(5),
        status="verified",
        verification="{}",
    ),
    a_credential("never verified", SHARED, provider="", type="text"),
    a_credential("verified", SHARED, provider="", type="text", status="failed", verification="{}"),
]
"""As they are to be seen after all migrations."""


def fill(path: Path, version: int) -> list[Credential]:
    """Make a database of an early schema, with something in every table.

    Args:
        path: where.
        version: of the schema, 1 or 2.

    Returns:
        `ONES`: its credentials. The envelope of each says its name.
    """
    make_file(path)
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        prepare_to_write(path, load()[:version], time.monotonic() + 5, connection)
        _fill_first(connection)
        if version > 1:
            _insert(connection, "lease", 1, *a_lease(ONES[0], caller_id="key"))
    finally:
        connection.close()
    return ONES


def _fill_first(connection: sqlite3.Connection) -> None:
    for seq, one in enumerate(ONES, start=1):
        _insert(connection, "credential", seq, *one[:EARLY_COLUMNS])
        _insert(connection, "envelope", seq, *a_seal(one.name))
    connection.execute(
        "INSERT INTO credential_count "
        "SELECT workspace, teamspace, family, provider, type, count(*) FROM credential GROUP BY 1, 2, 3, 4, 5"
    )
    _insert(connection, "canary", 1, "k1", b"canary")
    _insert(connection, "api_key", "key", "a key", b"hash", "ws_default", "editor", '["team-a"]', at(0), None, None)
    _insert(connection, "user", "ann", "hash", "ws_default", "admin", at(0))
    who, what = ("api_key", "key", "a key"), ("ws_default", "", "access", "credential.create", ONES[0].id)
    _insert(connection, "audit", 1, at(0), *who, *what, "done", "request-1", "127.0.0.1")


def _insert(connection: sqlite3.Connection, table: str, *values: object) -> None:
    connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
