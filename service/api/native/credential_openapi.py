"""The native API's part of the OpenAPI document for credentials by id."""

from collections.abc import Sequence
from typing import Any

from apispec import APISpec
from marshmallow import Schema, fields

from service.api.native.credential_schemas import (
    STATUSES,
    CredentialPutSchema,
    FilePayloadSchema,
    Object,
    RollbackRequestSchema,
    RotateRequestSchema,
)
from service.api.native.schemas import DEFAULT_LIMIT, LARGEST_LIMIT
from service.api.openapi import Part, VerificationReportSchema, error_responses
from service.core.model import Family
from service.core.shared import FileType
from service.core.verdicts import Trigger
from verifiers.base import Kind

_TAG = "credentials by id"
_PAYLOAD = "CredentialPayload"
_SHOWN_PAYLOAD = "ShownPayload"


class StoredCredentialSchema(Schema):
    """A credential of either kind. No secret: an empty string stands for each."""

    id = fields.String(required=True, metadata={"format": "uuid"})
    kind = fields.String(required=True, metadata={"enum": list(Family)})
    name = fields.String(required=True)
    teamspace_id = fields.String(required=True, metadata={"description": "Empty for the workspace level."})
    provider = fields.String(required=True, allow_none=True, metadata={"description": "Null for a shared one."})
    type = fields.String(required=True, metadata={"description": "Of a shared one: text or binary."})
    provider_default = fields.Boolean(required=True)
    allowed_in_tasks = fields.Boolean(required=True)
    payload = fields.Raw(required=True)
    version = fields.Integer(required=True, metadata={"description": "Counts payloads."})
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    updated_at = fields.String(required=True, metadata={"format": "date-time"})
    payload_changed_at = fields.String(required=True, metadata={"format": "date-time"})
    payload_age_days = fields.Integer(required=True, metadata={"minimum": 0, "description": "Whole days."})
    expires_at = fields.String(
        required=True, allow_none=True, metadata={"format": "date-time", "description": "If the payload tells."}
    )
    status = fields.String(required=True, allow_none=True, metadata={"enum": ["verified", "failed", None]})
    verification = fields.Nested(
        VerificationReportSchema, required=True, allow_none=True, metadata={"description": "The last known verdict."}
    )
    attempt = fields.Nested(
        VerificationReportSchema,
        required=True,
        allow_none=True,
        metadata={"description": "A later verification that could say nothing."},
    )


class StoredCredentialsSchema(Schema):
    """A page of credentials, by kind and name. It may be short, even empty, and not be the last."""

    data = fields.List(fields.Nested(StoredCredentialSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata={"description": "Null on the last page."})


class KeptVerificationSchema(Schema):
    """One verification of the history."""

    version = fields.Integer(required=True, metadata={"description": "The payload's that it was about."})
    trigger = fields.String(required=True, metadata={"enum": list(Trigger)})
    verification = fields.Nested(VerificationReportSchema, required=True)


class KeptVerificationsSchema(Schema):
    """A page of verifications, newest first."""

    data = fields.List(fields.Nested(KeptVerificationSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata={"description": "Null on the last page."})


class PayloadVersionSchema(Schema):
    """A payload that is kept, without its secrets."""

    version = fields.Integer(required=True)
    current = fields.Boolean(required=True)
    provider = fields.String(required=True, allow_none=True)
    type = fields.String(required=True)
    payload = fields.Raw(required=True)
    status = fields.String(required=True, allow_none=True, metadata={"enum": ["verified", "failed", None]})
    made_at = fields.String(required=True, metadata={"format": "date-time"})
    replaced_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})


class PayloadVersionsSchema(Schema):
    """The present payload, then those that were replaced and are kept."""

    data = fields.List(fields.Nested(PayloadVersionSchema), required=True)


class ExternalIdSchema(Schema):
    """What the roles of a workspace should ask for (`sts:ExternalId`)."""

    workspace = fields.String(required=True)
    external_id = fields.String(required=True)


_REQUESTS = (CredentialPutSchema, RotateRequestSchema, RollbackRequestSchema)
_ANSWERS = (StoredCredentialsSchema, KeptVerificationsSchema, PayloadVersionsSchema, ExternalIdSchema)


def part(kinds: Sequence[Kind]) -> Part:
    """The paths and components, with a payload for each kind of access credential."""

    def describe(spec: APISpec, plugin: Any) -> None:
        plugin.converter.add_attribute_function(_describe_field)
        sent, shown = [], []
        for kind in kinds:
            name = "".join(word.capitalize() for word in (kind.provider, *kind.type.split("_"), "fields"))
            fields_of = plugin.converter.schema2jsonschema(kind.schema())
            spec.components.schema(name, component={**fields_of, "title": kind.title})
            sent.append({"$ref": _ref(name)})
            shown.append(_shown(plugin, kind))
        spec.components.schema("FilePayload", schema=FilePayloadSchema)
        content = {"type": "object", "required": ["content"], "properties": {"content": {"const": ""}}}
        spec.components.schema(_PAYLOAD, component={"anyOf": [*sent, {"$ref": _ref("FilePayload")}]})
        spec.components.schema(_SHOWN_PAYLOAD, component={"anyOf": [*shown, content]})
        for schema in (*_REQUESTS, *_ANSWERS):
            spec.components.schema(schema.__name__.removesuffix("Schema"), schema=schema)
        for name in ("StoredCredential", "PayloadVersion"):
            spec.components.schemas[name]["properties"]["payload"] = {"$ref": _ref(_SHOWN_PAYLOAD)}
        for path, operations in _PATHS.items():
            spec.path(path, operations=operations)

    return Part(describe)


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _shown(plugin: Any, kind: Kind) -> dict[str, Any]:
    """A payload as it is answered: every secret there and empty."""
    told: dict[str, Any] = plugin.converter.schema2jsonschema(kind.schema())
    told["properties"] |= {name: {"const": ""} for name in kind.secret_fields}
    derived = sorted(kind.derived_fields)
    return {**told, "title": kind.title, "required": [*told.get("required", ()), *derived]}


def _describe_field(_self: object, field: fields.Field[Any], **_kwargs: Any) -> dict[str, Any]:
    return {"$ref": _ref(_PAYLOAD)} if isinstance(field, Object) else {}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _ref(name)}}}


def _answer(name: str, description: str, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": _json(name), **more}


def _body(name: str, *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "content": _json(name)}


def _operation(operation_id: str, summary: str, answers: dict[str, Any], *errors: int, **more: Any) -> dict[str, Any]:
    told = {"operationId": operation_id, "summary": summary, "tags": [_TAG], **more}
    return told | {"responses": answers | error_responses(400, 401, 403, *errors)}


def _query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": schema or {"type": "string"}, "description": description}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "schema": {"type": "string"}, "description": description}


_TEXT = {"schema": {"type": "string"}}
_ETAG = {"headers": {"ETag": _TEXT}}
_SAVED = {"headers": {"ETag": _TEXT, "Preference-Applied": _TEXT}}
_ID = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}
_NEW_ID = {**_ID, "schema": {"type": "string", "format": "uuid"}, "description": "A UUID that you make."}
_IF_MATCH = _header("If-Match", "Only if the credential still has this ETag.")
_PREFER = _header("Prefer", "`verify` asks the provider first, and saves nothing that it refuses.")
_LIMIT = _query("limit", "At most so many.", type="integer", minimum=1, maximum=LARGEST_LIMIT, default=DEFAULT_LIMIT)
_CURSOR = _query("cursor", "The `next_cursor` of the page before.")
_FILTERS = [
    _query("teamspace_id", "Empty or absent is the workspace level."),
    _query("kind", "Only those of this kind.", type="string", enum=list(Family)),
    _query("provider", "Only those of this provider."),
    _query("type", f"Only those of this type; of shared ones {' or '.join(FileType)}."),
    _query("status", "Only those of which this is known; `unknown`: nothing is.", type="string", enum=list(STATUSES)),
    _query("expires_before", "Only those that end before this time.", type="string", format="date-time"),
]
_ASKS = (422, 429, 502, 503, 504)
_PATHS = {
    "/v1/credentials": {
        "get": _operation(
            "list_stored_credentials",
            "Credentials of both kinds, by kind and name",
            {"200": _answer("StoredCredentials", "One page.")},
            parameters=[*_FILTERS, _LIMIT, _CURSOR],
        ),
    },
    "/v1/credentials/{id}": {
        "get": _operation(
            "get_stored_credential",
            "A credential without its secrets",
            {
                "200": _answer("StoredCredential", "The credential.", **_ETAG),
                "304": {"description": "The client's copy is current."},
            },
            404,
            parameters=[_ID, _header("If-None-Match", "Only if the credential has another ETag.")],
        ),
        "put": _operation(
            "put_stored_credential",
            "Create a credential under this id, or replace it whole",
            {
                "200": _answer("StoredCredential", "It was replaced.", **_SAVED),
                "201": _answer("StoredCredential", "It was created.", **_SAVED),
            },
            409, 412, 413, 415, 422, 429, 503,
            parameters=[_NEW_ID, _IF_MATCH, _header("If-None-Match", "`*` replaces nothing."), _PREFER],
            requestBody=_body("CredentialPut"),
        ),
        "delete": _operation(
            "delete_stored_credential",
            "Delete a credential, its history and its earlier payloads",
            {"204": {"description": "It is gone."}},
            404, 412,
            parameters=[_ID, _IF_MATCH],
        ),
    },
    "/v1/credentials/{id}/verify": {
        "post": _operation(
            "verify_stored_credential",
            "Ask the provider about a credential, and keep the verdict",
            {"200": _answer("VerificationReport", "What it said, whatever that is.")},
            404, 429, 503,
            parameters=[_ID],
        ),
    },
    "/v1/credentials/{id}/verifications": {
        "get": _operation(
            "list_verifications",
            "What was said of a credential, newest first",
            {"200": _answer("KeptVerifications", "One page.")},
            404,
            parameters=[_ID, _LIMIT, _CURSOR],
        ),
    },
    "/v1/credentials/{id}/rotate": {
        "post": _operation(
            "rotate_credential",
            "Verify a new payload, and put it in the place of the old one if it works",
            {"200": _answer("StoredCredential", "It works, and is in place.", **_ETAG)},
            404, 409, 412, 413, 415, *_ASKS,
            parameters=[_ID, _IF_MATCH],
            requestBody=_body("RotateRequest"),
        ),
    },
    "/v1/credentials/{id}/rollback": {
        "post": _operation(
            "roll_back_credential",
            "Bring a replaced payload back, as a new version",
            {"200": _answer("StoredCredential", "It is in place again.", **_ETAG)},
            404, 409, 412, 413, 415,
            parameters=[_ID, _IF_MATCH],
            requestBody=_body("RollbackRequest", required=False),
        ),
    },
    "/v1/credentials/{id}/versions": {
        "get": _operation(
            "list_versions",
            "The payloads of a credential that are kept, without secrets",
            {"200": _answer("PayloadVersions", "All of them.")},
            404,
            parameters=[_ID],
        ),
    },
    "/v1/external-id": {
        "get": _operation(
            "get_external_id",
            "What the trust policies of this workspace's roles should ask for",
            {"200": _answer("ExternalId", "The same for ever.")},
        ),
    },
}  # fmt: skip
