"""The v4 dialect's part of the OpenAPI document."""

from typing import Any

from apispec import APISpec
from marshmallow import Schema, fields

from service.api.openapi import Part, VerificationReportSchema, error_responses
from service.api.tiledb.schemas import LARGEST_PAGE_SIZE, SLOTS, RequestSchemas, Slot
from verifiers.base import CloudProvider, Kind

_TAG = "credentials"
_COMPONENTS = {"credential": "Credential", "role": "AccessCredentialRole", "token": "Token"}


class PaginationMetadataSchema(Schema):
    """Where a page stands."""

    page = fields.Integer(required=True)
    per_page = fields.Integer(required=True)
    total_pages = fields.Integer(required=True)
    total_items = fields.Integer(required=True)


def part(schemas: RequestSchemas) -> Part:
    """The dialect's paths and components."""

    def describe(spec: APISpec, plugin: Any) -> None:
        plugin.converter.add_attribute_function(_describe_field)
        spec.components.schema("AccessCredentialType", component={"type": "string", "enum": list(schemas.types)})
        slots = {name: one for name, one in schemas.create.fields.items() if isinstance(one, Slot)}
        for slot in slots.values():
            for kind in slot.kinds.values():
                payload = kind.schema.for_wire(blank_secrets=False)
                spec.components.schema(_component(kind), {"title": kind.title}, schema=payload)
            spec.components.schema(_COMPONENTS[slot.slot], component=_slot(slot))
        spec.components.schema("CredentialCreateRequest", component=_exclusive(plugin, schemas.create, required=True))
        spec.components.schema("CredentialsVerifyRequest", component=_exclusive(plugin, schemas.verify, required=False))
        spec.components.schema("CredentialUpdateRequest", component=_exclusive(plugin, schemas.update, required=False))
        answered = Schema.from_dict({**_ANSWERED, **dict.fromkeys(slots, fields.Raw())}, name="AccessCredential")
        shown = plugin.converter.schema2jsonschema(answered)
        shown["properties"] |= {name: {"$ref": f"#/components/schemas/{_COMPONENTS[name]}"} for name in slots}
        spec.components.schema("AccessCredential", component=shown)
        spec.components.schema("PaginationMetadata", schema=PaginationMetadataSchema)
        spec.components.schema("CredentialGetResponse", component=_data({"$ref": _ref("AccessCredential")}))
        spec.components.schema("CredentialsListResponse", component=_LISTED)
        for path, operations in _PATHS.items():
            spec.path(path, operations=operations)

    return Part(describe)


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _component(kind: Kind) -> str:
    """The name of a kind's payload: unique, as provider and type are."""
    return "".join(part.capitalize() for part in (kind.provider, *kind.type.split("_"), "payload"))


def _slot(slot: Slot) -> dict[str, Any]:
    refs = {key: {"$ref": _ref(_component(kind))} for key, kind in slot.kinds.items()}
    told = {"type": "object", "properties": refs, "additionalProperties": False}
    return told | {"minProperties": 1, "maxProperties": 1}


def _exclusive(plugin: Any, schema: Schema, *, required: bool) -> dict[str, Any]:
    """A request body, with the rule that it holds at most (or exactly) one payload."""
    body: dict[str, Any] = plugin.converter.schema2jsonschema(schema)
    one = [{"required": [slot]} for slot in SLOTS]
    return body | {"oneOf": one if required else [*one, {"not": {"anyOf": one}}]}


def _describe_field(_self: object, field: fields.Field[Any], **_kwargs: Any) -> dict[str, Any]:
    if isinstance(field, Slot):
        return {"$ref": _ref(_COMPONENTS[field.slot])}
    return {}


def _data(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["data"], "properties": {"data": of}}


_ANSWERED: dict[str, fields.Field[Any]] = {
    "credential_type": fields.String(required=True, metadata={"enum": ["workspace", "teamspace"]}),
    "uuid": fields.String(required=True),
    "id": fields.String(required=True, metadata={"description": "The same value as `uuid`."}),
    "name": fields.String(required=True),
    "provider": fields.String(required=True, metadata={"enum": list(CloudProvider)}),
    "provider_default": fields.Boolean(required=True),
    "allowed_in_tasks": fields.Boolean(required=True),
    "created_at": fields.String(required=True, metadata={"format": "date-time"}),
    "updated_at": fields.String(required=True, metadata={"format": "date-time"}),
    "status": fields.String(metadata={"enum": ["verified", "failed"], "description": "Absent while unknown."}),
    "verification": fields.Nested(VerificationReportSchema, metadata={"description": "The last known report."}),
}
_LISTED: dict[str, Any] = {
    "type": "object",
    "required": ["data", "pagination_metadata"],
    "properties": {
        "data": {"type": "array", "items": {"$ref": _ref("AccessCredential")}},
        "pagination_metadata": {"$ref": _ref("PaginationMetadata")},
    },
}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": schema, "description": description}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "schema": {"type": "string"}, "description": description}


_TEAMSPACE = _query("teamspace_id", {"type": "string"}, "Empty or absent is the workspace level.")
_NAME = {"in": "path", "name": "name", "required": True, "schema": {"type": "string"}}
_IF_MATCH = _header("If-Match", "Only if the credential still has this ETag.")
_PREFER = _header("Prefer", "`return=representation` for the report in a 200.")
_PREFER_VERIFY = _header("Prefer", "`verify` asks the provider first, and saves nothing that it refuses.")


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _ref(name)}}}


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": _json(name)}


def _operation(
    operation_id: str,
    summary: str,
    answers: dict[str, Any],
    *errors: int,
    **more: Any,
) -> dict[str, Any]:
    told = {"operationId": operation_id, "summary": summary, "tags": [_TAG], **more}
    told["parameters"] = [_TEAMSPACE, *more.get("parameters", ())]
    told["responses"] = answers | error_responses(*errors)
    return told


_TEXT = {"schema": {"type": "string"}}
_EMPTY = {"description": "Done."}
_PAGES = [
    _query("provider", {"enum": list(CloudProvider)}, "Only those of this provider."),
    _query("type", {"$ref": _ref("AccessCredentialType")}, "Only those of this type."),
    _query("page", {"type": "integer", "minimum": 1, "default": 1}, "Which page."),
    _query("per_page", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE_SIZE, "default": 100}, "Its size."),
]
_PATHS = {
    "/v4/credentials": {
        "get": _operation(
            "get_credentials",
            "List credentials by name",
            {"200": {"description": "One page.", "content": _json("CredentialsListResponse")}},
            400, 401, 403,
            parameters=_PAGES,
        ),
        "post": _operation(
            "create_credential",
            "Create a credential",
            {"201": _EMPTY | {"headers": {"Location": _TEXT, "Preference-Applied": _TEXT}}},
            400, 401, 403, 409, 413, 415, 422, 429, 503,
            requestBody=_body("CredentialCreateRequest"),
            parameters=[_PREFER_VERIFY],
        ),
    },
    "/v4/credentials/verify": {
        "post": _operation(
            "verify_credential",
            "Verify a credential by asking its provider; without a payload, the stored one of that name",
            {"200": {"description": "It works.", "content": _json("VerificationReport")}},
            400, 401, 403, 404, 413, 415, 422, 429, 502, 503, 504,
            requestBody=_body("CredentialsVerifyRequest"),
            parameters=[_PREFER],
        ),
    },
    "/v4/credentials/{name}": {
        "get": _operation(
            "get_credential_by_name",
            "Get a credential without its secrets",
            {
                "200": {"description": "The credential.", "content": _json("CredentialGetResponse")},
                "304": {"description": "The client's copy is current."},
            },
            400, 401, 403, 404,
            parameters=[_NAME, _header("If-None-Match", "Only if the credential has another ETag.")],
        ),
        "patch": _operation(
            "patch_credential_by_name",
            "Change a credential; absent fields stay as they are",
            {"204": _EMPTY | {"headers": {"ETag": _TEXT, "Preference-Applied": _TEXT}}},
            400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503,
            requestBody=_body("CredentialUpdateRequest"),
            parameters=[_NAME, _IF_MATCH, _PREFER_VERIFY],
        ),
        "delete": _operation(
            "delete_credential_by_name",
            "Delete a credential",
            {"204": _EMPTY},
            400, 401, 403, 404, 412,
            parameters=[_NAME, _IF_MATCH],
        ),
    },
}  # fmt: skip
