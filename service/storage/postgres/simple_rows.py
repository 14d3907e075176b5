"""The canary, the service's own secrets, API keys and users, in PostgreSQL; what writes runs in a transaction."""

from service.core.audit import AuditRecord
from service.core.errors import NameTaken
from service.core.model import ApiKey, Sealed, User, timestamp
from service.storage.postgres import audit_rows
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import changed, fetch, fetchrow
from service.storage.rows import API_KEY, USER, api_key, api_key_row, user, user_row

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_GET_KEY = f"SELECT {API_KEY} FROM api_key WHERE id = $1"  # noqa: S608
_LIST_KEYS = f"SELECT {API_KEY} FROM api_key ORDER BY created_at, id"  # noqa: S608
_ADD_KEY = f"INSERT INTO api_key ({API_KEY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608
_GET_USER = f"SELECT {USER} FROM user_account WHERE name = $1"  # noqa: S608
_LIST_USERS = f"SELECT {USER} FROM user_account ORDER BY name"  # noqa: S608
_ADD_USER = f"INSERT INTO user_account ({USER}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING"  # noqa: S608
_PUT_CANARY = (
    "INSERT INTO canary (singleton, key_id, sealed) VALUES (true, $1, $2) "
    "ON CONFLICT (singleton) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed"
)
_HOLDS_SECRETS = (
    "SELECT EXISTS (SELECT FROM envelope) OR EXISTS (SELECT FROM credential_version) "
    "OR EXISTS (SELECT FROM service_secret)"
)
_ADD_SECRET = "INSERT INTO service_secret (name, key_id, sealed) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"  # noqa: S105 - SQL


async def get_canary(session: Session) -> Sealed | None:
    """The canary, if there is one."""
    row = await fetchrow(session, "SELECT key_id, sealed FROM canary")
    return Sealed(*row) if row else None


async def put_canary(session: Session, canary: Sealed) -> bool:
    """Keep the canary instead of an older one; always True."""
    await session.execute(_PUT_CANARY, *canary)
    return True


async def touch_canary(session: Session) -> bool:
    """Write the canary's row as it is; True, even if there is none: a server that takes no writes says so by itself."""
    await session.execute("UPDATE canary SET singleton = singleton")
    return True


async def holds_secrets(session: Session) -> bool:
    """Whether any envelope is there: a credential's, a kept version's or the service's own."""
    found: bool = await session.fetchval(_HOLDS_SECRETS)
    return found


async def get_secret(session: Session, name: str) -> Sealed | None:
    """One of the service's own secrets."""
    row = await fetchrow(session, "SELECT key_id, sealed FROM service_secret WHERE name = $1", name)
    return Sealed(*row) if row else None


async def add_secret(session: Session, name: str, sealed: Sealed) -> bool:
    """Keep one, unless there is one of that name."""
    return changed(await session.execute(_ADD_SECRET, name, *sealed))


async def get_api_key(session: Session, key_id: str) -> ApiKey | None:
    """One API key, whatever its state."""
    row = await fetchrow(session, _GET_KEY, key_id)
    return api_key(tuple(row)) if row else None


async def list_api_keys(session: Session) -> list[ApiKey]:
    """All API keys, oldest first."""
    return [api_key(tuple(row)) for row in await fetch(session, _LIST_KEYS)]


async def create_api_key(session: Session, key: ApiKey, audit: AuditRecord) -> bool:
    """Add an API key."""
    await session.execute(_ADD_KEY, *api_key_row(key))
    return await audit_rows.append(session, audit)


async def revoke_api_key(session: Session, key_id: str, audit: AuditRecord) -> bool:
    """Revoke a key that is not revoked yet. An expired one can be: the operator's word is kept all the same."""
    done = await session.execute(
        "UPDATE api_key SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL", timestamp(audit.at), key_id
    )
    return changed(done) and await audit_rows.append(session, audit)


async def get_user(session: Session, name: str) -> User | None:
    """One user."""
    row = await fetchrow(session, _GET_USER, name)
    return user(tuple(row)) if row else None


async def list_users(session: Session) -> list[User]:
    """All users by name."""
    return [user(tuple(row)) for row in await fetch(session, _LIST_USERS)]


async def create_user(session: Session, one: User, audit: AuditRecord) -> bool:
    """Add a user of a new name."""
    if not changed(await session.execute(_ADD_USER, *user_row(one))):
        raise NameTaken("A user of this name exists already.")
    return await audit_rows.append(session, audit)


async def delete_user(session: Session, name: str, audit: AuditRecord) -> bool:
    """Remove a user."""
    gone = await session.execute("DELETE FROM user_account WHERE name = $1", name)
    return changed(gone) and await audit_rows.append(session, audit)
