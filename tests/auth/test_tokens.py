"""OAuth2 tokens against a real issuer on loopback: what passes, and everything hostile that must not."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.auth.grants import MOST_TEAMSPACES
from service.auth.settings import OAuth2Settings
from service.auth.tokens import MOST_REMEMBERED, Tokens
from service.core.errors import NotAllowed, NotAuthenticated
from service.core.model import PrincipalKind, Role
from tests.auth.fakes import Clock
from tests.peers.issuer import (
    ABSENT,
    AUDIENCE,
    Issuer,
    ec_key,
    ed_key,
    rsa_key,
)
from verifiers.egress import Egress


async def test_a_good_token_speaks_for_its_subject(issuer: Issuer, tokens: Tokens) -> None:
    who = await tokens.check(issuer.mint(sub="ada", workspace="ws_a", role="verifier"))
    assert (who.kind, who.id, who.workspace) == (PrincipalKind.TOKEN, "ada", "ws_a")
    assert (who.role, who.teamspaces) == (Role.VERIFIER, None)


async def test_each_role_can_be_claimed(issuer: Issuer, tokens: Tokens) -> None:
    for role in Role:
        assert (await tokens.check(issuer.mint(role=role.value))).role is role


async def test_the_keys_are_found_by_discovery_and_fetched_once(issuer: Issuer, tokens: Tokens) -> None:
    for number in range(5):
        await tokens.check(issuer.mint(sub=str(number)))
    assert issuer.requests == {"/.well-known/openid-configuration": 1, "/jwks": 1}


async def test_a_configured_key_set_needs_no_discovery(issuer: Issuer, egress: Egress) -> None:
    settings = OAuth2Settings(issuer=issuer.url, audience=AUDIENCE, jwks_url=issuer.jwks_url)
    tokens = Tokens(settings, egress.operator)
    await tokens.check(issuer.mint())
    assert issuer.requests == {"/jwks": 1}
    await tokens.close()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [(f"{family}{bits}", rsa_key) for family in ("RS", "PS") for bits in (256, 384, 512)]
    + [("ES256", ec_key), ("ES384", lambda: ec_key(ec.SECP384R1())), ("EdDSA", ed_key)],
)
async def test_each_listed_algorithm_is_taken(
    issuer: Issuer, tokens: Tokens, algorithm: str, key: Callable[[], Any]
) -> None:
    """Requirement 18."""
    issuer.add("listed", key(), algorithm)
    assert (await tokens.check(issuer.mint("listed"))).id == "somebody"


async def test_the_audience_may_be_one_of_several(issuer: Issuer, tokens: Tokens) -> None:
    assert (await tokens.check(issuer.mint(aud=["other", AUDIENCE]))).id == "somebody"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_clock_that_is_a_minute_ahead_is_forgiven(issuer: Issuer, tokens: Tokens, claim: str) -> None:
    """Requirement 18."""
    now = int(time.time())
    assert (await tokens.check(issuer.mint(**{claim: now + 55}))).id == "somebody"
    with pytest.raises(NotAuthenticated):
        await tokens.check(issuer.mint(**{claim: now + 70}))


async def test_times_may_have_fractions(issuer: Issuer, tokens: Tokens) -> None:
    """RFC 7519 section 2, NumericDate."""
    assert (await tokens.check(issuer.mint(exp=time.time() + 10.5, iat=time.time() - 0.5))).id == "somebody"


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at+jwt", "application/at+jwt"])
async def test_the_types_of_access_tokens_are_taken(issuer: Issuer, tokens: Tokens, kind: str | None) -> None:
    assert (await tokens.check(issuer.mint(headers={"typ": kind}))).id == "somebody"


@pytest.mark.parametrize(
    "changes",
    [
        {"workspace": ABSENT},
        {"workspace": None},
        {"workspace": ""},
        {"workspace": "default"},
        {"workspace": "ws_A"},
        {"workspace": ["ws_default"]},
        {"workspace": 1},
        {"role": ABSENT},
        {"role": None},
        {"role": "owner"},
        {"role": "task"},
        {"role": "ADMIN"},
        {"role": ["admin"]},
        {"role": True},
        {"teamspaces": None},
        {"teamspaces": "t"},
        {"teamspaces": {"t": 1}},
        {"teamspaces": ["t", 1]},
        {"teamspaces": [""]},
        {"teamspaces": ["a\0"]},
        {"teamspaces": ["x" * 256]},
        {"teamspaces": ["t"] * (MOST_TEAMSPACES + 1)},
        {"sub": ABSENT},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "a\ud800"},
        {"sub": "x" * 513},
    ],
)
async def test_a_valid_token_that_grants_nothing_here_is_not_allowed(
    issuer: Issuer, tokens: Tokens, changes: dict[str, Any]
) -> None:
    """Requirement 20: what is not a grant is no grant."""
    with pytest.raises(NotAllowed):
        await tokens.check(issuer.mint(**changes))


@pytest.mark.parametrize(
    ("claim", "granted"), [(["a", "b"], frozenset({"a", "b"})), ([], frozenset()), (["a", "a"], frozenset("a"))]
)
async def test_a_list_of_teamspaces_limits_to_them_and_an_empty_one_to_none(
    issuer: Issuer, tokens: Tokens, claim: list[str], granted: frozenset[str]
) -> None:
    assert (await tokens.check(issuer.mint(teamspaces=claim))).teamspaces == granted


async def test_the_names_of_the_claims_are_the_operators(issuer: Issuer, egress: Egress) -> None:
    settings = OAuth2Settings(issuer.url, AUDIENCE, "", "https://vouch.example/ws", "vouch_role", "vouch_teams")
    tokens = Tokens(settings, egress.operator)
    own = {"https://vouch.example/ws": "ws_own", "vouch_role": "viewer", "vouch_teams": ["t"]}
    who = await tokens.check(issuer.mint(**own, workspace="ws_other", role="admin"))
    assert (who.workspace, who.role, who.teamspaces) == ("ws_own", Role.VIEWER, frozenset("t"))
    with pytest.raises(NotAllowed):
        await tokens.check(issuer.mint(workspace="ws_other", role="admin"))
    await tokens.close()


async def test_a_token_that_was_checked_is_remembered_until_it_expires_and_no_longer(
    issuer: Issuer, egress: Egress
) -> None:
    now = Clock(time.time())
    tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator, now=now)
    token = issuer.mint(exp=int(now.at) + 30)
    assert await tokens.check(token) is await tokens.check(token)
    now.advance(31)
    with pytest.raises(NotAuthenticated):
        await tokens.check(token)
    await tokens.close()


async def test_a_token_of_a_withdrawn_key_is_remembered_for_a_minute_at_most(issuer: Issuer, egress: Egress) -> None:
    now, clock = Clock(time.time()), Clock()
    tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator, now=now, clock=clock)
    token = issuer.mint(exp=int(now.at) + 3600)
    await tokens.check(token)
    issuer.rotate("rsa-2", rsa_key(1))
    await tokens.check(issuer.mint("rsa-2"))
    now.advance(61)
    clock.advance(61)
    with pytest.raises(NotAuthenticated):
        await tokens.check(token)
    await tokens.close()


async def test_what_is_remembered_is_bounded_and_holds_no_token(issuer: Issuer, egress: Egress) -> None:
    """Requirement 30."""
    issuer.add("ed", ed_key(), "EdDSA")
    tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator)
    for number in range(MOST_REMEMBERED + 5):
        await tokens.check(issuer.mint("ed", sub=str(number)))
    assert len(tokens._remembered) == MOST_REMEMBERED
    assert all(len(key) == 32 for key in tokens._remembered)
    await tokens.close()
