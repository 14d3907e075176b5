"""How the nouns of the domain look as rows of SQLite."""

import json
from datetime import datetime
from typing import Any, Final

from service.core.kept import Lease, ListedLease
from service.core.model import ApiKey, Credential, Role, User, timestamp

Row = tuple[Any, ...]

MAX_INTEGER: Final = 2**63 - 1
"""SQLite's greatest."""

CREDENTIAL = (
    "id, workspace, teamspace, family, name, provider, type, provider_default, allowed_in_tasks, "
    "version, revision, created_at, updated_at, public, status, verification, attempt, payload_changed_at, expires_at"
)
CREDENTIAL_COLUMNS: Final = 19
API_KEY = "id, name, secret_hash, workspace, role, teamspaces, created_at, expires_at, revoked_at"
_ROLES = {role.value: role for role in Role}  # a call of an enum costs a microsecond, on every request
USER = "name, password_hash, workspace, role, created_at"
LEASE = (
    "id, workspace, teamspace, credential_id, credential_name, provider, type, purpose, narrowed_to, "
    "role_arn, forced, caller_kind, caller_id, caller_name, issued_at, expires_at"
)


def at_most(limit: int) -> int:
    """A limit as SQLite takes it: less than none would be all."""
    return max(0, min(limit, MAX_INTEGER))


def _optional_text(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def credential(row: Row) -> Credential:
    """A credential from the columns of `CREDENTIAL`, in that order; columns after them are left alone."""
    return Credential(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7] == 1,
        row[8] == 1,
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        row[14],
        row[15],
        row[16],
        row[17],
        row[18],
    )


def api_key(row: Row) -> ApiKey:
    """An API key from the columns of `API_KEY`."""
    id_, name, secret_hash, workspace, role, teamspaces, created_at, expires_at, revoked_at = row
    return ApiKey(
        id=id_,
        name=name,
        secret_hash=secret_hash,
        workspace=workspace,
        role=_ROLES[role],
        teamspaces=None if teamspaces is None else frozenset(json.loads(teamspaces)),
        created_at=created_at,
        expires_at=_optional_time(expires_at),
        revoked_at=_optional_time(revoked_at),
    )


def api_key_row(key: ApiKey) -> Row:
    """The columns of `API_KEY`."""
    return (
        key.id,
        key.name,
        key.secret_hash,
        key.workspace,
        key.role.value,
        None if key.teamspaces is None else json.dumps(sorted(key.teamspaces), ensure_ascii=False),
        key.created_at,
        _optional_text(key.expires_at),
        _optional_text(key.revoked_at),
    )


def user(row: Row) -> User:
    """A user from the columns of `USER`."""
    name, password_hash, workspace, role, created_at = row
    return User(name, password_hash, workspace, Role(role), created_at)


def user_row(one: User) -> Row:
    """The columns of `USER`."""
    return (one.name, one.password_hash, one.workspace, one.role.value, one.created_at)


def lease_row(one: Lease) -> Row:
    """The columns of `LEASE`."""
    return tuple(one)


def listed_lease(row: Row) -> ListedLease:
    """A lease from its number, the columns of `LEASE`, and whether its caller was revoked (null where unknown)."""
    lease = Lease(*row[1:-1])
    return ListedLease(row[0], lease._replace(forced=lease.forced == 1), None if row[-1] is None else row[-1] == 1)
