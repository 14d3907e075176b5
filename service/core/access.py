"""API keys and users: make, list, revoke. Only hashes are kept."""

import asyncio
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from service.core import key_format
from service.core.audit import Action, record
from service.core.errors import Invalid, NotAllowed
from service.core.model import ApiKey, Caller, Permission, PrincipalKind, Role, Scope, User, timestamp
from service.core.names import is_label
from service.core.store import Store

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024
_LONGEST_LIFE = timedelta(days=36_500)
_WORKSPACE = re.compile(r"ws_[a-z0-9_-]{1,61}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which no encoding has."""

NAME_RULE = "Must be 1 to 255 characters long, without control characters."
WORKSPACE_RULE = "Must start with ws_ and be 4 to 64 characters of a-z, 0-9, _ and -."


def is_workspace(text: str) -> bool:
    """Whether a text can be a workspace's id."""
    return _WORKSPACE.fullmatch(text) is not None


class Access:
    """Who may call. Everything here needs `Permission.ADMINISTER`.

    An operator at the command line acts on every workspace; an admin who calls in, on the own one.

    Args:
        store: where keys and users are kept.
        hash_password: makes an argon2id string of a password; slow, so it is called in a thread.
    """

    def __init__(self, store: Store, hash_password: Callable[[str], str]) -> None:
        self._store = store
        self._hash_password = hash_password

    async def create_api_key(
        self,
        caller: Caller,
        *,
        name: str,
        role: str,
        workspace: str,
        teamspaces: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
    ) -> tuple[ApiKey, str]:
        """Make an API key; its text is given once and kept nowhere.

        Args:
            caller: who asks.
            name: what people call it; need not be unique.
            role: one of `Role`.
            workspace: the workspace it acts in.
            teamspaces: the teamspaces it may use; none or empty means all of them and the workspace level.
            expires_in: how long it lives; None is for ever.

        Raises:
            Invalid: a value breaks its rule; `fields` says which.
            NotAllowed: the caller may not.
        """
        made = key_format.make()
        row = _new_row(made.id, made.secret_hash, name, role, workspace, teamspaces, expires_in)
        await self._keep(caller, row)
        return row, made.text

    async def adopt_admin_key(self, caller: Caller, text: str, *, name: str, workspace: str) -> ApiKey:
        """Make an admin key of what the operator brought. A known one stays as it is: revoked stays revoked.

        Raises:
            Invalid: it is no API key, or another key has its id.
        """
        given = key_format.parse(text)
        if given is None:
            raise Invalid({"key": "Must read vouch_<id>_<secret>, with a secret of 32 to 128 letters and digits."})
        known = await self._store.get_api_key(given.id)
        if known is None:
            row = _new_row(given.id, given.secret_hash, name, Role.ADMIN, workspace, None, None)
            await self._keep(caller, row)
            return row
        if not hmac.compare_digest(known.secret_hash, given.secret_hash):
            raise Invalid({"key": "Another API key has this id: choose another."})
        return known

    async def _keep(self, caller: Caller, row: ApiKey) -> None:
        _require(caller, row.workspace)
        await self._store.create_api_key(row, record(caller, Scope(row.workspace), Action.KEY_CREATE, row.id))

    async def list_api_keys(self, caller: Caller) -> list[ApiKey]:
        """The API keys that the caller administers, oldest first; revoked and expired ones too."""
        _require(caller)
        return [key for key in await self._store.list_api_keys() if _reaches(caller, key.workspace)]

    async def revoke_api_key(self, caller: Caller, key_id: str) -> bool:
        """Revoke a key, as of now and everywhere; False if the caller administers no such live key."""
        _require(caller)
        key = await self._store.get_api_key(key_id)
        if key is None or not _reaches(caller, key.workspace):
            return False
        done = record(caller, Scope(key.workspace), Action.KEY_REVOKE, key_id)
        return await self._store.revoke_api_key(key_id, done)

    async def create_user(self, caller: Caller, *, name: str, password: str, role: str, workspace: str) -> User:
        """Add somebody who signs in with HTTP Basic.

        Args:
            caller: who asks.
            name: unique over all workspaces; without a colon, which ends it in HTTP Basic (RFC 7617, 2).
            password: 8 to 1024 characters.
            role: one of `Role`.
            workspace: the workspace they act in.

        Raises:
            Invalid: a value breaks its rule; `fields` says which.
            NameTaken: there is one of that name.
            NotAllowed: the caller may not.
        """
        name = unicodedata.normalize("NFC", name)
        wrong = _wrong(name, role, workspace)
        if ":" in name:
            wrong["name"] = "Must not contain a colon."
        if not SHORTEST_PASSWORD <= len(unicodedata.normalize("NFC", password)) <= LONGEST_PASSWORD:
            wrong["password"] = f"Must be {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters long."
        elif CONTROL.search(password):
            wrong["password"] = "Must not contain control characters."  # noqa: S105 - a sentence
        if wrong:
            raise Invalid(wrong)
        _require(caller, workspace)
        hashed = await asyncio.to_thread(self._hash_password, password)
        user = User(name, hashed, workspace, Role(role), timestamp(datetime.now(UTC)))
        await self._store.create_user(user, record(caller, Scope(workspace), Action.USER_CREATE, name))
        return user

    async def list_users(self, caller: Caller) -> list[User]:
        """The users that the caller administers, by name."""
        _require(caller)
        return [user for user in await self._store.list_users() if _reaches(caller, user.workspace)]

    async def delete_user(self, caller: Caller, name: str) -> bool:
        """Remove a user, as of now and everywhere; False if the caller administers none of that name."""
        _require(caller)
        name = unicodedata.normalize("NFC", name)
        user = await self._store.get_user(name) if is_label(name) else None
        if user is None or not _reaches(caller, user.workspace):
            return False
        done = record(caller, Scope(user.workspace), Action.USER_DELETE, name)
        return await self._store.delete_user(name, done)


def _new_row(
    key_id: str,
    secret_hash: bytes,
    name: str,
    role: str,
    workspace: str,
    teamspaces: Iterable[str] | None,
    expires_in: timedelta | None,
) -> ApiKey:
    name = unicodedata.normalize("NFC", name)
    granted = frozenset(teamspaces or ())
    wrong = _wrong(name, role, workspace)
    if not all(is_label(one) for one in granted):
        wrong["teamspaces"] = f"Each: {NAME_RULE}"
    if expires_in is not None and not timedelta(0) < expires_in <= _LONGEST_LIFE:
        wrong["expires_in"] = f"Must be more than 0 and at most {_LONGEST_LIFE.days} days."
    if wrong:
        raise Invalid(wrong)
    now = datetime.now(UTC)
    return ApiKey(
        id=key_id,
        name=name,
        secret_hash=secret_hash,
        workspace=workspace,
        role=Role(role),
        teamspaces=granted or None,
        created_at=timestamp(now),
        expires_at=now + expires_in if expires_in is not None else None,
        revoked_at=None,
    )


def _wrong(name: str, role: str, workspace: str) -> dict[str, str]:
    """What is wrong with the three values that keys and users share, by field."""
    wrong = {}
    if not is_label(name):
        wrong["name"] = NAME_RULE
    if role not in list(Role):
        wrong["role"] = f"Must be one of {', '.join(Role)}."
    if not is_workspace(workspace):
        wrong["workspace"] = WORKSPACE_RULE
    return wrong


def _require(caller: Caller, workspace: str | None = None) -> None:
    """Raise NotAllowed unless the caller administers (that workspace, if one is named)."""
    who = caller.principal
    # A caller limited to teamspaces has no access to the workspace level, where keys and users are.
    if Permission.ADMINISTER not in who.role.permissions or who.teamspaces is not None:
        raise NotAllowed("This needs the role admin.")
    if workspace is not None and not _reaches(caller, workspace):
        raise NotAllowed("This needs the role admin in that workspace.")


def _reaches(caller: Caller, workspace: str) -> bool:
    return caller.principal.kind is PrincipalKind.OPERATOR or caller.principal.workspace == workspace
