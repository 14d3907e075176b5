"""AWS roles against moto, and every row of the table against a stub."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.peers.aws_stub import (
    ASSUMED_ARN,
    ASSUMED_ROLE,
    CALLER_IDENTITY,
    CAPTIVE_PORTAL,
    SESSION_SECRET,
    SESSION_TOKEN,
    AwsStub,
    Scripted,
    sts_error,
)
from tests.peers.moto import Moto, Pair, allow
from tests.verifiers.runs import (
    CLOCK_SKEW,
    PROVIDER_ERROR,
    THROTTLED,
    UNREACHABLE,
    VERIFIED,
    check,
    closed_port,
    run_probe,
    summary,
)
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_role import AwsRoleSchema, make_verifier
from verifiers.base import Verifier
from verifiers.settings import AwsSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import CheckOutcome, Report

ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": "tenant:42"}
OURS = Keys("AKIASERVICE", "canary-of-the-service", "canary-of-its-token")

DENIED = ("failed", "denied", "policy")
OWN_IDENTITY = ("unknown", "service_identity", "service")

ASSUMED = Scripted(200, ASSUMED_ROLE)
REFUSED = sts_error("AccessDenied")


@pytest.fixture
def verifier() -> Verifier:
    """The verifier with an identity of its own."""
    return make_verifier(ServiceIdentity(lambda: OURS), negative_seconds=0.2)


def own(stub: AwsStub) -> AwsSettings:
    return AwsSettings(sts_endpoint=stub.url)


# moto: a real signature check, with the identity from the environment


@pytest.fixture
def service(moto: Moto, no_aws_identity: pytest.MonkeyPatch) -> Pair:
    """The service's own user, in the environment."""
    pair = moto.user(allow("sts:*"))
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", pair.access_key_id)
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", pair.secret_access_key)
    return pair


async def assume(moto: Moto, role: str, external_id: str = "tenant:42") -> Report:
    values = {"role_arn": role, "external_id": external_id}
    return await run_probe(make_verifier(ServiceIdentity()), values, aws=AwsSettings(sts_endpoint=moto.url))


async def test_a_role_is_assumed_as_the_service(moto: Moto, service: Pair) -> None:
    """Requirement 10: the one place where the service's own identity is used."""
    report = await assume(moto, moto.role(service, "tenant:42"))
    assert summary(report) == VERIFIED
    assert report.identity["account"] == moto.account
    assert report.identity["arn"].startswith(f"arn:aws:sts::{moto.account}:assumed-role/role-")
    assert report.identity["arn"].endswith("/vouch-verify")
    # moto refuses a wrong external id, but lets a missing one pass: the stub shows that check.
    assert check(report, "authenticates").outcome is CheckOutcome.PASS


async def test_a_role_without_a_condition_on_the_external_id_is_warned_about(moto: Moto, service: Pair) -> None:
    report = await assume(moto, moto.role(service))
    assert summary(report) == VERIFIED
    assert check(report, "external_id_enforced").outcome is CheckOutcome.WARN


async def test_a_wrong_external_id_is_denied(moto: Moto, service: Pair) -> None:
    report = await assume(moto, moto.role(service, "tenant:42"), "tenant:43")
    assert summary(report) == DENIED
    assert [one.name for one in report.checks] == ["authenticates"]


async def test_a_role_that_trusts_somebody_else_is_denied(moto: Moto, service: Pair) -> None:
    assert summary(await assume(moto, moto.role(moto.user(), "tenant:42"))) == DENIED


async def test_a_service_without_permission_is_denied_the_role(moto: Moto, no_aws_identity: pytest.MonkeyPatch) -> None:
    service = moto.user()
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", service.access_key_id)
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", service.secret_access_key)
    report = await run_probe(make_verifier(ServiceIdentity()), ROLE, aws=AwsSettings(sts_endpoint=moto.url))
    assert summary(report) == DENIED


async def test_a_service_key_that_aws_does_not_take_fails_no_role(
    moto: Moto, no_aws_identity: pytest.MonkeyPatch
) -> None:
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", moto.user(allow("sts:*")).access_key_id)
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    report = await run_probe(make_verifier(ServiceIdentity()), ROLE, aws=AwsSettings(sts_endpoint=moto.url))
    assert summary(report) == OWN_IDENTITY


# the calls, and the external id


async def test_a_role_that_insists_on_its_external_id_passes_both_checks(verifier: Verifier, aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED, REFUSED)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == VERIFIED
    assert [(one.name, one.outcome.value) for one in report.checks] == [
        ("authenticates", "pass"),
        ("external_id_enforced", "pass"),
    ]
    assert report.identity == {"arn": ASSUMED_ARN, "account": "123456789012"}
    first, second = aws_stub.received
    assert first.form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE["role_arn"],
        "RoleSessionName": "vouch-verify",
        "DurationSeconds": "900",
        "ExternalId": "tenant:42",
    }
    assert second.form == {name: value for name, value in first.form.items() if name != "ExternalId"}
    assert first.headers["X-Amz-Security-Token"] == OURS.session_token


async def test_a_role_that_needs_no_external_id_is_verified_with_a_warning(
    verifier: Verifier, aws_stub: AwsStub
) -> None:
    """The confused deputy."""
    aws_stub.script(ASSUMED, ASSUMED)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == VERIFIED
    assert check(report, "external_id_enforced").outcome is CheckOutcome.WARN


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Scripted(503), "provider_error"),
        (sts_error("Throttling", 400), "throttled"),
        (sts_error("InvalidClientTokenId"), "service_identity"),
        (sts_error("AccessDenied", 500), "provider_error"),
        (Scripted(403, CAPTIVE_PORTAL), "provider_error"),
        (Scripted(200, CAPTIVE_PORTAL), "provider_error"),
        (Scripted(200, CALLER_IDENTITY), "provider_error"),
    ],
)
async def test_any_other_answer_leaves_the_external_id_open(
    verifier: Verifier, aws_stub: AwsStub, answer: Scripted, reason: str
) -> None:
    """A negative check that took any error for a denial would pass on an outage."""
    aws_stub.script(ASSUMED, answer)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == VERIFIED
    found = check(report, "external_id_enforced")
    assert (found.outcome, found.reason) == (CheckOutcome.SKIP, reason)


async def test_a_negative_probe_that_hangs_does_not_hold_up_the_verdict(verifier: Verifier, aws_stub: AwsStub) -> None:
    never = asyncio.Event()

    async def hang() -> Scripted:
        await never.wait()
        return REFUSED

    aws_stub.script(ASSUMED, hang)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == VERIFIED
    found = check(report, "external_id_enforced")
    assert (found.outcome, found.reason) == (CheckOutcome.SKIP, "timeout")


async def test_the_negative_probe_runs_only_when_somebody_asked(verifier: Verifier, aws_stub: AwsStub) -> None:
    """Rule 5: a refused call shows in the customer's audit trail."""
    aws_stub.script(ASSUMED)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub), thorough=False)
    assert summary(report) == VERIFIED
    told = [(one.name, one.outcome, one.reason) for one in report.checks]
    assert told == [("authenticates", "pass", "ok"), ("external_id_enforced", "skip", "not_asked")]
    assert len(aws_stub.received) == 1


@pytest.mark.parametrize(("answer", "outcome"), [(REFUSED, "verified"), (ASSUMED, "unknown")])
async def test_who_insists_on_issued_ids_has_it_asked_on_schedule_too(
    verifier: Verifier, aws_stub: AwsStub, answer: Scripted, outcome: str
) -> None:
    """A role that any workspace could use earns no green light from a schedule."""
    aws_stub.script(ASSUMED, answer)
    strict = replace(own(aws_stub), require_issued_external_id=True)
    report = await run_probe(verifier, ROLE, aws=strict, thorough=False, issued_external_id=ROLE["external_id"])
    assert report.verdict.outcome == outcome
    assert len(aws_stub.received) == 2


async def test_a_refused_role_is_asked_once(verifier: Verifier, aws_stub: AwsStub) -> None:
    aws_stub.script(REFUSED)
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == DENIED
    assert len(aws_stub.received) == 1


async def test_the_endpoint_of_a_role_is_never_contacted(verifier: Verifier, aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED, REFUSED)
    values = {**ROLE, "endpoint": closed_port(), "use_path_style": True}
    assert summary(await run_probe(verifier, values, aws=own(aws_stub))) == VERIFIED
    assert verifier.kind.split(AwsRoleSchema().load(values)).target is None


# the table, row by row


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, DENIED),
        ("AccessDeniedException", 400, DENIED),
        ("InvalidClientTokenId", 403, OWN_IDENTITY),
        ("InvalidAccessKeyId", 403, OWN_IDENTITY),
        ("UnrecognizedClientException", 400, OWN_IDENTITY),
        ("SignatureDoesNotMatch", 403, OWN_IDENTITY),
        ("ExpiredToken", 400, OWN_IDENTITY),
        ("ExpiredTokenException", 403, OWN_IDENTITY),
        ("RequestExpired", 400, CLOCK_SKEW),
        ("RequestTimeTooSkewed", 403, CLOCK_SKEW),
        ("Throttling", 400, THROTTLED),
        ("ThrottlingException", 400, THROTTLED),
        ("AccessDenied", 503, PROVIDER_ERROR),
        ("InternalFailure", 500, PROVIDER_ERROR),
        ("ValidationError", 400, PROVIDER_ERROR),
        ("RegionDisabledException", 403, PROVIDER_ERROR),
    ],
)
async def test_each_code_means_what_the_table_says(
    verifier: Verifier, aws_stub: AwsStub, code: str, status: int, expected: tuple[str, str, str]
) -> None:
    aws_stub.script(sts_error(code, status))
    report = await run_probe(verifier, ROLE, aws=own(aws_stub))
    assert summary(report) == expected
    assert len(aws_stub.received) == 1
    assert "Upstream" not in str(report.to_dict())


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, CAPTIVE_PORTAL),
        Scripted(200, ASSUMED_ROLE[:-30]),
        Scripted(200, CALLER_IDENTITY),
        Scripted(200, ASSUMED_ROLE.replace(ASSUMED_ARN, "arn:aws:iam::123456789012:user/x")),
        Scripted(302, "", {"Location": "http://169.254.169.254/"}),
    ],
)
async def test_what_is_no_answer_of_sts_is_unknown(verifier: Verifier, aws_stub: AwsStub, answer: Scripted) -> None:
    aws_stub.script(answer)
    assert summary(await run_probe(verifier, ROLE, aws=own(aws_stub))) == PROVIDER_ERROR


async def test_a_mismatch_under_another_clock_is_the_clocks_fault(verifier: Verifier, aws_stub: AwsStub) -> None:
    there = format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)
    aws_stub.script(sts_error("SignatureDoesNotMatch", Date=there))
    assert summary(await run_probe(verifier, ROLE, aws=own(aws_stub))) == CLOCK_SKEW


async def test_nobody_there_to_ask_is_unknown(verifier: Verifier) -> None:
    report = await run_probe(verifier, ROLE, aws=AwsSettings(sts_endpoint=closed_port()))
    assert summary(report) == UNREACHABLE


async def test_nothing_secret_is_shown_or_logged(
    verifier: Verifier, aws_stub: AwsStub, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30, at DEBUG: neither the service's identity nor the credentials that AssumeRole gave."""
    caplog.set_level(logging.DEBUG)
    shown = []
    for answer in (ASSUMED, Scripted(200, ASSUMED_ROLE[:-30]), REFUSED):
        aws_stub.script(answer, *([ASSUMED] if answer is ASSUMED else []))
        report = await run_probe(verifier, ROLE, aws=own(aws_stub))
        shown += [repr(report), str(report.to_dict())]
    everything = "".join([*shown, repr(OURS), caplog.text])
    assert SESSION_SECRET not in everything
    assert SESSION_TOKEN not in everything
    assert "canary" not in everything
