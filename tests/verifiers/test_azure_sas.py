"""A shared access signature: against Azurite, and against a stub for what Azurite never says."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.peers.azure_stub import ACCOUNT_REPLY, LIST_REPLY, AzureStub, Reply, refusal
from tests.peers.azurite import Azurite, sas_time
from tests.verifiers.azure_reports import (
    BAD_SECRET,
    OF_ACCOUNT,
    OF_CONTAINER,
    SECRET,
    UNLISTED,
    VERIFIED,
    ask,
    checks,
    report_on,
    said,
    sas_payload,
    through,
)
from verifiers.azure_sas import KIND, VERIFIER
from verifiers.azure_sas_token import Sas
from verifiers.verdict import Report


async def on_azurite(route: str, azurite: Azurite, sas: str, path: str = "") -> Report:
    return await through(route, azurite, VERIFIER, path, account_name=azurite.account, sas_token=sas)


@pytest.fixture
async def stub() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


@pytest.fixture(params=["operator", "caller"])
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> str:
    azurite.create_container("box")
    return "box"


@pytest.mark.parametrize("mark", ["", "?"])
async def test_a_good_account_sas_is_verified_by_azurite(azurite: Azurite, route: str, mark: str) -> None:
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    report = await on_azurite(route, azurite, mark + azurite.account_sas(se=expiry))
    assert said(report) == VERIFIED
    assert checks(report) == {
        "in_force": "pass",
        "authenticates": "pass",
        "account_information": "pass",
        "lists_containers": "pass",
    }
    assert report.expires_at == expiry
    assert report.identity == {
        "account": azurite.account,
        "permissions": "rl",
        "expires_at": sas_time(expiry),
        "sku": "Standard_RAGRS",
        "account_kind": "StorageV2",
    }


async def test_an_altered_sas_is_a_bad_secret_to_azurite(azurite: Azurite, route: str) -> None:
    report = await on_azurite(route, azurite, azurite.account_sas(sp="r").replace("sp=r", "sp=rl"))
    assert said(report) == BAD_SECRET
    assert checks(report) == {"in_force": "pass", "authenticates": "fail"}


async def test_an_account_that_azurite_has_not_is_unknown(azurite: Azurite) -> None:
    report = await through("operator", azurite, VERIFIER, account_name="nosuchaccount", sas_token=azurite.account_sas())
    assert said(report) == UNLISTED


@pytest.mark.parametrize(("sp", "srt"), [("r", "sco"), ("w", "sco"), ("rl", "co"), ("d", "o")])
async def test_a_sas_that_was_not_made_for_listing_is_verified_with_a_skip(
    azurite: Azurite, route: str, sp: str, srt: str
) -> None:
    report = await on_azurite(route, azurite, azurite.account_sas(sp=sp, srt=srt))
    assert said(report) == VERIFIED
    assert checks(report)["authenticates"] == "pass"
    assert checks(report)["lists_containers"] == "skip"


async def test_a_sas_for_another_service_is_verified_with_a_warning(azurite: Azurite, route: str) -> None:
    report = await on_azurite(route, azurite, azurite.account_sas(ss="q"))
    assert said(report) == VERIFIED
    assert checks(report) == {"in_force": "pass", "authenticates": "pass", "account_information": "warn"}


async def test_a_sas_for_https_is_verified_over_http_with_a_warning(azurite: Azurite) -> None:
    report = await on_azurite("operator", azurite, azurite.account_sas(spr="https"))
    assert said(report) == VERIFIED
    assert checks(report)["account_information"] == "warn"


async def test_a_container_sas_is_verified_where_the_endpoint_names_its_container(
    azurite: Azurite, route: str, container: str
) -> None:
    report = await on_azurite(route, azurite, azurite.service_sas(container), f"/{container}")
    assert said(report) == VERIFIED
    assert checks(report)["lists_blobs"] == "pass"


async def test_a_container_sas_that_may_not_even_read_is_verified(azurite: Azurite, container: str) -> None:
    report = await on_azurite("operator", azurite, azurite.service_sas(container, sp="w"), f"/{container}/")
    assert said(report) == VERIFIED
    assert checks(report) == {
        "in_force": "pass",
        "authenticates": "pass",
        "account_information": "skip",
        "lists_blobs": "skip",
    }


async def test_a_container_sas_fails_on_another_container(azurite: Azurite, route: str, container: str) -> None:
    report = await on_azurite(route, azurite, azurite.service_sas("other"), f"/{container}")
    assert said(report) == BAD_SECRET
    assert "endpoint names" in report.verdict.remedy


async def test_a_blob_sas_is_verified_where_the_endpoint_names_its_blob(azurite: Azurite, container: str) -> None:
    sas = azurite.service_sas(container, "folder/file.bin", sp="r")
    report = await on_azurite("operator", azurite, sas, f"/{container}/folder/file.bin")
    assert said(report) == VERIFIED
    assert checks(report)["authenticates"] == "pass"


@pytest.mark.parametrize(
    ("sr", "path", "asked"),
    [
        ("sr=c", "/box/blob", "/vouchtests/box"),
        ("sr=b", "/box/a/b", "/vouchtests/box/a/b"),
        ("sr=d&sdd=1", "/box/folder", "/vouchtests/box/folder"),
    ],
)
async def test_a_sas_is_tried_on_the_resource_it_is_for(stub: AzureStub, sr: str, path: str, asked: str) -> None:
    report = await ask(stub, OF_CONTAINER.replace("sr=c", sr), ACCOUNT_REPLY, LIST_REPLY, path=path)
    assert said(report) == VERIFIED
    assert {call.path for call in stub.calls} == {asked}


async def test_an_account_sas_is_tried_on_the_account_whatever_the_path(stub: AzureStub) -> None:
    await ask(stub, OF_ACCOUNT, ACCOUNT_REPLY, LIST_REPLY, path="/box")
    assert [(call.path, call.query["comp"]) for call in stub.calls] == [
        ("/vouchtests/", "properties"),
        ("/vouchtests/", "list"),
    ]


async def test_a_host_that_begins_with_the_account_has_no_account_in_its_path(stub: AzureStub) -> None:
    stub.script = [ACCOUNT_REPLY, LIST_REPLY]
    named = sas_payload(OF_CONTAINER, "localhost", f"http://localhost:{stub.port}/localhost")
    await report_on(VERIFIER, named, allow=(f"localhost:{stub.port}",))
    assert {call.path for call in stub.calls} == {"/localhost"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusal("AuthenticationFailed"), BAD_SECRET),
        (refusal("AuthorizationFailure"), BAD_SECRET),
        (
            refusal("AuthorizationFailure", Server="Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"),
            ("unknown", "denied", "network"),
        ),
        (refusal("AccountIsDisabled"), ("failed", "disabled", "credential")),
        (refusal("KeyBasedAuthenticationNotPermitted"), ("failed", "denied", "policy")),
        (refusal("ServerBusy", 503), ("unknown", "throttled", "provider")),
        (Reply(429), ("unknown", "throttled", "provider")),
        (refusal("ContainerNotFound", 404), UNLISTED),
        (refusal("InvalidAuthenticationInfo", 400), UNLISTED),
        (Reply(403, "<html>Blocked by your company</html>"), UNLISTED),
        (Reply(200), UNLISTED),
        (Reply(200, "<html>Please log in</html>", {"x-ms-request-id": "1", "x-ms-version": "2"}), UNLISTED),
        (Reply(200, "", {"x-ms-sku-name": "<script>"}), UNLISTED),
        (Reply(204, "", ACCOUNT_REPLY.headers), UNLISTED),
        (Reply(307, "", {"Location": "http://169.254.169.254/"}), UNLISTED),
    ],
)
async def test_every_refusal_means_what_the_table_says(
    stub: AzureStub, reply: Reply, expected: tuple[str, str, str]
) -> None:
    report = await ask(stub, OF_ACCOUNT, reply)
    assert said(report) == expected
    assert checks(report)["authenticates"] == ("fail" if expected[0] == "failed" else "skip")
    assert len(stub.calls) == 1


@pytest.mark.parametrize(
    ("code", "outcome", "calls"),
    [
        ("AuthorizationPermissionMismatch", "skip", 2),
        ("AuthorizationResourceTypeMismatch", "skip", 2),
        ("AuthorizationServiceMismatch", "warn", 1),
        ("AuthorizationProtocolMismatch", "warn", 1),
        ("AuthorizationSourceIPMismatch", "warn", 1),
    ],
)
async def test_a_mismatch_proves_the_signature(stub: AzureStub, code: str, outcome: str, calls: int) -> None:
    report = await ask(stub, OF_ACCOUNT, refusal(code))
    assert said(report) == VERIFIED
    assert checks(report)["authenticates"] == "pass"
    assert checks(report)["account_information"] == outcome
    assert len(stub.calls) == calls


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (refusal("AuthorizationPermissionMismatch"), "skip"),
        (refusal("AuthorizationSourceIPMismatch"), "warn"),
        (refusal("ServerBusy", 503), "skip"),
        (Reply(200, "<html>"), "skip"),
        (Reply(200, hangs=True), "skip"),
    ],
    ids=str,
)
async def test_a_list_that_is_not_to_be_had_does_not_undo_the_proof(
    stub: AzureStub, second: Reply, outcome: str
) -> None:
    report = await ask(stub, OF_ACCOUNT, ACCOUNT_REPLY, second)
    assert said(report) == VERIFIED
    assert checks(report)["lists_containers"] == outcome


async def test_a_list_refused_for_the_signature_does(stub: AzureStub) -> None:
    report = await ask(stub, OF_ACCOUNT, ACCOUNT_REPLY, refusal("AuthenticationFailed"))
    assert said(report) == BAD_SECRET
    assert checks(report)["lists_containers"] == "fail"


async def test_a_refusal_by_a_clock_far_from_ours_is_not_a_bad_sas(stub: AzureStub) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)
    report = await ask(stub, OF_ACCOUNT, refusal("AuthenticationFailed", Date=date))
    assert said(report) == ("unknown", "clock_skew", "service")


async def test_a_private_endpoint_that_is_not_allowed_is_never_called(stub: AzureStub) -> None:
    """Requirement 6."""
    named = sas_payload(OF_ACCOUNT, endpoint=f"http://{stub.address}/vouchtests")
    report = await report_on(VERIFIER, named, operator=stub.operator_endpoint)
    assert said(report) == ("unknown", "blocked_endpoint", "policy")
    assert stub.calls == []


async def test_the_sas_goes_out_as_it_came(stub: AzureStub) -> None:
    await ask(stub, "?" + OF_ACCOUNT + "&sip=1.2.3.4-1.2.3.9", ACCOUNT_REPLY, LIST_REPLY)
    for call in stub.calls:
        assert call.query["sig"] == f"{SECRET}+{SECRET}="
        assert call.query["sip"] == "1.2.3.4-1.2.3.9"
        assert "Authorization" not in call.headers


@pytest.mark.parametrize(
    "script",
    [
        [ACCOUNT_REPLY, LIST_REPLY],
        [ACCOUNT_REPLY, Reply(200, hangs=True)],
        [refusal("AuthenticationFailed")],
        [Reply(503)],
        [Reply(200, "garbage")],
        [Reply(302, "", {"Location": "/elsewhere"})],
    ],
    ids=["works", "hangs", "refused", "busy", "garbage", "redirect"],
)
async def test_the_sas_shows_nowhere(stub: AzureStub, script: list[Reply], caplog: pytest.LogCaptureFixture) -> None:
    """Requirements 11 and 30."""
    caplog.set_level(logging.DEBUG)
    report = await ask(stub, OF_ACCOUNT, *script)
    shown = repr(report) + str(report.to_dict()) + caplog.text
    shown += repr(sas_payload(OF_ACCOUNT)) + repr(Sas.parse(OF_ACCOUNT))
    assert SECRET not in shown
    assert "sig=" not in shown
    assert "UPSTREAM" not in shown


async def test_the_sas_shows_nowhere_when_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    async with AzureStub() as gone:
        endpoint = gone.operator_endpoint
    report = await report_on(VERIFIER, sas_payload(OF_ACCOUNT), operator=endpoint)
    assert said(report) == ("unknown", "unreachable", "network")
    assert SECRET not in repr(report) + str(report.to_dict()) + caplog.text


def test_the_kind_is_the_contracts() -> None:
    assert (KIND.provider, KIND.type, KIND.slot) == ("AZURE", "azure_token", ("token", "azure"))
    assert KIND.secret_fields == ("sas_token",)
    assert KIND.target_fields == ("blob_endpoint",)
