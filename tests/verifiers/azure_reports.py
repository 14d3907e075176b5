"""How the Azure tests verify a payload, and what they read off the report."""

from datetime import UTC, datetime

from tests.peers.azure_stub import AzureStub, Reply
from tests.peers.azurite import Azurite
from verifiers import azure_sas
from verifiers.base import Payload, Run, Verifier, verify
from verifiers.egress import Egress
from verifiers.settings import AzureSettings, EgressSettings, ProviderSettings
from verifiers.verdict import Report

BAD_SECRET = ("failed", "bad_secret", "credential")
UNLISTED = ("unknown", "provider_error", "provider")
VERIFIED = ("verified", "ok", "none")

SECRET = "Y2FuYXJ5"
"""What no report and no log may have of the two SAS below."""

OF_ACCOUNT = f"sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2099-01-01T00:00:00Z&sig={SECRET}%2B{SECRET}%3D"
OF_CONTAINER = f"sv=2022-11-02&sr=c&sp=rl&se=2099-01-01T00:00:00Z&sig={SECRET}%2B{SECRET}%3D"


async def report_on(
    verifier: Verifier,
    given: Payload,
    *,
    operator: str = AzureSettings.blob_endpoint,
    allow: tuple[str, ...] = (),
    now: datetime | None = None,
    thorough: bool = True,
) -> Report:
    """Verify with an egress of its own.

    Args:
        verifier: of the payload's kind.
        given: the credential.
        operator: the operator's blob endpoint.
        allow: the private addresses that callers' endpoints may reach.
        now: what the clock says; None: the real one.
        thorough: whether a person asked.
    """
    settings = ProviderSettings(azure=AzureSettings(blob_endpoint=operator))
    async with Egress(EgressSettings(allow=allow)) as out:
        run = Run(out, settings, thorough=thorough, now=lambda: now or datetime.now(UTC))
        return await verify(verifier, given, run, 10)


async def through(route: str, azurite: Azurite, verifier: Verifier, path: str = "", **values: str) -> Report:
    """Verify against Azurite: by the `operator` route, or as an endpoint that the `caller` names."""
    kind = verifier.kind
    if route == "operator":
        given = kind.split(kind.schema().load(values))
        return await report_on(verifier, given, operator=azurite.operator_endpoint + path)
    named = {**values, "blob_endpoint": f"{azurite.origin}/{values['account_name']}{path}"}
    return await report_on(verifier, kind.split(kind.schema().load(named)), allow=(azurite.address,))


def sas_payload(sas: str, account: str = "vouchtests", endpoint: str | None = None) -> Payload:
    """A SAS's payload as the service would make it of a request."""
    kind = azure_sas.KIND
    return kind.split(kind.schema().load({"account_name": account, "sas_token": sas, "blob_endpoint": endpoint}))


async def ask(stub: AzureStub, sas: str, *script: Reply, path: str = "", now: datetime | None = None) -> Report:
    """Verify a SAS against scripted answers, at the operator's endpoint."""
    stub.script = list(script)
    return await report_on(azure_sas.VERIFIER, sas_payload(sas), operator=stub.operator_endpoint + path, now=now)


def said(report: Report) -> tuple[str, str, str]:
    """Outcome, reason and fault."""
    return report.verdict.outcome.value, report.verdict.reason.value, report.verdict.fault.value


def checks(report: Report) -> dict[str, str]:
    """The checks' outcomes by name."""
    return {one.name: one.outcome.value for one in report.checks}
