"""What the verification of a shared file may cost, which verdict is the record's, and the status of each unknown."""

import sqlite3
from dataclasses import replace

import pytest

from service.config import Config, LimitsConfig, VerificationConfig
from tests.api.test_dqops_verify import configured, keep, profile, verify
from tests.api.test_tiledb_verify import hang
from tests.conftest import Start
from tests.peers.aws_stub import AwsStub, Scripted, sts_error
from tests.peers.moto import Moto, Pair

SOME_KEY = profile("default", Pair("AKIAEXAMPLE000000000", "s" * 40))


def status(config: Config) -> str | None:
    """The verdict that the store keeps."""
    db = sqlite3.connect(config.database)
    kept: str | None = db.execute("SELECT status FROM credential WHERE name = 'one'").fetchone()[0]
    db.close()
    return kept


async def test_a_file_that_is_refused_counts_like_any_other(start: Start, config: Config) -> None:
    """Requirement 13: it writes a verdict each time."""
    vouch = await start(replace(config, limits=LimitsConfig(verifications_per_caller=2)))
    await keep(vouch, "hello")
    answers = [await vouch.call("POST", "/api/credentials/one/verify") for _ in range(3)]
    assert [answer.status for answer in answers] == [422, 422, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert answers[2].json_body["error"] == "Too Many Requests"


async def test_the_records_verdict_is_that_of_its_default_profile(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(configured(config, aws=moto.url))
    good = moto.user()
    bad = good._replace(secret_access_key="x" * 40)
    content = profile("default", good) + profile("side", bad)
    assert (await verify(vouch, content))["outcome"] == "verified"
    for query, reason in (("?profile=side", "bad_secret"), ("?profile=typo", "malformed")):
        answer = await vouch.call("POST", f"/api/credentials/one/verify{query}")
        assert (answer.status, answer.json_body["verification"]["reason"]) == (422, reason)
        assert status(config) == "verified"
    assert (await vouch.call("POST", "/api/credentials/one/verify?profile=default")).status == 200
    await keep(vouch, profile("default", bad) + profile("side", good))
    assert status(config) is None
    assert (await vouch.call("POST", "/api/credentials/one/verify?profile=side")).status == 200
    assert status(config) is None


UNKNOWN = {
    "hang": (hang, 504, "timeout"),
    "throttled": (sts_error("Throttling", 400, Retry_After="7"), 503, "throttled"),
    "broken": (Scripted(500, "oops"), 502, "provider_error"),
}


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_what_is_unknown_has_the_status_of_its_reason(
    start: Start, config: Config, aws_stub: AwsStub, fault: str
) -> None:
    answer_with, expected, reason = UNKNOWN[fault]
    aws_stub.script(answer_with)
    patient = replace(configured(config, aws=aws_stub.url), verification=VerificationConfig(deadline_seconds=0.4))
    vouch = await start(patient)
    await keep(vouch, SOME_KEY)
    answer = await vouch.call("POST", "/api/credentials/one/verify")
    assert (answer.status, answer.json_body["status"]) == (expected, expected)
    assert answer.json_body["verification"]["reason"] == reason
    assert (answer.headers.get("Retry-After") == "7") == (fault == "throttled")
    assert status(config) is None
