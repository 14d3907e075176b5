"""What an orchestrator asks: livez, readyz, version. No authentication, nothing secret."""

import asyncio
import math
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import orjson
from aiohttp import web

from service import __version__
from service.core.errors import RefusesToStart, VouchError

CHECK_SECONDS = 2.0
LOOK_SECONDS = 10.0
"""Readiness is looked at so often, also when nobody asks: what metrics show must not be old."""


class Health:
    """Readiness, by named part. It turns off first when the service is about to stop."""

    def __init__(self) -> None:
        self._parts: Mapping[str, Callable[[], Awaitable[None]]] = {}
        self._states: dict[str, str] = {}
        self._looked_at = -math.inf
        self.draining = False
        """Readiness is off: a load balancer should send nothing any more."""
        self.closed = False
        """Nothing more is accepted, also on connections that are kept open."""
        self.under_way = 0
        """Requests that have been accepted and not answered yet."""
        self._idle = asyncio.Event()
        self._idle.set()

    def begin_request(self) -> None:
        """Count a request; `end_request` must follow."""
        self.under_way += 1
        self._idle.clear()

    def end_request(self) -> None:
        """The request is answered."""
        self.under_way -= 1
        if not self.under_way:
            self._idle.set()

    async def wait_until_idle(self, seconds: float) -> None:
        """Return when no request is under way, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def routes(self) -> list[web.RouteDef]:
        """The three paths."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/version", self.version),
        ]

    def watch(self, parts: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Say which parts readiness is made of; each is a check that raises when its part does not work."""
        self._parts = parts

    async def livez(self, _request: web.Request) -> web.Response:
        """The process answers; depends on nothing (requirement 36)."""
        return _answer({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Whether requests can be served, part by part."""
        states = dict(await self._look())
        if self.draining:
            states["service"] = "draining"
        ready = all(state == "ok" for state in states.values())
        return _answer({"status": "ready" if ready else "not ready", "checks": states}, 200 if ready else 503)

    async def keep_looking(self, seconds: float = LOOK_SECONDS) -> None:
        """Look at the parts until cancelled, unless somebody has just asked for them."""
        while True:
            wait = self._looked_at + seconds - time.monotonic()
            if wait <= 0:
                await self._look()
                wait = seconds
            await asyncio.sleep(wait)

    def ready(self) -> dict[str, bool]:
        """By part, whether it worked when it was last looked at; `service` is whether it isn't about to stop."""
        return {part: state == "ok" for part, state in self._states.items()} | {"service": not self.draining}

    async def _look(self) -> dict[str, str]:
        states = await asyncio.gather(*map(_state, self._parts.values()))
        self._states = dict(zip(self._parts, states, strict=True))
        self._looked_at = time.monotonic()
        return self._states

    async def version(self, _request: web.Request) -> web.Response:
        """What is running."""
        return _answer({"name": "vouch", "version": __version__, "python": platform.python_version()})


async def _state(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except (VouchError, RefusesToStart) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - readiness must say no, not fail
        return f"failed ({type(error).__name__})"
    return "ok"


def _answer(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
