"""What is kept beside credentials: verifications, replaced payloads, turns, events, leases. None of it is secret."""

from typing import NamedTuple

from service.core.model import Credential, Sealed, Timestamp


class Filters(NamedTuple):
    """Which credentials a list is for; None is all. `status` may be `unknown`, for those without a verdict."""

    provider: str | None = None
    type: str | None = None
    status: str | None = None
    expires_before: Timestamp | None = None


class KeptReport(NamedTuple):
    """One verification in a credential's history.

    `seq` orders them (0 before it is stored), `version` is the payload's that it was about, `trigger` says who wanted
    it: `request`, `schedule`, `write` or `rotation`. `report` is JSON.
    """

    seq: int
    version: int
    checked_at: Timestamp
    trigger: str
    outcome: str
    report: str


class KeptVersion(NamedTuple):
    """A payload that was rotated away, without its secret; `made_at` and `replaced_at` bound its time."""

    version: int
    provider: str
    type: str
    public: str
    status: str | None
    made_at: Timestamp
    replaced_at: Timestamp


class Watch(NamedTuple):
    """When a credential is to be verified next.

    `claim` must still be the one it was taken with, None for whatever it is; `rejections` counts the failed verdicts in
    a row.
    """

    due_at: Timestamp
    claim: str | None = None
    rejections: int = 0


class Due(NamedTuple):
    """A credential whose turn it is, and the claim that keeps others from it for a while."""

    credential: Credential
    sealed: Sealed
    claim: str
    rejections: int


class Event(NamedTuple):
    """Something that others want to know; `body` is the JSON that goes out. `id` is the same for every attempt."""

    id: str
    type: str
    at: Timestamp
    body: str


class Outgoing(NamedTuple):
    """An event that is not delivered yet, and the claim that keeps others from it for a while."""

    event: Event
    claim: str
    attempts: int


class Lease(NamedTuple):
    """That somebody got short-lived material of a credential, and until when; never the material.

    `narrowed_to` is the canonical JSON of the scope that was asked for, None for all that the credential may do;
    `role_arn` the role that an AWS key assumed, empty for none; `forced` whether the last verdict was overridden.
    The credential may be gone by now: its name is the one it had.
    """

    id: str
    workspace: str
    teamspace: str
    credential_id: str
    credential_name: str
    provider: str
    type: str
    purpose: str
    narrowed_to: str | None
    role_arn: str
    forced: bool
    caller_kind: str
    caller_id: str
    caller_name: str
    issued_at: Timestamp
    expires_at: Timestamp


class ListedLease(NamedTuple):
    """A lease in a list. `seq` orders them: later ones have greater numbers.

    `caller_revoked` says whether its API key was revoked, or expired, or its user deleted since; None where that can't
    be known here, as for tokens.
    """

    seq: int
    lease: Lease
    caller_revoked: bool | None
