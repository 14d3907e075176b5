"""`create_app(config)`: the only place that wires."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from service import bootstrap, gauges
from service.api import openapi
from service.api.dqops import openapi as dqops_openapi
from service.api.dqops import render as dqops_render
from service.api.dqops import routes as dqops_routes
from service.api.middleware import Dialect, Doors, pipeline
from service.api.native import credential_openapi
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
    CATALOG,
    CONFIG,
    CREDENTIALS,
    EXTERNAL_IDS,
    HEALTH,
    LANES,
    LEASES,
    METRICS,
    REGISTRY,
    RESOLUTION,
    ROTATION,
    SHARED,
    VERIFICATION,
)
from service.auth.authenticator import Authenticator, TokenCheck
from service.auth.passwords import Passwords
from service.config import Config
from service.core.catalog import Catalog
from service.core.credentials import Credentials
from service.core.envelope import Envelope, check_canary
from service.core.errors import RefusesToStart
from service.core.events import Events
from service.core.external_ids import ExternalIds
from service.core.lanes import Lanes
from service.core.leases import LeaseBounds, Leases
from service.core.probing import Probing, Quotas, StartRun
from service.core.records import Records
from service.core.resolution import Resolution
from service.core.rotation import Rotation
from service.core.shared import SharedCredentials
from service.core.store import Store
from service.core.verification import Verification
from service.core.watching import Pace
from service.health import Health
from service.observe import logs
from service.observe.limits import Windows
from service.observe.metrics import CONTENT_TYPE, Metrics
from service.observe.origin import parse_networks
from service.work.background import background
from service.work.schedule import Schedule
from service.work.signing import Signer
from service.work.webhooks import ATTEMPT_SECONDS, Webhooks
from verifiers.base import Run
from verifiers.egress import Egress
from verifiers.registry import BrokenVerifier, Registry, load_registry

_OPERATIONS = frozenset({"/livez", "/readyz", "/version", "/metrics", "/openapi.json"})

Works = dict[str, Callable[[], Awaitable[None]]]
"""What runs beside requests, by name."""


def create_app(config: Config) -> web.Application:
    """The application; its store, key ring and sessions open when it starts and close when it stops.

    Raises:
        RefusesToStart: an installed verifier is broken.
    """
    logs.silence_libraries()
    registry = installed_verifiers()
    schemas = RequestSchemas(registry)
    documented = openapi.routes(document(schemas, registry))
    dialects = (
        Dialect(native_routes.CONTAINER_PREFIX, native_render.container_error),
        Dialect(native_routes.OAUTH_PREFIX, native_render.oauth_error),
        Dialect(native_routes.PREFIX, native_render.error),
        Dialect(dqops_routes.PREFIX, dqops_render.error),
        Dialect(tiledb_routes.PREFIX, tiledb_render.error),
    )
    doors = Doors(
        public=_OPERATIONS | {route.path for route in documented},
        own=frozenset({native_routes.GOOGLE_EXCHANGE}),
        bare=frozenset({native_routes.AWS_CREDENTIALS}),
    )
    providers = _providers(registry)
    metrics = Metrics(providers)
    app = web.Application(
        middlewares=[pipeline(dialects, doors, parse_networks(config.server.trusted_proxies), metrics.requests)],
        client_max_size=config.server.max_body_bytes,
    )
    app[CONFIG] = config
    app[REGISTRY] = registry
    app[LANES] = lanes = Lanes(config.verification.concurrency)
    app[METRICS] = metrics
    app[tiledb.SCHEMAS] = schemas
    app.add_routes(tiledb_routes.ROUTES)
    app.add_routes(dqops_routes.ROUTES)
    app.add_routes(native_routes.ROUTES)
    app.add_routes(documented)
    app[HEALTH] = health = Health()
    app.add_routes(health.routes())
    app.add_routes([web.get("/metrics", _show_metrics)])
    gauges.show(metrics, health, lanes, config.verification.concurrency, providers)
    app.cleanup_ctx.append(_run)
    return app


async def _show_metrics(request: web.Request) -> web.Response:
    """`GET /metrics`."""
    return web.Response(body=request.app[METRICS].render(), headers={"Content-Type": CONTENT_TYPE})


def document(schemas: RequestSchemas, registry: Registry) -> dict[str, Any]:
    """The OpenAPI document."""
    by_id = credential_openapi.part(registry.kinds())
    return openapi.build(tiledb_openapi.part(schemas), dqops_openapi.PART, native_openapi.PART, by_id)


def _providers(registry: Registry) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind.provider for kind in registry.kinds()))


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
        longest = max(config.verification.deadline_seconds, ATTEMPT_SECONDS) + 1
        async with Egress(config.egress, longest_seconds=longest) as egress:
            app[AUTHENTICATOR] = who = authenticator(config, store, egress, app[METRICS].authentication_failure)
            try:
                works = _serve(app, store, envelope, egress)
                app[HEALTH].watch({"store": store.ping, "key_ring": lambda: _check_ring(store, envelope)})
                works["readiness"] = app[HEALTH].keep_looking
                async with background(works):
                    yield
            finally:
                await who.close()
    finally:
        await store.close()


def _serve(app: web.Application, store: Store, envelope: Envelope, egress: Egress) -> Works:
    """Make the core's services; what is to run beside requests."""
    config, metrics, registry = app[CONFIG], app[METRICS], app[REGISTRY]
    events = Events(deliver=bool(config.webhooks.url), count=metrics.event)
    records = Records(store, envelope, events)
    app[EXTERNAL_IDS] = external_ids = ExternalIds(store, envelope)

    async def start_run(workspace: str) -> Run:
        return Run(egress, config.providers, issued_external_id=await external_ids.of(workspace))

    app[CREDENTIALS] = credentials = Credentials(records, registry)
    app[SHARED] = shared = SharedCredentials(records)
    app[CATALOG] = Catalog(records, credentials, shared)
    probing = _probing(app, start_run)
    pace = Pace(config.verification.interval)
    verification = Verification(store, records, credentials, shared, probing, events, pace)
    app[VERIFICATION] = verification
    app[ROTATION] = Rotation(store, records, registry, probing, verification, config.credentials.keep_versions)
    app[RESOLUTION] = Resolution(records, events)
    app[LEASES] = Leases(
        store,
        records,
        registry,
        start_run=start_run,
        deadline=config.verification.deadline_seconds,
        lanes=app[LANES],
        quota=Windows(config.limits.leases_per_caller),
        bounds=LeaseBounds(**vars(config.leases)),
        count=metrics.lease,
    )
    schedule = Schedule(
        store,
        records,
        verification,
        events,
        pace,
        lanes=_providers(registry),
        warning=timedelta(days=config.verification.expiry_warning_days),
        deadline=config.verification.deadline_seconds,
        count=metrics.turn,
    )
    gauges.show_schedule(metrics, schedule)
    works: Works = {"schedule": schedule.run}
    if config.webhooks.url:
        signer = Signer.read(Path(config.webhooks.secret_file))
        webhooks = Webhooks(store, egress.callers, config.webhooks.url, signer, metrics.delivery)
        gauges.show_webhooks(metrics, webhooks)
        works["webhooks"] = webhooks.run
    return works


def _probing(app: web.Application, start_run: StartRun) -> Probing:
    config = app[CONFIG]
    limits = config.limits
    return Probing(
        app[REGISTRY],
        start_run=start_run,
        deadline=config.verification.deadline_seconds,
        lanes=app[LANES],
        quotas=Quotas(
            Windows(limits.verifications_per_caller),
            Windows(limits.verifications_per_target),
            Windows(limits.verifications_overall),
        ),
        count=app[METRICS].verification,
        clock=app[METRICS].verified_in,
    )


def authenticator(config: Config, store: Store, egress: Egress, count: Callable[[str], None]) -> Authenticator:
    """Every way of proving who one is."""
    return Authenticator(
        store,
        Passwords(),
        _tokens(config, egress),
        anonymous_role=config.auth.anonymous_role,
        failures=Windows(config.limits.authentication_failures),
        count=count,
    )


def _tokens(config: Config, egress: Egress) -> TokenCheck | None:
    auth = config.auth
    if not auth.oauth2.issuer and not auth.jwt:
        return None
    from service.auth.tokens import Tokens

    return Tokens(auth.oauth2, egress.operator, workloads=auth.jwt)


async def _check_ring(store: Store, envelope: Envelope) -> None:
    canary = await store.get_canary()
    if canary is None:
        raise RefusesToStart("The store has no canary.")
    await check_canary(envelope, canary)
