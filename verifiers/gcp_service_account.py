"""Google service-account keys: the whole JSON key file, proved by the JWT grant."""

from collections.abc import Mapping
from typing import Any

from marshmallow import post_load, pre_load

from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.fields import PayloadSchema, Secret, Text
from verifiers.gcp_grant import AUDIENCE, read_key, redeem, sign
from verifiers.gcp_grant import REJECTIONS as REJECTIONS
from verifiers.gcp_lease import lease
from verifiers.google_key_file import KeyFile
from verifiers.verdict import WORKS, Reason, Verdict

LIFETIME = 900
"""Seconds an assertion of the probe is good for; Google takes up to 3600."""

GOOGLES_TOKEN_URIS = frozenset(
    {AUDIENCE, "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"}
)
"""What Google wrote into key files over the years: these are no reason to warn."""


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


READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
"""What a probe asks for: the least that Cloud Storage has."""

KIND = Kind(
    CloudProvider.GCP,
    AccessCredentialType.TOKEN,
    "Google service-account key",
    ServiceAccountSchema,
    slot=("token", "gcp"),
)


async def probe(payload: Payload, run: Run) -> Verdict:
    """Ask Google's token endpoint for an access token, and throw it away.

    The endpoint is the configured one: what the file names as its `token_uri` is never contacted.
    """
    with run.check("key_file"):
        key = read_key(payload)
        assertion = await sign(key, READ_ONLY, int(run.now().timestamp()), LIFETIME)
    with run.check("token_uri_pinned") as step:
        if key.token_uri not in (None, run.settings.gcp.token_uri, *GOOGLES_TOKEN_URIS):
            step.warn(
                Reason.BLOCKED_ENDPOINT.value,
                "The key file names a token endpoint that is not Google's; it was ignored, but libraries "
                "that follow it would send signed requests there.",
            )
    with run.check("authenticates"):
        await redeem(assertion, run)
    run.identity.update(email=key.client_email, key_id=key.key_id)
    if key.project_id:
        run.identity["project_id"] = key.project_id
    return WORKS


VERIFIER = Verifier(KIND, probe, lease)
