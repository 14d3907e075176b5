"""When the whole deadline ends: what the provider has accepted stays verified, and anything before that is unknown."""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress

import pytest

from tests.peers.aws_stub import ASSUMED_ARN, ASSUMED_ROLE, AwsStub, Scripted
from tests.peers.azure_stub import ACCOUNT_REPLY, LIST_REPLY, AzureStub, Reply
from tests.peers.entra import Entra
from tests.verifiers.azure_reports import OF_ACCOUNT, sas_payload
from tests.verifiers.runs import VERIFIED, check, run_probe, summary
from verifiers import azure_key, azure_sas, azure_service_principal
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_role import make_verifier
from verifiers.base import Payload, Run, Verifier, verify
from verifiers.egress import Egress
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, ProviderSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import WORKS, Report, Verdict

DEADLINE = 0.7
"""Shorter than what any probe gives its optional calls: it is the whole deadline that ends them here."""

TIMED_OUT = ("unknown", "timeout", "network")
SILENCE = Reply(500, hangs=True)
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": "tenant:42"}
KEY = azure_key.KIND.split({"account_name": "storageacct", "account_key": "YWFh", "blob_endpoint": None})


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Load what the first probes load: it takes longer than the deadline here."""
    for name in ("azure.identity.aio", "botocore.auth"):
        importlib.import_module(name)


@pytest.fixture
async def blob() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


async def silence() -> Scripted:
    """No answer before the deadline."""
    await asyncio.sleep(3)
    return Scripted(500)


async def in_time(work: Awaitable[Report]) -> Report:
    """The report, which must be there soon after the deadline."""
    started = time.monotonic()
    report = await work
    assert DEADLINE <= time.monotonic() - started < DEADLINE + 0.6
    return report


def assume(stub: AwsStub) -> Awaitable[Report]:
    verifier = make_verifier(ServiceIdentity(lambda: Keys("AKIASERVICE", "secret")))
    return run_probe(verifier, ROLE, aws=AwsSettings(sts_endpoint=stub.url), deadline=DEADLINE)


async def ask(verifier: Verifier, payload: Payload, azure: AzureSettings, ca_file: str = "") -> Report:
    async with Egress(EgressSettings(ca_file=ca_file)) as egress:
        return await verify(verifier, payload, Run(egress, ProviderSettings(azure=azure)), DEADLINE)


def at(blob: AzureStub) -> AzureSettings:
    return AzureSettings(blob_endpoint=blob.operator_endpoint)


def outcomes(report: Report) -> list[tuple[str, str, str]]:
    return [(one.name, one.outcome.value, one.reason) for one in report.checks]


async def test_an_assumed_role_stays_verified_when_the_negative_probe_hangs(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, ASSUMED_ROLE), silence)
    report = await in_time(assume(aws_stub))
    assert summary(report) == VERIFIED
    assert outcomes(report) == [("authenticates", "pass", "ok"), ("external_id_enforced", "skip", "timeout")]
    assert report.identity["arn"] == ASSUMED_ARN
    assert len(aws_stub.received) == 2


async def test_a_role_that_nobody_answers_for_is_unknown(aws_stub: AwsStub) -> None:
    aws_stub.script(silence)
    report = await in_time(assume(aws_stub))
    assert summary(report) == TIMED_OUT
    assert outcomes(report) == [("authenticates", "skip", "timeout")]
    assert report.identity == {}


async def test_an_account_key_stays_verified_when_the_account_information_hangs(blob: AzureStub) -> None:
    blob.script = [LIST_REPLY, SILENCE]
    report = await in_time(ask(azure_key.VERIFIER, KEY, at(blob)))
    assert summary(report) == VERIFIED
    assert outcomes(report) == [("authenticates", "pass", "ok"), ("account_information", "skip", "timeout")]
    assert len(blob.calls) == 2


async def test_an_account_key_that_nobody_answers_for_is_unknown(blob: AzureStub) -> None:
    blob.script = [SILENCE]
    report = await in_time(ask(azure_key.VERIFIER, KEY, at(blob)))
    assert summary(report) == TIMED_OUT
    assert outcomes(report) == [("authenticates", "skip", "timeout")]


async def test_a_sas_stays_verified_when_the_list_hangs(blob: AzureStub) -> None:
    blob.script = [ACCOUNT_REPLY, SILENCE]
    report = await in_time(ask(azure_sas.VERIFIER, sas_payload(OF_ACCOUNT), at(blob)))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome.value == "pass"
    assert outcomes(report)[-1] == ("lists_containers", "skip", "timeout")
    assert report.identity["sku"] == "Standard_LRS"
    assert report.expires_at is not None


async def test_a_sas_that_nobody_answers_for_is_unknown(blob: AzureStub) -> None:
    """That it is in force was read off it: no provider has accepted it by that."""
    blob.script = [SILENCE]
    report = await in_time(ask(azure_sas.VERIFIER, sas_payload(OF_ACCOUNT), at(blob)))
    assert summary(report) == TIMED_OUT
    assert outcomes(report) == [("in_force", "pass", "ok"), ("authenticates", "skip", "timeout")]


def principal(entra: Entra) -> Payload:
    kind = azure_service_principal.KIND
    return kind.split(kind.schema().load({**entra.register(), "account_name": "vouchtests"}))


async def test_a_service_principal_stays_verified_when_the_list_hangs(entra: Entra, blob: AzureStub) -> None:
    blob.script = [SILENCE]
    settings = AzureSettings(authority=entra.authority, blob_endpoint=blob.operator_endpoint)
    payload = principal(entra)
    report = await in_time(ask(azure_service_principal.VERIFIER, payload, settings, entra.ca_file))
    assert summary(report) == VERIFIED
    assert outcomes(report) == [("authenticates", "pass", "ok"), ("lists_containers", "skip", "timeout")]
    assert report.identity == {"tenant_id": payload["tenant_id"], "client_id": payload["client_id"]}
    assert len(blob.calls) == 1


async def test_a_service_principal_whose_sign_in_hangs_is_unknown(entra: Entra, blob: AzureStub) -> None:
    entra.hanging = True
    blob.script = [LIST_REPLY]
    settings = AzureSettings(authority=entra.authority, blob_endpoint=blob.operator_endpoint)
    report = await in_time(ask(azure_service_principal.VERIFIER, principal(entra), settings, entra.ca_file))
    assert summary(report) == TIMED_OUT
    assert outcomes(report) == [("authenticates", "skip", "timeout")]
    assert (report.identity, blob.calls) == ({}, [])


async def test_an_optional_check_that_passed_proves_nothing_by_itself(blob: AzureStub) -> None:
    """A check of another name than `authenticates` is no proof, whatever comes first."""

    async def probe(_payload: Payload, run: Run) -> Verdict:
        with run.check("key_file"):
            pass
        await asyncio.sleep(3)
        return WORKS

    report = await in_time(ask(Verifier(azure_key.KIND, probe), KEY, at(blob)))
    assert summary(report) == TIMED_OUT


async def test_what_a_probe_says_after_the_deadline_is_no_answer(blob: AzureStub) -> None:
    async def probe(_payload: Payload, _run: Run) -> Verdict:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3)
        return WORKS

    report = await in_time(ask(Verifier(azure_key.KIND, probe), KEY, at(blob)))
    assert summary(report) == TIMED_OUT
