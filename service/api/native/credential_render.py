"""What the native API answers of credentials. No secret: an empty string stands for each."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web

from service.api.native import cursors
from service.core.kept import KeptReport, KeptVersion
from service.core.model import Credential, Family
from verifiers.registry import Registry
from verifiers.verdict import Report

JSON = "application/json"


def credential(
    one: Credential, registry: Registry, *, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    """One, with its strong ETag."""
    tag = {hdrs.ETAG: f'"{one.tag}"', **(headers or {})}
    return _json(shown(one, registry), status=status, headers=tag)


def page(found: Sequence[Credential], after: tuple[str, str] | None, registry: Registry) -> web.Response:
    """A page of a list; without a next one, the cursor is null."""
    more = None if after is None else cursors.encode(*after)
    return _json({"data": [shown(one, registry) for one in found], "next_cursor": more})


def shown(one: Credential, registry: Registry) -> dict[str, Any]:
    """The flat representation of both sorts."""
    return {
        "id": one.id,
        "kind": one.family,
        "name": one.name,
        "teamspace_id": one.teamspace,
        "provider": one.provider or None,
        "type": one.type,
        "provider_default": one.provider_default,
        "allowed_in_tasks": one.allowed_in_tasks,
        "payload": _payload(one.family, one.provider, one.type, one.public, registry),
        "version": one.version,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "payload_changed_at": one.payload_changed_at,
        "payload_age_days": _days_since(one.payload_changed_at),
        "expires_at": one.expires_at,
        "status": one.status,
        "verification": _fragment(one.verification),
        "attempt": _fragment(one.attempt),
    }


def _payload(family: str, provider: str, type_: str, public: str, registry: Registry) -> dict[str, Any]:
    if family == Family.SHARED:
        return {"content": ""}
    verifier = registry.get(provider, type_)
    secret = () if verifier is None else verifier.kind.secret_fields
    return {**orjson.loads(public), **dict.fromkeys(secret, "")}


def _days_since(moment: str) -> int:
    """Whole days; 0 if the clock has gone back since."""
    return max((datetime.now(UTC) - datetime.fromisoformat(moment)).days, 0)


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


def report(one: Report) -> web.Response:
    """200 with the report, whatever its outcome."""
    return _json(one.to_dict())


def history(found: Sequence[KeptReport], limit: int) -> web.Response:
    """A page of verifications, newest first; one more than `limit` says that there is another page."""
    kept = found[:limit]
    data = [
        {"version": one.version, "trigger": one.trigger, "verification": orjson.Fragment(one.report)} for one in kept
    ]
    return _json({"data": data, "next_cursor": cursors.encode(kept[-1].seq) if len(found) > limit else None})


def versions(current: Credential, found: Sequence[KeptVersion], registry: Registry) -> web.Response:
    """The present payload, then those that were replaced and are kept."""
    data: list[dict[str, Any]] = [
        {
            "version": current.version,
            "current": True,
            "provider": current.provider or None,
            "type": current.type,
            "payload": _payload(current.family, current.provider, current.type, current.public, registry),
            "status": current.status,
            "made_at": current.payload_changed_at,
            "replaced_at": None,
        }
    ]
    data += [
        {
            "version": one.version,
            "current": False,
            "provider": one.provider or None,
            "type": one.type,
            "payload": _payload(current.family, one.provider, one.type, one.public, registry),
            "status": one.status,
            "made_at": one.made_at,
            "replaced_at": one.replaced_at,
        }
        for one in found
    ]
    return _json({"data": data})


def external_id(text: str, workspace: str) -> web.Response:
    """The workspace's issued external id."""
    return _json({"workspace": workspace, "external_id": text})


def _json(body: Any, *, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type=JSON, headers=headers)
