"""AWS access keys for an endpoint that the caller names: an S3 look-alike, or S3 itself."""

import pytest

from tests.peers.aws_stub import BUCKETS, CALLER_IDENTITY, CAPTIVE_PORTAL, AwsStub, Scripted, s3_error
from tests.peers.moto import Moto, allow
from tests.verifiers.runs import (
    BAD_SECRET,
    BLOCKED,
    CLOCK_SKEW,
    EXPIRED,
    PROVIDER_ERROR,
    THROTTLED,
    UNKNOWN_KEY,
    VERIFIED,
    check,
    run_probe,
    summary,
)
from verifiers.aws_key import VERIFIER
from verifiers.settings import AwsSettings
from verifiers.verdict import CheckOutcome

KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "canary-of-the-secret"}

DENIED = ("unknown", "denied", "provider")


@pytest.mark.parametrize("style", [True, False])
@pytest.mark.parametrize("tail", ["", "/"])
async def test_a_key_for_another_endpoint_is_proven_there(moto: Moto, style: bool, tail: str) -> None:
    pair = moto.user(allow("s3:*"))
    values = {**pair.payload, "endpoint": f"{moto.url}{tail}", "use_path_style": style}
    report = await run_probe(VERIFIER, values, allow=(f"127.0.0.1:{moto.port}",))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.PASS


async def test_another_endpoint_tells_a_wrong_secret_from_an_unknown_key(moto: Moto) -> None:
    pair = moto.user(allow("s3:*"))
    allowed = (f"127.0.0.1:{moto.port}",)
    wrong = {**pair.payload, "secret_access_key": "x" * 40, "endpoint": moto.url}
    assert summary(await run_probe(VERIFIER, wrong, allow=allowed)) == BAD_SECRET
    assert summary(await run_probe(VERIFIER, {**KEY, "endpoint": moto.url}, allow=allowed)) == UNKNOWN_KEY


async def test_a_key_that_may_not_list_buckets_is_verified_with_a_warning(moto: Moto) -> None:
    """The spoilt signature is refused as such, so the right one had been accepted."""
    values = {**moto.user().payload, "endpoint": moto.url}
    report = await run_probe(VERIFIER, values, allow=(f"127.0.0.1:{moto.port}",))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN


# the table, row by row

ROWS = [
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


@pytest.mark.parametrize(("code", "status", "expected"), ROWS)
async def test_each_code_of_an_endpoint_means_what_the_table_says(
    aws_stub: AwsStub, code: str, status: int, expected: tuple[str, str, str]
) -> None:
    aws_stub.script(s3_error(code, status))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == expected
    assert len(aws_stub.received) == 1


@pytest.mark.parametrize(
    "answer",
    [Scripted(200, CAPTIVE_PORTAL), Scripted(200, BUCKETS[:90]), Scripted(200, CALLER_IDENTITY), Scripted(204)],
)
async def test_what_is_no_list_of_buckets_is_unknown(aws_stub: AwsStub, answer: Scripted) -> None:
    aws_stub.script(answer)
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == PROVIDER_ERROR


async def test_a_list_of_buckets_longer_than_what_is_read_still_proves_the_key(aws_stub: AwsStub) -> None:
    """Requirement 11: answers are read up to 64 KB."""
    long = BUCKETS.replace("</Buckets>", "<Bucket><Name>another</Name></Bucket>" * 4000 + "</Buckets>")
    aws_stub.script(Scripted(200, long))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == VERIFIED


# denied, and regions


async def test_an_endpoint_that_refuses_every_signature_alike_proves_nothing(aws_stub: AwsStub) -> None:
    """Rule 1: a proxy says AccessDenied to everybody."""
    aws_stub.script(s3_error("AccessDenied"), s3_error("AccessDenied"))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == DENIED
    assert check(report, "authenticates").outcome is CheckOutcome.SKIP


async def test_an_endpoint_that_tells_signatures_apart_has_accepted_the_right_one(aws_stub: AwsStub) -> None:
    """Rule 2: denied is not dead."""
    aws_stub.script(s3_error("AccessDenied"), s3_error("SignatureDoesNotMatch"))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN
    first, second = aws_stub.received
    assert first.signature != second.signature
    assert first.signature[:-1] == second.signature[:-1]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (Scripted(200, BUCKETS), PROVIDER_ERROR),
        (Scripted(503), PROVIDER_ERROR),
        (Scripted(403, CAPTIVE_PORTAL), PROVIDER_ERROR),
        (s3_error("SlowDown", 503), THROTTLED),
        (s3_error("InvalidAccessKeyId"), PROVIDER_ERROR),
        (s3_error("SignatureDoesNotMatch", 500), PROVIDER_ERROR),
    ],
)
async def test_a_second_answer_of_another_kind_never_fails_the_key(
    aws_stub: AwsStub, second: Scripted, expected: tuple[str, str, str]
) -> None:
    aws_stub.script(s3_error("AccessDenied"), second)
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == expected


async def test_the_configured_endpoint_of_s3_is_taken_at_its_word(aws_stub: AwsStub) -> None:
    aws_stub.script(s3_error("AccessDenied"))
    values = {**KEY, "endpoint": f"{aws_stub.url}/"}
    settings = AwsSettings(s3_endpoint=aws_stub.url)
    report = await run_probe(VERIFIER, values, aws=settings, allow=(aws_stub.allowed,))
    assert summary(report) == VERIFIED
    assert check(report, "authenticates").outcome is CheckOutcome.WARN
    assert len(aws_stub.received) == 1


async def test_a_private_endpoint_is_blocked_even_if_it_is_the_operators_own(aws_stub: AwsStub) -> None:
    """Requirements 1 and 6."""
    report = await run_probe(
        VERIFIER,
        {**KEY, "endpoint": aws_stub.url},
        aws=AwsSettings(s3_endpoint=aws_stub.url, sts_endpoint=aws_stub.url),
    )
    assert summary(report) == BLOCKED
    assert aws_stub.received == []


@pytest.mark.parametrize(
    "endpoint", ["http://127.1:9000", "http://2130706433", "http://①②⑦.0.0.1", "https://example.com/é"]
)
async def test_another_spelling_of_a_host_is_blocked_and_breaks_nothing(endpoint: str) -> None:
    """Requirement 5: one canonical form of the host."""
    report = await run_probe(VERIFIER, {**KEY, "endpoint": endpoint})
    assert summary(report) == BLOCKED


async def test_an_endpoint_with_a_path_is_asked_at_that_path(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, BUCKETS))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": f"{aws_stub.url}/gateway/s3/"}, allow=(aws_stub.allowed,))
    assert summary(report) == VERIFIED
    assert (aws_stub.received[0].method, aws_stub.received[0].path) == ("GET", "/gateway/s3/")
    assert aws_stub.received[0].headers["X-Amz-Content-SHA256"]


async def test_an_endpoint_that_names_another_region_is_asked_for_that_one(aws_stub: AwsStub) -> None:
    wrong = s3_error("AuthorizationHeaderMalformed", 400, "<Region>eu-west-1</Region>")
    aws_stub.script(wrong, Scripted(200, BUCKETS))
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == VERIFIED
    assert [one.scope[1] for one in aws_stub.received] == ["us-east-1", "eu-west-1"]


async def test_an_endpoint_that_goes_on_about_regions_is_asked_twice_and_no_more(aws_stub: AwsStub) -> None:
    wrong = s3_error("AuthorizationHeaderMalformed", 400, "<Region>eu-west-1</Region>")
    aws_stub.script(wrong, wrong, wrong)
    report = await run_probe(VERIFIER, {**KEY, "endpoint": aws_stub.url}, allow=(aws_stub.allowed,))
    assert summary(report) == PROVIDER_ERROR
    assert len(aws_stub.received) == 2
