"""The DQOps dialect's part of the OpenAPI document."""

from typing import Any

from apispec import APISpec
from marshmallow import Schema, fields

from service.api.dqops.schemas import SharedCredentialListSchema, SharedCredentialSchema
from service.api.openapi import Part, VerificationReportSchema

_TAG = "shared credentials"
_NAME = {"in": "path", "name": "name", "required": True, "schema": {"type": "string"}}
_PROFILE = {
    "in": "query",
    "name": "profile",
    "schema": {"type": "string"},
    "description": "Which profile of an AWS shared-credentials file; `default` if not given.",
}
_DONE = {"description": "Done."}


class SpringErrorSchema(Schema):
    """An error, as Spring writes it."""

    timestamp = fields.String(required=True, metadata={"format": "date-time"})
    status = fields.Integer(required=True)
    error = fields.String(required=True)
    message = fields.String(required=True)
    path = fields.String(required=True)
    verification = fields.Nested(VerificationReportSchema)


def _describe(spec: APISpec, _plugin: Any) -> None:
    spec.components.schema("SharedCredentialModel", schema=SharedCredentialSchema)
    spec.components.schema("SharedCredentialListModel", schema=SharedCredentialListSchema)
    spec.components.schema("SpringErrorPayload", schema=SpringErrorSchema)
    for path, operations in _PATHS.items():
        spec.path(path, operations=operations)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(operation_id: str, summary: str, done: dict[str, Any], *errors: int, **more: Any) -> dict[str, Any]:
    failed = {"description": "An error", "content": _json(_ref("SpringErrorPayload"))}
    answers = done | {str(status): failed for status in (401, 403, *errors)} | {"default": failed}
    return {"operationId": operation_id, "summary": summary, "tags": [_TAG], "responses": answers, **more}


_BODY = {"required": True, "content": _json(_ref("SharedCredentialModel"))}
_MODEL = {"200": {"description": "The file.", "content": _json(_ref("SharedCredentialModel"))}}
_LIST = {"type": "array", "items": _ref("SharedCredentialListModel")}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_REPORT = {"200": {"description": "It works.", "content": _json(_ref("VerificationReport"))}}

_PATHS: dict[str, dict[str, Any]] = {
    "/api/credentials": {
        "get": _operation(
            "getAllSharedCredentials",
            "List shared credentials by name",
            {"200": {"description": "All of them.", "content": _json(_LIST)}},
        ),
        "post": _operation(
            "createSharedCredential",
            "Store a file",
            {"201": _DONE},
            *(400, 406, 409, 413, 415),
            requestBody=_BODY,
        ),
    },
    "/api/credentials/{name}": {
        "get": _operation("getSharedCredential", "Get a file's content", _MODEL, 400, 404, parameters=[_NAME]),
        "delete": _operation("deleteSharedCredential", "Delete a file", {"204": _DONE}, 400, 404, parameters=[_NAME]),
    },
    "/api/credentials/{name}/download": {
        "get": _operation(
            "downloadSharedCredential",
            "Get a file's exact bytes",
            {"200": {"description": "The bytes.", "content": _BYTES}},
            *(400, 404),
            parameters=[_NAME],
        ),
    },
    "/api/credential/{name}": {
        "put": _operation(
            "updateSharedCredential",
            "Replace a file's content",
            {"204": _DONE},
            *(400, 404, 406, 413, 415),
            parameters=[_NAME],
            requestBody=_BODY,
        ),
    },
    "/api/credentials/{name}/verify": {
        "post": _operation(
            "verifySharedCredential",
            "Verify the AWS, Google or Azure credential that the file holds",
            _REPORT,
            *(400, 404, 422, 429, 502, 503, 504),
            parameters=[_NAME, _PROFILE],
        ),
    },
}

PART = Part(_describe)
