"""Azure service principals with a client secret: proved by signing in at Microsoft Entra.

The grant is "Microsoft identity platform and the OAuth 2.0 client credentials flow", first case
(https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow); the shape of its errors is in
https://learn.microsoft.com/entra/identity-platform/reference-error-codes, "Handling error codes in your application".
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import format_datetime
from functools import cache
from importlib import import_module
from types import MappingProxyType

from marshmallow import ValidationError

from verifiers import azure_answers
from verifiers.azure_blob import BlobService, require_account
from verifiers.azure_sas import LIST_CONTAINERS
from verifiers.base import CloudProvider, Kind, Payload, Run, Step, Verifier
from verifiers.egress import Answer
from verifiers.fields import PayloadSchema, Secret, Text
from verifiers.verdict import WORKS, Fault, NotVerified, Outcome, Reason, Verdict, failed, unknown

TYPE = "service_principal"
SCOPE = "https://storage.azure.com/.default"
"""Every service principal may ask for a token for Azure storage; what the token opens is for storage to say."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{4,253}}\Z)(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_DESCRIBED = re.compile(r"AADSTS([0-9]{1,10})\b")
_LARGEST_CODE = 10**10


def require_tenant(value: str) -> None:
    """Refuse what is not one tenant's id or domain name: it becomes part of a path.

    `common`, `organizations` and `consumers` stand for many tenants, `adfs` for another protocol; none has a dot.
    """
    if not _GUID.fullmatch(value) and not _DOMAIN.fullmatch(value):
        raise ValidationError("Must be the tenant's id (a GUID, as the portal shows it) or one of its domain names.")


def require_client(value: str) -> None:
    """Refuse what is not an application's id."""
    if not _GUID.fullmatch(value):
        raise ValidationError("Must be the application (client) id: a GUID, as the portal shows it.")


class ServicePrincipalSchema(PayloadSchema):
    """The fields of an AZURE `service_principal`; with an account, its containers are listed too."""

    tenant_id = Text(required=True, rule=require_tenant)
    client_id = Text(required=True, rule=require_client)
    client_secret = Secret(required=True)
    account_name = Text(rule=require_account)


KIND = Kind(CloudProvider.AZURE, TYPE, "Azure service principal", ServicePrincipalSchema)

UNKNOWN_TENANT = failed(
    Reason.UNKNOWN_KEY,
    Fault.CREDENTIAL,
    "Microsoft Entra does not know this tenant.",
    "Check the tenant's id; a tenant of another Azure cloud is not known to the public one.",
)
THROTTLED = unknown(
    Reason.THROTTLED,
    Fault.PROVIDER,
    "Microsoft Entra asked us to slow down.",
    "Verify again a little later.",
)
REJECTIONS: Mapping[int, Verdict] = MappingProxyType(
    {
        7000215: failed(
            Reason.BAD_SECRET,
            Fault.CREDENTIAL,
            "Microsoft Entra knows the application, but this is not one of its client secrets.",
            "Register the secret's value and not its id, or make a new client secret of the application.",
        ),
        7000222: failed(
            Reason.EXPIRED,
            Fault.CREDENTIAL,
            "The client secret has expired.",
            "Make a new client secret of the application and register its value.",
        ),
        7000112: failed(
            Reason.DISABLED,
            Fault.CREDENTIAL,
            "The application is disabled in this tenant.",
            "Enable the enterprise application in the tenant, or register another one.",
        ),
        700016: failed(
            Reason.UNKNOWN_KEY,
            Fault.CREDENTIAL,
            "The tenant has no application with this client id.",
            "Check the client id, and that the tenant's id is that of the tenant where the application is.",
        ),
        90002: UNKNOWN_TENANT,
        900023: UNKNOWN_TENANT,
        53003: unknown(
            Reason.DENIED,
            Fault.POLICY,
            "A conditional access policy of the tenant refused the sign-in, which says nothing about the secret.",
            "Ask the tenant's administrator to let this application sign in from where vouch runs.",
        ),
        50196: THROTTLED,
        90055: THROTTLED,
    }
)
"""AADSTS codes, from "AADSTS error codes" of the page named above; 900023 (a tenant's name that is no valid domain) is
explained at https://login.microsoftonline.com/error?code=900023 alone. What is not listed is unknown."""

TROUBLED = unknown(
    Reason.PROVIDER_ERROR,
    Fault.PROVIDER,
    "Microsoft Entra could not answer.",
    "Try again later; nothing is known about the credential.",
)

NO_ROLE = failed(
    Reason.DENIED,
    Fault.POLICY,
    "The principal signs in, but no role lets it list the account's containers; one on a single container would not.",
    "Assign it a role such as Storage Blob Data Reader on the account, if it should.",
)
NOT_ACCEPTED = failed(
    Reason.DENIED,
    Fault.POLICY,
    "The principal signs in, but the storage account does not accept its tokens: it may belong to another tenant.",
    "Check that the account's subscription trusts the tenant.",
)
LISTING: Mapping[str, Verdict] = MappingProxyType(
    {
        **azure_answers.REJECTIONS,
        "AuthorizationPermissionMismatch": NO_ROLE,
        "AuthenticationFailed": NOT_ACCEPTED,
        "InvalidAuthenticationInfo": NOT_ACCEPTED,
    }
)
"""What storage's refusal of a token means for the check `lists_containers`; the secret has been proved by then.

Source: "Authorize with Microsoft Entra ID" and "Common REST API error codes" at
learn.microsoft.com/rest/api/storageservices."""


@cache
def _load_library() -> None:
    """Import azure-identity, which takes most of a second, and silence it: it logs what Entra writes. For a thread."""
    import_module("azure.identity.aio")
    import_module("verifiers.azure_transport")
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


async def probe(payload: Payload, run: Run) -> Verdict:
    """Sign in; where an account is named, list its containers with the token. The token goes no further."""
    with run.check("authenticates"):
        token = await _sign_in(payload, run)
    run.identity.update(tenant_id=payload["tenant_id"], client_id=payload["client_id"])
    if payload["account_name"]:
        with run.check("lists_containers") as step:
            await _list_containers(payload, token, run, step)
    return WORKS


async def _sign_in(payload: Payload, run: Run) -> str:
    """An access token for storage.

    Raises:
        NotVerified: there is none.
    """
    await asyncio.to_thread(_load_library)
    from azure.core.pipeline.policies import ContentDecodePolicy
    from azure.identity.aio import ClientSecretCredential

    from verifiers.azure_transport import GuardedTransport

    authority = run.settings.azure.authority.rstrip(" /")
    transport = GuardedTransport(run.egress.operator, f"{authority}/{payload['tenant_id']}/oauth2/v2.0/token")
    credential = ClientSecretCredential(
        payload["tenant_id"],
        payload["client_id"],
        payload["client_secret"],
        # The library insists on https. Where a request goes, and how, is the transport's to know.
        authority=f"https://{authority.partition('://')[2]}",
        disable_instance_discovery=True,
        transport=transport,
        policies=[ContentDecodePolicy()],  # and none that retries, redirects, logs or traces
        retry_total=0,
    )
    token: object = None
    try:
        token = (await credential.get_token(SCOPE)).token
    except NotVerified:
        raise
    except Exception:
        # What the library makes of an answer counts for nothing: the answer itself is judged.
        if transport.answer is None:
            raise
    answer = transport.answer
    if answer is None:
        raise RuntimeError("a token that nobody gave")
    if answer.status == 200 and answer.complete and isinstance(token, str) and _TOKEN.fullmatch(token):
        return token
    raise NotVerified(_refusal(answer, run))


def _refusal(answer: Answer, run: Run) -> Verdict:
    """What an answer without a token means."""
    codes = _codes(answer)
    verdicts = {REJECTIONS[code] for code in codes if code in REJECTIONS}
    if answer.status == 429 or (400 <= answer.status < 500 and verdicts == {THROTTLED}):
        run.retry_after = azure_answers.wait_seconds(answer)
        return THROTTLED
    if answer.status >= 500:
        return TROUBLED
    if answer.status >= 400 and len(verdicts) == 1:
        return verdicts.pop()
    said = " ".join(f"AADSTS{code}" for code in sorted(codes)[:3]) or f"status {answer.status}"
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"The authority answered with {said}, which says nothing certain about the credential.",
        "Look the code up at https://login.microsoftonline.com/error, or check `[providers.azure] authority`.",
    )


def _codes(answer: Answer) -> set[int]:
    """The AADSTS codes of an error: those of `error_codes`, and the one that its description begins with."""
    try:
        content = json.loads(answer.body) if answer.complete else None
    except (ValueError, RecursionError):
        return set()
    if not isinstance(content, dict):
        return set()
    listed, described = content.get("error_codes"), content.get("error_description")
    codes = {code for code in listed if type(code) is int} if isinstance(listed, list) else set()
    if isinstance(described, str) and (found := _DESCRIBED.match(described)):
        codes.add(int(found[1]))
    return {code for code in codes if 0 < code < _LARGEST_CODE}


async def _list_containers(payload: Payload, token: str, run: Run, step: Step) -> None:
    """Show whether the principal may list the account's containers. Says nothing about the secret any more."""
    service = BlobService.of(payload, run)
    headers = {
        "Authorization": f"Bearer {token}",
        "x-ms-date": format_datetime(run.now().astimezone(UTC), usegmt=True),
    }
    answer = await azure_answers.spare(step, service.get(run, LIST_CONTAINERS, headers))
    if answer is None:
        return
    if azure_answers.is_listing(answer):
        run.identity["account"] = payload["account_name"]
        return
    verdict = azure_answers.refusal(answer, service, run, LISTING)
    if verdict is azure_answers.FIREWALL:
        step.skip(verdict.reason.value, "The principal signs in; the storage account's network rules refused vouch.")
    elif verdict.outcome is Outcome.FAILED:
        step.warn(verdict.reason.value, verdict.message)
    else:
        step.skip(verdict.reason.value, verdict.message)


VERIFIER = Verifier(
    KIND, probe, instead="Register the key of a storage account: vouch makes a short SAS of it for one container."
)
