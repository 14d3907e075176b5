"""The one middleware: request id, authentication, the dialect's errors, one log line, one count.

One and not four, because each costs a request a tenth of what it has.
"""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from service.api.errors import Failure, describe
from service.app_keys import ADDRESS, AUTHENTICATOR, CALLER, EXPECTS_CONTINUE, HEALTH, REQUEST_ID
from service.auth.authenticator import API_KEY_HEADER, AUTHORIZATION, NO_CREDENTIALS
from service.core.errors import NotAuthenticated, Overloaded, TwoSchemes
from service.core.model import Caller
from service.observe.logs import RequestLog, frames
from service.observe.origin import Networks, client_address, request_id
from service.observe.requests import Requests

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger("vouch.http")
request_log = RequestLog()


class Dialect(NamedTuple):
    """Whose paths these are, and how it writes an error, given the request's id and path."""

    prefix: str
    error: Callable[[Failure, str, str], web.Response]


class Doors(NamedTuple):
    """Route patterns with another way in than the rest: all others need authentication (requirement 20).

    Attributes:
        public: need none.
        own: authenticate in their handlers, by something else than headers.
        bare: take a bearer without a scheme too: AWS SDKs send the content of a token file as it is.
    """

    public: frozenset[str]
    own: frozenset[str]
    bare: frozenset[str]


def pipeline(dialects: tuple[Dialect, ...], doors: Doors, trusted: Networks, requests: Requests) -> Middleware:
    """Make the middleware.

    Args:
        dialects: by prefix, longer ones first; the last one serves every other path.
        doors: who is let in where.
        trusted: proxies whose `X-Forwarded-For` is believed.
        requests: counts them.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        request[REQUEST_ID] = known = request_id(request)
        request[ADDRESS] = client_address(request, trusted)
        health = request.app[HEALTH]
        failure: Failure | None = None
        response: web.StreamResponse
        health.begin_request()
        try:
            response = await _respond(request, handler, doors)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is a dialect's error
            failure = describe(error)
            if failure.code == _INTERNAL:
                log.error("failure", request_id=known, error=type(error).__name__, frames=frames(error))
            response = _dialect(dialects, request.path).error(failure, known, request.path)
        finally:
            health.end_request()
        headers = response.headers
        headers["X-Request-ID"] = known
        headers["X-Content-Type-Options"] = "nosniff"
        headers[hdrs.SERVER] = "vouch"
        headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if request.get(EXPECTS_CONTINUE) and request.can_read_body:
            # The client holds back a body that nobody asked for: its next request would be taken for that.
            response.force_close()
        resource = request.match_info.route.resource
        # The pattern, not the path: a name may be anything, and a query too.
        route = resource.canonical if resource else None
        code = failure.code if failure else None
        spent = time.perf_counter() - started
        requests.answered(request.method, route, response.status, code, spent)
        _log(request, route, response.status, code, known, spent)
        return response

    return middleware


_INTERNAL = 1900


async def _respond(request: web.Request, handler: Handler, doors: Doors) -> web.StreamResponse:
    resource = request.match_info.route.resource
    # No resource is no such path or method: the router's own handler says so.
    if resource is None or resource.canonical in doors.public:
        return await handler(request)
    if request.app[HEALTH].closed:
        raise Overloaded("The service is shutting down.")
    if resource.canonical in doors.own:
        if API_KEY_HEADER in request.headers or AUTHORIZATION in request.headers:
            raise TwoSchemes("This path takes its authentication in the body: send none in a header.")
    else:
        address = request[ADDRESS]
        bare = resource.canonical in doors.bare
        principal = await request.app[AUTHENTICATOR].authenticate(request.headers, address, bare=bare)
        if principal is None:
            raise NotAuthenticated(NO_CREDENTIALS)
        request[CALLER] = Caller(principal, request[REQUEST_ID], address)
    return await handler(request)


def _dialect(dialects: tuple[Dialect, ...], path: str) -> Dialect:
    for dialect in dialects:
        if path == dialect.prefix or path.startswith(f"{dialect.prefix}/"):
            return dialect
    return dialects[-1]


def _log(request: web.Request, route: str | None, status: int, code: int | None, known: str, spent: float) -> None:
    caller = request.get(CALLER)
    request_log.write(
        request_id=known,
        method=request.method,
        route=route,
        status=status,
        code=code,
        ms=round(spent * 1000, 2),
        caller=f"{caller.principal.kind.value}:{caller.principal.id}" if caller else None,
        workspace=caller.principal.workspace if caller else None,
        address=request[ADDRESS],
    )
