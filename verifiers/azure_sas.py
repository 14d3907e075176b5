"""A shared access signature (SAS) of Azure storage: read offline first, then tried for what it allows.

"Get Account Information" may be called with any SAS, on the account or on the container or blob that the SAS is
for; "List Containers" and "List Blobs" are tried where it allows them (learn.microsoft.com/rest/api/storageservices).

An account SAS is signed for the account, so a call on the account tells whether the signature is right. A service
or user delegation SAS is signed for one container, directory or blob, whose name it does not carry: on any other
resource Azure refuses it exactly as it refuses a forged one ("Create a service SAS", canonicalizedResource). Such a
SAS can be proven only where the path of `blob_endpoint` names its resource; elsewhere it is unknown, and no call
is made.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from verifiers import azure_answers, azure_lease
from verifiers.azure_blob import BlobService, require_account
from verifiers.azure_sas_token import Sas, require_in_force, require_sas
from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload, Run, Verifier
from verifiers.egress import Answer
from verifiers.fields import Endpoint, PayloadSchema, Secret, Text
from verifiers.verdict import (
    WORKS,
    CheckOutcome,
    Fault,
    NotVerified,
    Outcome,
    Reason,
    Verdict,
    failed,
    rfc3339,
    unknown,
)

ACCOUNT_INFORMATION = "restype=account&comp=properties"
LIST_CONTAINERS = "comp=list&maxresults=1"
LIST_BLOBS = "restype=container&comp=list&maxresults=1"


class AzureSasSchema(PayloadSchema):
    """The fields of an AZURE `azure_token`."""

    account_name = Text(required=True, rule=require_account)
    sas_token = Secret(required=True, longest=4096, rule=require_sas)
    blob_endpoint = Endpoint()


def ends(payload: Payload) -> datetime | None:
    """When the SAS ends, as it says itself."""
    return Sas.parse(payload["sas_token"]).expires_at


KIND = Kind(
    CloudProvider.AZURE,
    AccessCredentialType.AZURE_TOKEN,
    "Azure shared access signature",
    AzureSasSchema,
    slot=("token", "azure"),
    ends=ends,
)

REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        **azure_answers.REJECTIONS,
        "AuthenticationFailed": failed(
            Reason.BAD_SECRET,
            Fault.CREDENTIAL,
            "Azure does not accept this SAS: it was altered, its key was rotated or revoked, or it is for "
            "another account or resource.",
            "Make a new SAS for this account and, if it is for one container, for the one the endpoint names.",
        ),
    }
)
"""What a refusal of the SAS means; whatever is not listed is unknown."""

OF_ONE_RESOURCE = unknown(
    Reason.UNSUPPORTED,
    Fault.SERVICE,
    "This SAS is for one container, directory or blob, and can be tested only there; it does not say where.",
    "Put the container (or the whole path of the blob or directory) in the path of blob_endpoint, or give an "
    "account SAS.",
)
NOT_FOR_BLOBS = unknown(
    Reason.UNSUPPORTED,
    Fault.SERVICE,
    "This SAS is not for a container, directory or blob, and vouch cannot test other kinds.",
    "Give an account SAS, or one for a container, directory or blob.",
)


async def probe(payload: Payload, run: Run) -> Verdict:
    """Read the SAS's times, then ask for the account's information and, if the SAS allows it, for a list."""
    sas = Sas.parse(payload["sas_token"])
    service = BlobService.of(payload, run)
    _identify(sas, payload, run)
    with run.check("in_force"):
        require_in_force(sas, run.now())
    with run.check("authenticates"):
        path = _signed_path(sas, service)
        answer = await _get(service, run, sas, ACCOUNT_INFORMATION, path)
        restriction = azure_answers.restriction(answer)
        if restriction is None and azure_answers.account_facts(answer) is None:
            raise NotVerified(azure_answers.refusal(answer, service, run, REJECTIONS))
    with run.check("account_information") as step:
        if restriction is None:
            azure_answers.record_account(answer, step, run)
        else:
            restriction.on(step)
    # A SAS that this service, protocol or address may not use is refused a list for the same reason.
    if restriction is None or restriction.outcome is CheckOutcome.SKIP:
        await _list(service, run, sas, path)
    return WORKS


def _identify(sas: Sas, payload: Payload, run: Run) -> None:
    run.identity["account"] = payload["account_name"]
    if sas.permissions:
        run.identity["permissions"] = sas.permissions
    if sas.expires_at is not None:
        run.identity["expires_at"] = rfc3339(sas.expires_at)
        run.expires_at = sas.expires_at


def _signed_path(sas: Sas, service: BlobService) -> str:
    """The path that the SAS is signed for; empty for the account's own.

    Raises:
        NotVerified: it is for a resource that the endpoint's path does not name, or not for blobs at all.
    """
    if sas.of_account:
        return ""
    if sas.resource not in {"c", "b", "d"}:
        raise NotVerified(NOT_FOR_BLOBS)
    segments = service.resource.split("/") if service.resource else []
    needed = {"c": 1, "b": 2, "d": 1 + max(1, sas.depth)}[sas.resource]
    if len(segments) < needed:
        raise NotVerified(OF_ONE_RESOURCE)
    return segments[0] if sas.resource == "c" else service.resource


async def _list(service: BlobService, run: Run, sas: Sas, path: str) -> None:
    with run.check("lists_blobs" if path else "lists_containers") as step:
        if not sas.may_list():
            step.skip(Reason.DENIED.value, "This SAS was not made for listing.")
            return
        query = LIST_BLOBS if path else LIST_CONTAINERS
        answer = await azure_answers.spare(step, _get(service, run, sas, query, path))
        if answer is None or azure_answers.is_listing(answer):
            return
        restriction = azure_answers.restriction(answer)
        if restriction is not None:
            restriction.on(step)
            return
        verdict = azure_answers.refusal(answer, service, run, REJECTIONS)
        if verdict.outcome is Outcome.FAILED:
            raise NotVerified(verdict)
        step.skip(verdict.reason.value, verdict.message)


async def _get(service: BlobService, run: Run, sas: Sas, query: str, path: str) -> Answer:
    return await service.get(run, f"{query}&{sas.query}", {}, path)


VERIFIER = Verifier(KIND, probe, azure_lease.of_sas)
