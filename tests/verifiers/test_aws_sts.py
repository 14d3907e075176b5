"""Which partitions are asked about a key or a role, and for which region a question is signed."""

from dataclasses import replace

import pytest

from tests.peers.aws_stub import ASSUMED_ROLE, CALLER_ARN, CALLER_IDENTITY, AwsStub, Scripted, sts_error
from tests.verifiers.runs import BAD_SECRET, UNKNOWN_KEY, UNREACHABLE, VERIFIED, check, closed_port, run_probe, summary
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_key import VERIFIER
from verifiers.aws_role import make_verifier
from verifiers.aws_sts import endpoints
from verifiers.settings import AwsSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import CheckOutcome

KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "canary-of-the-secret"}


ROLES = make_verifier(ServiceIdentity(lambda: Keys("AKIASERVICE", "secret")))


def role(partition: str) -> dict[str, str]:
    return {"role_arn": f"arn:{partition}:iam::123456789012:role/reader", "external_id": "tenant:42"}


def own(stub: AwsStub, **others: str) -> AwsSettings:
    return AwsSettings(sts_endpoint=stub.url, other_sts_endpoints={k.replace("_", "-"): v for k, v in others.items()})


async def test_a_key_is_unknown_only_once_every_partition_has_said_so(aws_stubs: tuple[AwsStub, ...]) -> None:
    home, china, gov = aws_stubs
    for stub in aws_stubs:
        stub.script(sts_error("InvalidClientTokenId"))
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=china.url, aws_us_gov=gov.url))
    assert summary(report) == UNKNOWN_KEY
    assert "aws, aws-cn, aws-us-gov" in report.verdict.message
    assert [stub.received[0].scope[1] for stub in aws_stubs] == ["us-east-1", "cn-north-1", "us-gov-west-1"]


async def test_a_key_of_another_partition_is_verified_there(aws_stubs: tuple[AwsStub, ...]) -> None:
    home, china, gov = aws_stubs
    home.script(sts_error("InvalidClientTokenId"))
    china.script(Scripted(200, CALLER_IDENTITY.replace("arn:aws:", "arn:aws-cn:")))
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=china.url, aws_us_gov=gov.url))
    assert summary(report) == VERIFIED
    assert report.identity["arn"] == CALLER_ARN.replace("arn:aws:", "arn:aws-cn:")
    assert gov.received == []


async def test_another_partition_that_knows_the_key_may_say_that_its_secret_is_wrong(
    aws_stubs: tuple[AwsStub, ...],
) -> None:
    home, china, _ = aws_stubs
    home.script(sts_error("InvalidClientTokenId"))
    china.script(sts_error("SignatureDoesNotMatch"))
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=china.url))
    assert summary(report) == BAD_SECRET


async def test_a_good_key_asks_its_own_partition_alone(aws_stubs: tuple[AwsStub, ...]) -> None:
    home, china, _ = aws_stubs
    home.script(Scripted(200, CALLER_IDENTITY))
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=china.url))
    assert summary(report) == VERIFIED
    assert china.received == []


@pytest.mark.parametrize("answer", [None, Scripted(503), sts_error("Throttling", 400)])
async def test_no_key_fails_while_a_partition_has_not_answered(
    aws_stubs: tuple[AwsStub, ...], answer: Scripted | None
) -> None:
    """Rule 1: nobody has earned a red light."""
    home, china, gov = aws_stubs
    home.script(sts_error("InvalidClientTokenId"))
    gov.script(sts_error("InvalidClientTokenId"))
    if answer is not None:
        china.script(answer)
    url = china.url if answer else closed_port()
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=url, aws_us_gov=gov.url))
    assert report.verdict.outcome == "unknown"
    assert "aws, aws-us-gov" in report.verdict.message
    assert "aws-cn" in report.verdict.message
    assert check(report, "authenticates").outcome is CheckOutcome.SKIP


async def test_a_partition_is_still_asked_when_the_one_before_it_has_not_answered(
    aws_stubs: tuple[AwsStub, ...],
) -> None:
    home, _, gov = aws_stubs
    home.script(sts_error("InvalidClientTokenId"))
    gov.script(Scripted(200, CALLER_IDENTITY))
    report = await run_probe(VERIFIER, KEY, aws=own(home, aws_cn=closed_port(), aws_us_gov=gov.url))
    assert summary(report) == VERIFIED


async def test_nobody_else_is_asked_while_the_own_partition_has_not_answered(aws_stub: AwsStub) -> None:
    settings = AwsSettings(sts_endpoint=closed_port(), other_sts_endpoints={"aws-cn": aws_stub.url})
    report = await run_probe(VERIFIER, KEY, aws=settings)
    assert summary(report) == UNREACHABLE
    assert aws_stub.received == []


async def test_the_partition_of_the_arn_chooses_whom_to_ask(aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, ASSUMED_ROLE.replace("arn:aws:", "arn:aws-cn:")), sts_error("AccessDenied"))
    settings = AwsSettings(sts_endpoint=closed_port(), other_sts_endpoints={"aws-cn": aws_stub.url})
    report = await run_probe(ROLES, role("aws-cn"), aws=settings)
    assert summary(report) == VERIFIED
    assert aws_stub.received[0].scope[1:] == ["cn-north-1", "sts"]


async def test_a_role_of_a_partition_that_is_not_configured_is_unsupported() -> None:
    report = await run_probe(ROLES, role("aws-us-gov"))
    assert summary(report) == ("unknown", "unsupported", "service")
    assert "aws-us-gov" in report.verdict.remedy
    assert "other_sts_endpoints" in report.verdict.remedy


def test_a_region_is_signed_for_as_the_endpoint_names_it() -> None:
    settings = AwsSettings(
        region="eu-west-1",
        sts_endpoint="https://sts.amazonaws.com",
        other_sts_endpoints={"aws-cn": "https://sts.cn-northwest-1.amazonaws.com.cn", "aws": "https://ignored"},
    )
    assert {one.partition: one.region for one in endpoints(settings).values()} == {
        "aws": "us-east-1",
        "aws-cn": "cn-northwest-1",
    }
    own_region = replace(settings, sts_endpoint="https://sts.{region}.amazonaws.com")
    assert next(iter(endpoints(own_region).values())).url == "https://sts.eu-west-1.amazonaws.com"
    vpc = replace(settings, sts_endpoint="https://vpce-1-2.sts.eu-central-1.vpce.amazonaws.com")
    assert next(iter(endpoints(vpc).values())).region == "eu-central-1"
    gov = replace(settings, region="us-gov-east-1", sts_endpoint="https://sts.{region}.amazonaws.com")
    assert list(endpoints(gov)) == ["aws-us-gov", "aws-cn", "aws"]
