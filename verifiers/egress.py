"""The guarded way out: two aiohttp sessions, the operator's and the callers', that never share a connection.

What `[providers.*]` names is the operator's word, whose connector asks for nothing. What a caller names
passes the policy of `verifiers/guard.py`. Neither session follows redirects, reads the environment, keeps
cookies or decompresses, and no failure's text carries a host, an address or a word of the upstream.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from verifiers.addresses import parse_allow
from verifiers.endpoints import CallerPolicy, Destination, destination
from verifiers.guard import GuardedNames, RefusedError, Trip, leaves_by_proxy, make_socket, trip
from verifiers.interim import BoundedResponse
from verifiers.names import GetAddressInfo, Names
from verifiers.no_answer import BLOCKED, MISCONFIGURED, NOT_HTTP, UNREACHABLE, HostNotFound, explain
from verifiers.proxy import Proxy, read_proxy
from verifiers.settings import EgressSettings
from verifiers.verdict import NotVerified

__all__ = ["BLOCKED", "USER_AGENT", "Answer", "Egress", "GuardedSession", "HostNotFound"]

USER_AGENT = "vouch/0.1 (credential verification)"

LONGEST_BODY = 65536
"""How much of an answer is read, in bytes."""

_LONGEST_HEAD = 32768
_LONGEST_LINE = 8190
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Nothing of it is shown in a repr, for it may hold a token.

    `headers` is case-insensitive; `body` is at most 64 KB as it came (never decompressed); `complete` is
    whether that was all of it.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    complete: bool

    @property
    def date(self) -> datetime | None:
        """The provider's clock (RFC 9110 section 6.6.1), aware, in UTC; None if it said nothing readable."""
        try:
            said = parsedate_to_datetime(self.headers.get("Date", ""))
            return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
        except (ValueError, OverflowError):
            return None


class _Dropped(Exception):
    """The connection went away before the answer's head was there."""


async def _send_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request by itself: it would do so on a fresh connection too."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped from error


class GuardedSession:
    """One of the two ways out: with a policy for callers, without one for the operator.

    Args:
        policy: what callers' endpoints must pass; None for the operator's.
        proxy: what may carry these requests; None for none. It gets connections of its own.
    """

    def __init__(self, policy: CallerPolicy | None, proxy: Proxy | None = None) -> None:
        self._policy = policy
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None
        self._names: Names | None = None

    def open(self, names: Names, tls: ssl.SSLContext, longest_seconds: float) -> None:
        """Make the connectors and the sessions; the event loop must be running."""
        self._names = names
        self._session = _session(names, self._policy, tls, longest_seconds)
        if self._proxy is not None:
            # The only host that these connections are made to is the proxy, which is the operator's word.
            self._proxied = _session(names, None, tls, longest_seconds, proxy=self._proxy.url)

    async def close(self) -> None:
        """Close every connection and drop every lookup."""
        for session in (self._session, self._proxied):
            if session is not None:
                await session.close()
        if self._names is not None:
            await self._names.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one request and read its answer: no redirect followed, no proxy but the configured one, no retry.

        Args:
            method: the HTTP method.
            url: path and query go out exactly as they are, for they may be signed.
            headers: beside User-Agent and Accept-Encoding.
            data: the body.
            tls: whom to trust instead of those whom the egress does; no connection is shared between the two.

        Raises:
            NotVerified: there is no answer, and the verdict says why.
            HostNotFound: the same, where the name does not resolve.
        """
        where = self._judge(url)
        session, options = await self._way(where)
        target = URL(where.url, encoded=True)
        for _ in range(_TRIES):
            this = Trip(where)
            token = trip.set(this)
            try:
                sending = session.request(
                    method, target, headers=headers, data=data, allow_redirects=False, ssl=tls or True, **options
                )
                return await _read(sending)
            except _Dropped:
                # A kept connection may close under a request: once more. A fresh one that does has answered.
                if this.connected:
                    break
            except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
                raise explain(error, this, proxied=session is self._proxied) from None
            finally:
                trip.reset(token)
        raise NotVerified(UNREACHABLE)

    def _judge(self, url: str) -> Destination:
        try:
            where = destination(url)
        except ValueError:
            raise NotVerified(MISCONFIGURED if self._policy is None else BLOCKED) from None
        if self._policy is not None and not self._policy.may_look_up(where):
            raise NotVerified(BLOCKED)
        return where

    async def _way(self, where: Destination) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """Directly or through the proxy, and what a request says to the proxy alone."""
        if self._session is None or self._names is None:
            raise RuntimeError("the egress is not open")
        if self._proxied is None or self._proxy is None or not self._proxy.serves(where):
            return self._session, {}
        try:
            if self._policy is not None and not await leaves_by_proxy(where, self._policy, self._names):
                return self._session, {}
        except RefusedError:
            raise NotVerified(BLOCKED) from None
        return self._proxied, {"proxy_headers": dict(self._proxy.headers)}


def _session(
    names: Names, policy: CallerPolicy | None, tls: ssl.SSLContext, longest_seconds: float, *, proxy: str | None = None
) -> aiohttp.ClientSession:
    """A session with a connector of its own."""
    connector = aiohttp.TCPConnector(
        resolver=names if policy is None else GuardedNames(names, policy),
        socket_factory=lambda info: make_socket(info, policy),
        use_dns_cache=policy is None,  # a cached answer would have been judged for another destination
        limit=0,  # the lanes bound how many probes run, and this must not hold them up
        ssl=tls,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=longest_seconds, sock_connect=None),
        trust_env=False,
        proxy=proxy,
        auto_decompress=False,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        skip_auto_headers=("Content-Type",),  # what was signed goes out, and no more
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
        middlewares=(_send_once,),
        response_class=BoundedResponse,
    )


async def _read(sending: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> Answer:
    async with sending as response:
        if sum(len(name) + len(value) for name, value in response.raw_headers) > _LONGEST_HEAD:
            response.close()
            raise NotVerified(NOT_HTTP)
        body = bytearray()
        while len(body) <= LONGEST_BODY and (piece := await response.content.read(LONGEST_BODY + 1 - len(body))):
            body += piece
        complete = len(body) <= LONGEST_BODY
        if not complete:
            response.close()
        return Answer(response.status, response.headers, bytes(body[:LONGEST_BODY]), complete)


class Egress:
    """The only way out, an async context manager: `operator` for configured hosts, `callers` for named ones.

    Args:
        settings: `[egress]`.
        getaddrinfo: resolves names; another one in tests.
        longest_seconds: ends a request that nobody gave a deadline.

    Raises:
        ValueError: an entry of `egress.allow`, `egress.ca_file` or the proxy can't be used; the message names it.
    """

    def __init__(
        self,
        settings: EgressSettings,
        *,
        getaddrinfo: GetAddressInfo = socket.getaddrinfo,
        longest_seconds: float = 60.0,
    ) -> None:
        policy = CallerPolicy(parse_allow(settings.allow), frozenset(settings.ports))
        proxy = read_proxy(settings)
        self.operator = GuardedSession(None, proxy)
        self.callers = GuardedSession(policy, proxy if settings.proxy_callers else None)
        self._tls = _tls_context(settings.ca_file) if settings.ca_file else _system_tls()
        self._getaddrinfo = getaddrinfo
        self._longest_seconds = longest_seconds

    async def __aenter__(self) -> "Egress":
        for session in (self.operator, self.callers):
            session.open(Names(self._getaddrinfo), self._tls, self._longest_seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(self.operator.close(), self.callers.close())


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"egress.ca_file: {ca_file!r} holds no certificates that can be read") from error
    return context


_system_tls = cache(lambda: _tls_context(""))
"""With the system's certificates alone: reading those takes tens of milliseconds, and nobody changes it."""
