"""The native API's part of the OpenAPI document."""

from typing import Any

from apispec import APISpec
from marshmallow import Schema, fields

from service.api.native.routes import AWS_CREDENTIALS, GOOGLE_EXCHANGE
from service.api.native.schemas import LARGEST_LIMIT, LONGEST_LEASE, LeaseRequestSchema, LeaseScopeSchema
from service.api.native.token_exchange import GRANT, ISSUED_TYPE
from service.api.openapi import ErrorSchema, FaultSchema, Part, error_responses
from service.core.resolution import Via
from verifiers.base import CloudProvider
from verifiers.lease_terms import LeaseAccess, MaterialForm

_TAG = "leases"


class ResolvedSchema(Schema):
    """Which credential serves."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    provider = fields.String(required=True, metadata={"enum": list(CloudProvider)})
    type = fields.String(required=True)
    teamspace_id = fields.String(required=True, metadata={"description": "Empty for the workspace level."})
    provider_default = fields.Boolean(required=True)
    allowed_in_tasks = fields.Boolean(required=True)
    leasable = fields.Boolean(required=True, metadata={"description": "Whether this kind can be leased."})
    status = fields.String(required=True, allow_none=True, metadata={"enum": ["verified", "failed", None]})
    via = fields.String(required=True, metadata={"enum": list(Via)})
    fallback = fields.Boolean(
        required=True, metadata={"description": "Another one was named, and is not there (any more)."}
    )


class LeaseCallerSchema(Schema):
    """Who got a lease."""

    kind = fields.String(required=True)
    id = fields.String(required=True)
    name = fields.String(required=True)
    revoked = fields.Boolean(
        allow_none=True, metadata={"description": "Whether they have been revoked since; null: not known here."}
    )


class LeaseMaterialSchema(Schema):
    """Short-lived material; which fields it has says `form`."""

    form = fields.String(required=True, metadata={"enum": list(MaterialForm)})
    access_key_id = fields.String()
    secret_access_key = fields.String()
    session_token = fields.String()
    endpoint = fields.String()
    use_path_style = fields.String()
    account_name = fields.String()
    sas_token = fields.String()
    blob_endpoint = fields.String()
    container = fields.String()
    blob = fields.String()
    access_token = fields.String()


class LeasedScopeSchema(Schema):
    """What a lease was narrowed to."""

    bucket = fields.String(required=True)
    prefix = fields.String(required=True, metadata={"description": "Empty for the whole bucket."})
    access = fields.String(required=True, metadata={"enum": list(LeaseAccess)})


class LeaseSchema(Schema):
    """That somebody may use a credential for a while."""

    id = fields.String(required=True)
    credential_id = fields.String(required=True)
    credential_name = fields.String(required=True)
    provider = fields.String(required=True)
    type = fields.String(required=True)
    teamspace_id = fields.String(required=True)
    purpose = fields.String(required=True)
    scope = fields.Nested(LeasedScopeSchema, required=True, allow_none=True)
    role_arn = fields.String(required=True, metadata={"description": "The role that an AWS key assumed, or empty."})
    forced = fields.Boolean(required=True, metadata={"description": "Whether the last verdict was overridden."})
    caller = fields.Nested(LeaseCallerSchema, required=True)
    issued_at = fields.String(required=True, metadata={"format": "date-time"})
    expires_at = fields.String(required=True, metadata={"format": "date-time"})


class GrantedLeaseSchema(LeaseSchema):
    """A lease with its material, which is shown this once."""

    narrowed = fields.Boolean(
        required=True, metadata={"description": "Whether the provider itself holds it to the scope."}
    )
    notes = fields.List(fields.String(), required=True)
    material = fields.Nested(LeaseMaterialSchema, required=True)


class LeasesSchema(Schema):
    """A page of leases, newest first."""

    data = fields.List(fields.Nested(LeaseSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata={"description": "Null on the last page."})


class ContainerCredentialsSchema(Schema):
    """What AWS SDKs read from a container's endpoint."""

    AccessKeyId = fields.String(required=True)
    SecretAccessKey = fields.String(required=True)
    Token = fields.String(required=True)
    Expiration = fields.String(required=True, metadata={"format": "date-time"})


class ContainerErrorSchema(FaultSchema):
    """An Error whose code is text, as AWS SDKs read it."""

    code = fields.String(required=True, metadata={"description": "A stable number, as text."})


class OAuthErrorSchema(ErrorSchema):
    """An Error beside what OAuth clients look for (RFC 6749 section 5.2)."""

    error = fields.String(required=True)
    error_description = fields.String(required=True)


class ExchangedTokenSchema(Schema):
    """The answer of a token exchange (RFC 8693)."""

    access_token = fields.String(required=True)
    issued_token_type = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True)


def _describe(spec: APISpec, _plugin: Any) -> None:
    spec.components.schema("LeaseScope", schema=LeaseScopeSchema)
    spec.components.schema("LeasedScope", schema=LeasedScopeSchema)
    for schema in (
        ResolvedSchema,
        LeaseRequestSchema,
        GrantedLeaseSchema,
        LeasesSchema,
        ContainerCredentialsSchema,
        ContainerErrorSchema,
        OAuthErrorSchema,
        ExchangedTokenSchema,
    ):
        name = schema.__name__.removesuffix("Schema")
        if name not in spec.components.schemas:
            spec.components.schema(name, schema=schema)
    for path, operations in _PATHS.items():
        spec.path(path, operations=operations)


PART = Part(_describe)


def _query(name: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False) -> Any:
    told = {"in": "query", "name": name, "schema": schema or {"type": "string"}, "description": description}
    return told | ({"required": True} if required else {})


def _answer(name: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    return {"200": {"description": description, "content": content}}


def _operation(
    operation_id: str, summary: str, done: dict[str, Any], *errors: int, error: str = "Error", **more: Any
) -> dict[str, Any]:
    answers = done | error_responses(*errors, schema=error)
    return {"operationId": operation_id, "summary": summary, "tags": [_TAG], "responses": answers, **more}


_TEAMSPACE = _query("teamspace_id", "Empty or absent is the workspace level.")
_NAMED = _query("name", "The one that is meant; absent for the default.")
_STOCK = [
    _TEAMSPACE,
    _NAMED,
    _query("bucket", "A bucket to narrow the lease to."),
    _query("prefix", "Only objects whose names begin so."),
    _query("access", "What it is for; `read` if not given.", {"type": "string", "enum": list(LeaseAccess)}),
    _query("ttl_seconds", "How long it is to live.", {"type": "integer", "minimum": 1, "maximum": LONGEST_LEASE}),
    _query("purpose", "What it is for."),
]
_LEASE_ERRORS = (400, 401, 403, 404, 409, 422, 429, 502, 503, 504)
_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["grant_type", "subject_token"],
    "properties": {
        "grant_type": {"type": "string", "enum": [GRANT]},
        "requested_token_type": {"type": "string", "enum": [ISSUED_TYPE]},
        "subject_token": {"type": "string", "format": "password", "description": "Your API key or token."},
        "subject_token_type": {"type": "string"},
        "audience": {"type": "string"},
        "scope": {"type": "string"},
    },
}
_PATHS = {
    "/v1/resolve": {
        "get": _operation(
            "resolve_credential",
            "Which credential serves: the named one, else the teamspace's default, else the workspace's",
            _answer("Resolved", "The one that serves."),
            400, 401, 403, 404,
            parameters=[
                _query("provider", "Whose.", {"type": "string", "enum": list(CloudProvider)}, required=True),
                _TEAMSPACE,
                _NAMED,
            ],
        ),
    },
    "/v1/credentials/{id}/lease": {
        "post": _operation(
            "lease_credential",
            "Use a credential for a while, without seeing it",
            _answer("GrantedLease", "Short-lived material."),
            *_LEASE_ERRORS, 413, 415,
            parameters=[{"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}],
            requestBody={
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/LeaseRequest"}}},
            },
        ),
    },
    "/v1/leases": {
        "get": _operation(
            "list_leases",
            "Leases, newest first, with a note on those whose caller has been revoked since",
            _answer("Leases", "One page."),
            400, 401, 403,
            parameters=[
                _query("teamspace_id", "Only those of this teamspace, empty for the workspace level."),
                _query("credential_id", "Only those of this credential."),
                _query("live", "Only those that have not ended.", {"type": "boolean", "default": False}),
                _query(
                    "limit", "At most so many.",
                    {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": 100},
                ),
                _query("cursor", "The `next_cursor` of the page before."),
            ],
        ),
    },
    AWS_CREDENTIALS: {
        "get": _operation(
            "get_aws_container_credentials",
            "A lease as AWS SDKs ask for it (AWS_CONTAINER_CREDENTIALS_FULL_URI)",
            _answer("ContainerCredentials", "A session."),
            *_LEASE_ERRORS,
            error="ContainerError",
            parameters=[
                *_STOCK,
                _query("role_arn", "A role for an AWS key to assume."),
                _query("external_id", "What that role's trust policy asks for."),
            ],
        ),
    },
    GOOGLE_EXCHANGE: {
        "post": _operation(
            "exchange_google_token",
            "A lease as Google's libraries ask for it (token exchange, RFC 8693)",
            _answer("ExchangedToken", "An access token."),
            *_LEASE_ERRORS, 413, 415,
            error="OAuthError",
            parameters=_STOCK,
            requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _FORM}}},
            security=[],
        ),
    },
}  # fmt: skip
