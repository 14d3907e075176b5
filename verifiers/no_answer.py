"""Why there is no answer: the verdicts of the way out. None carries a host, an address or a word of the upstream."""

import ssl
from http import HTTPStatus

import aiohttp

from verifiers.guard import RefusedError, Trip
from verifiers.verdict import TIMED_OUT, Fault, NotVerified, Reason, unknown

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
PROXY_UNREACHABLE = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "vouch's outbound proxy can't be reached.",
    "Ask the operator to check [egress] proxy, and the network between vouch and the proxy.",
)
PROXY_REFUSED = unknown(
    Reason.UNREACHABLE,
    Fault.NETWORK,
    "vouch's outbound proxy did not connect to the host: it does not allow it, or can't find or reach it.",
    "Check the host's name, and ask the operator whether the proxy lets vouch connect to it.",
)
PROXY_LOGIN = unknown(
    Reason.UNREACHABLE,
    Fault.SERVICE,
    "vouch's outbound proxy did not accept vouch's login.",
    "Ask the operator to correct [egress] proxy_login_file.",
)


class HostNotFound(NotVerified):
    """The host's name does not resolve."""

    def __init__(self) -> None:
        super().__init__(NO_SUCH_HOST)


def explain(error: Exception, this: Trip, *, proxied: bool) -> NotVerified:
    """What a failure on the way means. Never carries the error's own text: it names hosts and addresses.

    Args:
        error: what the session raised.
        this: the request's way.
        proxied: whether it led through the proxy, whose name is then the only one that was looked up.
    """
    if this.refused or isinstance(error, RefusedError):
        return NotVerified(BLOCKED)
    match error:
        case aiohttp.ClientHttpProxyError(status=HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
            return NotVerified(PROXY_LOGIN)
        case aiohttp.ClientHttpProxyError():
            return NotVerified(PROXY_REFUSED)
        case aiohttp.ClientProxyConnectionError():
            return NotVerified(PROXY_UNREACHABLE)
        case aiohttp.ClientConnectorDNSError():
            return NotVerified(PROXY_UNREACHABLE) if proxied else HostNotFound()
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError() | ssl.SSLError():
            return NotVerified(TLS_FAILED)
        case TimeoutError() if not isinstance(error, aiohttp.ClientOSError):
            return NotVerified(TIMED_OUT)
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return NotVerified(NOT_HTTP)
        case _:
            return NotVerified(UNREACHABLE)
