"""The OpenAPI 3.1 document, from the schemas that requests are checked with, and a page that renders it offline."""

from collections.abc import Callable
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from service import __version__
from service.api.validation import Choice, Name, Whole
from service.core.names import LONGEST_NAME
from verifiers.fields import Endpoint, Secret, Text
from verifiers.verdict import CheckOutcome, Fault, Outcome, Reason

_DOCS = "/docs"
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>vouch</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body>
</html>
"""
_START = b'SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null});\n'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)


class CheckSchema(Schema):
    """One named check of a report."""

    name = fields.String(required=True)
    outcome = fields.String(required=True, metadata={"enum": list(CheckOutcome)})
    reason = fields.String(required=True)
    message = fields.String(required=True)
    duration_ms = fields.Integer(required=True)


class VerificationReportSchema(Schema):
    """What a verification found."""

    outcome = fields.String(required=True, metadata={"enum": list(Outcome)})
    reason = fields.String(required=True, metadata={"enum": list(Reason)})
    fault = fields.String(required=True, metadata={"enum": list(Fault)})
    provider = fields.String(required=True, allow_none=True)
    type = fields.String(required=True, allow_none=True)
    identity = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    checks = fields.List(fields.Nested(CheckSchema), required=True)
    expires_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    checked_at = fields.String(required=True, metadata={"format": "date-time"})
    duration_ms = fields.Integer(required=True)
    message = fields.String(required=True)
    remedy = fields.String(required=True, metadata={"description": "One sentence to act on."})


class ValidationErrorFieldSchema(Schema):
    """One wrong field, by its dotted path."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class ValidationErrorSchema(Schema):
    """What is wrong with a request."""

    fields = fields.List(fields.Nested(ValidationErrorFieldSchema), required=True)  # type: ignore[assignment] # the wire's name


class FaultSchema(Schema):
    """What every error says, however its code is written."""

    message = fields.String(required=True)
    request_id = fields.String(required=True, metadata={"description": "Equals the X-Request-ID header."})
    validation_error = fields.Nested(ValidationErrorSchema)
    verification = fields.Nested(VerificationReportSchema)


class ErrorSchema(FaultSchema):
    """Every 4xx and 5xx."""

    code = fields.Integer(required=True, metadata={"description": "A stable number."})


class Part(NamedTuple):
    """What a dialect adds to the document."""

    describe: Callable[[APISpec, Any], None]


def build(*parts: Part) -> dict[str, Any]:
    """The document.

    Args:
        parts: the dialects'.
    """
    plugin: Any = MarshmallowPlugin(schema_name_resolver=_name)  # its converter is untyped
    spec = APISpec(
        title="vouch",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={
            "summary": "Keeps cloud credentials encrypted and proves that each one works.",
            "license": {"name": "Proprietary"},
        },
        security=[{"ApiKeyAuth": []}, {"BasicAuth": []}, {"OAuth2": []}],
    )
    plugin.converter.add_attribute_function(_describe_field)
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)
    spec.components.schema("Error", schema=ErrorSchema)
    for part in parts:
        part.describe(spec, plugin)
    for path, (summary, media_type, schema) in _OPERATIONS.items():
        answer = {"description": "Yes.", "content": {media_type: {"schema": schema}}}
        answers: dict[str, Any] = {"200": answer}
        if path == "/readyz":
            answers["503"] = {**answer, "description": "Not now; each part says why."}
        spec.path(
            path,
            operations={"get": {"summary": summary, "tags": ["operations"], "security": [], "responses": answers}},
        )
    return spec.to_dict()


_SECURITY = {
    "ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-TILEDB-REST-API-KEY"},
    "BasicAuth": {"type": "http", "scheme": "basic"},
    "OAuth2": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JWT of the configured issuer, or an API key.",
    },
}
_FACTS = ("application/json", {"type": "object"})
_OPERATIONS: dict[str, tuple[str, str, dict[str, str]]] = {
    "/livez": ("Whether the process answers", *_FACTS),
    "/readyz": ("Whether the store and the key ring work", *_FACTS),
    "/version": ("What is running", *_FACTS),
    "/metrics": ("Figures in the text format of Prometheus", "text/plain", {"type": "string"}),
}


def _name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _describe_field(_self: object, field: fields.Field[Any], **_kwargs: Any) -> dict[str, Any]:
    """What our own fields refuse, as JSON Schema says it."""
    if isinstance(field, Choice):
        return {"enum": list(field.words)}
    if isinstance(field, Whole):
        return {"minimum": field.least, "maximum": field.greatest}
    if isinstance(field, Name):
        return {
            "minLength": 1,
            "maxLength": LONGEST_NAME,
            "pattern": r"^(?!ws_)(?!\.{1,2}$)[^/\\\u0000-\u001f\u007f-\u009f]+$",
        }
    if not isinstance(field, Text):
        return {}
    told: dict[str, Any] = {"maxLength": field.longest}
    if isinstance(field, Secret):
        told |= {
            "format": "password",
            "description": "Secret: sealed at rest, and returned as the empty string.",
        }
    else:
        told["minLength"] = 1
    if isinstance(field, Endpoint):
        told["format"] = "uri"
    if field.derived:
        told["description"] = "Ignored on input; taken out of the key file."
    return told


def error_responses(*statuses: int, schema: str = "Error") -> dict[str, Any]:
    """The responses of an operation that carry the Error body; `default` stands for every other one."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    told = {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
    return told | {"default": {"description": "Any other error", "content": content}}


def routes(document: dict[str, Any]) -> list[web.RouteDef]:
    """`/openapi.json`, `/docs` and its assets. The assets are swagger-ui-py's own; the page asks nobody else."""
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("swagger-ui-py is not installed")
    static = Path(spec.origin).parent / "static"
    found = [_fixed("/openapi.json", orjson.dumps(document), "application/json")]
    found.append(_fixed(_DOCS, _PAGE, "text/html"))
    found.append(_fixed(f"{_DOCS}/start.js", _START, "text/javascript"))
    return found + [_asset(f"{_DOCS}/{name}", static / name, kind) for name, kind in _ASSETS.items()]


def _fixed(path: str, body: bytes, kind: str) -> web.RouteDef:
    async def handler(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return web.get(path, handler)


def _asset(path: str, file: Path, kind: str) -> web.RouteDef:
    async def handler(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(
            file, headers={"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "max-age=3600"}
        )

    return web.get(path, handler)
