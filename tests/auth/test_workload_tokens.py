"""Tokens of workloads: to whose keys each is held, and what its subject is bound to."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from service.auth.grants import BindingsGrant
from service.auth.issuer_keys import COOLDOWN_SECONDS, RETRY_SECONDS
from service.auth.settings import Binding, JwtSettings, OAuth2Settings
from service.auth.tokens import Tokens
from service.core.errors import NotAllowed, NotAuthenticated, Overloaded
from service.core.model import PrincipalKind, Role
from tests.auth.fakes import Clock
from tests.auth.test_hostile_tokens import HOSTILE
from tests.peers.issuer import ABSENT, AUDIENCE, Issuer, altered, confused, rsa_key, sign, unsigned
from verifiers.egress import Egress

LOADER = "system:serviceaccount:etl:loader"
BINDINGS = (
    Binding(LOADER, "ws_etl", "editor", ("red",)),
    Binding("system:serviceaccount:etl:*", "ws_etl", "consumer"),
    Binding("repo:org/*", "ws_ci", "verifier"),
    Binding("somebody*", "ws_default", "viewer"),
)


def trusting(issuer: Issuer, bindings: tuple[Binding, ...] = BINDINGS) -> JwtSettings:
    return JwtSettings(issuer.url, AUDIENCE, bindings=bindings)


@pytest.fixture
async def other() -> AsyncIterator[Issuer]:
    """A second issuer, with a key of its own under the same key id."""
    one = Issuer(key=3)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def workloads(issuer: Issuer, other: Issuer, egress: Egress, clock: Clock) -> AsyncIterator[Tokens]:
    """Two issuers of workloads' tokens."""
    one = Tokens(OAuth2Settings(), egress.operator, workloads=(trusting(issuer), trusting(other)), clock=clock)
    yield one
    await one.close()


@pytest.fixture
async def both(issuer: Issuer, other: Issuer, egress: Egress, clock: Clock) -> AsyncIterator[Tokens]:
    """People's tokens from one issuer, workloads' from another."""
    people = OAuth2Settings(issuer.url, AUDIENCE)
    one = Tokens(people, egress.operator, workloads=(trusting(other),), clock=clock)
    yield one
    await one.close()


async def test_a_workload_acts_as_its_subject_is_bound(issuer: Issuer, workloads: Tokens) -> None:
    who = await workloads.check(issuer.mint(sub=LOADER, aud=["https://other.example", AUDIENCE]))
    assert (who.kind, who.id, who.name) == (PrincipalKind.WORKLOAD, f"{issuer.url}#{LOADER}", LOADER)
    assert (who.workspace, who.role, who.teamspaces) == ("ws_etl", Role.EDITOR, frozenset({"red"}))


async def test_the_first_binding_that_matches_counts(issuer: Issuer, workloads: Tokens) -> None:
    who = await workloads.check(issuer.mint(sub="system:serviceaccount:etl:another"))
    assert (who.role, who.teamspaces) == (Role.CONSUMER, None)


async def test_a_binding_without_teamspaces_is_for_all_of_them(issuer: Issuer, workloads: Tokens) -> None:
    """As an API key without any; in a claim an empty list would be none."""
    who = await workloads.check(issuer.mint(sub="repo:org/name:ref:refs/heads/main", teamspaces=[]))
    assert (who.workspace, who.role, who.teamspaces) == ("ws_ci", Role.VERIFIER, None)


@pytest.mark.parametrize("role", Role)
async def test_each_role_can_be_bound(role: Role) -> None:
    grant = BindingsGrant(JwtSettings("https://i.example", AUDIENCE, bindings=(Binding("a", "ws_a", role.value),)))
    assert grant.principal({"sub": "a"}).role is role


async def test_the_claims_of_a_workload_grant_nothing(issuer: Issuer, workloads: Tokens) -> None:
    """Requirement 20: whoever mints the token does not say what it may do."""
    who = await workloads.check(issuer.mint(sub="somebody", workspace="ws_secret", role="admin", teamspaces=["t"]))
    assert (who.workspace, who.role, who.teamspaces) == ("ws_default", Role.VIEWER, None)


@pytest.mark.parametrize(
    "subject",
    [
        "system:serviceaccount:other:loader",
        "system:serviceaccount:etl",
        "SOMEBODY",
        "x" + LOADER,
        "",
        ABSENT,
        "a\nb",
        "somebody\0",
        "somebody\ud800",
        "somebody" + "x" * 510,
    ],
)
async def test_a_subject_that_no_binding_names_is_not_allowed_and_not_repeated(
    issuer: Issuer, workloads: Tokens, subject: Any
) -> None:
    """Requirement 20."""
    with pytest.raises(NotAllowed) as caught:
        await workloads.check(issuer.mint(sub=subject))
    assert not isinstance(subject, str) or not subject or subject not in str(caught.value)
    assert str(caught.value).endswith(".")


async def test_one_subject_of_two_issuers_is_two_principals(issuer: Issuer, other: Issuer, workloads: Tokens) -> None:
    here, there = [await workloads.check(one.mint(sub=LOADER)) for one in (issuer, other)]
    assert here.name == there.name
    assert here.id != there.id


async def test_people_and_workloads_come_from_different_issuers(issuer: Issuer, other: Issuer, both: Tokens) -> None:
    person, workload = await both.check(issuer.mint()), await both.check(other.mint())
    assert (person.kind, person.id, person.role) == (PrincipalKind.TOKEN, "somebody", Role.EDITOR)
    assert (workload.kind, workload.id, workload.role) == (
        PrincipalKind.WORKLOAD,
        f"{other.url}#somebody",
        Role.VIEWER,
    )


async def test_one_issuer_may_serve_people_and_workloads_by_audience(issuer: Issuer, egress: Egress) -> None:
    jobs = replace(trusting(issuer), audience="jobs")
    tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator, workloads=(jobs,))
    assert (await tokens.check(issuer.mint())).kind is PrincipalKind.TOKEN
    assert (await tokens.check(issuer.mint(aud="jobs"))).kind is PrincipalKind.WORKLOAD
    assert (await tokens.check(issuer.mint(aud=["jobs", "more"]))).kind is PrincipalKind.WORKLOAD
    with pytest.raises(NotAuthenticated, match="another audience"):
        await tokens.check(issuer.mint(aud="neither"))
    await tokens.close()


async def test_a_token_of_an_issuer_that_nobody_configured_reaches_no_issuer(
    issuer: Issuer, other: Issuer, workloads: Tokens
) -> None:
    """Requirement 18: whatever key it names."""
    for iss in ("https://other.example", "", None, 7, [issuer.url], {issuer.url: 1}, issuer.url + "/", ABSENT):
        with pytest.raises(NotAuthenticated, match="configured issuer"):
            await workloads.check(issuer.mint(iss=iss, headers={"kid": "invented"}))
    assert issuer.requests.total() == other.requests.total() == 0


async def test_an_issuer_cannot_sign_for_another(issuer: Issuer, other: Issuer, workloads: Tokens) -> None:
    """Requirement 18: keys are looked for among those of the issuer that the token names, and there alone."""
    other.add("others-own", rsa_key(4), "RS256")
    for key_id in ("rsa-1", "others-own"):
        forged = other.mint(key_id, iss=issuer.url, sub=LOADER)
        with pytest.raises(NotAuthenticated):
            await workloads.check(forged)
        assert (await workloads.check(other.mint(key_id, sub=LOADER))).id == f"{other.url}#{LOADER}"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_token_is_no_workload(issuer: Issuer, workloads: Tokens, name: str) -> None:
    """Requirement 18."""
    with pytest.raises(NotAuthenticated):
        await workloads.check(HOSTILE[name](issuer))


@pytest.mark.parametrize("name", ["none", "RS to HS", "another audience", "changed subject", "the other's key"])
async def test_a_hostile_token_of_a_bound_subject_is_none(
    issuer: Issuer, both: Tokens, other: Issuer, name: str
) -> None:
    """Requirement 18: the issuers beside it make no difference."""
    claims = other.claims(sub=LOADER)
    token = {
        "none": unsigned(claims),
        "RS to HS": confused(claims, rsa_key(3)),
        "another audience": other.mint(sub=LOADER, aud="https://other.example"),
        "changed subject": altered(other.mint(), sub=LOADER),
        "the other's key": sign(rsa_key(0), "RS256", claims, {"kid": "rsa-1"}),
    }[name]
    with pytest.raises(NotAuthenticated):
        await both.check(token)
    assert (await both.check(other.mint(sub=LOADER))).name == LOADER


async def test_an_issuer_that_is_down_concerns_its_own_tokens_alone(
    issuer: Issuer, other: Issuer, both: Tokens, clock: Clock
) -> None:
    """Requirement 18."""
    other.on = False
    for number in range(3):
        with pytest.raises(Overloaded):
            await both.check(other.mint(sub=LOADER))
        assert (await both.check(issuer.mint(sub=str(number)))).id == str(number)
    other.on = True
    clock.advance(RETRY_SECONDS)
    assert (await both.check(other.mint(sub=LOADER))).name == LOADER


async def test_unknown_key_ids_have_a_cooldown_for_each_issuer(
    issuer: Issuer, other: Issuer, workloads: Tokens, clock: Clock
) -> None:
    """Requirement 18: who makes one issuer's keys be fetched delays no rotation of the other's."""
    for one in (issuer, other):
        await workloads.check(one.mint(sub=LOADER))
    for number in range(20):
        with pytest.raises(NotAuthenticated):
            await workloads.check(issuer.mint(headers={"kid": f"invented {number}"}))
    assert (issuer.requests["/jwks"], other.requests["/jwks"]) == (2, 1)
    other.rotate("rsa-2", rsa_key(4))
    assert (await workloads.check(other.mint("rsa-2", sub=LOADER))).name == LOADER
    assert (issuer.requests["/jwks"], other.requests["/jwks"]) == (2, 2)
    clock.advance(COOLDOWN_SECONDS)
    with pytest.raises(NotAuthenticated):
        await workloads.check(issuer.mint(headers={"kid": "invented"}))
    assert (issuer.requests["/jwks"], other.requests["/jwks"]) == (3, 2)


async def test_what_is_under_way_at_every_issuer_stops_when_the_service_does(
    issuer: Issuer, other: Issuer, workloads: Tokens
) -> None:
    waiting = [asyncio.create_task(workloads.check(one.mint(sub=LOADER))) for one in (issuer, other)]
    await asyncio.sleep(0)
    await workloads.close()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, asyncio.CancelledError | Overloaded)
