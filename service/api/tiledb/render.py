"""What the v4 dialect answers. No marshmallow here: a list of a thousand is a hot path."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import hdrs, web

from service.api.errors import Failure
from service.core.model import Credential
from verifiers.base import Kind
from verifiers.registry import Registry
from verifiers.verdict import Report

JSON = "application/json"


def access_credential(credential: Credential, registry: Registry) -> dict[str, Any]:
    """An AccessCredential. Secrets are there as empty strings: the generated clients refuse a missing one."""
    shown: dict[str, Any] = {
        "credential_type": "teamspace" if credential.teamspace else "workspace",
        "uuid": credential.id,
        "id": credential.id,
        "name": credential.name,
        "provider": credential.provider,
        "provider_default": credential.provider_default,
        "allowed_in_tasks": credential.allowed_in_tasks,
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
    }
    verifier = registry.get(credential.provider, credential.type)
    if verifier is not None and verifier.kind.slot is not None:
        outer, inner = verifier.kind.slot
        shown[outer] = {inner: orjson.Fragment(_payload(credential.public, verifier.kind))}
    if credential.status is not None:
        shown["status"] = credential.status
    if credential.verification is not None:
        shown["verification"] = orjson.Fragment(credential.verification)
    return shown


def _payload(public: str, kind: Kind) -> str:
    """The public fields, which are JSON already, and an empty string for each secret one.

    Put together as text: parsing and writing it again would be a third of what a list costs.
    """
    if kind.off_wire_public_fields:
        shown = orjson.loads(public)
        public = orjson.dumps({name: shown[name] for name in shown if name not in kind.off_wire_public_fields}).decode()
    blanks = ",".join(f'"{name}":""' for name in kind.wire_secret_fields)
    return f"{public[:-1]}{',' if blanks and public != '{}' else ''}{blanks}}}"


def one(credential: Credential, registry: Registry) -> web.Response:
    """A CredentialGetResponse with its strong ETag."""
    body = orjson.dumps({"data": access_credential(credential, registry)})
    return web.Response(body=body, content_type=JSON, headers={hdrs.ETAG: f'"{credential.tag}"'})


def page(credentials: Sequence[Credential], registry: Registry, *, number: int, size: int, total: int) -> web.Response:
    """A CredentialsListResponse."""
    body = {
        "data": [access_credential(each, registry) for each in credentials],
        "pagination_metadata": {
            "page": number,
            "per_page": size,
            "total_pages": -(-total // size),
            "total_items": total,
        },
    }
    return web.Response(body=orjson.dumps(body), content_type=JSON)


def verified(report: Report, *, representation: bool) -> web.Response:
    """200, empty unless the client asked for the report (RFC 7240)."""
    if not representation:
        return web.Response()
    headers = {"Preference-Applied": "return=representation"}
    return web.Response(body=orjson.dumps(report.to_dict()), content_type=JSON, headers=headers)


def error(failure: Failure, request_id: str, _path: str) -> web.Response:
    """The Error body."""
    body = orjson.dumps(failure.error_body(request_id))
    return web.Response(status=failure.status, body=body, content_type=JSON, headers=failure.headers)


def rename_fields(fields: Mapping[str, str], path: str) -> dict[str, str]:
    """The core says `payload.…`; the wire says where that payload sits."""
    return {
        f"{path}{name.removeprefix('payload')}" if name == "payload" or name.startswith("payload.") else name: sentence
        for name, sentence in fields.items()
    }
