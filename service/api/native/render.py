"""What the native API answers."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from service.api.errors import Failure
from service.api.native import cursors
from service.api.native.token_exchange import ISSUED_TYPE
from service.core.kept import Lease, ListedLease
from service.core.leases import Granted
from service.core.resolution import Resolved
from verifiers.lease_terms import Material
from verifiers.registry import Registry

JSON = "application/json"


def _json(body: Any, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type=JSON)


def resolved(found: Resolved, registry: Registry) -> web.Response:
    """Which credential serves, and how it came to."""
    one = found.credential
    verifier = registry.get(one.provider, one.type)
    return _json(
        {
            "id": one.id,
            "name": one.name,
            "provider": one.provider,
            "type": one.type,
            "teamspace_id": one.teamspace,
            "provider_default": one.provider_default,
            "allowed_in_tasks": one.allowed_in_tasks,
            "leasable": verifier is not None and verifier.lease is not None,
            "status": one.status,
            "via": found.via.value,
            "fallback": found.fallback,
        }
    )


def granted(one: Granted) -> web.Response:
    """A lease with its material."""
    material = one.material
    shown = _lease(one.lease)
    shown["narrowed"] = material.narrowed
    shown["notes"] = list(material.notes)
    shown["material"] = {"form": material.form.value, **material.values}
    return _json(shown)


def leases(found: Sequence[ListedLease], limit: int) -> web.Response:
    """A page of leases; one more than `limit` says that there is another page."""
    page = found[:limit]
    shown = []
    for one in page:
        lease = _lease(one.lease)
        lease["caller"]["revoked"] = one.caller_revoked
        shown.append(lease)
    more = cursors.encode(page[-1].seq) if len(found) > limit else None
    return _json({"data": shown, "next_cursor": more})


def _lease(one: Lease) -> dict[str, Any]:
    return {
        "id": one.id,
        "credential_id": one.credential_id,
        "credential_name": one.credential_name,
        "provider": one.provider,
        "type": one.type,
        "teamspace_id": one.teamspace,
        "purpose": one.purpose,
        "scope": None if one.narrowed_to is None else orjson.Fragment(one.narrowed_to),
        "role_arn": one.role_arn,
        "forced": one.forced,
        "caller": {"kind": one.caller_kind, "id": one.caller_id, "name": one.caller_name},
        "issued_at": one.issued_at,
        "expires_at": one.expires_at,
    }


def container_credentials(material: Material) -> web.Response:
    """What AWS SDKs read from a container's endpoint.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html; the fields are those of the
    instance metadata service's `iam/security-credentials` document.
    """
    values = material.values
    return _json(
        {
            "AccessKeyId": values["access_key_id"],
            "SecretAccessKey": values["secret_access_key"],
            "Token": values["session_token"],
            "Expiration": material.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def exchanged_token(material: Material, seconds: int) -> web.Response:
    """The answer of a token exchange (RFC 8693 section 2.2.1); `seconds` are those that are left of it."""
    return _json(
        {
            "access_token": material.values["access_token"],
            "issued_token_type": ISSUED_TYPE,
            "token_type": "Bearer",
            "expires_in": seconds,
        }
    )


def error(failure: Failure, request_id: str, _path: str) -> web.Response:
    """The Error body of the contract."""
    return _error(failure, failure.error_body(request_id))


def container_error(failure: Failure, request_id: str, _path: str) -> web.Response:
    """The same with `code` as text: AWS's SDK for Go reads it so, and shows nothing of another answer."""
    body = failure.error_body(request_id)
    return _error(failure, body | {"code": str(failure.code)})


def oauth_error(failure: Failure, request_id: str, _path: str) -> web.Response:
    """The same beside what OAuth clients look for (RFC 6749 section 5.2)."""
    if failure.status == HTTPStatus.UNAUTHORIZED:
        word = "invalid_client"
    elif failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR or failure.status == HTTPStatus.TOO_MANY_REQUESTS:
        word = "temporarily_unavailable"
    elif failure.status == HTTPStatus.FORBIDDEN:
        word = "unauthorized_client"
    elif failure.status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT):
        word = "invalid_target"
    elif "grant_type" in failure.fields:
        word = "unsupported_grant_type"
    else:
        word = "invalid_request"
    body = {"error": word, "error_description": failure.message, **failure.error_body(request_id)}
    return _error(failure, body)


def _error(failure: Failure, body: dict[str, Any]) -> web.Response:
    return web.Response(status=failure.status, body=orjson.dumps(body), content_type=JSON, headers=failure.headers)
