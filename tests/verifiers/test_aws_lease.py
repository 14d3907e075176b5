"""Leases of AWS credentials: the sessions of moto used by boto3, and every row of the tables against a stub."""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from tests.peers.aws_stub import (
    ASSUMED_ROLE,
    CALLER_IDENTITY,
    CAPTIVE_PORTAL,
    OWN_SESSION,
    SESSION_SECRET,
    SESSION_TOKEN,
    AwsStub,
    Scripted,
    sts_error,
)
from tests.peers.moto import Moto, Pair, allow
from tests.verifiers.runs import (
    BAD_SECRET,
    CLOCK_SKEW,
    EXPIRED,
    PROVIDER_ERROR,
    THROTTLED,
    UNKNOWN_KEY,
    UNREACHABLE,
    closed_port,
    summary,
)
from verifiers import aws_key, leasing
from verifiers.aws_identity import ServiceIdentity
from verifiers.aws_policy import session_policy
from verifiers.aws_role import make_verifier
from verifiers.base import Run, Verifier
from verifiers.egress import Egress
from verifiers.lease_terms import (
    LeaseScope,
    LeaseTerms,
    Material,
    MaterialForm,
    NotLeasable,
    TermsRefused,
)
from verifiers.settings import AwsSettings, EgressSettings, ProviderSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import Report

ARN = "arn:aws:iam::123456789012:role/data/reader"
ROLE = {"role_arn": ARN, "external_id": "tenant:42"}
KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "canary-of-the-key"}
OURS = Keys("AKIASERVICE", "canary-of-the-service", "canary-of-its-token")
SCOPE = LeaseScope("lake", "data/")
TERMS = LeaseTerms(1800, None, "vouch-lease-1")
AS_ROLE = LeaseTerms(1800, None, "vouch-lease-1", role_arn=ARN)

DENIED = ("failed", "denied", "policy")
OWN_IDENTITY = ("unknown", "service_identity", "service")
UNSUPPORTED = ("unknown", "unsupported", "service")
TIMEOUT = ("unknown", "timeout", "network")

ASSUMED = Scripted(200, ASSUMED_ROLE)
OWN = Scripted(200, OWN_SESSION)
TOO_LONG = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
CHAINED = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
SESSION = {
    "access_key_id": "ASIAIOSFODNN7EXAMPLE",
    "secret_access_key": SESSION_SECRET,
    "session_token": SESSION_TOKEN,
}


class Asked(NamedTuple):
    """A way to ask for a session of each sort."""

    verifier: Verifier
    values: Mapping[str, Any]
    terms: LeaseTerms
    answer: str


ROLES = make_verifier(ServiceIdentity(lambda: OURS))
WAYS = {
    "role": Asked(ROLES, ROLE, TERMS, ASSUMED_ROLE),
    "key": Asked(aws_key.VERIFIER, KEY, TERMS, OWN_SESSION),
    "key_as_role": Asked(aws_key.VERIFIER, KEY, AS_ROLE, ASSUMED_ROLE),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Asked:
    """Each sort of session."""
    return WAYS[request.param]


async def lease(
    verifier: Verifier,
    values: Mapping[str, Any],
    terms: LeaseTerms,
    settings: AwsSettings,
    *,
    deadline: float = 5.0,
    now: datetime | None = None,
) -> Material:
    """Load a payload and lease it, with an egress of its own."""
    payload = verifier.kind.split(verifier.kind.schema().load(values))
    async with Egress(EgressSettings()) as egress:
        run = Run(egress, ProviderSettings(aws=settings), now=lambda: now or datetime.now(UTC))
        return await leasing.lease(verifier, payload, terms, run, deadline)


async def failure(
    verifier: Verifier, values: Mapping[str, Any], terms: LeaseTerms, settings: AwsSettings, **more: Any
) -> Report:
    """The report of a lease that fails."""
    with pytest.raises(leasing.LeaseFailed) as failed:
        await lease(verifier, values, terms, settings, **more)
    return failed.value.report


async def refusal(
    verifier: Verifier, values: Mapping[str, Any], terms: LeaseTerms, settings: AwsSettings
) -> Mapping[str, str]:
    """What is wrong with the terms of a lease that is refused."""
    with pytest.raises(TermsRefused) as refused:
        await lease(verifier, values, terms, settings)
    return refused.value.fields


def own(stub: AwsStub, **others: str) -> AwsSettings:
    return AwsSettings(sts_endpoint=stub.url, other_sts_endpoints={k.replace("_", "-"): v for k, v in others.items()})


def at(moto: Moto) -> AwsSettings:
    return AwsSettings(sts_endpoint=moto.url)


def scoped(terms: LeaseTerms, scope: LeaseScope = SCOPE) -> LeaseTerms:
    return LeaseTerms(terms.seconds, scope, terms.session, terms.source_identity, terms.role_arn, terms.external_id)


# moto: real sessions, whose use is signed and checked


def reads(moto: Moto, material: Material, bucket: str) -> bytes:
    """List a bucket and get its object as the session."""
    s3 = moto.client("s3", material.values)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="data/")["Contents"]] == ["data/a"]
    content: bytes = s3.get_object(Bucket=bucket, Key="data/a")["Body"].read()
    return content


async def test_a_role_is_leased_and_its_session_reads_a_bucket(moto: Moto, no_aws_identity: pytest.MonkeyPatch) -> None:
    """Requirement 10: assumed as the service, with the credential's external id."""
    service = moto.user(allow("sts:*"))
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", service.access_key_id)
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", service.secret_access_key)
    bucket = moto.bucket({"data/a": b"hello"})
    role = moto.role(service, "tenant:42", allow("s3:ListBucket", "s3:GetObject"))
    terms = LeaseTerms(900, LeaseScope(bucket, "data/"), "vouch-lease-1", "alice@example.com")
    started = datetime.now(UTC)
    material = await lease(
        make_verifier(ServiceIdentity()), {"role_arn": role, "external_id": "tenant:42"}, terms, at(moto)
    )
    assert reads(moto, material, bucket) == b"hello"
    assert material.form is MaterialForm.AWS_SESSION
    assert set(material.values) == {"access_key_id", "secret_access_key", "session_token"}
    assert abs(material.expires_at - started - timedelta(seconds=900)) < timedelta(seconds=10)
    identity = moto.client("sts", material.values).get_caller_identity()
    assert identity["Arn"].endswith("/vouch-lease-1")
    with pytest.raises(ClientError) as denied:
        moto.client("s3", material.values).put_object(Bucket=bucket, Key="data/b", Body=b"")
    assert denied.value.response["Error"]["Code"] == "AccessDenied"


async def test_a_session_without_its_token_is_none(moto: Moto) -> None:
    """The token that was handed on is what makes the session's key work: moto's check is a real one."""
    user = moto.user(allow("sts:*"))
    bucket = moto.bucket({"data/a": b"hello"})
    role = moto.role(user, policy=allow("s3:*"))
    material = await lease(aws_key.VERIFIER, user.payload, LeaseTerms(900, None, "vouch", role_arn=role), at(moto))
    assert reads(moto, material, bucket) == b"hello"
    for change in ({"session_token": "x" * 40}, {"secret_access_key": "x" * 40}):
        with pytest.raises(ClientError):
            moto.client("s3", {**material.values, **change}).list_objects_v2(Bucket=bucket)


async def test_a_role_of_a_wrong_external_id_is_denied(moto: Moto) -> None:
    service = moto.user(allow("sts:*"))
    verifier = make_verifier(ServiceIdentity(lambda: Keys(service.access_key_id, service.secret_access_key)))
    values = {"role_arn": moto.role(service, "tenant:42"), "external_id": "tenant:43"}
    report = await failure(verifier, values, TERMS, at(moto))
    assert summary(report) == DENIED
    assert (report.provider, report.type) == ("AWS", "arn")


async def test_a_key_assumes_the_role_that_is_named(moto: Moto) -> None:
    user = moto.user(allow("sts:*"))
    bucket = moto.bucket({"data/a": b"hello"})
    role = moto.role(user, "tenant:42", allow("s3:ListBucket", "s3:GetObject"))
    terms = LeaseTerms(900, LeaseScope(bucket, "data/"), "vouch-lease-1", role_arn=role, external_id="tenant:42")
    material = await lease(aws_key.VERIFIER, user.payload, terms, at(moto))
    assert material.narrowed
    assert reads(moto, material, bucket) == b"hello"


async def test_a_key_that_may_not_assume_the_role_is_denied(moto: Moto) -> None:
    user = moto.user(allow("sts:*"))
    other = moto.role(moto.user())
    report = await failure(aws_key.VERIFIER, user.payload, LeaseTerms(900, None, "vouch", role_arn=other), at(moto))
    assert summary(report) == DENIED
    assert "assume the role" in report.verdict.message


async def test_a_key_gets_a_session_of_its_own(moto: Moto) -> None:
    """moto checks who asks, and gives everybody the same made-up session: the next test is about its use."""
    started = datetime.now(UTC)
    user = moto.user(allow("sts:GetSessionToken"))
    material = await lease(aws_key.VERIFIER, user.payload, LeaseTerms(3600, None, "vouch"), at(moto))
    assert not material.narrowed
    assert len(material.notes) == 1
    assert "everything that the key can" in material.notes[0]
    assert set(material.values) == {"access_key_id", "secret_access_key", "session_token"}
    assert abs(material.expires_at - started - timedelta(seconds=3600)) < timedelta(seconds=10)


async def test_a_session_of_a_key_is_handed_on_as_it_came(moto: Moto, aws_stub: AwsStub) -> None:
    """A session that moto takes, in an answer of GetSessionToken: boto3 reads the bucket with what comes out."""
    user = moto.user(allow("sts:*"))
    bucket = moto.bucket({"data/a": b"hello"})
    role = moto.role(user, policy=allow("s3:*"))
    given = moto.client("sts", user.payload).assume_role(RoleArn=role, RoleSessionName="own")["Credentials"]
    answer = OWN_SESSION.replace("ASIAIOSFODNN7EXAMPLE", given["AccessKeyId"])
    answer = answer.replace(SESSION_SECRET, given["SecretAccessKey"]).replace(SESSION_TOKEN, given["SessionToken"])
    aws_stub.script(Scripted(200, answer))
    material = await lease(aws_key.VERIFIER, KEY, TERMS, own(aws_stub))
    assert reads(moto, material, bucket) == b"hello"


async def test_a_key_with_a_wrong_secret_gets_no_session(moto: Moto) -> None:
    wrong = moto.user(allow("sts:*"))._replace(secret_access_key="x" * 40)
    assert summary(await failure(aws_key.VERIFIER, wrong.payload, TERMS, at(moto))) == BAD_SECRET
    report = await failure(aws_key.VERIFIER, Pair("AKIAUNKNOWN", "x").payload, TERMS, at(moto))
    assert summary(report) == UNKNOWN_KEY


# what is asked


async def test_the_terms_arrive_at_aws(aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED)
    terms = LeaseTerms(1800, SCOPE, "vouch-lease-1", "alice@example.com")
    material = await lease(ROLES, ROLE, terms, own(aws_stub))
    (received,) = aws_stub.received
    assert received.form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ARN,
        "RoleSessionName": "vouch-lease-1",
        "DurationSeconds": "1800",
        "ExternalId": "tenant:42",
        "SourceIdentity": "alice@example.com",
        "Policy": session_policy(SCOPE, "aws"),
    }
    assert received.scope[1:] == ["us-east-1", "sts"]
    assert "Credential=AKIASERVICE/" in received.headers["Authorization"]
    assert received.headers["X-Amz-Security-Token"] == OURS.session_token
    assert material.values == SESSION
    assert material.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert material.narrowed
    assert "KMS" in material.notes[0]


async def test_what_the_terms_do_not_say_is_not_asked(aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED)
    material = await lease(ROLES, ROLE, TERMS, own(aws_stub))
    assert {"Policy", "SourceIdentity"}.isdisjoint(aws_stub.received[0].form)
    assert not material.narrowed
    assert "everything that the role can" in material.notes[0]


async def test_a_key_asks_as_itself(aws_stub: AwsStub) -> None:
    aws_stub.script(OWN, ASSUMED)
    await lease(aws_key.VERIFIER, KEY, TERMS, own(aws_stub))
    terms = LeaseTerms(900, SCOPE, "vouch-lease-1", "alice@example.com", ARN, "tenant:42")
    await lease(aws_key.VERIFIER, KEY, terms, own(aws_stub))
    session, role = aws_stub.received
    assert session.form == {"Action": "GetSessionToken", "Version": "2011-06-15", "DurationSeconds": "1800"}
    assert role.form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ARN,
        "RoleSessionName": "vouch-lease-1",
        "DurationSeconds": "900",
        "ExternalId": "tenant:42",
        "SourceIdentity": "alice@example.com",
        "Policy": session_policy(SCOPE, "aws"),
    }
    for received in aws_stub.received:
        assert "Credential=AKIAIOSFODNN7EXAMPLE/" in received.headers["Authorization"]
        assert "X-Amz-Security-Token" not in received.headers


async def test_the_endpoint_of_a_role_goes_to_the_job_and_is_not_contacted(aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED, ASSUMED)
    place = {"endpoint": closed_port(), "use_path_style": True}
    material = await lease(ROLES, {**ROLE, **place}, TERMS, own(aws_stub))
    assert material.values == {**SESSION, "endpoint": place["endpoint"], "use_path_style": "true"}
    material = await lease(ROLES, {**ROLE, "endpoint": place["endpoint"]}, TERMS, own(aws_stub))
    assert material.values == {**SESSION, "endpoint": place["endpoint"]}


async def test_the_partition_of_the_role_is_asked_and_its_buckets_are_meant(aws_stub: AwsStub) -> None:
    settings = AwsSettings(sts_endpoint=closed_port(), other_sts_endpoints={"aws-cn": aws_stub.url})
    there = ARN.replace("arn:aws:", "arn:aws-cn:")
    aws_stub.script(ASSUMED, ASSUMED)
    await lease(ROLES, {**ROLE, "role_arn": there}, scoped(TERMS), settings)
    await lease(aws_key.VERIFIER, KEY, LeaseTerms(900, SCOPE, "vouch", role_arn=there), settings)
    for received in aws_stub.received:
        assert received.scope[1:] == ["cn-north-1", "sts"]
        resources = [one["Resource"] for one in json.loads(received.form["Policy"])["Statement"]]
        assert all(one.startswith("arn:aws-cn:s3:::lake") for one in resources)


async def test_a_role_of_a_partition_that_is_not_configured_is_unsupported() -> None:
    there = ARN.replace("arn:aws:", "arn:aws-us-gov:")
    settings = AwsSettings(sts_endpoint=closed_port())
    assert summary(await failure(ROLES, {**ROLE, "role_arn": there}, TERMS, settings)) == UNSUPPORTED
    terms = LeaseTerms(900, None, "vouch", role_arn=there)
    assert summary(await failure(aws_key.VERIFIER, KEY, terms, settings)) == UNSUPPORTED


async def test_the_partition_that_knows_the_key_gives_its_session(aws_stubs: tuple[AwsStub, ...]) -> None:
    home, china, gov = aws_stubs
    home.script(sts_error("InvalidClientTokenId"))
    china.script(OWN)
    material = await lease(aws_key.VERIFIER, KEY, TERMS, own(home, aws_cn=china.url, aws_us_gov=gov.url))
    assert material.values == SESSION
    assert china.received[0].scope[1:] == ["cn-north-1", "sts"]
    assert gov.received == []


async def test_a_key_that_no_partition_knows_gets_no_session(aws_stubs: tuple[AwsStub, ...]) -> None:
    home, china, _ = aws_stubs
    for stub in (home, china):
        stub.script(sts_error("InvalidClientTokenId"))
    report = await failure(aws_key.VERIFIER, KEY, TERMS, own(home, aws_cn=china.url))
    assert summary(report) == UNKNOWN_KEY
    assert "aws, aws-cn" in report.verdict.message


async def test_a_key_is_not_called_unknown_while_a_partition_has_not_answered(aws_stub: AwsStub) -> None:
    aws_stub.script(sts_error("InvalidClientTokenId"))
    report = await failure(aws_key.VERIFIER, KEY, TERMS, own(aws_stub, aws_cn=closed_port()))
    assert summary(report) == UNREACHABLE


# terms that are refused before anything is asked


@pytest.mark.parametrize(
    ("verifier", "values", "terms", "fields"),
    [
        (ROLES, ROLE, LeaseTerms(899, None, "vouch"), {"ttl_seconds"}),
        (ROLES, ROLE, LeaseTerms(0, None, "vouch"), {"ttl_seconds"}),
        (ROLES, ROLE, LeaseTerms(43201, None, "vouch"), {"ttl_seconds"}),
        (ROLES, ROLE, AS_ROLE, {"role_arn"}),
        (ROLES, ROLE, LeaseTerms(900, None, "vouch", external_id="tenant:42"), {"external_id"}),
        (ROLES, ROLE, LeaseTerms(900, LeaseScope("un_der"), "vouch"), {"scope.bucket"}),
        (ROLES, ROLE, LeaseTerms(60, LeaseScope("un_der", "*"), "v"), {"ttl_seconds", "scope.bucket", "scope.prefix"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(899, None, "vouch"), {"ttl_seconds"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(129601, None, "vouch"), {"ttl_seconds"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(60, SCOPE, "vouch"), {"ttl_seconds", "scope"}),
        (aws_key.VERIFIER, KEY, scoped(TERMS), {"scope"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(900, None, "vouch", external_id="tenant:42"), {"external_id"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(43201, None, "vouch", role_arn=ARN), {"ttl_seconds"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(900, None, "vouch", role_arn="reader"), {"role_arn"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(900, None, "vouch", role_arn=f"{ARN}\n"), {"role_arn"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(900, None, "v", role_arn=f"{ARN[:-6]}{'x/' * 1100}y"), {"role_arn"}),
        (aws_key.VERIFIER, KEY, LeaseTerms(900, None, "vouch", role_arn=ARN, external_id="x"), {"external_id"}),
    ],
)
async def test_terms_that_can_not_be_met_are_refused_unasked(
    aws_stub: AwsStub, verifier: Verifier, values: Mapping[str, Any], terms: LeaseTerms, fields: set[str]
) -> None:
    found = await refusal(verifier, values, terms, own(aws_stub))
    assert set(found) == fields
    assert all(text.endswith(".") for text in found.values())
    assert aws_stub.received == []


async def test_the_longest_and_the_shortest_sessions_are_asked_for(aws_stub: AwsStub) -> None:
    aws_stub.script(ASSUMED, ASSUMED, OWN, OWN)
    for seconds in (900, 43200):
        await lease(ROLES, ROLE, LeaseTerms(seconds, None, "vouch"), own(aws_stub))
    for seconds in (900, 129600):
        await lease(aws_key.VERIFIER, KEY, LeaseTerms(seconds, None, "vouch"), own(aws_stub))
    assert [one.form["DurationSeconds"] for one in aws_stub.received] == ["900", "43200", "900", "129600"]


@pytest.mark.parametrize(
    "more",
    [{"session_token": "FwoG/token+x=="}, {"endpoint": "https://minio.example.com"}],
    ids=["session", "endpoint"],
)
@pytest.mark.parametrize("terms", [TERMS, AS_ROLE], ids=["own", "role"])
async def test_a_key_that_sts_gives_no_session_is_not_leasable(
    aws_stub: AwsStub, more: dict[str, str], terms: LeaseTerms
) -> None:
    with pytest.raises(NotLeasable, match=r"Use a .*role"):
        await lease(aws_key.VERIFIER, {**KEY, **more}, terms, own(aws_stub))
    assert aws_stub.received == []


# the tables, row by row

ROWS = [
    ("InvalidClientTokenId", 403, OWN_IDENTITY, UNKNOWN_KEY),
    ("InvalidAccessKeyId", 403, OWN_IDENTITY, UNKNOWN_KEY),
    ("UnrecognizedClientException", 400, OWN_IDENTITY, UNKNOWN_KEY),
    ("SignatureDoesNotMatch", 403, OWN_IDENTITY, BAD_SECRET),
    ("ExpiredToken", 400, OWN_IDENTITY, EXPIRED),
    ("ExpiredTokenException", 403, OWN_IDENTITY, EXPIRED),
    ("AccessDenied", 403, DENIED, DENIED),
    ("AccessDeniedException", 400, DENIED, DENIED),
    ("RequestExpired", 400, CLOCK_SKEW, CLOCK_SKEW),
    ("RequestTimeTooSkewed", 403, CLOCK_SKEW, CLOCK_SKEW),
    ("Throttling", 400, THROTTLED, THROTTLED),
    ("SlowDown", 503, THROTTLED, THROTTLED),
    ("AccessDenied", 503, PROVIDER_ERROR, PROVIDER_ERROR),
    ("ServiceUnavailable", 503, PROVIDER_ERROR, PROVIDER_ERROR),
    ("InternalFailure", 500, PROVIDER_ERROR, PROVIDER_ERROR),
    ("ValidationError", 400, PROVIDER_ERROR, PROVIDER_ERROR),
    ("RegionDisabledException", 403, PROVIDER_ERROR, PROVIDER_ERROR),
    ("SomethingNew", 400, PROVIDER_ERROR, PROVIDER_ERROR),
]


@pytest.mark.parametrize(("code", "status", "of_role", "of_key"), ROWS)
async def test_each_code_means_what_the_table_says(
    way: Asked, aws_stub: AwsStub, code: str, status: int, of_role: tuple[str, ...], of_key: tuple[str, ...]
) -> None:
    """A role has earned no red light by the keys of the service; a key has by its own."""
    aws_stub.script(sts_error(code, status))
    report = await failure(way.verifier, way.values, way.terms, own(aws_stub))
    assert summary(report) == (of_role if way.verifier is ROLES else of_key)
    assert len(aws_stub.received) == 1, "there are no retries"
    assert "Upstream" not in str(report.to_dict())


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
async def test_a_denial_names_the_source_identity_if_one_was_set(aws_stub: AwsStub, code: str) -> None:
    told = []
    for source in ("", "alice@example.com"):
        for verifier, values, role in ((ROLES, ROLE, ""), (aws_key.VERIFIER, KEY, ARN)):
            aws_stub.script(sts_error(code))
            terms = LeaseTerms(900, None, "vouch", source, role)
            report = await failure(verifier, values, terms, own(aws_stub))
            assert summary(report) == DENIED
            told.append("sts:SetSourceIdentity" in report.verdict.remedy)
            assert ("source identity" in report.verdict.message) is bool(source)
    assert told == [False, False, True, True]


async def test_a_key_that_is_denied_a_session_is_told_which_action(aws_stub: AwsStub) -> None:
    aws_stub.script(sts_error("AccessDenied"))
    report = await failure(aws_key.VERIFIER, KEY, LeaseTerms(900, None, "vouch", "alice"), own(aws_stub))
    assert "sts:GetSessionToken" in report.verdict.message
    assert "role_arn" in report.verdict.remedy


@pytest.mark.parametrize(("message", "word"), [(TOO_LONG, "maximum session duration"), (CHAINED, "3600 seconds")])
async def test_a_session_longer_than_the_role_allows_is_a_matter_of_the_terms(
    aws_stub: AwsStub, message: str, word: str
) -> None:
    for verifier, values, terms in ((ROLES, ROLE, TERMS), (aws_key.VERIFIER, KEY, AS_ROLE)):
        aws_stub.script(sts_error("ValidationError", 400, message=message))
        fields = await refusal(verifier, values, terms, own(aws_stub))
        assert list(fields) == ["ttl_seconds"]
        assert word in fields["ttl_seconds"]


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("ValidationError", 400, "1 validation error detected: Value 'x' at 'roleSessionName' failed to satisfy"),
        ("ValidationError", 400, f"Value 'x' at 'policy' failed: {TOO_LONG}"),
        ("ValidationError", 400, f"<b>{TOO_LONG}</b>"),
        ("ValidationError", 500, TOO_LONG),
        ("ValidationError", 403, TOO_LONG),
        ("SomethingNew", 400, TOO_LONG),
    ],
)
async def test_no_other_validation_error_is_taken_for_one_of_the_terms(
    way: Asked, aws_stub: AwsStub, code: str, status: int, message: str
) -> None:
    aws_stub.script(sts_error(code, status, message=message))
    assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == PROVIDER_ERROR


@pytest.mark.parametrize("code", ["PackedPolicyTooLarge", "MalformedPolicyDocument"])
async def test_a_policy_that_aws_does_not_take_is_a_matter_of_the_scope(aws_stub: AwsStub, code: str) -> None:
    for verifier, values, terms in ((ROLES, ROLE, TERMS), (aws_key.VERIFIER, KEY, AS_ROLE)):
        aws_stub.script(sts_error(code, 400), sts_error(code, 400), sts_error(code, 500))
        assert list(await refusal(verifier, values, scoped(terms), own(aws_stub))) == ["scope"]
        # Where no policy was sent, or the provider is broken, it says nothing.
        assert summary(await failure(verifier, values, terms, own(aws_stub))) == PROVIDER_ERROR
        assert summary(await failure(verifier, values, scoped(terms), own(aws_stub))) == PROVIDER_ERROR


async def test_a_throttled_lease_says_when_to_come_back(way: Asked, aws_stub: AwsStub) -> None:
    aws_stub.script(sts_error("Throttling", 400, Retry_After="17"))
    report = await failure(way.verifier, way.values, way.terms, own(aws_stub))
    assert summary(report) == THROTTLED
    assert report.retry_after == 17


async def test_a_mismatch_under_another_clock_is_the_clocks_fault(way: Asked, aws_stub: AwsStub) -> None:
    there = format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)
    aws_stub.script(sts_error("SignatureDoesNotMatch", Date=there))
    assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == CLOCK_SKEW


async def test_nobody_there_to_ask_is_unreachable(way: Asked) -> None:
    settings = AwsSettings(sts_endpoint=closed_port())
    assert summary(await failure(way.verifier, way.values, way.terms, settings)) == UNREACHABLE


async def test_an_sts_that_hangs_is_given_up_at_the_deadline(way: Asked, aws_stub: AwsStub) -> None:
    async def hang() -> Scripted:
        await asyncio.sleep(30)
        return ASSUMED

    aws_stub.script(hang)
    report = await failure(way.verifier, way.values, way.terms, own(aws_stub), deadline=0.2)
    assert summary(report) == TIMEOUT


async def test_a_service_key_that_aws_refused_is_loaded_anew(aws_stub: AwsStub) -> None:
    loaded: list[Keys] = []

    def load() -> Keys:
        loaded.append(OURS)
        return OURS

    verifier = make_verifier(ServiceIdentity(load))
    aws_stub.script(ASSUMED, sts_error("ExpiredToken", 400), ASSUMED)
    await lease(verifier, ROLE, TERMS, own(aws_stub))
    assert summary(await failure(verifier, ROLE, TERMS, own(aws_stub))) == OWN_IDENTITY
    assert len(loaded) == 1
    await lease(verifier, ROLE, TERMS, own(aws_stub))
    assert len(loaded) == 2


async def test_a_service_without_an_identity_leases_no_role(aws_stub: AwsStub) -> None:
    verifier = make_verifier(ServiceIdentity(lambda: None))
    assert summary(await failure(verifier, ROLE, TERMS, own(aws_stub))) == OWN_IDENTITY
    assert aws_stub.received == []


async def test_the_ambient_identity_is_never_used_for_a_key(aws_stub: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement 10, and rule 3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient-token")
    aws_stub.script(OWN, ASSUMED)
    for terms in (TERMS, AS_ROLE):
        await lease(aws_key.VERIFIER, KEY, terms, own(aws_stub))
    for received in aws_stub.received:
        assert "Credential=AKIAIOSFODNN7EXAMPLE/" in received.headers["Authorization"]
        assert "X-Amz-Security-Token" not in received.headers


# answers that are none

EXPIRATION = "<Expiration>2030-01-01T00:00:00Z</Expiration>"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (EXPIRATION, ""),
        (EXPIRATION, EXPIRATION * 2),
        (EXPIRATION, "<Expiration></Expiration>"),
        (EXPIRATION, "<Expiration>tomorrow</Expiration>"),
        (EXPIRATION, "<Expiration>1893456000</Expiration>"),
        (EXPIRATION, "<Expiration>2030-13-01T00:00:00Z</Expiration>"),
        (EXPIRATION, "<Expiration>2030-01-01T00:00:00</Expiration>"),
        (EXPIRATION, "<Expiration>2030-01-01T00:00:00+02:00</Expiration>"),
        (EXPIRATION, "<Expiration>2020-01-01T00:00:00Z</Expiration>"),
        (SESSION_TOKEN, ""),
        (SESSION_TOKEN, "two words of the canary"),
        (SESSION_TOKEN, f"{SESSION_TOKEN}&amp;x"),
        (SESSION_TOKEN, f"{SESSION_TOKEN}\r\nX-Other: header"),
        (SESSION_SECRET, ""),
        (SESSION_SECRET, "short"),
        (SESSION_SECRET, f"{SESSION_SECRET}é"),
        ("ASIAIOSFODNN7EXAMPLE", "ASIA/../EXAMPLE12345"),
        ("AccessKeyId>", "AccessKey>"),
        ("Credentials>", "Something>"),
        ("<Credentials>", "<Credentials><Credentials>"),
        ("</Credentials>", "</Credentials ><!--"),
        ("Response", "Answer"),
        ("Response", "Error"),
    ],
)
async def test_an_answer_that_can_not_be_read_is_no_session(way: Asked, aws_stub: AwsStub, old: str, new: str) -> None:
    assert old in way.answer
    aws_stub.script(Scripted(200, way.answer.replace(old, new)))
    report = await failure(way.verifier, way.values, way.terms, own(aws_stub))
    assert summary(report) == PROVIDER_ERROR
    assert "canary" not in repr(report)


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, ""),
        Scripted(200, CAPTIVE_PORTAL),
        Scripted(200, CALLER_IDENTITY),
        Scripted(204, ""),
        Scripted(302, "", {"Location": "http://169.254.169.254/"}),
        Scripted(403, CAPTIVE_PORTAL),
        Scripted(502, "<html>bad gateway</html>"),
    ],
)
async def test_what_is_no_answer_of_sts_is_unknown(way: Asked, aws_stub: AwsStub, answer: Scripted) -> None:
    aws_stub.script(answer)
    assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == PROVIDER_ERROR


async def test_an_answer_cut_anywhere_is_no_session(way: Asked, aws_stub: AwsStub) -> None:
    whole = way.answer.rstrip()
    for length in range(0, len(whole), 23):
        aws_stub.script(Scripted(200, whole[:length]))
        assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == PROVIDER_ERROR


async def test_an_answer_longer_than_is_read_is_no_session(way: Asked, aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, way.answer + " " * 70000))
    assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == PROVIDER_ERROR


async def test_an_answer_of_the_other_action_is_no_session(aws_stub: AwsStub) -> None:
    aws_stub.script(OWN, ASSUMED)
    assert summary(await failure(ROLES, ROLE, TERMS, own(aws_stub))) == PROVIDER_ERROR
    assert summary(await failure(aws_key.VERIFIER, KEY, TERMS, own(aws_stub))) == PROVIDER_ERROR


async def test_a_session_under_an_error_status_is_none(way: Asked, aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(403, way.answer))
    assert summary(await failure(way.verifier, way.values, way.terms, own(aws_stub))) == PROVIDER_ERROR


async def test_long_tokens_and_fractions_of_seconds_are_taken(way: Asked, aws_stub: AwsStub) -> None:
    """STS asks its callers to assume no greatest size of a token."""
    token = "IQoJb3JpZ2luX2VjE/+=" * 400
    answer = way.answer.replace(SESSION_TOKEN, f"\n  {token}\n").replace("00:00:00Z", "00:00:00.250Z")
    aws_stub.script(Scripted(200, answer))
    material = await lease(way.verifier, way.values, way.terms, own(aws_stub))
    assert material.values["session_token"] == token
    assert material.expires_at == datetime(2030, 1, 1, microsecond=250000, tzinfo=UTC)


async def test_a_session_that_has_ended_by_the_clock_of_the_run_is_none(way: Asked, aws_stub: AwsStub) -> None:
    aws_stub.script(Scripted(200, way.answer), Scripted(200, way.answer))
    end = datetime(2030, 1, 1, tzinfo=UTC)
    report = await failure(way.verifier, way.values, way.terms, own(aws_stub), now=end)
    assert summary(report) == PROVIDER_ERROR
    before = end - timedelta(seconds=1)
    assert (await lease(way.verifier, way.values, way.terms, own(aws_stub), now=before)).expires_at == end


async def test_nothing_secret_is_shown_or_logged(
    way: Asked, aws_stub: AwsStub, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30, at DEBUG: neither the material nor what it was asked with."""
    caplog.set_level(logging.DEBUG)
    for name in ("botocore", "aiohttp", "asyncio", "vouch"):
        caplog.set_level(logging.DEBUG, logger=name)
    aws_stub.script(Scripted(200, way.answer))
    material = await lease(way.verifier, way.values, way.terms, own(aws_stub))
    assert "canary" in str(dict(material.values))
    shown = [repr(material), str(material)]
    for answer in (
        Scripted(200, way.answer[:-40]),
        Scripted(200, way.answer.replace(EXPIRATION, "")),
        Scripted(403, way.answer),
        sts_error("AccessDenied", message=f"canary {SESSION_TOKEN}"),
        sts_error("ValidationError", 400, message=f"canary {SESSION_TOKEN}"),
    ):
        aws_stub.script(answer)
        with pytest.raises(leasing.LeaseFailed) as failed:
            await lease(way.verifier, way.values, way.terms, own(aws_stub))
        error: BaseException | None = failed.value
        shown += [repr(failed.value.report), str(failed.value.report.to_dict())]
        while error is not None:
            shown += [repr(error), str(error)]
            error = error.__cause__ or error.__context__
    everything = "".join([*shown, caplog.text])
    assert "canary" not in everything
    assert SESSION["access_key_id"] not in everything.replace(KEY["access_key_id"], "")
