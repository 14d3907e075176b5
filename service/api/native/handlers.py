"""Resolving and leasing: parse, call the core, render."""

from datetime import UTC, datetime

from aiohttp import web

from service.api.body import read_form, read_json
from service.api.native import render
from service.api.native.schemas import (
    LEASES_PARAMETERS,
    RESOLVE_PARAMETERS,
    STOCK_PARAMETERS,
    as_parameters,
    load_lease,
    load_leases_query,
    load_resolve,
    load_stock_lease,
)
from service.api.native.token_exchange import subject_token
from service.api.validation import require_once
from service.app_keys import ADDRESS, AUTHENTICATOR, CALLER, LEASES, REGISTRY, REQUEST_ID, RESOLUTION
from service.core.errors import Invalid
from service.core.leases import Granted
from service.core.model import Caller
from verifiers.base import CloudProvider


async def get_resolve(request: web.Request) -> web.Response:
    """`GET /v1/resolve`."""
    require_once(request.query, RESOLVE_PARAMETERS)
    wanted = load_resolve(request.query)
    found = await request.app[RESOLUTION].resolve(request[CALLER], wanted.teamspace, wanted.provider, wanted.name)
    return render.resolved(found, request.app[REGISTRY])


async def post_lease(request: web.Request) -> web.Response:
    """`POST /v1/credentials/{id}/lease`."""
    wanted = load_lease(await read_json(request))
    return render.granted(await request.app[LEASES].grant(request[CALLER], request.match_info["id"], wanted))


async def get_leases(request: web.Request) -> web.Response:
    """`GET /v1/leases`."""
    require_once(request.query, LEASES_PARAMETERS)
    query = load_leases_query(request.query)
    found = await request.app[LEASES].list(
        request[CALLER],
        teamspace=query.teamspace,
        credential_id=query.credential_id,
        live=query.live,
        before=query.before,
        limit=query.limit + 1,
    )
    return render.leases(found, query.limit)


async def get_aws_credentials(request: web.Request) -> web.Response:
    """`GET /v1/aws/credentials`: the container credentials protocol of AWS SDKs."""
    granted = await _grant_stock(request, request[CALLER], CloudProvider.AWS, "container credentials")
    return render.container_credentials(granted.material)


async def post_google_token(request: web.Request) -> web.Response:
    """`POST /v1/google/token`: token exchange (RFC 8693) for Google's external accounts.

    The subject token is how the caller authenticates: Google's libraries send no header of ours.
    """
    form = await read_form(request)
    principal = await request.app[AUTHENTICATOR].authenticate_token(subject_token(form), request[ADDRESS])
    request[CALLER] = caller = Caller(principal, request[REQUEST_ID], request[ADDRESS])
    granted = await _grant_stock(request, caller, CloudProvider.GCP, "token exchange")
    left = int((granted.material.expires_at - datetime.now(UTC)).total_seconds())
    return render.exchanged_token(granted.material, max(left, 0))


async def _grant_stock(request: web.Request, caller: Caller, provider: CloudProvider, purpose: str) -> Granted:
    """A lease for a stock SDK, of the credential that serves."""
    require_once(request.query, STOCK_PARAMETERS)
    wanted = load_resolve(request.query, provider.value)
    terms = load_stock_lease(request.query, purpose)
    found = await request.app[RESOLUTION].resolve(caller, wanted.teamspace, provider.value, wanted.name)
    try:
        return await request.app[LEASES].grant(caller, found.credential.id, terms)
    except Invalid as error:
        raise as_parameters(error) from None
