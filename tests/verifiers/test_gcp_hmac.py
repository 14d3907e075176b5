"""Cloud Storage HMAC keys: moto's S3 checks their signatures (region `auto`), a stub gives Google's answers."""

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from marshmallow import ValidationError

from tests.peers.aws_stub import BUCKETS, CALLER_IDENTITY, CAPTIVE_PORTAL, AwsStub, Scripted, s3_error
from tests.peers.moto import Moto, allow
from tests.verifiers.runs import (
    BAD_SECRET,
    CLOCK_SKEW,
    PROVIDER_ERROR,
    THROTTLED,
    UNKNOWN_KEY,
    UNREACHABLE,
    VERIFIED,
    check,
    closed_port,
    run_probe,
    summary,
)
from verifiers.gcp_hmac import VERIFIER, GcpHmacSchema
from verifiers.settings import GcpSettings
from verifiers.verdict import CheckOutcome

KEY = {
    "access_key_id": "GOOG1EXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPL",
    "secret_access_key": "canary-of-the-secret",
}

DENIED = ("unknown", "denied", "provider")

NO_PERMISSION = s3_error(
    "AccessDenied",
    more="<Details>reader@example.iam.gserviceaccount.com does not have storage.buckets.list access to the Google "
    "Cloud project.</Details>",
)
MISMATCH = s3_error("SignatureDoesNotMatch")


def at(stub: AwsStub, project: str = "") -> GcpSettings:
    return GcpSettings(storage_endpoint=stub.url, project=project)


# moto: a real signature check


async def test_a_good_key_is_verified(moto: Moto) -> None:
    pair = moto.user(allow("s3:*"))
    report = await run_probe(VERIFIER, pair.payload, gcp=GcpSettings(storage_endpoint=moto.url))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.PASS


async def test_a_wrong_secret_is_told_from_an_unknown_key(moto: Moto) -> None:
    settings = GcpSettings(storage_endpoint=moto.url)
    wrong = moto.user(allow("s3:*"))._replace(secret_access_key="x" * 40)
    assert summary(await run_probe(VERIFIER, wrong.payload, gcp=settings)) == BAD_SECRET
    assert summary(await run_probe(VERIFIER, KEY, gcp=settings)) == UNKNOWN_KEY


async def test_a_key_that_may_not_list_buckets_is_verified_with_a_warning(moto: Moto) -> None:
    report = await run_probe(VERIFIER, moto.user().payload, gcp=GcpSettings(storage_endpoint=moto.url))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN


# the call


async def test_one_signed_list_of_buckets_is_all_that_is_asked(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, BUCKETS))
    assert summary(await run_probe(VERIFIER, KEY, gcp=at(aws_stub))) == VERIFIED
    (received,) = aws_stub.received
    assert (received.method, received.path) == ("GET", "/")
    assert received.scope[1:] == ["auto", "s3"]
    assert "x-amz-project-id" not in received.headers
    # Google's front end rewrites Accept-Encoding on the way in: it must not be part of the signature.
    assert "accept-encoding" not in received.headers["Authorization"]


async def test_a_configured_project_is_named_and_signed(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, BUCKETS))
    await run_probe(VERIFIER, KEY, gcp=at(aws_stub, "data-platform-1"))
    (received,) = aws_stub.received
    assert received.headers["x-amz-project-id"] == "data-platform-1"
    assert "x-amz-project-id" in received.headers["Authorization"]


# the table, row by row


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InvalidAccessKeyId", 403, UNKNOWN_KEY),
        ("InvalidSecurity", 403, UNKNOWN_KEY),
        ("SignatureDoesNotMatch", 403, BAD_SECRET),
        ("RequestTimeTooSkewed", 403, CLOCK_SKEW),
        ("TooManyRequests", 429, THROTTLED),
        ("SlowDown", 429, THROTTLED),
        ("SlowDown", 503, THROTTLED),
        ("ServiceUnavailable", 503, PROVIDER_ERROR),
        ("SignatureDoesNotMatch", 503, PROVIDER_ERROR),
        ("AccessDenied", 500, PROVIDER_ERROR),
        ("AccountProblem", 403, PROVIDER_ERROR),
        ("SomethingNew", 403, PROVIDER_ERROR),
    ],
)
async def test_each_code_means_what_the_table_says(
    aws_stub: AwsStub, code: str, status: int, expected: tuple[str, str, str]
) -> None:
    aws_stub.script(s3_error(code, status))
    report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
    assert summary(report) == expected
    assert len(aws_stub.received) == 1
    assert "Upstream" not in str(report.to_dict())


async def test_a_refusal_that_names_the_permission_proves_the_key(aws_stub: AwsStub) -> None:
    """Rule 2: denied is not dead."""
    aws_stub.script(NO_PERMISSION)
    report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
    assert summary(report) == VERIFIED
    found = check(report, "authenticates")
    assert (found.outcome, found.reason) == (CheckOutcome.WARN, "denied")
    assert len(aws_stub.received) == 1
    assert "reader@" not in str(report.to_dict())


REFUSED = [
    ("AccessDenied", 403),
    ("InvalidArgument", 400),
    ("UserProjectMissing", 400),
    ("UserProjectInvalid", 400),
    ("UserProjectAccessDenied", 403),
    ("UserProjectAccountProblem", 403),
]


@pytest.mark.parametrize(("code", "status"), REFUSED)
async def test_a_key_without_a_project_is_proven_by_a_spoilt_signature(
    aws_stub: AwsStub, code: str, status: int
) -> None:
    aws_stub.script(s3_error(code, status), MISMATCH)
    report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN
    first, second = aws_stub.received
    assert first.signature != second.signature


@pytest.mark.parametrize(("code", "status"), REFUSED)
async def test_a_refusal_that_a_spoilt_signature_gets_too_proves_nothing(
    aws_stub: AwsStub, code: str, status: int
) -> None:
    """Rule 1."""
    aws_stub.script(s3_error(code, status), s3_error(code, status))
    report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
    assert summary(report) == DENIED
    assert check(report, "authenticates").outcome is CheckOutcome.SKIP


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, CAPTIVE_PORTAL),
        Scripted(200, BUCKETS[:100]),
        Scripted(200, CALLER_IDENTITY),
        Scripted(200, ""),
        Scripted(403, CAPTIVE_PORTAL + "storage.buckets.list"),
        Scripted(302, "", {"Location": "http://169.254.169.254/"}),
        Scripted(407),
    ],
)
async def test_what_is_no_answer_of_cloud_storage_is_unknown(aws_stub: AwsStub, answer: Scripted) -> None:
    aws_stub.script(answer)
    assert summary(await run_probe(VERIFIER, KEY, gcp=at(aws_stub))) == PROVIDER_ERROR


async def test_a_mismatch_under_another_clock_is_the_clocks_fault(aws_stub: AwsStub) -> None:
    there = format_datetime(datetime.now(UTC) - timedelta(minutes=20), usegmt=True)
    aws_stub.script(s3_error("SignatureDoesNotMatch", Date=there))
    assert summary(await run_probe(VERIFIER, KEY, gcp=at(aws_stub))) == CLOCK_SKEW


async def test_a_throttled_answer_says_when_to_come_back(aws_stub: AwsStub) -> None:
    aws_stub.script(s3_error("SlowDown", 503, Retry_After="7"))
    report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
    assert (summary(report), report.retry_after) == (THROTTLED, 7)


async def test_nobody_there_to_ask_is_unknown() -> None:
    report = await run_probe(VERIFIER, KEY, gcp=GcpSettings(storage_endpoint=closed_port()))
    assert summary(report) == UNREACHABLE


async def test_nothing_secret_is_shown_or_logged(aws_stub: AwsStub, caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="botocore")
    shown = []
    for answer in (Scripted(200, BUCKETS), MISMATCH, Scripted(200, CAPTIVE_PORTAL)):
        aws_stub.script(answer)
        report = await run_probe(VERIFIER, KEY, gcp=at(aws_stub))
        shown += [repr(report), str(report.to_dict())]
    payload = VERIFIER.kind.split(GcpHmacSchema().load(KEY))
    assert "canary" not in "".join([*shown, repr(payload), caplog.text])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"access_key_id": "GOOG,EVIL"}, "access_key_id"),
        ({"access_key_id": "GOOG/EVIL"}, "access_key_id"),
        ({"access_key_id": "GOOG EVIL"}, "access_key_id"),
        ({"access_key_id": "clé"}, "access_key_id"),
        ({"access_key_id": ""}, "access_key_id"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"secret_access_key": None}, "secret_access_key"),
        ({"project": "x"}, "project"),
    ],
)
def test_a_key_that_can_not_be_one_is_refused(change: dict[str, object], field: str) -> None:
    """Requirement 21."""
    with pytest.raises(ValidationError) as refused:
        GcpHmacSchema().load({**KEY, **change})
    assert list(refused.value.normalized_messages()) == [field]


def test_the_kind_says_what_is_secret() -> None:
    assert VERIFIER.kind.secret_fields == ("secret_access_key",)
    assert VERIFIER.kind.target_fields == ()
