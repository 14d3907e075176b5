"""Google service-account keys: the whole JSON key file, proved by the JWT grant.

The protocol and its error codes are the sections "HTTP/REST" and "Error codes" of
https://developers.google.com/identity/protocols/oauth2/service-account
"""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from marshmallow import ValidationError, post_load, pre_load

from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.egress import Answer
from verifiers.fields import PayloadSchema, Secret, Text
from verifiers.google_key_file import KeyFile, load_private_key
from verifiers.verdict import WORKS, Fault, NotVerified, Reason, Verdict, failed, unknown

AUDIENCE = "https://oauth2.googleapis.com/token"
"""What Google expects in `aud`, whatever address its endpoint is reached at: `[providers.gcp] token_uri` may name
a proxy or a Private Service Connect address, and any other audience is refused ("Failed audience check")."""

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 900
"""Seconds an assertion is good for; Google takes up to 3600."""

UNIVERSE = "googleapis.com"
GOOGLES_TOKEN_URIS = frozenset(
    {AUDIENCE, "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"}
)
"""What Google wrote into key files over the years: these are no reason to warn."""

_ERROR_CODE = re.compile(r"[A-Za-z0-9._]{1,64}")


def _check(text: str) -> None:
    KeyFile.parse(text)


class ServiceAccountSchema(PayloadSchema):
    """`token.gcp` of the wire: account and key id are read out of the file, whatever else was sent."""

    key_text = Secret(required=True, lines=True, longest=65536, rule=_check)
    account_id = Text(derived=True)
    key_id = Text(derived=True)

    @pre_load
    def ignore_derived(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - marshmallow's signature
        """Forget what was sent: the file says it, or for a blank one what is stored."""
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if name not in ("account_id", "key_id")}

    @post_load
    def derive(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        """Add what the file says."""
        if not data.get("key_text"):
            return data
        read = KeyFile.parse(data["key_text"])
        return {**data, "account_id": read.client_email, "key_id": read.key_id}


KIND = Kind(
    CloudProvider.GCP,
    AccessCredentialType.TOKEN,
    "Google service-account key",
    ServiceAccountSchema,
    slot=("token", "gcp"),
)


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
    "Set the clock of the machine that vouch runs on, then verify again.",
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
    "Verify again a little later.",
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


async def probe(payload: Payload, run: Run) -> Verdict:
    """Ask Google's token endpoint for an access token, and throw it away.

    The endpoint is the configured one: what the file names as its `token_uri` is never contacted.
    """
    with run.check("key_file"):
        try:
            key = KeyFile.parse(payload["key_text"] or "")
        except ValidationError:
            raise NotVerified(MALFORMED) from None
        if key.universe not in (None, UNIVERSE):
            raise NotVerified(FOREIGN_UNIVERSE)
        assertion = await asyncio.to_thread(_sign, key, int(run.now().timestamp()))
    with run.check("token_uri_pinned") as step:
        if key.token_uri not in (None, run.settings.gcp.token_uri, *GOOGLES_TOKEN_URIS):
            step.warn(
                Reason.BLOCKED_ENDPOINT.value,
                "The key file names a token endpoint that is not Google's; it was ignored, but libraries "
                "that follow it would send signed requests there.",
            )
    with run.check("authenticates"):
        answer = await run.egress.operator.request(
            "POST",
            run.settings.gcp.token_uri,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            data=urlencode({"grant_type": GRANT, "assertion": assertion}).encode(),
        )
        _classify(answer, run)
    run.identity.update(email=key.client_email, key_id=key.key_id)
    if key.project_id:
        run.identity["project_id"] = key.project_id
    return WORKS


def _sign(key: KeyFile, now: int) -> str:
    """The assertion of RFC 7523 section 2.1, signed by the key. For a thread: it imports google-auth.

    Raises:
        NotVerified: the private key is no usable RSA key.
    """
    from google.auth.crypt import RSASigner
    from google.auth.jwt import encode

    try:
        private_key = load_private_key(key.private_key)
    except ValueError:
        raise NotVerified(MALFORMED) from None
    signer = RSASigner(private_key, key.key_id)  # type: ignore[no-untyped-call] # google-auth has no annotations
    claims = {"iss": key.client_email, "scope": SCOPE, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME}
    signed: bytes = encode(signer, claims)  # type: ignore[no-untyped-call] # nor here
    return signed.decode("ascii")


def _classify(answer: Answer, run: Run) -> None:
    """Return if the answer is an access token; the token itself goes no further than this.

    Raises:
        NotVerified: it is anything else.
    """
    content = _read_object(answer)
    if answer.status == 200 and isinstance(content.get("access_token"), str) and content["access_token"]:
        return
    if answer.status == 429:
        run.retry_after = _seconds(answer.headers.get("Retry-After", ""))
        raise NotVerified(THROTTLED)
    code = content.get("error")
    if not isinstance(code, str) or not _ERROR_CODE.fullmatch(code):
        code = None
    if code and 400 <= answer.status < 500:
        description = content.get("error_description")
        for row in REJECTIONS:
            if row.matches(code, description if isinstance(description, str) else ""):
                raise NotVerified(row.verdict)
    raise NotVerified(_unlisted(answer.status, code))


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


VERIFIER = Verifier(KIND, probe)
