"""What is recorded of every write, every reveal, and every verdict that is kept.

The record of a write is in the write's transaction, that of a reveal commits before the secret leaves.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from service.core.model import Caller, Scope


class Action(StrEnum):
    """What was done."""

    CREATE = "credential.create"
    UPDATE = "credential.update"
    DELETE = "credential.delete"
    REVEAL = "credential.reveal"
    VERIFY = "credential.verify"
    LEASE = "credential.lease"
    KEY_CREATE = "api_key.create"
    KEY_REVOKE = "api_key.revoke"
    USER_CREATE = "user.create"
    USER_DELETE = "user.delete"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what to which, from where, and how it ended. Holds no secret."""

    at: datetime
    actor_kind: str
    actor_id: str
    actor_name: str
    workspace: str
    teamspace: str
    family: str
    action: Action
    target: str
    outcome: str
    request_id: str
    address: str


def record(caller: Caller, scope: Scope, action: Action, target: str, outcome: str = "done") -> AuditRecord:
    """An audit record of now.

    Args:
        caller: who asked.
        scope: where the target lives.
        action: what was done.
        target: the id of what it was done to.
        outcome: how it ended: `done`, or a verification's outcome and reason.
    """
    who = caller.principal
    return AuditRecord(
        at=datetime.now(UTC),
        actor_kind=who.kind.value,
        actor_id=who.id,
        actor_name=who.name,
        workspace=scope.workspace,
        teamspace=scope.teamspace,
        family=scope.family,
        action=action,
        target=target,
        outcome=outcome,
        request_id=caller.request_id,
        address=caller.address,
    )
