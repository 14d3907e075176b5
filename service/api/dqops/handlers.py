"""DQOps' six operations, and the one of ours: parse, call the core, render."""

from aiohttp import web

from service.api.body import read_json
from service.api.dqops import render
from service.api.dqops.schemas import load_file
from service.app_keys import CALLER, SHARED, VERIFICATION
from service.core.errors import Invalid, verification_error
from service.core.names import require_name


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    require_name(name)
    return name


async def get_all_shared_credentials(request: web.Request) -> web.Response:
    """`GET /api/credentials`."""
    return render.listed(await request.app[SHARED].list(request[CALLER]))


async def create_shared_credential(request: web.Request) -> web.Response:
    """`POST /api/credentials`."""
    await request.app[SHARED].create(request[CALLER], load_file(await read_json(request)))
    return web.Response(status=201)


async def get_shared_credential(request: web.Request) -> web.Response:
    """`GET /api/credentials/{credentialName}`."""
    return render.model(await request.app[SHARED].reveal(request[CALLER], _name(request)))


async def download_shared_credential(request: web.Request) -> web.Response:
    """`GET /api/credentials/{credentialName}/download`."""
    return render.download(await request.app[SHARED].reveal(request[CALLER], _name(request)))


async def update_shared_credential(request: web.Request) -> web.Response:
    """`PUT /api/credential/{credentialName}`."""
    name = _name(request)
    await request.app[SHARED].replace(request[CALLER], load_file(await read_json(request), name))
    return web.Response(status=204)


async def delete_shared_credential(request: web.Request) -> web.Response:
    """`DELETE /api/credentials/{credentialName}`."""
    await request.app[SHARED].delete(request[CALLER], _name(request))
    return web.Response(status=204)


async def verify_shared_credential(request: web.Request) -> web.Response:
    """`POST /api/credentials/{credentialName}/verify`: beyond DQOps."""
    profiles = request.query.getall("profile", ())
    if len(profiles) > 1:
        raise Invalid({"profile": "Give it once."})
    profile = profiles[0] if profiles else None
    report = await request.app[VERIFICATION].verify_shared(request[CALLER], _name(request), profile)
    if error := verification_error(report):
        raise error
    return render.report(report)
