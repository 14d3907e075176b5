"""What a change of a credential comes to: which fields stay, which secret is meant, when it ends."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import orjson

from service.core.applied import Applied, Secret, Unseal, canonical
from service.core.errors import Conflict, EnvelopeBroken, Invalid, VerificationFailed
from service.core.model import Credential, timestamp
from verifiers.base import Kind, Payload
from verifiers.verdict import Outcome, Report

Vet = Callable[[Payload], Awaitable[Report]]
"""Asks the provider about a payload before it is saved."""

NOTHING_STORED = "Nothing is stored for it: send the secret."
SEND_AGAIN = "Send the secret again: the other fields have changed."


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
    secret = await _whole_secret(current, unseal, payload)
    if secret is None:
        return Applied(changed)
    # What is derived from an empty secret is derived from the stored one.
    public = current.public if secret.keys() & set(blank_fields(payload)) else canonical(payload.public)
    kind = payload.kind
    changed = changed._replace(provider=kind.provider, type=kind.type, public=public)
    return Applied(changed._replace(expires_at=expiry(as_payload(kind, changed, secret))), secret)


def blank_fields(payload: Payload) -> list[str]:
    """The secret fields that were sent empty: each stands for the stored one."""
    return [name for name, value in payload.secret.items() if not value]


def require_nothing_blank(payload: Payload) -> Payload:
    """A payload of which nothing is stored yet, without the fields that it need not have and that are empty.

    Raises:
        Invalid: a secret that it must have is empty.
    """
    if missing := [name for name in blank_fields(payload) if _is_required(payload.kind, name)]:
        raise Invalid({f"payload.{name}": NOTHING_STORED for name in missing})
    return replace(payload, secret={name: value for name, value in payload.secret.items() if value})


async def holds(unseal: Unseal, secret: Secret) -> bool:
    """Whether a record's secret is this one. One that does not open is another: so it can be replaced."""
    try:
        return await unseal() == dict(secret)
    except EnvelopeBroken:
        return False


async def _whole_secret(current: Credential, unseal: Unseal, payload: Payload) -> dict[str, str] | None:
    """The secret of a changed payload, the stored one for each field that is empty; None if nothing changes."""
    secret = dict(payload.secret)
    same = _is_same(current, payload)
    blank = blank_fields(payload)
    if same and len(blank) == len(secret):
        return None
    if not same and any(_is_required(payload.kind, name) for name in blank):
        raise _send_again(blank)
    if blank:
        stored = await unseal()
        # A field that the payload need not have, and has not: that is what an empty one says of it.
        dropped = [name for name in blank if name not in stored and not _is_required(payload.kind, name)]
        blank = [name for name in blank if name not in dropped]
        if blank and not same:
            raise _send_again(blank)
        if missing := [name for name in blank if name not in stored]:
            raise Invalid({f"payload.{name}": NOTHING_STORED for name in missing})
        secret = {name: value or stored[name] for name, value in secret.items() if name not in dropped}
    return None if same and await holds(unseal, secret) else secret


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


def require_version(current: Credential, seen: Credential | None) -> None:
    """Refuse to save over a payload that somebody else put there while ours was verified.

    Args:
        current: the record as it is.
        seen: as it was; None if it does not matter. One that was deleted and made anew under its id is another one.

    Raises:
        Conflict: it is another one.
    """
    if seen is not None and (current.created_at, current.version) != (seen.created_at, seen.version):
        raise Conflict("Somebody else changed the credential while it was being verified: nothing was saved.")


def _either(new: bool | None, old: bool) -> bool:
    return old if new is None else new


def _is_same(current: Credential, payload: Payload) -> bool:
    """Whether a payload is of the stored one's kind and has its public fields; derived ones follow from the secret."""
    kind = payload.kind
    kept, given = (
        {name: value for name, value in public.items() if name not in kind.derived_fields}
        for public in (orjson.loads(current.public), payload.public)
    )
    return (current.provider, current.type) == (kind.provider, kind.type) and given == kept


def _is_required(kind: Kind, name: str) -> bool:
    return kind.schema().fields[name].required


def _send_again(blank: list[str]) -> Invalid:
    """An empty secret stands for the stored one only beside the same public fields (requirement 12)."""
    return Invalid({f"payload.{name}": SEND_AGAIN for name in blank})
