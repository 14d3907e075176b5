"""The key of an Azure storage account: proven by a List Containers call signed with it.

The signature is "Authorize with Shared Key", version 2009-09-19 and later
(learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key); the call is "List Containers".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC
from email.utils import format_datetime
from types import MappingProxyType

from marshmallow import ValidationError

from verifiers import azure_answers, azure_lease
from verifiers.azure_blob import API_VERSION, BlobService, require_account
from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.egress import Answer
from verifiers.fields import Endpoint, PayloadSchema, Secret, Text
from verifiers.verdict import WORKS, Fault, NotVerified, Reason, Verdict, failed

LIST_CONTAINERS = {"comp": "list", "maxresults": "1"}
ACCOUNT_INFORMATION = {"restype": "account", "comp": "properties"}


def require_base64(value: str) -> None:
    """Refuse what is not base64 in the standard alphabet (RFC 4648 section 4)."""
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValidationError(
            "Must be base64: the account key alone, as the portal shows it, not a connection string."
        ) from None


class AzureKeySchema(PayloadSchema):
    """The fields of an AZURE `key`."""

    account_name = Text(required=True, rule=require_account)
    account_key = Secret(required=True, rule=require_base64)
    blob_endpoint = Endpoint()


KIND = Kind(
    CloudProvider.AZURE,
    AccessCredentialType.KEY,
    "Azure storage account key",
    AzureKeySchema,
    slot=("credential", "azure"),
)

REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        **azure_answers.REJECTIONS,
        "AuthenticationFailed": failed(
            Reason.BAD_SECRET,
            Fault.CREDENTIAL,
            "Azure does not accept this key for this storage account.",
            "Copy one of the account's two keys from the Azure portal again: this one may have been rotated.",
        ),
    }
)
"""What a refusal of the signed call means; whatever is not listed is unknown."""


async def probe(payload: Payload, run: Run) -> Verdict:
    """List the account's containers, one at most. When a person asked, also read the account's SKU."""
    service = BlobService.of(payload, run)
    run.identity["account"] = payload["account_name"]
    with run.check("authenticates"):
        answer = await _signed(service, payload, run, LIST_CONTAINERS)
        restriction = azure_answers.restriction(answer)
        if restriction is None and not azure_answers.is_listing(answer):
            raise NotVerified(azure_answers.refusal(answer, service, run, REJECTIONS))
    if restriction is not None:
        with run.check("lists_containers") as step:
            restriction.on(step)
    elif run.thorough:
        await _read_account(service, payload, run)
    return WORKS


async def _read_account(service: BlobService, payload: Payload, run: Run) -> None:
    with run.check("account_information") as step:
        answer = await azure_answers.spare(step, _signed(service, payload, run, ACCOUNT_INFORMATION))
        if answer is not None:
            azure_answers.record_account(answer, step, run)


async def _signed(service: BlobService, payload: Payload, run: Run, query: Mapping[str, str]) -> Answer:
    signed = {"x-ms-date": format_datetime(run.now().astimezone(UTC), usegmt=True), "x-ms-version": API_VERSION}
    signature = _signature(payload, signed, service.root, query)
    headers = {**signed, "Authorization": f"SharedKey {payload['account_name']}:{signature}"}
    return await service.get(run, "&".join(f"{name}={value}" for name, value in query.items()), headers)


def _signature(payload: Payload, headers: Mapping[str, str], path: str, query: Mapping[str, str]) -> str:
    """The Shared Key signature of a GET without a body.

    Args:
        payload: the account's name and key.
        headers: the `x-ms-*` headers, in lower case; an empty Date follows from there being an `x-ms-date`.
        path: of the request, encoded as it is sent.
        query: names in lower case, values not encoded.
    """
    standard_headers = [""] * 11  # Content-Encoding to Range, none of which is sent
    canonical_headers = [f"{name}:{value}" for name, value in sorted(headers.items())]
    resource = [
        f"/{payload['account_name']}{path}",
        *(f"{name}:{value}" for name, value in sorted(query.items())),
    ]
    text = "\n".join(["GET", *standard_headers, *canonical_headers, *resource])
    digest = hmac.digest(base64.b64decode(payload["account_key"]), text.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


VERIFIER = Verifier(KIND, probe, azure_lease.of_key)
