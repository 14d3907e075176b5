"""`create_app(config)`: the only place that wires."""

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from service import bootstrap
from service.api import openapi
from service.api.dqops import openapi as dqops_openapi
from service.api.dqops import render as dqops_render
from service.api.dqops import routes as dqops_routes
from service.api.middleware import Dialect, Doors, pipeline
from service.api.native import openapi as native_openapi
from service.api.native import render as native_render
from service.api.native import routes as native_routes
from service.api.tiledb import handlers as tiledb
from service.api.tiledb import openapi as tiledb_openapi
from service.api.tiledb import render as tiledb_render
from service.api.tiledb import routes as tiledb_routes
from service.api.tiledb.schemas import RequestSchemas
from service.app_keys import (
    AUTHENTICATOR,
    CONFIG,
    CREDENTIALS,
    HEALTH,
    LANES,
    LEASES,
    REGISTRY,
    RESOLUTION,
    SHARED,
    VERIFICATION,
)
from service.auth.authenticator import Authenticator, TokenCheck
from service.auth.passwords import Passwords
from service.config import Config
from service.core.credentials import Credentials
from service.core.envelope import Envelope, check_canary
from service.core.errors import RefusesToStart
from service.core.lanes import Lanes
from service.core.leases import LeaseBounds, Leases
from service.core.records import Records
from service.core.resolution import Resolution
from service.core.shared import SharedCredentials
from service.core.store import Store
from service.core.verification import Quotas, Verification
from service.health import Health
from service.observe import logs
from service.observe.limits import Windows
from service.observe.origin import parse_networks
from verifiers.base import Run
from verifiers.egress import Egress
from verifiers.registry import BrokenVerifier, Registry, load_registry

_OPERATIONS = frozenset({"/livez", "/readyz", "/version", "/openapi.json"})


def create_app(config: Config) -> web.Application:
    """The application; its store, key ring and sessions open when it starts and close when it stops.

    Raises:
        RefusesToStart: an installed verifier is broken.
    """
    logs.silence_libraries()
    registry = installed_verifiers()
    schemas = RequestSchemas(registry)
    documented = openapi.routes(document(schemas))
    dialects = (
        Dialect(native_routes.CONTAINER_PREFIX, native_render.container_error),
        Dialect(native_routes.OAUTH_PREFIX, native_render.oauth_error),
        Dialect(native_routes.PREFIX, native_render.error),
        Dialect(dqops_routes.PREFIX, dqops_render.error),
        Dialect(tiledb_routes.PREFIX, tiledb_render.error),
    )
    doors = Doors(
        public=_OPERATIONS | {route.path for route in documented},
        own=frozenset({native_routes.GOOGLE_TOKEN}),
        bare=frozenset({native_routes.AWS_CREDENTIALS}),
    )
    app = web.Application(
        middlewares=[pipeline(dialects, doors, parse_networks(config.server.trusted_proxies))],
        client_max_size=config.server.max_body_bytes,
    )
    app[CONFIG] = config
    app[REGISTRY] = registry
    app[LANES] = Lanes(config.verification.concurrency)
    app[tiledb.SCHEMAS] = schemas
    app.add_routes(tiledb_routes.ROUTES)
    app.add_routes(dqops_routes.ROUTES)
    app.add_routes(native_routes.ROUTES)
    app.add_routes(documented)
    app[HEALTH] = health = Health()
    app.add_routes(health.routes())
    app.cleanup_ctx.append(_run)
    return app


def document(schemas: RequestSchemas) -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi.build(tiledb_openapi.part(schemas), dqops_openapi.PART, native_openapi.PART)


def installed_verifiers() -> Registry:
    """The verifiers, installed packages' included.

    Raises:
        RefusesToStart: one of them is broken.
    """
    try:
        return load_registry()
    except BrokenVerifier as error:
        raise RefusesToStart(str(error)) from None


async def _run(app: web.Application) -> AsyncIterator[None]:
    """Own what lives as long as the application."""
    config = app[CONFIG]
    store = await bootstrap.open_store(config)
    try:
        envelope = await bootstrap.unlock(config, store)
        async with Egress(config.egress, longest_seconds=config.verification.deadline_seconds + 1) as egress:
            app[AUTHENTICATOR] = who = authenticator(config, store, egress)
            records = Records(store, envelope)
            try:
                app[CREDENTIALS] = credentials = Credentials(records, app[REGISTRY])
                app[SHARED] = shared = SharedCredentials(records)
                app[VERIFICATION] = verification(config, store, credentials, shared, app, egress)
                app[RESOLUTION] = Resolution(records)
                app[LEASES] = leases(config, store, records, app, egress)
                app[HEALTH].watch({"store": store.ping, "key_ring": lambda: _check_ring(store, envelope)})
                yield
            finally:
                await who.close()
    finally:
        await store.close()


def authenticator(config: Config, store: Store, egress: Egress) -> Authenticator:
    """Every way of proving who one is."""
    return Authenticator(
        store,
        Passwords(),
        _tokens(config, egress),
        anonymous_role=config.auth.anonymous_role,
        failures=Windows(config.limits.authentication_failures),
    )


def _tokens(config: Config, egress: Egress) -> TokenCheck | None:
    auth = config.auth
    if not auth.oauth2.issuer and not auth.jwt:
        return None
    from service.auth.tokens import Tokens

    return Tokens(auth.oauth2, egress.operator, workloads=auth.jwt)


def verification(
    config: Config,
    store: Store,
    credentials: Credentials,
    shared: SharedCredentials,
    app: web.Application,
    egress: Egress,
) -> Verification:
    """Verifying, with its deadline, lanes and quotas."""
    limits = config.limits
    return Verification(
        store,
        credentials,
        shared,
        app[REGISTRY],
        start_run=lambda: Run(egress=egress, settings=config.providers),
        deadline=config.verification.deadline_seconds,
        lanes=app[LANES],
        quotas=Quotas(Windows(limits.verifications_per_caller), Windows(limits.verifications_per_target)),
    )


def leases(config: Config, store: Store, records: Records, app: web.Application, egress: Egress) -> Leases:
    """Leasing, with its bounds."""
    return Leases(
        store,
        records,
        app[REGISTRY],
        start_run=lambda: Run(egress=egress, settings=config.providers),
        deadline=config.verification.deadline_seconds,
        lanes=app[LANES],
        quota=Windows(config.limits.leases_per_caller),
        bounds=LeaseBounds(**vars(config.leases)),
    )


async def _check_ring(store: Store, envelope: Envelope) -> None:
    canary = await store.get_canary()
    if canary is None:
        raise RefusesToStart("The store has no canary.")
    await check_canary(envelope, canary)
