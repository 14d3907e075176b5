"""What is said of a shared access signature without asking anybody."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from marshmallow import ValidationError

from tests.peers.azure_stub import ACCOUNT_REPLY, LIST_REPLY, AzureStub, refusal
from tests.verifiers.azure_reports import OF_ACCOUNT, OF_CONTAINER, SECRET, VERIFIED, ask, checks, said, sas_payload

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SIGNATURE = f"sig={SECRET}%2B{SECRET}%3D"


@pytest.fixture
async def stub() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


@pytest.mark.parametrize(
    ("times", "reason", "expires"),
    [
        ("se=2026-03-01T11:59:59Z", "expired", datetime(2026, 3, 1, 11, 59, 59, tzinfo=UTC)),
        ("se=2026-03-01T12:00:00Z", "expired", NOW),
        ("se=2026-03-01T12%3A00Z", "expired", NOW),
        ("se=2026-03-01", "expired", datetime(2026, 3, 1, tzinfo=UTC)),
        ("se=2026-03-01T13:59:00.0000000%2B02:00", "expired", datetime(2026, 3, 1, 11, 59, tzinfo=UTC)),
        ("se=2099-01-01&ske=2026-02-28T00:00:00Z", "expired", datetime(2026, 2, 28, tzinfo=UTC)),
        ("se=2099-01-01&st=2026-03-01T12:00:01Z", "not_yet_valid", datetime(2099, 1, 1, tzinfo=UTC)),
        ("se=2099-01-01&skt=2026-03-02", "not_yet_valid", datetime(2099, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_sas_out_of_its_time_fails_without_a_call(
    stub: AzureStub, times: str, reason: str, expires: datetime
) -> None:
    sas = OF_ACCOUNT.replace("se=2099-01-01T00:00:00Z", times)
    report = await ask(stub, sas, ACCOUNT_REPLY, now=NOW)
    assert said(report) == ("failed", reason, "credential")
    assert checks(report) == {"in_force": "fail"}
    assert report.expires_at == expires
    assert stub.calls == []


async def test_a_sas_that_begins_this_very_second_is_in_force(stub: AzureStub) -> None:
    report = await ask(stub, OF_ACCOUNT + "&st=2026-03-01T12:00:00Z", ACCOUNT_REPLY, LIST_REPLY, now=NOW)
    assert said(report) == VERIFIED


async def test_the_message_of_a_start_ahead_speaks_of_the_clock(stub: AzureStub) -> None:
    report = await ask(stub, OF_ACCOUNT + "&st=2026-03-01T12:00:30Z", ACCOUNT_REPLY, now=NOW)
    assert "30 seconds from now by the clock of vouch" in report.verdict.message


async def test_a_stored_access_policy_may_have_the_times_and_permissions(stub: AzureStub) -> None:
    sas = f"sv=2022-11-02&sr=c&si=policy&{SIGNATURE}"
    report = await ask(stub, sas, ACCOUNT_REPLY, LIST_REPLY, path="/box")
    assert said(report) == VERIFIED
    assert checks(report)["lists_blobs"] == "pass"
    assert report.expires_at is None
    assert set(report.identity) == {"account", "sku", "account_kind"}


@pytest.mark.parametrize(
    ("sas", "named"),
    [
        ("sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2099-01-01", "`sig`"),
        (OF_ACCOUNT.replace(SIGNATURE, "sig="), "`sig`"),
        (OF_ACCOUNT.replace("sv=2022-11-02&", ""), "`sv`"),
        (OF_ACCOUNT.replace("sv=2022-11-02", "sv=latest"), "`sv`"),
        (OF_ACCOUNT + "&sp=rwdl", "twice"),
        (OF_ACCOUNT + "&SP=rwdl", "lower case"),
        (OF_ACCOUNT + "&comp=list", "parameters of a SAS"),
        (OF_ACCOUNT + "&restype=service", "parameters of a SAS"),
        (OF_ACCOUNT + "&junk", "form"),
        (OF_ACCOUNT + "&st=%FF", "form"),
        ("&".join(f"a{chr(97 + i // 26)}{chr(97 + i % 26)}=1" for i in range(50)), "form"),
        (OF_ACCOUNT.replace("&srt=sco", ""), "`srt`"),
        (OF_ACCOUNT.replace("&sp=rl", ""), "`sp`"),
        (OF_ACCOUNT.replace("&se=2099-01-01T00:00:00Z", ""), "`se`"),
        (OF_ACCOUNT.replace("2099-01-01T00:00:00Z", "tomorrow"), "`se`"),
        (OF_ACCOUNT.replace("2099-01-01T00:00:00Z", "2099-02-30"), "`se`"),
        (OF_ACCOUNT.replace("2099-01-01T00:00:00Z", "2099-01-01T00:00:00"), "`se`"),
        (OF_ACCOUNT.replace("2099-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"), "`se`"),
        (OF_ACCOUNT + "&st=0001-01-01T00:00:00%2B12:00", "`st`"),
        ("https://vouchtests.blob.core.windows.net/?" + OF_ACCOUNT, "token alone"),
        (OF_ACCOUNT + "#x", "URL-encoded"),
        (OF_ACCOUNT + " ", "URL-encoded"),
        ("??" + OF_ACCOUNT, "URL-encoded"),
        (OF_ACCOUNT + "é", "URL-encoded"),
        ("?", "URL-encoded"),
        ("hello", "form"),
    ],
)
def test_what_could_never_work_is_refused_with_what_to_do(sas: str, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        sas_payload(sas)
    messages = refused.value.normalized_messages()
    assert set(messages) == {"sas_token"}
    assert named in str(messages)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("sas", "path"),
    [
        (OF_CONTAINER, ""),
        (OF_CONTAINER.replace("sr=c", "sr=b"), "/box"),
        (OF_CONTAINER.replace("sr=c", "sr=d&sdd=2"), "/box/one"),
        (OF_CONTAINER.replace("sr=c", "sr=d"), "/box"),
        (OF_CONTAINER.replace("sr=c", "sr=bs"), "/box/blob"),
        (OF_CONTAINER.replace("sr=c", "sr=s"), "/box"),
        (OF_CONTAINER.replace("sr=c&", ""), "/box"),
        (OF_CONTAINER + "&skoid=a&sktid=b&ske=2099-01-01T00:00:00Z", ""),
    ],
)
async def test_a_sas_for_a_resource_that_the_endpoint_does_not_name_is_unknown_without_a_call(
    stub: AzureStub, sas: str, path: str
) -> None:
    report = await ask(stub, sas, refusal("AuthenticationFailed"), path=path)
    assert said(report) == ("unknown", "unsupported", "service")
    assert checks(report) == {"in_force": "pass", "authenticates": "skip"}
    assert "account SAS" in report.verdict.remedy
    assert stub.calls == []


@pytest.mark.parametrize("name", ["ab", "Acct", "evil.example/", "a@b", "{account}"])
def test_an_account_name_that_would_change_the_host_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        sas_payload(OF_ACCOUNT, name)
    assert set(refused.value.normalized_messages()) == {"account_name"}
