"""The table of routes."""

from aiohttp import web

from service.api.native import credential_handlers as credentials
from service.api.native import handlers

PREFIX = "/v1"
CONTAINER_PREFIX = "/v1/aws"
"""Whose errors are those of the container credentials protocol."""
OAUTH_PREFIX = "/v1/google"
"""Whose errors carry OAuth's fields too."""

AWS_CREDENTIALS = "/v1/aws/credentials"
GOOGLE_EXCHANGE = "/v1/google/token"

ROUTES = [
    web.get("/v1/credentials", credentials.get_credentials),
    web.get("/v1/credentials/{id:[^/]+}", credentials.get_credential),
    web.put("/v1/credentials/{id:[^/]+}", credentials.put_credential),
    web.delete("/v1/credentials/{id:[^/]+}", credentials.delete_credential),
    web.post("/v1/credentials/{id:[^/]+}/verify", credentials.post_verify),
    web.get("/v1/credentials/{id:[^/]+}/verifications", credentials.get_verifications),
    web.post("/v1/credentials/{id:[^/]+}/rotate", credentials.post_rotate),
    web.post("/v1/credentials/{id:[^/]+}/rollback", credentials.post_rollback),
    web.get("/v1/credentials/{id:[^/]+}/versions", credentials.get_versions),
    web.get("/v1/external-id", credentials.get_external_id),
    web.get("/v1/resolve", handlers.get_resolve),
    web.post("/v1/credentials/{id:[^/]+}/lease", handlers.post_lease),
    web.get("/v1/leases", handlers.get_leases),
    web.get(AWS_CREDENTIALS, handlers.get_aws_credentials, allow_head=False),  # a HEAD would make a lease for nobody
    web.post(GOOGLE_EXCHANGE, handlers.post_google_token),
]
