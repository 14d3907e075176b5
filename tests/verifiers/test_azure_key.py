"""The key of a storage account: against Azurite, and against a stub for what Azurite never says."""

import base64
import logging
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from marshmallow import ValidationError

from tests.peers.azure_stub import ACCOUNT_REPLY, LIST_REPLY, LISTING, AzureStub, Reply, error_body, refusal
from tests.peers.azurite import Azurite
from tests.verifiers.azure_reports import BAD_SECRET, UNLISTED, VERIFIED, checks, report_on, said, through
from verifiers.azure_key import KIND, VERIFIER
from verifiers.base import Payload, Run, verify
from verifiers.egress import Egress
from verifiers.settings import AzureSettings, EgressSettings, ProviderSettings
from verifiers.verdict import Report

CANARY = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnk="
SOON = "Wed, 21 Oct 2026 07:28:00 GMT"


def payload(**values: str) -> Payload:
    """A payload as the service would make it of a request."""
    return KIND.split(KIND.schema().load(values))


async def ask(stub: AzureStub, *script: Reply) -> Report:
    """Verify the canary key against scripted answers."""
    stub.script = list(script)
    given = payload(account_name="vouchtests", account_key=CANARY)
    return await report_on(VERIFIER, given, operator=stub.operator_endpoint)


@pytest.fixture
async def stub() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


@pytest.fixture(params=["operator", "caller"])
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_good_key_is_verified_by_azurite(azurite: Azurite, route: str) -> None:
    report = await through(route, azurite, VERIFIER, account_name=azurite.account, account_key=azurite.key)
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "account_information": "pass"}
    assert report.identity == {"account": azurite.account, "sku": "Standard_RAGRS", "account_kind": "StorageV2"}


async def test_a_wrong_key_is_a_bad_secret_to_azurite(azurite: Azurite, route: str) -> None:
    wrong = base64.b64encode(b"not the key").decode()
    report = await through(route, azurite, VERIFIER, account_name=azurite.account, account_key=wrong)
    assert said(report) == BAD_SECRET
    assert checks(report) == {"authenticates": "fail"}


async def test_an_account_that_azurite_has_not_is_unknown(azurite: Azurite, route: str) -> None:
    report = await through(route, azurite, VERIFIER, account_name="nosuchaccount", account_key=azurite.key)
    assert said(report) == UNLISTED
    assert "account's name" in report.verdict.remedy


async def test_a_container_in_the_endpoints_path_does_not_stop_the_key(azurite: Azurite, route: str) -> None:
    report = await through(
        route, azurite, VERIFIER, "/somewhere/below/", account_name=azurite.account, account_key=azurite.key
    )
    assert said(report) == VERIFIED


async def test_a_schedule_asks_for_the_list_alone(stub: AzureStub) -> None:
    stub.script = [LIST_REPLY]
    given = payload(account_name="vouchtests", account_key=CANARY)
    report = await report_on(VERIFIER, given, operator=stub.operator_endpoint, thorough=False)
    assert said(report) == VERIFIED
    assert [call.query for call in stub.calls] == [{"comp": "list", "maxresults": "1"}]


async def test_the_call_is_a_bare_signed_get(stub: AzureStub) -> None:
    await ask(stub, LIST_REPLY, ACCOUNT_REPLY)
    first = stub.calls[0]
    assert (first.method, first.path) == ("GET", "/vouchtests/")
    assert first.headers["Authorization"].startswith("SharedKey vouchtests:")
    assert {"Content-Type", "Content-Length"}.isdisjoint(first.headers)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusal("AuthenticationFailed"), BAD_SECRET),
        (Reply(403, error_body("AuthenticationFailed")), BAD_SECRET),
        (refusal("AuthorizationFailure"), BAD_SECRET),
        (refusal("AccountIsDisabled"), ("failed", "disabled", "credential")),
        (refusal("KeyBasedAuthenticationNotPermitted"), ("failed", "denied", "policy")),
        (refusal("ServerBusy", 503), ("unknown", "throttled", "provider")),
        (Reply(429), ("unknown", "throttled", "provider")),
        (refusal("AuthenticationFailed", 500), UNLISTED),
        (refusal("OperationTimedOut", 500), UNLISTED),
        (Reply(503, "<html>Service Unavailable</html>"), UNLISTED),
        (refusal("InsufficientAccountPermissions"), UNLISTED),
        (refusal("NoAuthenticationInformation", 401), UNLISTED),
        (refusal("ResourceNotFound", 404), UNLISTED),
        (refusal("SomethingNew", 403), UNLISTED),
        (Reply(403, "<html>Blocked by your company</html>"), UNLISTED),
        (Reply(403, "", {"x-ms-error-code": "not a code"}), UNLISTED),
        (Reply(302, "", {"Location": "http://169.254.169.254/"}), UNLISTED),
        (Reply(204), UNLISTED),
    ],
)
async def test_every_refusal_means_what_the_table_says(
    stub: AzureStub, reply: Reply, expected: tuple[str, str, str]
) -> None:
    report = await ask(stub, reply)
    assert said(report) == expected
    assert checks(report) == {"authenticates": "fail" if expected[0] == "failed" else "skip"}
    assert len(stub.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>Please log in</html>",
        "EnumerationResults",
        "<Error><Code>AuthenticationFailed</Code></Error>",
        "<html><EnumerationResults></EnumerationResults></html>",
        LISTING[:-10],
        LISTING + " " * 70000,
        "\x00\xff",
    ],
)
async def test_a_200_that_is_no_list_proves_nothing(stub: AzureStub, body: str) -> None:
    report = await ask(stub, Reply(200, body))
    assert said(report) == UNLISTED


async def test_a_list_may_begin_with_a_byte_order_mark(stub: AzureStub) -> None:
    report = await ask(stub, Reply(200, "\ufeff" + LISTING + "\n"), ACCOUNT_REPLY)
    assert said(report) == VERIFIED


@pytest.mark.parametrize("filling", [" ", "<Code>", "<Code> ", "<?xml ", "a", "\ufeff"], ids=ascii)
async def test_a_hostile_answer_costs_no_time(stub: AzureStub, filling: str) -> None:
    for status in (200, 403):
        started = time.process_time()
        report = await ask(stub, Reply(status, filling * 9000 + " " * 65536))
        assert said(report) == UNLISTED
        assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("AuthorizationPermissionMismatch", "skip"),
        ("AuthorizationResourceTypeMismatch", "skip"),
        ("AuthorizationServiceMismatch", "warn"),
        ("AuthorizationProtocolMismatch", "warn"),
        ("AuthorizationSourceIPMismatch", "warn"),
    ],
)
async def test_a_mismatch_proves_the_signature(stub: AzureStub, code: str, outcome: str) -> None:
    report = await ask(stub, refusal(code))
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "lists_containers": outcome}


async def test_the_firewall_of_the_real_service_is_not_a_bad_key(stub: AzureStub) -> None:
    stub.script = [refusal("AuthorizationFailure")]

    def resolve(host: str | None, port: int, *rest: object, **named: object) -> list[tuple[object, ...]]:
        assert host == "vouchtests.blob.core.windows.net"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    endpoint = f"http://{{account}}.blob.core.windows.net:{stub.port}"
    settings = ProviderSettings(azure=AzureSettings(blob_endpoint=endpoint))
    async with Egress(EgressSettings(), getaddrinfo=resolve) as out:
        given = payload(account_name="vouchtests", account_key=CANARY)
        report = await verify(VERIFIER, given, Run(out, settings), 10)
    assert said(report) == ("unknown", "denied", "network")


async def test_the_real_service_is_known_behind_a_domain_of_the_customers_own(stub: AzureStub) -> None:
    report = await ask(stub, refusal("AuthorizationFailure", Server="Microsoft-HTTPAPI/2.0"))
    assert said(report) == ("unknown", "denied", "network")


@pytest.mark.parametrize(
    ("wait", "expected"), [("17", 17), ("", None), ("soon", None), (SOON, None), ("9" * 5000, None)]
)
async def test_a_throttling_answers_whole_seconds_are_kept(stub: AzureStub, wait: str, expected: int | None) -> None:
    report = await ask(stub, Reply(429, "", {"Retry-After": wait}))
    assert said(report) == ("unknown", "throttled", "provider")
    assert report.retry_after == expected


@pytest.mark.parametrize(("minutes", "reason"), [(6, "clock_skew"), (-6, "clock_skew"), (4, "bad_secret")])
async def test_a_refusal_by_a_clock_far_from_ours_is_not_a_bad_key(stub: AzureStub, minutes: int, reason: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    report = await ask(stub, refusal("AuthenticationFailed", Date=date))
    assert report.verdict.reason.value == reason
    assert (report.verdict.outcome.value, report.verdict.fault.value) in {
        ("unknown", "service"),
        ("failed", "credential"),
    }


async def test_an_account_that_does_not_resolve_gets_a_remedy_with_both_causes() -> None:
    def resolve(*rest: object, **named: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async with Egress(EgressSettings(), getaddrinfo=resolve) as out:
        given = payload(account_name="misspelt", account_key=CANARY)
        report = await verify(VERIFIER, given, Run(out, ProviderSettings()), 10)
    assert said(report) == ("unknown", "unreachable", "network")
    assert "spelling" in report.verdict.remedy
    assert "private DNS zone" in report.verdict.remedy


async def test_a_private_endpoint_that_is_not_allowed_is_never_called(stub: AzureStub) -> None:
    """Requirement 6."""
    named = payload(account_name="vouchtests", account_key=CANARY, blob_endpoint=f"http://{stub.address}/vouchtests")
    report = await report_on(VERIFIER, named, operator=stub.operator_endpoint)
    assert said(report) == ("unknown", "blocked_endpoint", "policy")
    assert stub.calls == []


@pytest.mark.parametrize(
    "second", [refusal("AuthenticationFailed"), Reply(500), Reply(200), Reply(200, hangs=True)], ids=str
)
async def test_what_only_adds_facts_never_spoils_the_verdict(stub: AzureStub, second: Reply) -> None:
    report = await ask(stub, LIST_REPLY, second)
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "account_information": "skip"}


@pytest.mark.parametrize(
    "script",
    [[LIST_REPLY, ACCOUNT_REPLY], [refusal("AuthenticationFailed")], [Reply(503)], [Reply(200, "garbage")]],
    ids=["works", "refused", "busy", "garbage"],
)
async def test_the_key_shows_nowhere(stub: AzureStub, script: list[Reply], caplog: pytest.LogCaptureFixture) -> None:
    """Requirements 11 and 30."""
    caplog.set_level(logging.DEBUG)
    report = await ask(stub, *script)
    shown = repr(report) + str(report.to_dict()) + caplog.text
    shown += repr(payload(account_name="vouchtests", account_key=CANARY))
    assert CANARY not in shown
    assert base64.b64decode(CANARY).decode() not in shown
    assert "UPSTREAM" not in shown
    assert "SharedKey" not in shown


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 25,
        "Acct",
        "a.b",
        "evil.example/",
        "acct@evil",
        "a-b",
        "acct\n",
        "\uff41cct",
        "acct%2f",
        "{account}",
        "",
    ],
)
def test_an_account_name_that_would_change_the_host_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        payload(account_name=name, account_key=CANARY)
    assert set(refused.value.normalized_messages()) == {"account_name"}


@pytest.mark.parametrize(
    "key", ["not base64!", "YWJj ", "abc", "_-_-", "DefaultEndpointsProtocol=https;AccountKey=YWJj", "====", "é" * 4]
)
def test_a_key_that_is_not_base64_is_refused_with_what_to_do(key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        payload(account_name="devstoreaccount1", account_key=key)
    assert "base64" in str(refused.value)
    assert key not in str(refused.value)


def test_the_kind_is_the_contracts() -> None:
    assert (KIND.provider, KIND.type, KIND.slot) == ("AZURE", "key", ("credential", "azure"))
    assert KIND.secret_fields == ("account_key",)
    assert KIND.target_fields == ("blob_endpoint",)
