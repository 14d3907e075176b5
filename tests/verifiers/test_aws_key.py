"""AWS access keys against moto, and every row of the table against a stub."""

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from marshmallow import ValidationError

from tests.peers.aws_stub import BUCKETS, CALLER_IDENTITY, CAPTIVE_PORTAL, AwsStub, Scripted, sts_error
from tests.peers.moto import Moto, allow
from tests.verifiers.runs import (
    BAD_SECRET,
    CLOCK_SKEW,
    EXPIRED,
    PROVIDER_ERROR,
    THROTTLED,
    UNKNOWN_KEY,
    VERIFIED,
    check,
    closed_port,
    run_probe,
    summary,
)
from verifiers.aws_key import VERIFIER, AwsKeySchema
from verifiers.settings import AwsSettings
from verifiers.verdict import CheckOutcome

KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "canary-of-the-secret"}


def own(stub: AwsStub) -> AwsSettings:
    return AwsSettings(sts_endpoint=stub.url)


def dated(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


# moto: a real signature check


async def test_a_good_key_is_verified_and_says_whose_it_is(moto: Moto) -> None:
    """Contract section 4."""
    pair = moto.user(allow("sts:*"))
    report = await run_probe(VERIFIER, pair.payload, aws=AwsSettings(sts_endpoint=moto.url))
    assert summary(report) == VERIFIED
    assert set(report.identity) == {"arn", "account", "user_id"}
    assert report.identity["arn"].startswith(f"arn:aws:iam::{moto.account}:user/user-")
    assert report.identity["account"] == moto.account
    assert check(report, "authenticates").outcome is CheckOutcome.PASS


async def test_a_wrong_secret_is_told_from_an_unknown_key(moto: Moto) -> None:
    pair = moto.user(allow("sts:*"))
    settings = AwsSettings(sts_endpoint=moto.url)
    wrong = await run_probe(VERIFIER, pair._replace(secret_access_key="x" * 40).payload, aws=settings)
    missing = await run_probe(VERIFIER, KEY, aws=settings)
    assert summary(wrong) == BAD_SECRET
    assert summary(missing) == UNKNOWN_KEY
    assert check(wrong, "authenticates").outcome is CheckOutcome.FAIL


async def test_a_key_without_any_permission_still_authenticates(moto: Moto) -> None:
    report = await run_probe(VERIFIER, moto.user().payload, aws=AwsSettings(sts_endpoint=moto.url))
    assert summary(report) == VERIFIED


# the table, row by row

STS_ROWS = [
    ("InvalidClientTokenId", 403, UNKNOWN_KEY),
    ("InvalidAccessKeyId", 403, UNKNOWN_KEY),
    ("UnrecognizedClientException", 400, UNKNOWN_KEY),
    ("SignatureDoesNotMatch", 403, BAD_SECRET),
    ("ExpiredToken", 400, EXPIRED),
    ("ExpiredTokenException", 403, EXPIRED),
    ("RequestExpired", 400, CLOCK_SKEW),
    ("RequestTimeTooSkewed", 403, CLOCK_SKEW),
    ("Throttling", 400, THROTTLED),
    ("ThrottlingException", 400, THROTTLED),
    ("SlowDown", 503, THROTTLED),
    ("InternalFailure", 500, PROVIDER_ERROR),
    ("ServiceUnavailable", 503, PROVIDER_ERROR),
    ("SignatureDoesNotMatch", 500, PROVIDER_ERROR),
    ("SomethingNew", 400, PROVIDER_ERROR),
]


@pytest.mark.parametrize(("code", "status", "expected"), STS_ROWS)
async def test_each_code_of_sts_means_what_the_table_says(
    aws_stub: AwsStub, code: str, status: int, expected: tuple[str, str, str]
) -> None:
    aws_stub.script(sts_error(code, status))
    report = await run_probe(VERIFIER, KEY, aws=own(aws_stub))
    assert summary(report) == expected
    assert len(aws_stub.received) == 1, "there are no retries"
    rejected = expected[0] == "failed"
    assert check(report, "authenticates").outcome is (CheckOutcome.FAIL if rejected else CheckOutcome.SKIP)
    assert "Upstream" not in str(report.to_dict())


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, CAPTIVE_PORTAL),
        Scripted(200, ""),
        Scripted(200, CALLER_IDENTITY[:200]),
        Scripted(200, CALLER_IDENTITY.replace("123456789012", "12")),
        Scripted(200, CALLER_IDENTITY.replace("<Arn>", "<Arn>&lt;")),
        Scripted(200, BUCKETS),
        Scripted(200, "\x00\xff" * 50),
        Scripted(204, ""),
        Scripted(302, "", {"Location": "http://169.254.169.254/"}),
        Scripted(403, CAPTIVE_PORTAL),
        Scripted(403, "<html><Code>SignatureDoesNotMatch</Code></html>"),
        Scripted(403, "<Error><Code>SignatureDoesNotMatch</Code>"),
        Scripted(407, ""),
        Scripted(502, "<html>bad gateway</html>"),
    ],
)
async def test_what_is_no_answer_of_sts_is_unknown(aws_stub: AwsStub, answer: Scripted) -> None:
    """A captive portal says 200 too, and a proxy 403."""
    aws_stub.script(answer)
    report = await run_probe(VERIFIER, KEY, aws=own(aws_stub))
    assert summary(report) == PROVIDER_ERROR
    assert report.identity == {}
    assert len(aws_stub.received) == 1


@pytest.mark.parametrize(
    ("minutes", "expected"), [(-6, CLOCK_SKEW), (6, CLOCK_SKEW), (-4, BAD_SECRET), (4, BAD_SECRET)]
)
async def test_a_mismatch_under_another_clock_is_not_the_secrets_fault(
    aws_stub: AwsStub, minutes: int, expected: tuple[str, str, str]
) -> None:
    there = datetime.now(UTC) + timedelta(minutes=minutes)
    aws_stub.script(sts_error("SignatureDoesNotMatch", Date=dated(there)))
    assert summary(await run_probe(VERIFIER, KEY, aws=own(aws_stub))) == expected


async def test_the_signature_carries_the_time_of_the_run(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, CALLER_IDENTITY))
    moment = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    await run_probe(VERIFIER, KEY, aws=own(aws_stub), now=lambda: moment)
    assert aws_stub.received[0].headers["X-Amz-Date"] == "20310203T040506Z"
    assert aws_stub.received[0].scope == ["20310203", "us-east-1", "sts"]


@pytest.mark.parametrize(("value", "expected"), [("17", 17), ("0", 0), ("soon", None), ("-5", None), ("9" * 30, 86400)])
async def test_a_throttled_answer_says_when_to_come_back(aws_stub: AwsStub, value: str, expected: int | None) -> None:
    aws_stub.script(sts_error("Throttling", 400, Retry_After=value))
    report = await run_probe(VERIFIER, KEY, aws=own(aws_stub))
    assert summary(report) == THROTTLED
    assert report.retry_after == expected


async def test_a_date_to_come_back_at_is_turned_into_seconds(aws_stub: AwsStub) -> None:
    now = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    aws_stub.script(Scripted(429, "", {"Retry-After": dated(now + timedelta(seconds=90))}))
    report = await run_probe(VERIFIER, KEY, aws=own(aws_stub), now=lambda: now)
    assert summary(report) == THROTTLED
    assert report.retry_after == 90


async def test_access_denied_by_sts_itself_is_a_warning(aws_stub: AwsStub) -> None:
    aws_stub.script(sts_error("AccessDenied"))
    report = await run_probe(VERIFIER, KEY, aws=own(aws_stub))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN
    assert check(report, "authenticates").reason == "denied"


async def test_a_session_token_is_sent_with_its_key(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, CALLER_IDENTITY))
    await run_probe(VERIFIER, {**KEY, "session_token": "FwoG/token+x=="}, aws=own(aws_stub))
    (received,) = aws_stub.received
    assert received.headers["X-Amz-Security-Token"] == "FwoG/token+x=="
    assert "x-amz-security-token" in received.headers["Authorization"]
    assert received.form == {"Action": "GetCallerIdentity", "Version": "2011-06-15"}


async def test_the_ambient_identity_is_never_used_for_a_key(aws_stub: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement 10, and rule 3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient-token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    aws_stub.script(Scripted(200, CALLER_IDENTITY))
    await run_probe(VERIFIER, KEY, aws=own(aws_stub))
    (received,) = aws_stub.received
    assert "AKIAIOSFODNN7EXAMPLE/" in received.headers["Authorization"]
    assert "X-Amz-Security-Token" not in received.headers


async def test_nothing_secret_is_shown_or_logged(aws_stub: AwsStub, caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30, at DEBUG, botocore's own loggers included."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="botocore")
    values = {**KEY, "session_token": "canary-of-the-token"}
    shown = []
    for answer in (Scripted(200, CALLER_IDENTITY), sts_error("SignatureDoesNotMatch"), Scripted(200, CAPTIVE_PORTAL)):
        aws_stub.script(answer)
        report = await run_probe(VERIFIER, values, aws=own(aws_stub))
        shown += [repr(report), str(report.to_dict())]
    payload = VERIFIER.kind.split(AwsKeySchema().load(values))
    assert "canary" not in "".join([*shown, repr(payload), caplog.text])


# what is refused before anything is asked


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"access_key_id": ""}, "access_key_id"),
        ({"access_key_id": "AKIA/EVIL"}, "access_key_id"),
        ({"access_key_id": "AKIA,EVIL"}, "access_key_id"),
        ({"access_key_id": "AKIA EVIL"}, "access_key_id"),
        ({"access_key_id": "clé"}, "access_key_id"),
        ({"access_key_id": "x" * 257}, "access_key_id"),
        ({"access_key_id": None}, "access_key_id"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"secret_access_key": None}, "secret_access_key"),
        ({"session_token": ""}, "session_token"),
        ({"session_token": "two words"}, "session_token"),
        ({"endpoint": "ftp://example.com"}, "endpoint"),
        ({"use_path_style": "yes"}, "use_path_style"),
        ({"region": "us-east-1"}, "region"),
    ],
)
def test_a_key_that_can_not_be_one_is_refused(change: dict[str, object], field: str) -> None:
    """Requirement 21; half a pair never gets as far as a probe."""
    with pytest.raises(ValidationError) as refused:
        AwsKeySchema().load({**KEY, **change})
    assert list(refused.value.normalized_messages()) == [field]


def test_the_kind_says_what_is_secret_and_what_chooses_a_host() -> None:
    assert VERIFIER.kind.secret_fields == ("secret_access_key", "session_token")
    assert VERIFIER.kind.wire_secret_fields == ("secret_access_key",)
    assert VERIFIER.kind.target_fields == ("endpoint",)
    assert AwsKeySchema().load(KEY)["use_path_style"] is False
