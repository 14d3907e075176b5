"""The JWT grant: how a service-account key becomes an access token of Google's, and what its refusals mean.

The protocol and its error codes are the sections "HTTP/REST" and "Error codes" of
https://developers.google.com/identity/protocols/oauth2/service-account
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from marshmallow import ValidationError

from verifiers.base import Payload, Run
from verifiers.egress import Answer
from verifiers.google_key_file import KeyFile, load_private_key
from verifiers.verdict import Fault, NotVerified, Reason, Verdict, failed, unknown

AUDIENCE = "https://oauth2.googleapis.com/token"
"""What Google expects in `aud`, whatever address its endpoint is reached at: `[providers.gcp] token_uri` may name
a proxy or a Private Service Connect address, and any other audience is refused ("Failed audience check")."""

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST_ASSERTION = 3600
"""Seconds that Google takes between `iat` and `exp`, at most."""

UNIVERSE = "googleapis.com"

_ERROR_CODE = re.compile(r"[A-Za-z0-9._]{1,64}")

MALFORMED = failed(
    Reason.MALFORMED,
    Fault.CREDENTIAL,
    "The private key in the file can't be used: it is damaged, or not an RSA key of 1024 to 4096 bits.",
    "Create a new key of the service account and register its file unchanged.",
)
FOREIGN_UNIVERSE = unknown(
    Reason.BLOCKED_ENDPOINT,
    Fault.POLICY,
    "The key belongs to another universe than googleapis.com; vouch did not contact it.",
    "Verify the key where it belongs, or register one of a service account on Google Cloud itself.",
)
BAD_SIGNATURE = failed(
    Reason.BAD_SECRET,
    Fault.CREDENTIAL,
    "Google does not know this key of the service account: it was deleted or disabled, or is another's.",
    "Enable the key, or create a new one of the service account and register its file.",
)
ACCOUNT_GONE = failed(
    Reason.DISABLED,
    Fault.CREDENTIAL,
    "The service account, or its key, is deleted or disabled.",
    "Enable the service account and its key, or register a key of another one.",
)
CLOCK_SKEW = unknown(
    Reason.CLOCK_SKEW,
    Fault.SERVICE,
    "Google found the time in our request unreasonable: the clock of this service is off.",
    "Set the clock of the machine that vouch runs on, then try again.",
)
WRONG_AUDIENCE = unknown(
    Reason.PROVIDER_ERROR,
    Fault.SERVICE,
    "The token endpoint does not take the audience that Google's takes.",
    "Check `[providers.gcp] token_uri` in the configuration: it must lead to Google's token endpoint.",
)
POLICY = unknown(
    Reason.DENIED,
    Fault.POLICY,
    "Google refused to give this service account a token, which says nothing about the key.",
    "Ask an administrator of the Google organization whether a policy restricts this service account.",
)
THROTTLED = unknown(
    Reason.THROTTLED,
    Fault.PROVIDER,
    "Google asked us to slow down.",
    "Try again a little later.",
)


class Rejection(NamedTuple):
    """A row of the table: `description` None takes any, otherwise it must match as a whole."""

    error: str
    description: re.Pattern[str] | None
    verdict: Verdict

    def matches(self, error: str, description: str) -> bool:
        """Whether the row is about this answer."""
        return error == self.error and (self.description is None or bool(self.description.fullmatch(description)))


REJECTIONS: tuple[Rejection, ...] = (
    # "Error codes" of the page named above. The texts came with and without full stop and "(60 minutes)".
    Rejection("invalid_grant", re.compile(r"Invalid JWT Signature\.?"), BAD_SIGNATURE),
    Rejection(
        "invalid_grant",
        re.compile(
            r"(Invalid JWT: )?Token must be a short-lived token( \(60 minutes\))? and in a reasonable "
            r"timeframe\b.{0,200}"
        ),
        CLOCK_SKEW,
    ),
    Rejection("disabled_client", None, ACCOUNT_GONE),
    Rejection("deleted_client", None, ACCOUNT_GONE),
    Rejection("access_denied", None, POLICY),
    Rejection("admin_policy_enforced", None, POLICY),
    Rejection("org_internal", None, POLICY),
    Rejection("unauthorized_client", None, POLICY),
    # Not on that page, but what the endpoint says of a deleted account
    # (https://github.com/googleapis/google-cloud-php/issues/3622), of a disabled one
    # (https://github.com/googleapis/nodejs-tasks/issues/252), and of an audience that is not its own
    # (https://github.com/googleapis/google-api-dotnet-client/issues/3025).
    Rejection("invalid_grant", re.compile(r"Invalid grant: account not found\.?"), ACCOUNT_GONE),
    Rejection("invalid_grant", re.compile(r"Robot is disabled\.?"), ACCOUNT_GONE),
    Rejection("invalid_grant", re.compile(r"Invalid JWT: Failed audience check\..{0,200}"), WRONG_AUDIENCE),
)


def _unlisted(status: int, code: str | None) -> Verdict:
    said = f"the error {code}" if code else f"status {status}"
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"The token endpoint answered with {said}, which says nothing about the key.",
        "Try again; if it goes on, check `[providers.gcp] token_uri` and Google's status page.",
    )


def read_key(payload: Payload) -> KeyFile:
    """The key in a credential's file.

    Raises:
        NotVerified: the file no longer reads, or the key is of another universe.
    """
    try:
        key = KeyFile.parse(payload["key_text"] or "")
    except ValidationError:
        raise NotVerified(MALFORMED) from None
    if key.universe not in (None, UNIVERSE):
        raise NotVerified(FOREIGN_UNIVERSE)
    return key


async def sign(key: KeyFile, scope: str, issued: int, lifetime: int) -> str:
    """The assertion of RFC 7523 section 2.1, signed by the key.

    Args:
        key: whose assertion it is.
        scope: the OAuth scope that is asked for.
        issued: seconds since the epoch.
        lifetime: seconds until the assertion ends, at most `LONGEST_ASSERTION`.

    Raises:
        NotVerified: the private key is no usable RSA key.
    """
    return await asyncio.to_thread(_sign, key, scope, issued, issued + lifetime)


def _sign(key: KeyFile, scope: str, iat: int, exp: int) -> str:
    """For a thread: it imports google-auth."""
    from google.auth.crypt import RSASigner
    from google.auth.jwt import encode

    try:
        private_key = load_private_key(key.private_key)
    except ValueError:
        raise NotVerified(MALFORMED) from None
    signer = RSASigner(private_key, key.key_id)  # type: ignore[no-untyped-call] # google-auth has no annotations
    claims = {"iss": key.client_email, "scope": scope, "aud": AUDIENCE, "iat": iat, "exp": exp}
    signed: bytes = encode(signer, claims)  # type: ignore[no-untyped-call] # nor here
    return signed.decode("ascii")


async def redeem(assertion: str, run: Run) -> Mapping[str, Any]:
    """Give the assertion to the configured token endpoint: the answer's fields, with an `access_token`.

    Raises:
        NotVerified: Google refused it, or did not answer.
    """
    form = {"grant_type": GRANT, "assertion": assertion}
    return await ask_for_token(run.settings.gcp.token_uri, form, run, _refusal)


async def ask_for_token(
    url: str, form: Mapping[str, str], run: Run, refusal: Callable[[int, Mapping[str, Any]], Verdict]
) -> Mapping[str, Any]:
    """Post a form to an endpoint of Google's that gives tokens: the answer's fields, with an `access_token`.

    Args:
        url: an endpoint that the operator configured.
        form: the request.
        run: the run in which it is asked.
        refusal: what another status and these fields mean.

    Raises:
        NotVerified: the answer is anything but a token, or there is none.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    answer = await run.egress.operator.request("POST", url, headers=headers, data=urlencode(form).encode())
    content = _read_object(answer)
    if answer.status == 200 and isinstance(content.get("access_token"), str) and content["access_token"]:
        return content
    if answer.status == 429:
        run.retry_after = _seconds(answer.headers.get("Retry-After", ""))
        raise NotVerified(THROTTLED)
    raise NotVerified(refusal(answer.status, content))


def error_code(content: Mapping[str, Any]) -> str | None:
    """The `error` of RFC 6749 section 5.2, if it has the form of a code."""
    code = content.get("error")
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None


def _refusal(status: int, content: Mapping[str, Any]) -> Verdict:
    code = error_code(content)
    if code and 400 <= status < 500:
        description = content.get("error_description")
        for row in REJECTIONS:
            if row.matches(code, description if isinstance(description, str) else ""):
                return row.verdict
    return _unlisted(status, code)


def _read_object(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object; an empty one if it has none, or not the whole of it."""
    try:
        content = json.loads(answer.body) if answer.complete else None
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _seconds(text: str) -> int | None:
    """A Retry-After in seconds (RFC 9110 section 10.2.3); the date form counts as none."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None
