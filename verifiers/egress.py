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

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from verifiers.addresses import parse_allow
from verifiers.endpoints import CallerPolicy, Destination, destination
from verifiers.guard import GuardedNames, RefusedError, Trip, make_socket, trip
from verifiers.interim import BoundedResponse
from verifiers.names import GetAddressInfo, Names
from verifiers.settings import EgressSettings
from verifiers.verdict import TIMED_OUT, Fault, NotVerified, Reason, unknown

USER_AGENT = "vouch/0.1 (credential verification)"

LONGEST_BODY = 65536
"""How much of an answer is read, in bytes."""

_LONGEST_HEAD = 32768
_LONGEST_LINE = 8190
_TRIES = 2

# One verdict for every refusal: it must not tell whether a host exists, or what it resolved to.
BLOCKED = unknown(
    Reason.BLOCKED_ENDPOINT,
    Fault.POLICY,
    "vouch's egress policy does not allow a connection to this endpoint.",
    "Use an https endpoint on a public host and a permitted port, or ask the operator to allow this one.",
)
NO_SUCH_HOST = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "The host's name does not resolve in DNS.",
    "Check the host's name, and the DNS that vouch uses.",
)
UNREACHABLE = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "The connection was refused, or it broke before the whole answer was there.",
    "Check that the host answers on this port, and the network between it and vouch.",
)
TLS_FAILED = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "No trusted TLS connection: the host's TLS certificate is not valid for it, or it does not speak TLS.",
    "Check the host's TLS certificate; a private authority's belongs in [egress] ca_file.",
)
NOT_HTTP = unknown(
    Reason.PROVIDER_ERROR,
    Fault.PROVIDER,
    "The answer was not HTTP, or its headers were too large.",
    "Check that the endpoint is the provider's own and no proxy answers in its place.",
)
MISCONFIGURED = unknown(
    Reason.UNREACHABLE,
    Fault.SERVICE,
    "The provider's configured endpoint is not a valid URL.",
    "Ask the operator to correct the provider's endpoint in vouch's configuration.",
)


class HostNotFound(NotVerified):
    """The host's name does not resolve."""

    def __init__(self) -> None:
        super().__init__(NO_SUCH_HOST)


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
    """One of the two ways out: with a policy for callers, without one for the operator."""

    def __init__(self, policy: CallerPolicy | None) -> None:
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None
        self._names: Names | None = None

    def open(self, names: Names, tls: ssl.SSLContext, longest_seconds: float) -> None:
        """Make the connector and the session; the event loop must be running."""
        policy = self._policy
        self._names = names
        connector = aiohttp.TCPConnector(
            resolver=names if policy is None else GuardedNames(names, policy),
            socket_factory=lambda info: make_socket(info, policy),
            use_dns_cache=policy is None,  # a cached answer would have been judged for another destination
            limit=0,  # the lanes bound how many probes run, and this must not hold them up
            ssl=tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=longest_seconds, sock_connect=None),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),  # what was signed goes out, and no more
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            middlewares=(_send_once,),
            response_class=BoundedResponse,
        )

    async def close(self) -> None:
        """Close every connection and drop every lookup."""
        if self._session is not None:
            await self._session.close()
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
        """Send one request and read its answer: no redirect followed, no proxy, no retry of an answer.

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
        if self._session is None:
            raise RuntimeError("the egress is not open")
        where = self._judge(url)
        target = URL(where.url, encoded=True)
        for _ in range(_TRIES):
            this = Trip(where)
            token = trip.set(this)
            try:
                sending = self._session.request(
                    method, target, headers=headers, data=data, allow_redirects=False, ssl=tls or True
                )
                return await _read(sending)
            except _Dropped:
                # A kept connection may close under a request: once more. A fresh one that does has answered.
                if this.connected:
                    break
            except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
                raise _explain(error, this) from None
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


def _explain(error: Exception, this: Trip) -> NotVerified:
    """What a failure on the way means. Never carries the error's own text: it names hosts and addresses."""
    if this.refused or isinstance(error, RefusedError):
        return NotVerified(BLOCKED)
    match error:
        case aiohttp.ClientConnectorDNSError():
            return HostNotFound()
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError() | ssl.SSLError():
            return NotVerified(TLS_FAILED)
        case TimeoutError() if not isinstance(error, aiohttp.ClientOSError):
            return NotVerified(TIMED_OUT)
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return NotVerified(NOT_HTTP)
        case _:
            return NotVerified(UNREACHABLE)


class Egress:
    """The only way out, an async context manager: `operator` for configured hosts, `callers` for named ones.

    Args:
        settings: `[egress]`.
        getaddrinfo: resolves names; another one in tests.
        longest_seconds: ends a request that nobody gave a deadline.

    Raises:
        ValueError: an entry of `egress.allow`, or `egress.ca_file`, can't be used; the message names it.
    """

    def __init__(
        self,
        settings: EgressSettings,
        *,
        getaddrinfo: GetAddressInfo = socket.getaddrinfo,
        longest_seconds: float = 60.0,
    ) -> None:
        policy = CallerPolicy(parse_allow(settings.allow), frozenset(settings.ports))
        self.operator = GuardedSession(None)
        self.callers = GuardedSession(policy)
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
