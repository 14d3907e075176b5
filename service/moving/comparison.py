"""Whether what is stored is what comes in, and in what it differs. Values are compared, and never told."""

from dataclasses import replace

import orjson

from service.core.applied import Applied, Unseal
from service.core.catalog import Item
from service.core.changes import SEND_AGAIN, Change, Draft, holds, merge
from service.core.errors import Invalid
from service.core.model import Credential
from service.core.shared import FileType, SharedCredentials
from service.moving.entries import Incoming

SECRET = "the secret"  # noqa: S105 - a word, not a password


def as_kept(item: Item, current: Credential) -> Item:
    """An item of a source that does not tell everything, with what it does not tell as it is stored."""
    if item.draft is not None:
        draft = replace(
            item.draft, provider_default=current.provider_default, allowed_in_tasks=current.allowed_in_tasks
        )
        return replace(item, draft=draft)
    if item.file is not None and current.type == FileType.BINARY:
        return replace(item, file=replace(item.file, type=FileType.BINARY))
    return item


async def applied(current: Credential, unseal: Unseal, item: Item, shared: SharedCredentials) -> Applied:
    """The record as it would be, with its new secret if that changes.

    Raises:
        Invalid: the item contradicts the record.
    """
    wrong = {}
    if item.family != current.family:
        wrong["kind"] = "There is one of the other kind under this id."
    if item.teamspace != current.teamspace:
        wrong["teamspace_id"] = "There is one in another place under this id."
    if wrong:
        raise Invalid(wrong)
    if item.draft is not None:
        return await merge(current, unseal, _change(item.draft))
    if item.file is None:
        raise Invalid({"payload": "Missing."})
    if not item.file.content and item.file.type != current.type:
        raise Invalid({"payload.content": SEND_AGAIN})
    changed = shared.replaced(current, item.file)
    same = changed.credential.type == current.type and await holds(unseal, changed.secret or {})
    return changed._replace(secret=None) if same or not item.file.content else changed


async def differences(current: Credential, unseal: Unseal, becomes: Applied) -> list[str]:
    """The names of what differs; empty if nothing does."""
    new = becomes.credential
    fields = ("name", "provider", "type", "provider_default", "allowed_in_tasks")
    found = [field for field in fields if getattr(new, field) != getattr(current, field)]
    before, after = orjson.loads(current.public), orjson.loads(new.public)
    found += [f"payload.{field}" for field in sorted({*before, *after}) if before.get(field) != after.get(field)]
    if becomes.secret is not None and not await holds(unseal, becomes.secret):
        found.append(SECRET)
    return found


def as_is(entry: Incoming, current: Credential) -> Item:
    """What an entry comes to where there is one already."""
    return entry.item if entry.whole else as_kept(entry.item, current)


def _change(draft: Draft) -> Change:
    return Change(
        name=draft.name,
        provider=draft.payload.kind.provider,
        payload=draft.payload,
        provider_default=draft.provider_default,
        allowed_in_tasks=draft.allowed_in_tasks,
    )
