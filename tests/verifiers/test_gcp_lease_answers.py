"""What each answer of Google's Security Token Service means for a lease, and that no wider token ever leaves."""

import json
import logging
import time

import pytest

from tests.peers.faults import FaultMode, FaultPeer
from tests.peers.google import TokenEndpoint
from tests.verifiers.google_keys import said
from tests.verifiers.google_leases import lease_of, refusal_of
from verifiers.gcp_lease import ACCESS_TOKEN, REJECTIONS
from verifiers.lease_terms import LeaseScope, Material, TermsRefused
from verifiers.leasing import LeaseFailed

SCOPE = LeaseScope("lake", "raw/")
CANARY = "cAnArYsEcReT"

OURS = ("unknown", "provider_error", "service")
THEIRS = ("unknown", "provider_error", "provider")
POLICY = ("unknown", "denied", "policy")
DISABLED_API = {
    "error": {
        "code": 403,
        "message": "Security Token Service API has not been used in project 1 before or it is disabled.",
        "status": "PERMISSION_DENIED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"},
        ],
    }
}

ANSWERS = [
    (400, {"error": "invalid_request", "error_description": "Invalid access boundary."}, OURS),
    (400, {"error": "invalid_scope"}, OURS),
    (400, {"error": "unsupported_grant_type"}, OURS),
    (400, {"error": "invalid_grant", "error_description": "The access token is expired."}, THEIRS),
    (403, DISABLED_API, POLICY),
    # Whatever else there is: nothing known.
    (400, {"error": "invalid_target"}, THEIRS),
    (401, {"error": "invalid_client"}, THEIRS),
    (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, THEIRS),
    (403, {"error": {"details": [{"reason": "NEW_REASON"}, {"reason": "SERVICE_DISABLED"}]}}, THEIRS),
    (403, {"error": {"details": "SERVICE_DISABLED"}}, THEIRS),
    (403, {"error": {"details": ["SERVICE_DISABLED", {"reason": 5}, {}]}}, THEIRS),
    (404, {"error": "Not found, says the proxy"}, THEIRS),
    (407, b"<html>sign in</html>", THEIRS),
    (302, {"error": "invalid_request"}, THEIRS),
    (500, {"error": "invalid_request"}, THEIRS),
    (503, DISABLED_API, THEIRS),
    (201, {"access_token": "ya29.d.x", "expires_in": 60}, THEIRS),
    (200, {"error": "invalid_grant"}, THEIRS),
    (200, b"[]", THEIRS),
    (200, b"1" * 6000, THEIRS),
    (200, b"[" * 60000, THEIRS),
    (200, b'{"access_token": "ya29.d.x", "expires_in": 60}' + b" " * 70000, THEIRS),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
async def test_an_answer_of_the_exchange_means_what_the_table_says(
    google: TokenEndpoint, status: int, body: object, expected: tuple[str, str, str]
) -> None:
    google.sts.answer_with(status, body)
    report = await refusal_of(google, SCOPE)
    assert said(report) == expected
    told = json.dumps(report.to_dict())
    assert "says the proxy" not in told
    assert "Invalid access boundary" not in told


def test_every_row_of_the_table_has_a_test() -> None:
    for code, verdict in REJECTIONS.items():
        row = (verdict.outcome.value, verdict.reason.value, verdict.fault.value)
        tried = [one for _, body, one in ANSWERS if isinstance(body, dict) and code in json.dumps(body)]
        assert row in tried, code


async def test_an_unlisted_error_is_named_by_its_code_alone(google: TokenEndpoint) -> None:
    google.sts.answer_with(400, {"error": "invalid_target", "error_description": "upstream words"})
    report = await refusal_of(google, SCOPE)
    assert "invalid_target" in report.verdict.message
    assert "upstream" not in json.dumps(report.to_dict())


@pytest.mark.parametrize(("header", "seconds"), [("17", 17), ("soon", None), (None, None)])
async def test_throttling_keeps_when_to_come_back(
    google: TokenEndpoint, header: str | None, seconds: int | None
) -> None:
    google.sts.answer_with(429, b"slow down", {"Retry-After": header} if header else None)
    report = await refusal_of(google, SCOPE)
    assert said(report) == ("unknown", "throttled", "provider")
    assert report.retry_after == seconds


async def test_what_the_probe_knows_of_the_token_endpoint_the_lease_knows_too(google: TokenEndpoint) -> None:
    file = google.make_key()
    google.accounts[file["client_email"]].keys.clear()
    assert said(await refusal_of(google, SCOPE, file=file)) == ("failed", "bad_secret", "credential")
    google.accounts[file["client_email"]].disabled = True
    assert said(await refusal_of(google, SCOPE, file=file)) == ("failed", "disabled", "credential")
    del google.accounts[file["client_email"]]
    assert said(await refusal_of(google, file=file)) == ("failed", "disabled", "credential")
    google.answer_with(429, b"", {"Retry-After": "9"})
    report = await refusal_of(google, SCOPE, file=file)
    assert (said(report), report.retry_after) == (("unknown", "throttled", "provider"), 9)
    assert google.sts.requests == []


# Answers that look like a token


GOOD = {"access_token": "ya29.d.good", "token_type": "Bearer", "expires_in": 600}
ODD = [
    {"access_token": ""},
    {"access_token": None},
    {"access_token": 5},
    {"access_token": "ya29.d\r\nX-Evil: 1"},
    {"access_token": "ya29.d\x00"},
    {"access_token": "ya29 d"},
    {"access_token": "ya29.d\n"},
    {"access_token": "\u0443a29"},
    {"access_token": "a" * 12289},
    {"token_type": "mac"},
    {"token_type": None},
    {"expires_in": "600"},
    {"expires_in": 600.0},
    {"expires_in": True},
    {"expires_in": 0},
    {"expires_in": -600},
    {"expires_in": 43201},
    {"expires_in": 10**400},
    {"expires_in": [600]},
]


@pytest.mark.parametrize("change", ODD)
async def test_what_is_no_token_with_an_end_is_not_handed_out(google: TokenEndpoint, change: dict[str, object]) -> None:
    google.sts.answer_with(200, {**GOOD, **change})
    assert said(await refusal_of(google, SCOPE)) == THEIRS
    google.answer_with(200, {**GOOD, **change})
    assert said(await refusal_of(google)) == THEIRS


@pytest.mark.parametrize("change", [{}, {"expires_in": None}, {"issued_token_type": ACCESS_TOKEN}])
async def test_the_same_answers_without_the_oddity_are_tokens(google: TokenEndpoint, change: dict[str, object]) -> None:
    google.sts.answer_with(200, {**GOOD, **change})
    assert (await lease_of(google, SCOPE)).values["access_token"] == "ya29.d.good"


async def test_a_token_endpoint_that_does_not_say_until_when_gives_nothing(google: TokenEndpoint) -> None:
    google.answer_with(200, {"access_token": "ya29.c.x", "token_type": "Bearer"})
    assert said(await refusal_of(google)) == THEIRS
    assert said(await refusal_of(google, SCOPE)) == THEIRS


async def test_an_exchange_that_gives_the_wide_token_back_is_no_exchange(google: TokenEndpoint) -> None:
    google.answer_with(200, GOOD)
    google.sts.answer_with(200, {**GOOD, "issued_token_type": ACCESS_TOKEN})
    assert said(await refusal_of(google, SCOPE)) == THEIRS
    assert len(google.sts.requests) == 1


async def test_an_exchange_for_another_type_of_token_is_no_exchange(google: TokenEndpoint) -> None:
    kind = "urn:ietf:params:oauth:token-type:access_boundary_intermediary_token"
    google.sts.answer_with(200, {**GOOD, "issued_token_type": kind})
    assert said(await refusal_of(google, SCOPE)) == THEIRS


# A provider that fails, before or between the two calls


FAULTS = {
    FaultMode.HANG: ("unknown", "timeout", "network"),
    FaultMode.DRIP: ("unknown", "timeout", "network"),
    FaultMode.RESET: ("unknown", "unreachable", "network"),
    FaultMode.TRUNCATED: ("unknown", "unreachable", "network"),
    FaultMode.EARLY_CLOSE: ("unknown", "unreachable", "network"),
    FaultMode.REFUSED: ("unknown", "unreachable", "network"),
    FaultMode.UNAVAILABLE: THEIRS,
    FaultMode.THROTTLED: ("unknown", "throttled", "provider"),
    FaultMode.PERMANENT_REDIRECT: THEIRS,
    FaultMode.GARBAGE: THEIRS,
    FaultMode.HUGE: THEIRS,
    FaultMode.NOT_HTTP: ("unknown", "provider_error", "provider"),
    FaultMode.BAD_TLS: ("unknown", "unreachable", "network"),
}


@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("mode", FAULTS)
async def test_a_provider_that_fails_is_told_and_nothing_is_handed_out(
    google: TokenEndpoint, fault_peer: FaultPeer, mode: FaultMode, between: bool
) -> None:
    await lease_of(google, SCOPE)  # imports google-auth, which would take of the deadline
    fault_peer.mode = mode
    where = {"sts_endpoint" if between else "token_uri": f"{fault_peer.url}/token"}
    started = time.monotonic()
    report = await refusal_of(google, SCOPE, deadline=0.5, **where)
    assert said(report) == FAULTS[mode]
    assert time.monotonic() - started < 2.0
    assert len(google.tokens) == (2 if between else 1)
    assert len(google.sts.tokens) == 1


# What must not be seen


@pytest.mark.parametrize("case", ["given", "refused", "odd", "unreachable", "terms"])
async def test_no_token_key_or_assertion_is_in_a_log_a_repr_or_an_error(
    google: TokenEndpoint, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    file = google.make_key()
    match case:
        case "refused":
            google.sts.answer_with(400, {"error": "invalid_grant", "error_description": CANARY, "x": CANARY})
        case "odd":
            google.sts.answer_with(200, {"access_token": f"{CANARY}\r\n", "expires_in": 60})
    sts_endpoint = "http://127.0.0.1:1/v1/token" if case == "unreachable" else ""
    outcome: Material | Exception
    try:
        scope = LeaseScope("lake", "'" * 512 if case == "terms" else "raw/")
        outcome = await lease_of(google, scope, file=file, sts_endpoint=sts_endpoint)
    except (LeaseFailed, TermsRefused) as error:
        outcome = error
    expected = {"given": Material, "terms": TermsRefused}.get(case, LeaseFailed)
    assert isinstance(outcome, expected)
    seen = f"{outcome!r} {outcome} {caplog.text} {caplog.records!r}"
    if isinstance(outcome, LeaseFailed):
        seen += repr(outcome.report) + json.dumps(outcome.report.to_dict())
    lines = [line for line in file["private_key"].split("\n") if line and not line.startswith("-")]
    assertions = [one.form["assertion"] for one in google.requests]
    assert assertions or case == "terms"
    for hidden in (*lines, *assertions, *google.tokens, *google.sts.tokens, CANARY):
        assert hidden not in seen


async def test_a_lease_costs_little_of_the_processor(google: TokenEndpoint) -> None:
    file = google.make_key()
    await lease_of(google, SCOPE, file=file)  # imports google-auth
    started = time.process_time()
    for _ in range(10):
        await lease_of(google, SCOPE, file=file)
    assert (time.process_time() - started) / 10 < 0.030  # the peers' own work included
