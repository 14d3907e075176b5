"""The nouns of the domain. Frozen; nothing here holds a secret."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

DEFAULT_WORKSPACE = "ws_default"
WORKSPACE_PREFIX = "ws_"


Timestamp = str
"""A time as `timestamp` writes it. The database and the wire have it as text, and nobody reckons with it in between."""


def timestamp(moment: datetime) -> Timestamp:
    """RFC 3339 section 5.6 in UTC, with microseconds, of fixed width: text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Permission(StrEnum):
    """What a principal may be allowed to do."""

    READ = "read"
    VERIFY = "verify"
    WRITE = "write"
    REVEAL = "reveal"
    USE = "use"
    ADMINISTER = "administer"


class Role(StrEnum):
    """A named set of permissions; each includes the one before it, but for `consumer`, which stands apart."""

    CONSUMER = "consumer"
    """Whose jobs use credentials without seeing them."""
    VIEWER = "viewer"
    VERIFIER = "verifier"
    EDITOR = "editor"
    ADMIN = "admin"

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role allows."""
        return _PERMISSIONS[self]


_VIEWER = frozenset({Permission.READ})
_VERIFIER = _VIEWER | {Permission.VERIFY}
_EDITOR = _VERIFIER | {Permission.WRITE, Permission.REVEAL}
_PERMISSIONS = {
    Role.CONSUMER: frozenset({Permission.USE}),
    Role.VIEWER: _VIEWER,
    Role.VERIFIER: _VERIFIER,
    Role.EDITOR: _EDITOR,
    Role.ADMIN: _EDITOR | {Permission.USE, Permission.ADMINISTER},
}


class PrincipalKind(StrEnum):
    """How somebody proved who they are."""

    API_KEY = "api_key"
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a word, not a password
    WORKLOAD = "workload"
    """A Kubernetes service account or a CI job, with a token of its own issuer."""
    ANONYMOUS = "anonymous"
    SERVICE = "service"
    """vouch itself, when its own schedule says so."""
    OPERATOR = "operator"
    """Somebody at the command line, beside the data folder."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, and what for. `teamspaces` None means all of them and the workspace level."""

    kind: PrincipalKind
    id: str
    name: str
    workspace: str
    role: Role
    teamspaces: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal, and where the request came from: what the audit trail needs."""

    principal: Principal
    request_id: str = ""
    address: str = ""


class Family(StrEnum):
    """The two sorts of credential, each with names of its own."""

    ACCESS = "access"
    SHARED = "shared"


class Scope(NamedTuple):
    """Where a credential's name is unique. An empty teamspace is the workspace level."""

    workspace: str
    teamspace: str = ""
    family: str = Family.ACCESS.value


class Named(NamedTuple):
    """Where a credential is, by its name: unique in a scope."""

    scope: Scope
    name: str


class Identified(NamedTuple):
    """The same by its id, wherever in a workspace it is. `teamspaces` are those of whoever asks; None is all."""

    workspace: str
    id: str
    teamspaces: frozenset[str] | None


Key = Named | Identified
"""Which credential is meant."""


class Credential(NamedTuple):
    """The metadata of a credential; its secret is in an envelope beside it.

    An access credential has a provider, and the type that its verifier is registered for; a shared one has no provider,
    and `text` or `binary` for its type.

    `version` counts payloads (the envelope is bound to it), `revision` counts changes of any kind (the ETag).
    `public` is the canonical JSON of the payload's public fields, `verification` the last known report as JSON, and
    `attempt` the report of a later verification that could say nothing.

    `payload_changed_at` is when the payload became what it is, `expires_at` when it ends by itself, if it tells.
    """

    id: str
    workspace: str
    teamspace: str
    family: str
    name: str
    provider: str
    type: str
    provider_default: bool
    allowed_in_tasks: bool
    version: int
    revision: int
    created_at: Timestamp
    updated_at: Timestamp
    public: str
    status: str | None
    verification: str | None
    attempt: str | None
    payload_changed_at: Timestamp
    expires_at: Timestamp | None

    @property
    def scope(self) -> Scope:
        """Where its name is unique."""
        return Scope(self.workspace, self.teamspace, self.family)

    @property
    def tag(self) -> str:
        """What the ETag says: another one for every representation, also of a namesake that came later."""
        return f"{self.id}.{self.revision}"


class Sealed(NamedTuple):
    """Ciphertext, and the id of the key-encryption key that its data key is wrapped with."""

    key_id: str
    envelope: bytes


class ApiKey(NamedTuple):
    """An API key as the store keeps it: a hash, never the key. `teamspaces` None means all."""

    id: str
    name: str
    secret_hash: bytes
    workspace: str
    role: Role
    teamspaces: frozenset[str] | None
    created_at: Timestamp
    expires_at: datetime | None
    revoked_at: datetime | None

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, name={self.name!r})"


class User(NamedTuple):
    """Somebody who signs in with HTTP Basic. `password_hash` is an argon2id string."""

    name: str
    password_hash: str
    workspace: str
    role: Role
    created_at: Timestamp

    def __repr__(self) -> str:
        return f"User(name={self.name!r})"
