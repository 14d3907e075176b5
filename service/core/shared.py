"""Shared credentials: whole files, text or binary, to be had back by those who may. Every rule and permission."""

import base64
from dataclasses import dataclass, field
from enum import StrEnum

from service.core.applied import Applied, Unseal
from service.core.model import Caller, Credential, Family, Named, Permission, Scope
from service.core.names import require_name
from service.core.permissions import authorize
from service.core.records import Records

_EVERYTHING = 2**31
_CONTENT = "content"


class FileType(StrEnum):
    """How a file was given, and is given back."""

    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A shared credential with its content; a text's is UTF-8."""

    name: str
    type: FileType
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """A shared credential as a list shows it, and what the caller may do with it."""

    name: str
    type: FileType
    can_edit: bool
    can_reveal: bool


class SharedCredentials:
    """The core service of shared credentials. They live at the workspace level, beside access credentials."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def list(self, caller: Caller) -> list[Listed]:
        """All of the workspace's shared credentials, by name.

        Raises:
            NotAllowed: the caller may not read there; a list of teamspaces excludes the workspace level.
        """
        records, _total = await self._records.page(_scope(caller, Permission.READ), offset=0, limit=_EVERYTHING)
        allowed = caller.principal.role.permissions
        can_edit, can_reveal = Permission.WRITE in allowed, Permission.REVEAL in allowed
        return [Listed(one.name, FileType(one.type), can_edit, can_reveal) for one in records]

    async def create(self, caller: Caller, file: SharedFile) -> None:
        """Store a new file.

        Raises:
            NotAllowed: the caller may not write.
            Invalid: the name is not allowed.
            NameTaken: there is one of that name.
        """
        scope = _scope(caller, Permission.WRITE)
        require_name(file.name)
        await self._records.add(caller, self.new(scope, file))

    def new(self, scope: Scope, file: SharedFile, id_: str | None = None) -> Applied:
        """The first revision of a file; nothing is stored yet."""
        record = self._records.new(scope, file.name, provider="", type_=file.type.value, public={}, id_=id_)
        return Applied(record, _pack(file))

    def replaced(self, current: Credential, file: SharedFile) -> Applied:
        """A file with another name, type or content."""
        return Applied(current._replace(name=file.name, type=file.type.value), _pack(file))

    async def reveal(self, caller: Caller, name: str) -> SharedFile:
        """A file with its content; that it was revealed is recorded before it leaves (requirement 29).

        Raises:
            NotAllowed: the caller may not reveal.
            NoSuchCredential: there is none of that name.
            StoreUnavailable: the audit record could not be written; nothing leaves.
        """
        record, secret = await self._records.reveal(caller, _key(caller, Permission.REVEAL, name))
        return SharedFile(record.name, FileType(record.type), _unpack(secret))

    async def replace(self, caller: Caller, file: SharedFile) -> None:
        """Give an existing file another content.

        Raises:
            NotAllowed: the caller may not write.
            NoSuchCredential: there is none of that name.
        """

        async def apply(current: Credential, _unseal: Unseal) -> Applied:
            return self.replaced(current, file)

        await self._records.change(caller, _key(caller, Permission.WRITE, file.name), apply)

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove a file.

        Raises:
            NotAllowed: the caller may not write.
            NoSuchCredential: there is none of that name.
        """
        await self._records.remove(caller, _key(caller, Permission.WRITE, name))

    async def open(self, caller: Caller, name: str) -> tuple[Credential, bytes]:
        """A file's record and content, for a probe and not for the caller.

        Raises:
            NotAllowed: the caller may not verify.
            NoSuchCredential: there is none of that name.
        """
        record, secret = await self._records.open(_key(caller, Permission.VERIFY, name))
        return record, _unpack(secret)

    def content(self, secret: dict[str, str]) -> bytes:
        """The content of a file whose secret is open."""
        return _unpack(secret)


def _scope(caller: Caller, permission: Permission) -> Scope:
    return authorize(caller.principal, permission, "", Family.SHARED)


def _key(caller: Caller, permission: Permission, name: str) -> Named:
    return Named(_scope(caller, permission), name)


def _pack(file: SharedFile) -> dict[str, str]:
    return {_CONTENT: base64.b64encode(file.content).decode()}


def _unpack(secret: dict[str, str]) -> bytes:
    return base64.b64decode(secret[_CONTENT])
