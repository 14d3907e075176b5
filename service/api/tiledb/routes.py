"""The table of routes."""

from aiohttp import web

from service.api.tiledb import handlers

PREFIX = "/v4"

# `[^/]+` and not aiohttp's own pattern, which has no braces: a name may have them.
ROUTES = [
    # Before {name}: a credential called "verify" can still be read, changed and deleted.
    web.post("/v4/credentials/verify", handlers.verify_credential),
    web.post("/v4/credentials", handlers.create_credential),
    web.get("/v4/credentials", handlers.get_credentials),
    web.get("/v4/credentials/{name:[^/]+}", handlers.get_credential),
    web.patch("/v4/credentials/{name:[^/]+}", handlers.patch_credential),
    web.delete("/v4/credentials/{name:[^/]+}", handlers.delete_credential),
]
