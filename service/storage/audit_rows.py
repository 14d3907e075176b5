"""Writing the audit trail."""

import sqlite3

from service.core.audit import AuditRecord
from service.core.model import timestamp


def append(connection: sqlite3.Connection, audit: AuditRecord) -> bool:
    """Add a record, in the transaction of what it records; always True."""
    connection.execute(
        "INSERT INTO audit (at, actor_kind, actor_id, actor_name, workspace, teamspace, family, action, target, "
        "outcome, request_id, address) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            timestamp(audit.at),
            audit.actor_kind,
            audit.actor_id,
            audit.actor_name,
            audit.workspace,
            audit.teamspace,
            audit.family,
            audit.action.value,
            audit.target,
            audit.outcome,
            audit.request_id,
            audit.address,
        ),
    )
    return True
