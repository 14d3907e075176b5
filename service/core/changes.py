"""What a change of a credential comes to: which fields stay, which secret is meant, when it ends."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import orjson

from service.core.errors import Conflict, Invalid, VerificationFailed
from service.core.model import Credential, timestamp
from service.core.records import Applied, Unseal, canonical
from verifiers.base import Kind, Payload
from verifiers.verdict import Outcome, Report

Vet = Callable[[Payload], Awaitable[Report]]
"""Asks the provider about a payload before it is saved."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A credential to be created."""

    name: str
    payload: Payload
    provider_default: bool = False
    allowed_in_tasks: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What to change; None leaves a thing as it is. An empty secret in the payload means the stored one."""

    name: str | None = None
    provider: str | None = None
    payload: Payload | None = None
    provider_default: bool | None = None
    allowed_in_tasks: bool | None = None


async def merge(current: Credential, unseal: Unseal, change: Change) -> Applied:
    """The record as it will be, and its new secret if the payload changes.

    Raises:
        Invalid: the change contradicts the record; fields of the payload are named `payload.…`.
    """
    changed = current._replace(
        name=current.name if change.name is None else change.name,
        provider_default=_either(change.provider_default, current.provider_default),
        allowed_in_tasks=_either(change.allowed_in_tasks, current.allowed_in_tasks),
    )
    payload = change.payload
    if payload is None:
        if change.provider not in (None, current.provider):
            raise Invalid({"provider": f"Changing the provider to {change.provider} needs its payload too."})
        return Applied(changed)
    if payload.kind.provider != (change.provider or current.provider):
        raise Invalid({"payload": f"Belongs to {payload.kind.provider}: send that as the provider too."})
    public = canonical(payload.public)
    secret = dict(payload.secret)
    if blank := [name for name, value in secret.items() if not value]:
        _require_same(current, payload, blank)
        public = current.public
    if len(blank) == len(secret) and _is_same(current, payload):
        return Applied(changed)
    if blank:
        stored = await unseal()
        if missing := [name for name in blank if name not in stored]:
            raise Invalid({f"payload.{name}": "Nothing is stored for it: send the secret." for name in missing})
        secret |= {name: stored[name] for name in blank}
    kind = payload.kind
    changed = changed._replace(provider=kind.provider, type=kind.type, public=public)
    return Applied(changed._replace(expires_at=expiry(as_payload(kind, changed, secret))), secret)


def as_payload(kind: Kind, credential: Credential, secret: dict[str, str]) -> Payload:
    """A stored credential's payload, for a probe or a lease."""
    return Payload(kind, orjson.loads(credential.public), secret)


def expiry(payload: Payload) -> str | None:
    """When a payload ends by itself, if it tells."""
    ends = payload.expires_at
    return None if ends is None else timestamp(ends)


T = TypeVar("T")


async def vetted(vet: Callable[[T], Awaitable[Report]], payload: T) -> Report:
    """What the provider says of what is about to be saved.

    Raises:
        VerificationFailed: it is refused; nothing must be saved.
    """
    report = await vet(payload)
    if report.verdict.outcome is Outcome.FAILED:
        raise VerificationFailed(report)
    return report


def require_version(current: Credential, version: int | None) -> None:
    """Refuse to save over a payload that somebody else put there while ours was verified.

    Raises:
        Conflict: it is another one.
    """
    if version is not None and current.version != version:
        raise Conflict("Somebody else changed the credential while it was being verified: nothing was saved.")


def _either(new: bool | None, old: bool) -> bool:
    return old if new is None else new


def _is_same(current: Credential, payload: Payload) -> bool:
    """Whether a payload is of the stored one's kind and has its public fields; derived ones follow from the secret."""
    kind = payload.kind
    stored = orjson.loads(current.public)
    kept = {name: value for name, value in stored.items() if name not in kind.derived_fields}
    return (current.provider, current.type) == (kind.provider, kind.type) and dict(payload.public) == kept


def _require_same(current: Credential, payload: Payload, blank: list[str]) -> None:
    """An empty secret stands for the stored one only beside the same public fields (requirement 12)."""
    if _is_same(current, payload):
        return
    raise Invalid({f"payload.{name}": "Send the secret again: the other fields have changed." for name in blank})
