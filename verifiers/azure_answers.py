"""What the answers of Azure's blob service mean: the tables and rules that a key and a SAS have in common.

Sources, all at learn.microsoft.com/rest/api/storageservices: "Common REST API error codes", "Shared access signature
error codes", "Status and error codes", "Get Account Information", "List Containers", "List Blobs".
"""

import asyncio
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from verifiers.azure_blob import BlobService
from verifiers.base import Run, Step
from verifiers.egress import Answer
from verifiers.verdict import TIMED_OUT, CheckOutcome, Fault, NotVerified, Reason, Verdict, failed, unknown

LARGEST_SKEW = timedelta(minutes=5)
"""Azure refuses what its clock calls 15 minutes old; beyond 5 a refusal may be the clock's fault, not the secret's."""

EXTRA_SECONDS = 1.0
"""How long to wait for what only adds facts: the credential has been proven by then."""

_CODE = re.compile(r"[A-Za-z0-9._]{1,64}")
_CODE_ELEMENT = re.compile(rb"<Code>\s*([A-Za-z0-9._]{1,64})\s*</Code>")
_LISTING = re.compile(rb"(?:<\?xml[^>]*>\s*)?<EnumerationResults[\s/>]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True)
class Restriction:
    """A refusal that proves the signature right, and how the check that met it shows."""

    outcome: CheckOutcome
    message: str

    def on(self, step: Step) -> None:
        """Record it on the check under way."""
        record = step.warn if self.outcome is CheckOutcome.WARN else step.skip
        record(Reason.DENIED.value, self.message)


RESTRICTIONS: Mapping[str, Restriction] = MappingProxyType(
    {
        "AuthorizationPermissionMismatch": Restriction(
            CheckOutcome.SKIP, "The signature is right; its permissions do not include this call."
        ),
        "AuthorizationResourceTypeMismatch": Restriction(
            CheckOutcome.SKIP, "The signature is right; it was not made for resources of this type."
        ),
        "AuthorizationServiceMismatch": Restriction(
            CheckOutcome.WARN, "The signature is right, but it was not made for the blob service."
        ),
        "AuthorizationProtocolMismatch": Restriction(
            CheckOutcome.WARN, "The signature is right, but it does not allow this endpoint's protocol; use https."
        ),
        "AuthorizationSourceIPMismatch": Restriction(
            CheckOutcome.WARN, "The signature is right, but it does not allow the address that vouch calls from."
        ),
    }
)
"""The …Mismatch codes ("Shared access signature error codes"), said of a signature that has matched."""

REJECTIONS: Mapping[str, Verdict] = MappingProxyType(
    {
        "AccountIsDisabled": failed(
            Reason.DISABLED,
            Fault.CREDENTIAL,
            "Azure says that this storage account is disabled.",
            "Enable the storage account, or its subscription, in the Azure portal.",
        ),
        "KeyBasedAuthenticationNotPermitted": failed(
            Reason.DENIED,
            Fault.POLICY,
            "This storage account does not permit account keys, nor signatures made with them.",
            "Allow storage account key access in the account's configuration, or use a Microsoft Entra identity.",
        ),
        "ResourceNotFound": unknown(
            Reason.PROVIDER_ERROR,
            Fault.PROVIDER,
            "The endpoint has no such account or resource, which says nothing about the credential.",
            "Check the account's name and the blob endpoint: they may not belong together.",
        ),
    }
)
"""Refusals that mean the same for a key and for a SAS ("Common REST API error codes").

Each kind adds `AuthenticationFailed` in its own words; what is not listed is unknown.
"""

FIREWALL = unknown(
    Reason.DENIED,
    Fault.NETWORK,
    "The storage account's network rules refused the call, so nothing is known about the credential.",
    "Admit vouch's network in the storage account's firewall, or reach the account by a private endpoint.",
)
CLOCK_SKEW = unknown(
    Reason.CLOCK_SKEW,
    Fault.SERVICE,
    "Azure refused the call, but its clock and ours are over 5 minutes apart, which alone can make it refuse.",
    "Set the clock of the machine that vouch runs on, then verify again.",
)
THROTTLED = unknown(
    Reason.THROTTLED,
    Fault.PROVIDER,
    "Azure storage is busy or is limiting the calls to this account.",
    "Try again later.",
)
TROUBLED = unknown(
    Reason.PROVIDER_ERROR,
    Fault.PROVIDER,
    "Azure storage could not answer.",
    "Try again later; nothing is known about the credential.",
)
NOT_AZURE = unknown(
    Reason.PROVIDER_ERROR,
    Fault.PROVIDER,
    "What answered at the blob endpoint did not answer as Azure's blob service does.",
    "Check the blob endpoint, and what proxies stand between vouch and it.",
)


def error_code(answer: Answer) -> str | None:
    """Azure's error code: the header `x-ms-error-code`, else the body's `<Code>` ("Status and error codes")."""
    told = answer.headers.get("x-ms-error-code", "")
    if _CODE.fullmatch(told):
        return told
    found = _CODE_ELEMENT.search(answer.body)
    return found[1].decode() if found else None


def wait_seconds(answer: Answer) -> int | None:
    """A Retry-After in seconds (RFC 9110 section 10.2.3); the date form counts as none."""
    wait = answer.headers.get("Retry-After", "")
    return int(wait) if re.fullmatch(r"[0-9]{1,6}", wait) else None


def is_listing(answer: Answer) -> bool:
    """Whether this is a list of containers or blobs, and not, say, a captive portal's page."""
    body = answer.body.removeprefix(_BYTE_ORDER_MARK).strip()
    return (
        answer.status == 200
        and answer.complete
        and _LISTING.match(body) is not None
        and body.endswith((b"</EnumerationResults>", b"/>"))
    )


def account_facts(answer: Answer) -> dict[str, str] | None:
    """The SKU and kind that Get Account Information told; None if this is not its answer.

    Its page promises `x-ms-sku-name` and `x-ms-account-kind`; no stranger sends either by chance.
    """
    if answer.status != 200:
        return None
    told = {"sku": "x-ms-sku-name", "account_kind": "x-ms-account-kind"}
    facts = {name: answer.headers.get(header, "") for name, header in told.items()}
    return {name: value for name, value in facts.items() if _WORD.fullmatch(value)} or None


def restriction(answer: Answer) -> Restriction | None:
    """The restriction that a refusal names, if it is one that proves the signature right."""
    return RESTRICTIONS.get(error_code(answer) or "") if 400 <= answer.status < 500 else None


def refusal(answer: Answer, service: BlobService, run: Run, rejections: Mapping[str, Verdict]) -> Verdict:
    """What an answer means that neither gives what was asked nor proves the signature.

    Args:
        answer: the answer.
        service: who was asked.
        run: takes a throttling answer's Retry-After, and tells the time.
        rejections: the kind's table; it must have `AuthenticationFailed`.
    """
    code = error_code(answer)
    if answer.status == 429 or (answer.status == 503 and code == "ServerBusy"):
        run.retry_after = wait_seconds(answer)
        return THROTTLED
    if answer.status >= 500:
        return TROUBLED
    if code is None or answer.status < 400:
        return NOT_AZURE
    if code == "AuthorizationFailure":
        # The real service says it of a firewall; Azurite, which has none, of every bad signature.
        verdict = FIREWALL if service.is_azure(answer) else rejections["AuthenticationFailed"]
    else:
        verdict = rejections.get(code) or _unlisted(code)
    if verdict.reason is Reason.BAD_SECRET and answer.date and abs(answer.date - run.now()) > LARGEST_SKEW:
        return CLOCK_SKEW
    return verdict


def _unlisted(code: str) -> Verdict:
    return unknown(
        Reason.PROVIDER_ERROR,
        Fault.PROVIDER,
        f"Azure answered {code}, which says nothing certain about the credential.",
        "Look the code up among Azure storage's error codes, mend what it says, and verify again.",
    )


async def spare(step: Step, call: Awaitable[Answer]) -> Answer | None:
    """Await a call that the verdict does not need; without an answer in time the check is a skip."""
    try:
        async with asyncio.timeout(EXTRA_SECONDS):
            return await call
    except TimeoutError:
        verdict = TIMED_OUT
    except NotVerified as stopped:
        verdict = stopped.verdict
    step.skip(verdict.reason.value, verdict.message)
    return None


def record_account(answer: Answer, step: Step, run: Run) -> None:
    """Take the account's SKU and kind from Get Account Information's answer; without them the check is a skip."""
    facts = account_facts(answer)
    if facts is None:
        step.skip(Reason.PROVIDER_ERROR.value, "Azure did not tell the account's SKU and kind.")
    else:
        run.identity.update(facts)
