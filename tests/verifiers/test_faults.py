"""Every verifier under every fault: unknown, the right reason and fault, in time, and not a word of the upstream's."""

import asyncio
import importlib
import json
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.peers.faults import CANARY, METADATA_URL, REDIRECTS, FaultMode
from tests.peers.google import pem, rsa_key
from verifiers import aws_key, azure_key, azure_sas, azure_service_principal, gcp_hmac, gcp_service_account
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_role import make_verifier
from verifiers.base import Run, Verifier, verify
from verifiers.egress import Egress
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, GcpSettings, ProviderSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import CheckOutcome, Report

SECRET = "bm90LWZvci1hbnlib2R5cy1leWVz"

UNREACHABLE = ("unknown", "unreachable", "network")
TIMEOUT = ("unknown", "timeout", "network")
PROVIDER_ERROR = ("unknown", "provider_error", "provider")
THROTTLED = ("unknown", "throttled", "provider")
BLOCKED = ("unknown", "blocked_endpoint", "policy")

EXPECTED = {
    FaultMode.HANG: TIMEOUT,
    FaultMode.DRIP: TIMEOUT,
    FaultMode.RESET: UNREACHABLE,
    FaultMode.TRUNCATED: UNREACHABLE,
    FaultMode.EARLY_CLOSE: UNREACHABLE,
    FaultMode.REFUSED: UNREACHABLE,
    FaultMode.BAD_TLS: UNREACHABLE,
    FaultMode.TLS_TO_PLAIN: UNREACHABLE,
    FaultMode.UNAVAILABLE: PROVIDER_ERROR,
    FaultMode.THROTTLED: THROTTLED,
    **dict.fromkeys(REDIRECTS, PROVIDER_ERROR),
    FaultMode.NOT_HTTP: PROVIDER_ERROR,
    FaultMode.GARBAGE: PROVIDER_ERROR,
    FaultMode.HUGE: PROVIDER_ERROR,
    FaultMode.ENDLESS: PROVIDER_ERROR,
    FaultMode.GZIP_BOMB: PROVIDER_ERROR,
    FaultMode.LONG_HEADER: PROVIDER_ERROR,
    FaultMode.MANY_HEADERS: PROVIDER_ERROR,
    FaultMode.INTERIM: PROVIDER_ERROR,
    FaultMode.SKEWED_CLOCK: PROVIDER_ERROR,
}
BEFORE_ANY_REQUEST = {FaultMode.REFUSED, FaultMode.BAD_TLS, FaultMode.TLS_TO_PLAIN}


@dataclass(frozen=True)
class Subject:
    """A verifier and a credential for it; `endpoint` is the field in which a caller names the host, if one does."""

    verifier: Verifier
    values: Mapping[str, Any] = field(repr=False)
    endpoint: str | None = None


def _key_file() -> str:
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "proj-7",
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": pem(rsa_key(0)),
            "client_email": "etl@proj-7.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


AWS_KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET}
AZURE_KEY = {"account_name": "vouchtests", "account_key": SECRET}
AZURE_SAS = {
    "account_name": "vouchtests",
    "sas_token": f"sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2099-01-01T00:00:00Z&sig={SECRET}",
}
PRINCIPAL = {
    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "client_id": "82195c37-7497-458c-b643-f4a3d0a64190",
    "client_secret": SECRET,
}
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": "tenant:42"}
ASSUMING = make_verifier(ServiceIdentity(lambda: Keys("AKIASERVICE", SECRET)))

SUBJECTS = {
    "aws key": Subject(aws_key.VERIFIER, AWS_KEY),
    "aws key at an endpoint": Subject(aws_key.VERIFIER, AWS_KEY, "endpoint"),
    "aws role": Subject(ASSUMING, ROLE),
    "azure key": Subject(azure_key.VERIFIER, AZURE_KEY),
    "azure key at an endpoint": Subject(azure_key.VERIFIER, AZURE_KEY, "blob_endpoint"),
    "azure sas": Subject(azure_sas.VERIFIER, AZURE_SAS),
    "azure sas at an endpoint": Subject(azure_sas.VERIFIER, AZURE_SAS, "blob_endpoint"),
    "azure service principal": Subject(azure_service_principal.VERIFIER, PRINCIPAL),
    "gcp hmac": Subject(gcp_hmac.VERIFIER, {"access_key_id": "GOOG1EXAMPLE", "secret_access_key": SECRET}),
    "gcp service account": Subject(gcp_service_account.VERIFIER, {"key_text": _key_file()}),
}
EVERY_SUBJECT = pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
CALLERS = {name: one for name, one in SUBJECTS.items() if one.endpoint}


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Load what probes load at their first use: it takes most of the short deadlines here."""
    for name in (
        "azure.identity.aio",
        "botocore.auth",
        "botocore.awsrequest",
        "botocore.credentials",
        "google.auth.crypt",
        "google.auth.jwt",
    ):
        importlib.import_module(name)


def _nowhere(*args: object, **how: object) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def report_on(
    subject: Subject, url: str, *, deadline: float = 5.0, allow: tuple[str, ...] = ("127.0.0.1",)
) -> Report:
    """Verify with everything that could be asked at `url`; no name resolves."""
    values = {**subject.values, subject.endpoint: url} if subject.endpoint else subject.values
    at = "http://127.0.0.1:1" if subject.endpoint else url  # then nobody may ask the operator's hosts
    settings = ProviderSettings(
        aws=AwsSettings(sts_endpoint=at, s3_endpoint=at),
        gcp=GcpSettings(token_uri=f"{at}/token", storage_endpoint=at),
        azure=AzureSettings(authority=at, blob_endpoint=at),
    )
    kind = subject.verifier.kind
    payload = kind.split(kind.schema().load(values))
    async with Egress(EgressSettings(allow=allow), getaddrinfo=_nowhere) as egress:
        return await verify(subject.verifier, payload, Run(egress, settings), deadline)


def said(report: Report) -> tuple[str, str, str]:
    """Outcome, reason and fault."""
    return report.verdict.outcome.value, report.verdict.reason.value, report.verdict.fault.value


def assert_quiet(report: Report, logged: str) -> None:
    """Nothing of the upstream's, no address and no secret is shown; and no check is red."""
    shown = json.dumps(report.to_dict())
    for text in (shown, logged):
        assert CANARY not in text
        assert SECRET not in text
        assert "PRIVATE KEY" not in text
    assert METADATA_URL not in shown
    assert "127.0.0.1" not in shown
    assert all(one.outcome is not CheckOutcome.FAIL for one in report.checks)


@EVERY_SUBJECT
@pytest.mark.parametrize("mode", EXPECTED)
async def test_a_fault_is_unknown_and_says_whose_it_is(subject, mode, fault_peer, caplog):
    """Requirements 4 and 11: whatever a provider does, it earns no red light, and one call is all it gets."""
    caplog.set_level(logging.DEBUG)
    fault_peer.mode = mode
    hangs = EXPECTED[mode] == TIMEOUT
    started = time.monotonic()
    report = await report_on(subject, fault_peer.url, deadline=0.8 if hangs else 5.0)
    assert said(report) == EXPECTED[mode]
    assert time.monotonic() - started < (2.0 if hangs else 5.0)
    assert len(fault_peer.requests) == (0 if mode in BEFORE_ANY_REQUEST else 1)
    assert report.retry_after == (7 if mode is FaultMode.THROTTLED else None)
    assert report.checks[-1].outcome is CheckOutcome.SKIP
    assert_quiet(report, caplog.text)


@EVERY_SUBJECT
async def test_a_host_that_does_not_resolve_is_unreachable(subject):
    """A misspelt name is not a bad secret."""
    report = await report_on(subject, "https://nowhere.example")
    assert said(report) == UNREACHABLE
    assert "DNS" in report.verdict.message
    assert "nowhere" not in json.dumps(report.to_dict())


@pytest.mark.parametrize("subject", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.⓪.⓪.①"],
)
async def test_an_endpoint_that_the_guard_refuses_is_contacted_by_nobody(subject, host, fault_peer):
    """Requirements 2, 5 and 6."""
    for scheme in ("http", "https"):
        report = await report_on(subject, f"{scheme}://{host}:{fault_peer.port}", allow=())
        assert said(report) == BLOCKED
    assert fault_peer.connections == 0


@pytest.mark.parametrize("subject", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("url", [METADATA_URL, "https://169.254.169.254", "https://168.63.129.16"])
async def test_no_caller_reaches_a_metadata_service_whatever_network_is_allowed(subject, url):
    """Requirement 6."""
    report = await report_on(subject, url.rstrip("/"), allow=("0.0.0.0/0", "::/0"))
    assert said(report) == BLOCKED


async def test_a_hundred_probes_of_a_provider_that_hangs_all_end_by_their_deadline(fault_peer):
    """Nobody waits for another's connection."""
    fault_peer.mode = FaultMode.HANG
    kind = aws_key.KIND
    payload = kind.split(kind.schema().load(AWS_KEY))
    settings = ProviderSettings(aws=AwsSettings(sts_endpoint=fault_peer.url))
    started = time.monotonic()
    async with Egress(EgressSettings()) as egress:
        probes = (verify(aws_key.VERIFIER, payload, Run(egress, settings), 0.6) for _ in range(100))
        reports = await asyncio.gather(*probes)
    assert {said(one) for one in reports} == {TIMEOUT}
    assert time.monotonic() - started < 2
