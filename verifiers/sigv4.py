"""Requests signed with AWS Signature Version 4, and reading what AWS, S3 and their look-alikes answer in XML.

The signature: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv4-create-signed-request.html, computed
by botocore's signers. Error documents: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from marshmallow import ValidationError

from verifiers.base import Run
from verifiers.egress import Answer, GuardedSession
from verifiers.endpoints import canonical_url
from verifiers.verdict import Fault, NotVerified, Reason, Verdict, unknown

SIGNATURE_MISMATCH = "SignatureDoesNotMatch"
ACCESS_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})

LARGEST_SKEW = timedelta(minutes=5)
"""SigV4 requests are good for 5 minutes at STS and 15 at S3: beyond 5 the clock may be at fault, not the secret."""

THROTTLING = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "TooManyRequestsException",
        "SlowDown",
    }
)
"""https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html; Cloud Storage adds TooManyRequests."""

CLOCK_SKEW = unknown(
    Reason.CLOCK_SKEW,
    Fault.SERVICE,
    "The provider's clock and the clock of this service differ too much for a signature to be judged.",
    "Set the clock of the machine that vouch runs on, then verify again.",
)
CLOCK_CODES: Mapping[str, Verdict] = MappingProxyType(
    {"RequestExpired": CLOCK_SKEW, "RequestTimeTooSkewed": CLOCK_SKEW}
)

_LONGEST_WAIT = 86400
_VISIBLE = re.compile(r"[!-~]+")
_KEY_ID = re.compile(r"[!-+\-.0-~]+")
_ROOT = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]*\?>\s*)?<([A-Za-z]{1,64})[\s/>]")
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._]{1,64})\s*</Code>")
_ERROR_ROOTS = frozenset({"Error", "ErrorResponse"})


@dataclass(frozen=True)
class Keys:
    """What a request is signed with. All of it was given: nothing is ever filled in from the environment."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.access_key_id or not self.secret_access_key:
            raise ValueError("half a key pair")


@dataclass(frozen=True)
class Call:
    """One request, before it is signed. `who` names the one asked, in messages."""

    who: str
    method: Literal["GET", "POST"]
    url: str
    service: Literal["sts", "s3"]
    region: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


def require_key_id(value: str) -> None:
    """Refuse an access key id that the Authorization header could not carry: a comma or a slash would end it."""
    if not _KEY_ID.fullmatch(value):
        raise ValidationError("Must be printable ASCII without spaces, commas and slashes.")


def require_visible(value: str) -> None:
    """Refuse what a header could not carry unchanged."""
    if not _VISIBLE.fullmatch(value):
        raise ValidationError("Must be printable ASCII without spaces.")


async def send(session: GuardedSession, call: Call, keys: Keys, run: Run, *, spoilt: bool = False) -> Answer:
    """Sign a call and send it.

    Args:
        session: the operator's way out for hosts of the configuration, the callers' for theirs.
        call: what to ask.
        keys: whom to ask as.
        run: the run under way: its clock dates the signature.
        spoilt: change the signature, so that nobody who looks at it could accept it.

    Raises:
        NotVerified: there was no answer.
    """
    if not _signers.cache_info().currsize:
        await asyncio.to_thread(_signers)  # importing botocore takes a few tenths of a second
    url = _spelled(call.url)
    return await session.request(
        call.method, url, headers=_sign(call, url, keys, run.now(), spoilt), data=call.body or None
    )


def _spelled(url: str) -> str:
    """The URL as it goes out; the egress refuses what has no canonical form."""
    try:
        url = canonical_url(url)
    except ValueError:
        return url
    return url if urlsplit(url).path else f"{url}/"


def _sign(call: Call, url: str, keys: Keys, moment: datetime, spoilt: bool) -> dict[str, str]:
    make_request, make_credentials, signers = _signers()
    request = make_request(method=call.method, url=url, headers=dict(call.headers), data=call.body)
    request.context["timestamp"] = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    credentials = make_credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    signers[call.service](credentials, call.service, call.region).add_auth(request)
    headers = dict(request.headers.items())
    if spoilt:
        signature = headers["Authorization"]
        headers["Authorization"] = signature[:-1] + ("1" if signature.endswith("0") else "0")
    return headers


@cache
def _signers() -> tuple[Any, Any, Mapping[str, Any]]:
    """botocore's request, credentials, and its signers by service, loaded at the first signature."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    class Signer(SigV4Auth):
        add_auth = _add_auth

    class S3Signer(S3SigV4Auth):
        add_auth = _add_auth

    return AWSRequest, Credentials, {"sts": Signer, "s3": S3Signer}


def _add_auth(self: Any, request: Any) -> None:
    """botocore's own order of steps, at the time in the request's context.

    botocore's `add_auth` takes the time from the machine, and writes the canonical request to the log at DEBUG:
    a session token is one of its headers.
    """
    self._modify_request_before_signing(request)
    text = self.string_to_sign(request, self.canonical_request(request))
    self._inject_signature_to_request(request, self.signature(text, request))


def root(answer: Answer) -> str:
    """The name of the document's root element; empty if it isn't XML, or was cut off while it was short.

    A whole document must end with its root's end tag (or be empty: `<Name/>`). One that the egress cut at 64 KB
    can't: a list of buckets gets that long.
    """
    found = _ROOT.match(answer.body)
    if found is None:
        return ""
    name = found[1]
    if answer.complete and not answer.body.rstrip().endswith((b"</" + name + b">", b"/>")):
        return ""
    return name.decode("ascii")


def text_of(answer: Answer, element: str, form: str) -> str:
    """The text of the first element of that name, if it has the form of the regular expression; else empty."""
    name = re.escape(element.encode("ascii"))
    found = re.search(b"<" + name + rb">([^<>&]{1,2048})</" + name + b">", answer.body)
    value = found[1].decode("utf-8", "replace").strip() if found else ""
    return value if re.fullmatch(form, value, re.ASCII) else ""


def error_code(answer: Answer) -> str:
    """The code of an error document; empty if the answer isn't one."""
    if not 400 <= answer.status < 600 or root(answer) not in _ERROR_ROOTS:
        return ""
    found = _CODE.search(answer.body)
    return found[1].decode("ascii") if found else ""


def judge(answer: Answer, call: Call, rejections: Mapping[str, Verdict], run: Run) -> Verdict:
    """What an answer that is no success means; whatever is not listed is unknown.

    Args:
        answer: what came back.
        call: what was asked.
        rejections: by error code; believed only in a 4xx.
        run: gets `retry_after` when the provider throttles.
    """
    code = error_code(answer)
    if answer.status == 429 or code in THROTTLING:
        run.retry_after = _retry_after(answer, run)
        return unknown(
            Reason.THROTTLED,
            Fault.PROVIDER,
            f"{call.who} is turning requests away for now.",
            "Try again later.",
        )
    if 400 <= answer.status < 500 and code in rejections:
        skewed = answer.date is not None and abs(answer.date - run.now()) > LARGEST_SKEW
        return CLOCK_SKEW if skewed and code == SIGNATURE_MISMATCH else rejections[code]
    shown = f"status {answer.status}, code {code}" if code else f"status {answer.status}"
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"{call.who} gave an answer that says nothing about the credential ({shown}).",
        "Try again; if it goes on, check what answers at that address.",
    )


async def prove_signature(
    session: GuardedSession, call: Call, keys: Keys, run: Run, *, refusal: str, denied: Verdict
) -> None:
    """Settle a refusal that may have come before anybody looked at the signature: ask again with it spoilt.

    Returns if the spoilt one is refused as `SignatureDoesNotMatch`: then the right one had been accepted.

    Args:
        session, call, keys, run: as they were sent.
        refusal: the error code that came.
        denied: what to say if the spoilt one is refused with the same code.

    Raises:
        NotVerified: with `denied`, or with what a second answer of another kind means; never that the key is bad.
    """
    answer = await send(session, call, keys, run, spoilt=True)
    code = error_code(answer) if 400 <= answer.status < 500 else ""
    if code == SIGNATURE_MISMATCH:
        return
    raise NotVerified(denied if code == refusal else judge(answer, call, {}, run))


def _retry_after(answer: Answer, run: Run) -> int | None:
    """Whole seconds of a Retry-After (RFC 9110 section 10.2.3), a day at most."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), _LONGEST_WAIT)
    try:
        seconds = (parsedate_to_datetime(value).astimezone(UTC) - run.now()).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(round(seconds), 0), _LONGEST_WAIT)
