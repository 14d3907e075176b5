"""Credentials by id, and all that hangs on them: parse, call the core, render."""

from http import HTTPStatus

from aiohttp import hdrs, web

from service.api.body import read_json
from service.api.native import credential_render as render
from service.api.native import cursors
from service.api.native.credential_schemas import (
    LIST_PARAMETERS,
    credential_id,
    load_item,
    load_list_query,
    load_rollback,
    load_rotation,
)
from service.api.native.schemas import DEFAULT_LIMIT, LARGEST_LIMIT
from service.api.preconditions import if_match, if_none_match, must_exist, prefers_verify, verify_applied
from service.api.validation import require_once, whole
from service.app_keys import CALLER, CATALOG, EXTERNAL_IDS, REGISTRY, ROTATION, VERIFICATION
from service.core.catalog import Preconditions
from service.core.errors import Invalid

_PAGE_PARAMETERS = ("limit", "cursor")


async def get_credentials(request: web.Request) -> web.Response:
    """`GET /v1/credentials`."""
    require_once(request.query, LIST_PARAMETERS)
    query = load_list_query(request.query, request.app[REGISTRY])
    found, after = await request.app[CATALOG].scan(
        request[CALLER], query.teamspace, query.families, query.filters, after=query.after, limit=query.limit
    )
    return render.page(found, after, request.app[REGISTRY])


async def get_credential(request: web.Request) -> web.Response:
    """`GET /v1/credentials/{id}`."""
    found = await request.app[CATALOG].get(request[CALLER], request.match_info["id"])
    if if_none_match(request, found.tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={hdrs.ETAG: f'"{found.tag}"'})
    return render.credential(found, request.app[REGISTRY])


async def put_credential(request: web.Request) -> web.Response:
    """`PUT /v1/credentials/{id}`."""
    id_ = credential_id(request.match_info["id"])
    item = load_item(await read_json(request), request.app[REGISTRY])
    wanted = prefers_verify(request)
    saved, is_new = await request.app[CATALOG].put(
        request[CALLER],
        id_,
        item,
        conditions=Preconditions(if_match(request), must_exist(request)),
        vets=request.app[VERIFICATION].vets(request[CALLER], item.teamspace) if wanted else None,
    )
    headers = verify_applied(saved) if wanted else {}
    status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return render.credential(saved, request.app[REGISTRY], status=status, headers=headers)


async def delete_credential(request: web.Request) -> web.Response:
    """`DELETE /v1/credentials/{id}`."""
    await request.app[CATALOG].delete(request[CALLER], request.match_info["id"], if_match(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def post_verify(request: web.Request) -> web.Response:
    """`POST /v1/credentials/{id}/verify`."""
    return render.report(await request.app[VERIFICATION].verify_by_id(request[CALLER], request.match_info["id"]))


async def get_verifications(request: web.Request) -> web.Response:
    """`GET /v1/credentials/{id}/verifications`."""
    require_once(request.query, _PAGE_PARAMETERS)
    wrong: dict[str, str] = {}
    limit = whole(request.query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT, wrong)
    before = None
    if "cursor" in request.query:
        parts = cursors.decode(request.query["cursor"], (int,))
        before = None if parts is None else int(parts[0])
        if before is None:
            wrong["cursor"] = "Must be a next_cursor of this list."
    if wrong:
        raise Invalid(wrong)
    service = request.app[VERIFICATION]
    found = await service.history(request[CALLER], request.match_info["id"], before=before, limit=limit + 1)
    return render.history(found, limit)


async def post_rotate(request: web.Request) -> web.Response:
    """`POST /v1/credentials/{id}/rotate`."""
    id_, registry = request.match_info["id"], request.app[REGISTRY]
    body = await read_json(request)
    service = request.app[ROTATION]
    seen = await service.find(request[CALLER], id_)
    wanted = load_rotation(body, seen, registry)
    rotated, _report = await service.rotate(
        request[CALLER], seen, wanted.public, wanted.secret, force=wanted.force, if_match=if_match(request)
    )
    return render.credential(rotated, registry)


async def post_rollback(request: web.Request) -> web.Response:
    """`POST /v1/credentials/{id}/rollback`."""
    version = load_rollback(await read_json(request)) if request.can_read_body else None
    service = request.app[ROTATION]
    found = await service.roll_back(request[CALLER], request.match_info["id"], version, if_match=if_match(request))
    return render.credential(found, request.app[REGISTRY])


async def get_versions(request: web.Request) -> web.Response:
    """`GET /v1/credentials/{id}/versions`."""
    current, kept = await request.app[ROTATION].versions(request[CALLER], request.match_info["id"])
    return render.versions(current, kept, request.app[REGISTRY])


async def get_external_id(request: web.Request) -> web.Response:
    """`GET /v1/external-id`."""
    caller = request[CALLER]
    return render.external_id(await request.app[EXTERNAL_IDS].issued_to(caller), caller.principal.workspace)
