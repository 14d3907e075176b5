"""Domain error → status, once, and the Error body that TileDB's dialect and our own share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from service.auth.authenticator import CHALLENGE_HEADER, CHALLENGES
from service.core import errors as domain
from verifiers.verdict import Reason, Report

_STATUSES: Mapping[type[domain.VouchError], HTTPStatus] = {
    domain.Malformed: HTTPStatus.BAD_REQUEST,
    domain.Invalid: HTTPStatus.BAD_REQUEST,
    domain.TwoSchemes: HTTPStatus.BAD_REQUEST,
    domain.UnsupportedKind: HTTPStatus.BAD_REQUEST,
    domain.NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    domain.NotAllowed: HTTPStatus.FORBIDDEN,
    domain.NoSuchCredential: HTTPStatus.NOT_FOUND,
    domain.NameTaken: HTTPStatus.CONFLICT,
    domain.Stale: HTTPStatus.PRECONDITION_FAILED,
    domain.Conflict: HTTPStatus.CONFLICT,
    domain.NoSuchVersion: HTTPStatus.NOT_FOUND,
    domain.LastVerdictFailed: HTTPStatus.CONFLICT,
    domain.NotLeasable: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.VerificationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.EndpointBlocked: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    domain.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

# Section 1 of the contract: an `unknown` is a gateway's trouble, by its reason.
_UNKNOWN = {Reason.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT, Reason.THROTTLED: HTTPStatus.SERVICE_UNAVAILABLE}
_THROTTLED_RETRY_SECONDS = 30

_MALFORMED, _INTERNAL = 1000, 1900
_HTTP_CODES = {400: 1000, 404: 1303, 405: 1302, 413: 1300, 415: 1301}
_HTTP_MESSAGES = {
    404: "There is nothing at this path.",
    405: "This path does not know that method.",
    413: "The body is too large.",
    415: "Send JSON, with Content-Type: application/json.",
}


class TooLarge(domain.VouchError):
    """The body is over the limit."""

    code = 1300


class TooSlow(domain.VouchError):
    """The body did not arrive in time."""

    code = 1000


class WrongMediaType(domain.VouchError):
    """The body is not plain JSON."""

    code = 1301


class NotAcceptable(domain.VouchError):
    """The body lacks a field or has one too many, as DQOps says it."""

    code = 1000


_HTTP_STATUSES: Mapping[type[domain.VouchError], HTTPStatus] = {
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
}


@dataclass(frozen=True)
class Failure:
    """An error as a dialect renders it: the same facts in every dialect, the body is its own."""

    status: HTTPStatus
    code: int
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    report: Report | None = None

    def error_body(self, request_id: str) -> dict[str, Any]:
        """The Error body of section 1 of the contract."""
        body: dict[str, Any] = {"code": self.code, "message": self.message, "request_id": request_id}
        if self.fields:
            wrong = [{"field": name, "message": sentence} for name, sentence in self.fields.items()]
            body["validation_error"] = {"fields": wrong}
        if self.report:
            body["verification"] = self.report.to_dict()
        return body


def describe(error: Exception) -> Failure:
    """What any exception looks like from outside; one that we don't know says nothing of itself."""
    if isinstance(error, domain.VouchError):
        return _describe_domain(error)
    if isinstance(error, web.HTTPException):
        headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        message = _HTTP_MESSAGES.get(error.status, HTTPStatus(error.status).phrase)
        code = _HTTP_CODES.get(error.status, _MALFORMED if error.status < 500 else _INTERNAL)
        return Failure(HTTPStatus(error.status), code, message, headers=headers)
    return Failure(HTTPStatus.INTERNAL_SERVER_ERROR, 1900, "Something went wrong on our side.")


def _describe_domain(error: domain.VouchError) -> Failure:
    status = _STATUSES.get(type(error)) or _HTTP_STATUSES.get(type(error)) or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {}
    fields: Mapping[str, str] = {}
    report = None
    if isinstance(error, domain.VerificationFailed):
        report = error.report
        if type(error) is domain.VerificationUnknown:
            status = _UNKNOWN.get(report.verdict.reason, HTTPStatus.BAD_GATEWAY)
        if report.verdict.reason is Reason.THROTTLED:
            headers["Retry-After"] = str(report.retry_after or _THROTTLED_RETRY_SECONDS)
    elif isinstance(error, domain.Invalid):
        fields = error.fields
    elif isinstance(error, domain.RateLimited | domain.Overloaded | domain.StoreUnavailable):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, domain.NotAuthenticated):
        headers[CHALLENGE_HEADER] = CHALLENGES
    return Failure(status, error.code, str(error), fields, headers, report)
