"""The six operations: parse, call the core, render."""

from urllib.parse import quote

from aiohttp import hdrs, web

from service.api.body import read_json
from service.api.preconditions import (
    if_match,
    if_none_match,
    prefers_representation,
    prefers_verify,
    verify_applied,
)
from service.api.tiledb import render
from service.api.tiledb.schemas import RequestSchemas, field_path, load_list_query
from service.api.validation import require_once, teamspace_id
from service.app_keys import CALLER, CREDENTIALS, REGISTRY, VERIFICATION
from service.core.changes import Vet
from service.core.errors import Invalid, verification_error
from service.core.model import Credential
from service.core.names import require_name

SCHEMAS = web.AppKey("TILEDB_SCHEMAS", RequestSchemas)

_PARAMETERS = ("teamspace_id", "provider", "type", "page", "per_page")


def _teamspace(request: web.Request) -> str:
    """The `teamspace_id` of a request, after refusing a repeated parameter."""
    query = request.query
    if not query:
        return ""
    require_once(query, _PARAMETERS)
    return teamspace_id(query)


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    require_name(name)
    return name


async def create_credential(request: web.Request) -> web.Response:
    """`POST /v4/credentials`."""
    teamspace = _teamspace(request)
    draft = request.app[SCHEMAS].load_draft(await read_json(request))
    vet = _vet(request, teamspace)
    credential = await request.app[CREDENTIALS].create(request[CALLER], teamspace, draft, vet)
    location = f"/v4/credentials/{quote(credential.name, safe='')}"
    if teamspace:
        location += f"?teamspace_id={quote(teamspace, safe='')}"
    return web.Response(status=201, headers={hdrs.LOCATION: location, **_applied(credential, vet)})


async def get_credentials(request: web.Request) -> web.Response:
    """`GET /v4/credentials`."""
    teamspace = _teamspace(request)
    query = load_list_query(request.query, request.app[SCHEMAS].types)
    credentials, total = await request.app[CREDENTIALS].list(
        request[CALLER],
        teamspace,
        provider=query.provider,
        type_=query.type,
        offset=(query.page - 1) * query.per_page,
        limit=query.per_page,
    )
    return render.page(credentials, request.app[REGISTRY], number=query.page, size=query.per_page, total=total)


async def get_credential(request: web.Request) -> web.Response:
    """`GET /v4/credentials/{name}`."""
    credential = await request.app[CREDENTIALS].get(request[CALLER], _teamspace(request), _name(request))
    if if_none_match(request, credential.tag):
        return web.Response(status=304, headers={hdrs.ETAG: f'"{credential.tag}"'})
    return render.one(credential, request.app[REGISTRY])


async def patch_credential(request: web.Request) -> web.Response:
    """`PATCH /v4/credentials/{name}`."""
    teamspace, name = _teamspace(request), _name(request)
    change = request.app[SCHEMAS].load_change(await read_json(request))
    vet = _vet(request, teamspace)
    service = request.app[CREDENTIALS]
    try:
        credential = await service.update(request[CALLER], teamspace, name, change, if_match(request), vet)
    except Invalid as error:
        path = field_path(change.payload.kind) if change.payload else ""
        raise Invalid(render.rename_fields(error.fields, path)) from None
    return web.Response(status=204, headers={hdrs.ETAG: f'"{credential.tag}"', **_applied(credential, vet)})


def _vet(request: web.Request, teamspace: str) -> Vet | None:
    """What verifies before saving, if the client wants that."""
    return request.app[VERIFICATION].vets(request[CALLER], teamspace).payload if prefers_verify(request) else None


def _applied(credential: Credential, vet: Vet | None) -> dict[str, str]:
    return {} if vet is None else verify_applied(credential)


async def delete_credential(request: web.Request) -> web.Response:
    """`DELETE /v4/credentials/{name}`."""
    teamspace, name = _teamspace(request), _name(request)
    await request.app[CREDENTIALS].delete(request[CALLER], teamspace, name, if_match(request))
    return web.Response(status=204)


async def verify_credential(request: web.Request) -> web.Response:
    """`POST /v4/credentials/verify`."""
    teamspace = _teamspace(request)
    wanted = request.app[SCHEMAS].load_verifiable(await read_json(request))
    service = request.app[VERIFICATION]
    if wanted.payload is None:
        report = await service.verify_stored(request[CALLER], teamspace, wanted.name, wanted.provider)
    else:
        report = await service.verify_payload(request[CALLER], teamspace, wanted.payload)
    if error := verification_error(report):
        raise error
    return render.verified(report, representation=prefers_representation(request))
