"""Tokens of a configured issuer over HTTP: who gets in, as whom, and what everybody else is told."""

from dataclasses import replace
from typing import Any

import pytest

from service.auth.settings import OAuth2Settings
from service.config import Config
from tests.api.payloads import create_body
from tests.conftest import Start, Vouch
from tests.peers.issuer import ABSENT, AUDIENCE, Issuer, confused, rsa_key, sign, unsigned

BODY = create_body("aws key", "one")


def trusting(config: Config, issuer: Issuer) -> Config:
    """A configuration with that issuer's tokens."""
    return replace(config, auth=replace(config.auth, oauth2=OAuth2Settings(issuer.url, AUDIENCE)))


@pytest.fixture
async def vouch(start: Start, config: Config, issuer: Issuer) -> Vouch:
    """A vouch that takes the issuer's tokens."""
    return await start(trusting(config, issuer))


async def call(vouch: Vouch, token: str, method: str, path: str, body: Any = None, scheme: str = "Bearer") -> Any:
    """The answer to a request with a token."""
    return await vouch.call(method, path, body, key=None, headers={"Authorization": f"{scheme} {token}"})


async def test_a_token_acts_with_its_role_in_its_workspace(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 18."""
    editor, viewer = issuer.mint(), issuer.mint(role="viewer", sub="somebody else")
    assert (await call(vouch, editor, "POST", "/v4/credentials", BODY)).status == 201
    assert (await call(vouch, viewer, "GET", "/v4/credentials/one")).status == 200
    assert (await call(vouch, viewer, "GET", "/v4/credentials/one", scheme="bearer")).status == 200
    refused = await call(vouch, viewer, "DELETE", "/v4/credentials/one")
    assert (refused.status, refused.json_body["code"]) == (403, 1101)
    # An API key of the same workspace sees the same credential, beside the tokens.
    assert (await vouch.call("GET", "/v4/credentials/one")).status == 200
    bearer = {"Authorization": f"Bearer {vouch.admin_key}"}
    assert (await vouch.call("GET", "/v4/credentials/one", key=None, headers=bearer)).status == 200


def hostile(issuer: Issuer) -> dict[str, str]:
    """Tokens that no issuer signed for vouch, or not for now."""
    claims = issuer.claims()
    own = {"kid": "rsa-1", "jku": f"{issuer.url}/jwks", "x5u": issuer.url}
    return {
        "another audience": issuer.mint(aud="https://other.example"),
        "another issuer": issuer.mint(iss="https://other.example"),
        "expired": issuer.mint(exp=claims["iat"] - 1),
        "no expiry": issuer.mint(exp=ABSENT),
        "not valid yet": issuer.mint(nbf=claims["iat"] + 600),
        "algorithm none": unsigned(claims),
        "the public key as an HMAC secret": confused(claims, rsa_key(0)),
        "signed by another key": sign(rsa_key(1), "RS256", claims, own),
        "an extension that must be understood": issuer.mint(headers={"crit": ["b64"], "b64": True}),
        "no token": "no.to.ken",
    }


async def test_a_token_that_is_not_for_us_is_a_401_with_a_challenge(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 18."""
    for name, token in hostile(issuer).items():
        answer = await call(vouch, token, "GET", "/v4/credentials")
        assert (answer.status, answer.json_body["code"]) == (401, 1100), name
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), name
        assert token not in await answer.text(), name
    assert (await call(vouch, issuer.mint(), "GET", "/v4/credentials")).status == 200


async def test_the_shared_dialect_takes_and_refuses_the_same_tokens(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 18."""
    assert (await call(vouch, issuer.mint(), "GET", "/api/credentials")).status == 200
    refused = await call(vouch, unsigned(issuer.claims()), "GET", "/api/credentials")
    assert (refused.status, refused.json_body["status"]) == (401, 401)
    assert "WWW-Authenticate" in refused.headers


@pytest.mark.parametrize(
    "claims",
    [
        {"role": ABSENT},
        {"workspace": ABSENT},
        {"role": "root"},
        {"role": ["admin"]},
        {"workspace": "default"},
        {"workspace": ["ws_default"]},
        {"teamspaces": "red"},
    ],
    ids=str,
)
async def test_a_right_token_that_grants_nothing_here_is_a_403(
    vouch: Vouch, issuer: Issuer, claims: dict[str, Any]
) -> None:
    """Requirement 20: default deny."""
    answer = await call(vouch, issuer.mint(**claims), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["code"]) == (403, 1101)
    assert "WWW-Authenticate" not in answer.headers


async def test_a_list_of_teamspaces_in_a_token_is_all_that_it_may_use(vouch: Vouch, issuer: Issuer) -> None:
    limited = issuer.mint(teamspaces=["red"])
    assert (await call(vouch, limited, "POST", "/v4/credentials?teamspace_id=red", BODY)).status == 201
    assert (await call(vouch, limited, "GET", "/v4/credentials/one?teamspace_id=red")).status == 200
    for where in ("", "?teamspace_id=", "?teamspace_id=blue"):
        answer = await call(vouch, limited, "GET", f"/v4/credentials{where}")
        assert (answer.status, answer.json_body["code"]) == (403, 1101), where
    assert (await call(vouch, limited, "GET", "/api/credentials")).status == 403
    nothing = issuer.mint(teamspaces=[])
    assert (await call(vouch, nothing, "GET", "/v4/credentials")).status == 403
    assert (await call(vouch, nothing, "GET", "/v4/credentials?teamspace_id=red")).status == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v4/credentials/one", None),
        ("PATCH", "/v4/credentials/one", {"allowed_in_tasks": True}),
        ("DELETE", "/v4/credentials/one", None),
        ("POST", "/v4/credentials/verify", {"name": "one", "provider": "AWS"}),
    ],
)
async def test_a_token_of_another_workspace_finds_nothing_there(
    vouch: Vouch, issuer: Issuer, method: str, path: str, body: Any
) -> None:
    """Requirement 19: the same answer to the byte, but for the request id."""
    stranger = issuer.mint(workspace="ws_other", role="admin")
    answers = []
    for _ in range(2):
        answer = await call(vouch, stranger, method, path, body)
        text = await answer.text()
        answers.append((answer.status, text.replace(answer.headers["X-Request-ID"], ""), set(answer.headers)))
        await call(vouch, issuer.mint(), "POST", "/v4/credentials", BODY)
    missing, hidden = answers
    assert missing[0] == 404
    assert hidden == missing
    assert (await call(vouch, stranger, "GET", "/v4/credentials")).json_body["data"] == []
    assert (await call(vouch, issuer.mint(), "GET", "/v4/credentials/one")).status == 200


async def test_while_the_issuer_was_never_reached_a_token_is_a_503_and_keys_go_on(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 18."""
    issuer.on = False
    answer = await call(vouch, issuer.mint(), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["code"]) == (503, 1501)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "WWW-Authenticate" not in answer.headers
    assert issuer.url not in await answer.text()
    assert (await vouch.call("GET", "/v4/credentials")).status == 200
    assert (await vouch.call("GET", "/readyz", key=None)).status == 200


async def test_once_reached_the_issuer_may_go_away(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 18: the old set serves."""
    assert (await call(vouch, issuer.mint(), "GET", "/v4/credentials")).status == 200
    issuer.on = False
    asked = issuer.requests["/jwks"]
    assert (await call(vouch, issuer.mint(sub="somebody new"), "GET", "/v4/credentials")).status == 200
    assert issuer.requests["/jwks"] == asked


@pytest.mark.parametrize("prefix", ["", "Bearer "])
async def test_the_header_for_api_keys_takes_no_token(vouch: Vouch, issuer: Issuer, prefix: str) -> None:
    answer = await vouch.call("GET", "/v4/credentials", key=f"{prefix}{issuer.mint()}")
    assert (answer.status, answer.json_body["code"]) == (401, 1100)
    assert "WWW-Authenticate" in answer.headers
    assert issuer.requests["/jwks"] == 0


async def test_a_token_beside_an_api_key_is_a_400(vouch: Vouch, issuer: Issuer) -> None:
    """Requirement 14."""
    both = {"Authorization": f"Bearer {issuer.mint()}"}
    answer = await vouch.call("GET", "/v4/credentials", headers=both)
    assert (answer.status, answer.json_body["code"]) == (400, 1002)


async def test_without_a_configured_issuer_a_token_is_nobodys(start: Start, config: Config, issuer: Issuer) -> None:
    vouch = await start(config)
    answer = await call(vouch, issuer.mint(), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["code"]) == (401, 1100)
    assert not issuer.requests
