"""What each answer of Google's token endpoint means: every row of the table, its near misses, and everything else."""

import json

import pytest

from tests.peers.google import BAD_TIME, TokenEndpoint
from tests.verifiers.google_keys import ask, said
from verifiers.gcp_service_account import REJECTIONS

DENIED = ("unknown", "denied", "policy")
SKEWED = ("unknown", "clock_skew", "service")
GONE = ("failed", "disabled", "credential")
BAD = ("failed", "bad_secret", "credential")
UNLISTED = ("unknown", "provider_error", "provider")

ANSWERS = [
    (400, "invalid_grant", "Invalid JWT Signature.", BAD),
    (400, "invalid_grant", "Invalid JWT Signature", BAD),
    (400, "invalid_grant", "Invalid grant: account not found", GONE),
    (400, "invalid_grant", "Robot is disabled.", GONE),
    (401, "disabled_client", "The OAuth client was disabled.", GONE),
    (401, "deleted_client", "The OAuth client was deleted.", GONE),
    (401, "deleted_client", None, GONE),
    (400, "invalid_grant", BAD_TIME, SKEWED),
    (400, "invalid_grant", "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe", SKEWED),
    (
        400,
        "invalid_grant",
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
        "Check your iat and exp values and use a clock with skew to account for clock differences.",
        SKEWED,
    ),
    (400, "invalid_grant", "Invalid JWT: Failed audience check.", ("unknown", "provider_error", "service")),
    (
        400,
        "invalid_grant",
        "Invalid JWT: Failed audience check. The right audience is https://www.googleapis.com/oauth2/v4/token",
        ("unknown", "provider_error", "service"),
    ),
    (403, "access_denied", "Requested client not authorized.", DENIED),
    (400, "admin_policy_enforced", "x", DENIED),
    (403, "org_internal", "This client is restricted to users within its organization.", DENIED),
    (401, "unauthorized_client", "Unauthorized client or scope in request.", DENIED),
    # Near misses and whatever else there is: nothing known.
    (400, "invalid_grant", "Invalid JWT: No valid verifier found for issuer.", UNLISTED),
    (400, "invalid_grant", "The proxy says: Invalid JWT Signature.", UNLISTED),
    (400, "invalid_grant", "Invalid JWT Signature. But not really", UNLISTED),
    (400, "invalid_grant", "invalid jwt signature.", UNLISTED),
    (400, "invalid_grant", "Bad Request", UNLISTED),
    (400, "invalid_grant", None, UNLISTED),
    (400, "invalid_grant", {"text": "Invalid JWT Signature."}, UNLISTED),
    (400, "INVALID_GRANT", "Invalid JWT Signature.", UNLISTED),
    (400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.", UNLISTED),
    (401, "invalid_client", "The OAuth client was not found.", UNLISTED),
    (400, {"code": 400, "message": "Invalid JWT Signature."}, None, UNLISTED),
    (400, "error with spaces", "x", UNLISTED),
    # The same words with a status that can't mean it.
    (200, "invalid_grant", "Invalid JWT Signature.", UNLISTED),
    (302, "invalid_grant", "Invalid JWT Signature.", UNLISTED),
    (500, "invalid_grant", "Invalid JWT Signature.", UNLISTED),
    (503, "disabled_client", "The OAuth client was disabled.", UNLISTED),
]


@pytest.mark.parametrize(("status", "error", "description", "expected"), ANSWERS)
async def test_an_answer_means_what_the_table_says(
    google: TokenEndpoint, status: int, error: object, description: object, expected: tuple[str, str, str]
) -> None:
    body = {"error": error} if description is None else {"error": error, "error_description": description}
    google.answer_with(status, body)
    report = await ask(google, google.make_key())
    assert said(report) == expected
    assert report.identity == {}
    if isinstance(description, str) and len(description) > 10:
        assert description not in json.dumps(report.to_dict())


async def test_an_unlisted_error_is_named_by_its_code_alone(google: TokenEndpoint) -> None:
    google.answer_with(400, {"error": "invalid_scope", "error_description": "upstream words"})
    report = await ask(google, google.make_key())
    assert "invalid_scope" in report.verdict.message
    assert "upstream" not in json.dumps(report.to_dict())
    google.answer_with(400, {"error": "<b>look here</b>"})
    assert "look" not in json.dumps((await ask(google, google.make_key())).to_dict())


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Please sign in to the guest network</html>",
        b"",
        b"[]",
        b'"token"',
        b"{}",
        b'{"access_token": ""}',
        b'{"access_token": null}',
        b'{"access_token": 5}',
        b'{"id_token": "a.b.c"}',
        b'{"access_token": "x"',
        b"\xff\xfe\x00",
        b"[" * 60000,
        b"1" * 6000,
        b'{"access_token": "' + b"x" * 70000 + b'"}',
        b'{"access_token": "x"}' + b" " * 70000,  # more than is read
    ],
)
async def test_a_200_that_is_no_access_token_proves_nothing(google: TokenEndpoint, body: bytes) -> None:
    google.answer_with(200, body)
    assert said(await ask(google, google.make_key())) == UNLISTED


@pytest.mark.parametrize("status", [201, 400, 401, 403, 404, 500, 503])
async def test_an_access_token_beside_another_status_proves_nothing(google: TokenEndpoint, status: int) -> None:
    google.answer_with(status, {"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"})
    assert said(await ask(google, google.make_key())) == UNLISTED


@pytest.mark.parametrize(
    ("header", "seconds"), [("17", 17), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", None), (None, None)]
)
async def test_throttling_keeps_when_to_come_back(
    google: TokenEndpoint, header: str | None, seconds: int | None
) -> None:
    google.answer_with(429, b"slow down", {"Retry-After": header} if header else None)
    report = await ask(google, google.make_key())
    assert said(report) == ("unknown", "throttled", "provider")
    assert report.retry_after == seconds


def test_every_row_of_the_table_has_a_test() -> None:
    for row in REJECTIONS:
        verdict = (row.verdict.outcome.value, row.verdict.reason.value, row.verdict.fault.value)
        tried = [
            expected
            for _, error, description, expected in ANSWERS
            if isinstance(error, str) and row.matches(error, description if isinstance(description, str) else "")
        ]
        assert verdict in tried, row.error
