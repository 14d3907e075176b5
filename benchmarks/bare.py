"""What vouch is compared with: aiohttp alone, answering the same objects. `python -m benchmarks.bare FILE`.

FILE is JSON: paths and the objects that they answer. The same loop, the same encoder, the same runner as vouch's and
no log; no authentication, no store, no middleware. It prints the port that it took.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import web


def answering(found: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that encodes one object for each request."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    return handler


async def serve(objects: dict[str, Any]) -> None:
    """Serve until killed."""
    app = web.Application()
    app.add_routes([web.get(path, answering(found)) for path, found in objects.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        running.run(serve(json.loads(Path(sys.argv[1]).read_bytes())))
