"""The table of routes."""

from aiohttp import web

from service.api.dqops import handlers

PREFIX = "/api"

# `[^/]+` and not aiohttp's own pattern, which has no braces: a name may have them.
ROUTES = [
    web.get("/api/credentials", handlers.get_all_shared_credentials),
    web.post("/api/credentials", handlers.create_shared_credential),
    # DQOps' own: the list is plural, the update singular.
    web.put("/api/credential/{name:[^/]+}", handlers.update_shared_credential),
    # HEAD would count as a reveal that nobody sees.
    web.get("/api/credentials/{name:[^/]+}", handlers.get_shared_credential, allow_head=False),
    web.get("/api/credentials/{name:[^/]+}/download", handlers.download_shared_credential, allow_head=False),
    web.delete("/api/credentials/{name:[^/]+}", handlers.delete_shared_credential),
    web.post("/api/credentials/{name:[^/]+}/verify", handlers.verify_shared_credential),
]
