"""Leases of Google service-account keys: an access token, narrowed by a Credential Access Boundary.

Two calls: the JWT grant, then the token exchange of RFC 8693 at Google's Security Token Service
(https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token), as described in
https://cloud.google.com/iam/docs/create-downscoped-short-lived-credentials. What the first call gave never leaves where
a scope was asked for.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from verifiers.base import Payload, Run
from verifiers.gcp_boundary import access_boundary, scope_faults
from verifiers.gcp_grant import LONGEST_ASSERTION, ask_for_token, error_code, read_key, redeem, sign
from verifiers.lease_terms import LeaseScope, LeaseTerms, Material, MaterialForm, TermsRefused
from verifiers.verdict import Fault, NotVerified, Reason, Verdict, unknown

READ_WRITE = "https://www.googleapis.com/auth/devstorage.read_write"
"""Of a token that leaves without a boundary: https://cloud.google.com/storage/docs/oauth-scopes. The widest,
`full_control`, adds policies and ACLs alone."""
TO_NARROW = "https://www.googleapis.com/auth/cloud-platform"
"""Of a token that is narrowed and never leaves: what Google's pages and libraries exchange
(https://cloud.google.com/iam/docs/create-downscoped-short-lived-credentials). The boundary says what is left of it."""

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type

SHORTEST_ASSERTION = 60
"""Seconds an assertion is good for at least, so that it is still good when it arrives."""
LONGEST_TOKEN = 43200
"""Seconds: no access token of a service account lives longer.

https://cloud.google.com/iam/docs/create-short-lived-credentials-direct#sa-credentials-oauth"""

# The characters of RFC 6750 section 2.1, and the 12 KB of the exchange's page: it goes into a header as it is.
_TOKEN = re.compile(r"(?=.{1,12288}\Z)[A-Za-z0-9._~+/-]+=*")
_REASON = re.compile(r"[A-Z_]{1,64}")

UNIFORM = (
    "The bucket should have uniform bucket-level access: what narrowing means for objects with ACLs of their own, "
    "Google does not say."
)
LISTING = "A list must ask for a prefix that begins with the lease's own: a list of the whole bucket is refused."
UNSCOPED = "The token reads and writes all that the service account may in Cloud Storage: no scope was asked for."
LIVES_LONGER = "Google lets the token live longer than was asked for; vouch can't shorten it."

NO_BOUNDARY = unknown(
    Reason.PROVIDER_ERROR,
    Fault.SERVICE,
    "Google's Security Token Service did not take the request to narrow the token; it says nothing about the key.",
    "Check the bucket's name and try a prefix of plain letters; if it goes on, report it with the request id.",
)
NO_SUBJECT = unknown(
    Reason.PROVIDER_ERROR,
    Fault.PROVIDER,
    "Google's Security Token Service did not take the token that Google had just given for this key.",
    "Try again; if it goes on, check that `token_uri` and `sts_endpoint` of `[providers.gcp]` both lead to Google.",
)
NOT_AN_EXCHANGE = unknown(
    Reason.PROVIDER_ERROR,
    Fault.SERVICE,
    "The Security Token Service that is configured does not exchange tokens.",
    "Check `[providers.gcp] sts_endpoint` in the configuration: it must lead to Google's Security Token Service.",
)
API_DISABLED = unknown(
    Reason.DENIED,
    Fault.POLICY,
    "The Security Token Service API is not enabled in the service account's project, so its tokens can't be narrowed.",
    "Enable the API sts.googleapis.com in the service account's project; the change takes some minutes.",
)
REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        # The codes of RFC 6749 section 5.2, as RFC 8693 section 2.2.2 uses them. `invalid_request` is said of a
        # boundary that Google can't take, but of a subject token too: so it is not known to be about the terms.
        "invalid_request": NO_BOUNDARY,
        "invalid_scope": NO_BOUNDARY,
        "invalid_grant": NO_SUBJECT,
        "unsupported_grant_type": NOT_AN_EXCHANGE,
        # `google.rpc.ErrorInfo.reason` (https://cloud.google.com/apis/design/errors#error_info) where the API that
        # "Before you begin" asks for is not enabled.
        "SERVICE_DISABLED": API_DISABLED,
    }
)
"""What the Security Token Service says, by its code or reason. None of it is about the key: that has been accepted."""


@dataclass(frozen=True, slots=True)
class _Token:
    """An access token, and when it ends."""

    value: str = field(repr=False)
    expires_at: datetime


async def lease(payload: Payload, terms: LeaseTerms, run: Run) -> Material:
    """An access token for the scope; without one, for all that the account reads and writes in Cloud Storage.

    Google's audit trail names the service account alone: `terms.session` and `terms.source_identity` have no place.
    The assertion ends when the lease is to; whether the token does too is Google's to say.

    Raises:
        TermsRefused: Google can't meet the terms.
        NotVerified: Google refused, or did not answer; no token leaves, a wider one neither.
    """
    _require_meetable(terms)
    scope = terms.scope
    boundary = None if scope is None else await asyncio.to_thread(access_boundary, scope)
    asked = run.now()  # before the call: no token ends earlier than is said
    oauth_scope = READ_WRITE if boundary is None else TO_NARROW
    lifetime = max(terms.seconds, SHORTEST_ASSERTION)
    assertion = await sign(read_key(payload), oauth_scope, int(asked.timestamp()), lifetime)
    token = _token(await redeem(assertion, run), asked, None)
    if boundary is not None:
        token = await _narrow(token, boundary, run)
    return Material(
        MaterialForm.GOOGLE_ACCESS_TOKEN,
        {"access_token": token.value},
        token.expires_at,
        narrowed=boundary is not None,
        notes=_notes(scope, late=token.expires_at > asked + timedelta(seconds=terms.seconds)),
    )


def _require_meetable(terms: LeaseTerms) -> None:
    given = {"role_arn": terms.role_arn, "external_id": terms.external_id}
    wrong = {name: "Only an AWS key can assume a role: leave it out." for name, value in given.items() if value}
    if terms.seconds > LONGEST_ASSERTION:
        wrong["ttl_seconds"] = f"Google gives a service account's token for at most {LONGEST_ASSERTION} seconds."
    if terms.scope is not None:
        wrong |= scope_faults(terms.scope)
    if wrong:
        raise TermsRefused(wrong)


async def _narrow(source: _Token, boundary: str, run: Run) -> _Token:
    """Exchange a token for one that respects the boundary."""
    form = {
        "grant_type": EXCHANGE,
        "requested_token_type": ACCESS_TOKEN,
        "subject_token": source.value,
        "subject_token_type": ACCESS_TOKEN,
        "options": boundary,
    }
    asked = run.now()
    content = await ask_for_token(run.settings.gcp.sts_endpoint, form, run, _refusal)
    narrowed = _token(content, asked, source.expires_at)
    if narrowed.value == source.value or content.get("issued_token_type") not in (None, ACCESS_TOKEN):
        raise NotVerified(_odd("the Security Token Service"))
    return narrowed


def _token(content: Mapping[str, Any], asked: datetime, latest: datetime | None) -> _Token:
    """The token of an answer, if it is one that can be used and says until when.

    Args:
        content: the answer's fields.
        asked: when it was asked for.
        latest: when the token that it was made of ends. It lives no longer, and until then if the answer does not say.
    """
    where = "the token endpoint" if latest is None else "the Security Token Service"
    value, seconds, kind = content["access_token"], content.get("expires_in"), content.get("token_type", "Bearer")
    if not _TOKEN.fullmatch(value) or not isinstance(kind, str) or kind.lower() != "bearer":
        raise NotVerified(_odd(where))
    if seconds is None and latest is not None:
        return _Token(value, latest)
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_TOKEN:
        raise NotVerified(_odd(where))
    end = asked + timedelta(seconds=seconds)
    return _Token(value, end if latest is None else min(end, latest))


def _notes(scope: LeaseScope | None, *, late: bool) -> tuple[str, ...]:
    notes = [UNSCOPED if scope is None else UNIFORM]
    if scope is not None and scope.prefix and scope.access.reads:
        notes.append(LISTING)
    if late:
        notes.append(LIVES_LONGER)
    return tuple(notes)


def _odd(where: str) -> Verdict:
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"What {where} answered is no access token that can be used, or does not say until when.",
        "Try again; if it goes on, check `token_uri` and `sts_endpoint` of `[providers.gcp]` in the configuration.",
    )


def _refusal(status: int, content: Mapping[str, Any]) -> Verdict:
    code = error_code(content) or _reason(content)
    if code is not None and code in REJECTIONS and 400 <= status < 500:
        return REJECTIONS[code]
    said = f"the error {code}" if code else f"status {status}"
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"Google's Security Token Service answered with {said}, so the token was not narrowed and is not handed out.",
        "Try again; if it goes on, check `[providers.gcp] sts_endpoint` and Google's status page.",
    )


def _reason(content: Mapping[str, Any]) -> str | None:
    """The first reason in an error of the form that other APIs of Google have."""
    error = content.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for one in details if isinstance(details, list) else ():
        reason = one.get("reason") if isinstance(one, dict) else None
        if isinstance(reason, str) and _REASON.fullmatch(reason):
            return reason
    return None
