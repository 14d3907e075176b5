"""Bindings of workloads: which subjects an operator may bind, and how long a subject may be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.auth.grants import BindingsGrant, ClaimsGrant
from service.auth.jwt_rules import jwt_rules
from service.auth.settings import Binding, JwtSettings, OAuth2Settings
from service.config import load_config
from service.core.errors import NotAllowed, RefusesToStart
from service.core.model import Role
from tests.peers.issuer import AUDIENCE

ISSUER = "https://one.example"
EVERYBODYS = ["*", "**", "*:*", ":*", "*:", ":", "::*", "*/*", "*-*", "*:*:*:*", " ", "* *", "_*", "*.*", "**:**"]
SOMEBODYS = ["a", "a*", "*a", "*:1", "1", "é*", "system:serviceaccount:*", "repo:org/*:ref:refs/heads/main", "*:prod"]
LONGEST_OF_KUBERNETES = f"system:serviceaccount:{'n' * 63}:{'s' * 253}"
"""A namespace has up to 63 characters, a service account up to 253.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""


def settings(subject: str) -> JwtSettings:
    bindings = (Binding("known", "ws_default", "viewer"), Binding(subject, "ws_default", "consumer"))
    return JwtSettings(ISSUER, AUDIENCE, bindings=bindings)


def refusals(subject: str) -> list[str]:
    return [sentence for holds, sentence in jwt_rules([settings(subject)], OAuth2Settings()) if not holds]


@pytest.mark.parametrize("subject", EVERYBODYS)
def test_a_pattern_without_a_letter_or_digit_is_everybody_and_refused(subject: str) -> None:
    """Requirement 20: a public CI signs for everybody who asks."""
    (sentence,) = refusals(subject)
    assert sentence.startswith("auth.jwt[0].bindings[1].subject ")


@pytest.mark.parametrize("subject", SOMEBODYS)
def test_a_pattern_that_says_something_is_taken(subject: str) -> None:
    assert refusals(subject) == []


@pytest.mark.parametrize("subject", ["*:*", ":*"])
def test_the_service_does_not_start_with_a_pattern_of_everybody(tmp_path: Path, subject: str) -> None:
    """Requirement 20."""
    file = tmp_path / "vouch.toml"
    binding = f'{{ subject = "{subject}", workspace = "ws_default", role = "consumer" }}'
    file.write_text(f'[[auth.jwt]]\nissuer = "{ISSUER}"\naudience = "vouch"\nbindings = [{binding}]\n')
    with pytest.raises(RefusesToStart, match=r"auth\.jwt\[0\]\.bindings\[0\]\.subject"):
        load_config(file, {})


def test_the_longest_service_account_of_kubernetes_can_be_bound_and_served() -> None:
    subject = LONGEST_OF_KUBERNETES
    assert len(subject) == 339
    assert refusals(subject) == []
    who = BindingsGrant(settings(subject)).principal({"sub": subject})
    assert (who.name, who.id, who.role) == (subject, f"{ISSUER}#{subject}", Role.CONSUMER)
    assert BindingsGrant(settings("system:serviceaccount:*")).principal({"sub": subject}).name == subject


@pytest.mark.parametrize("length", [1, 255, 256, 339, 512])
def test_a_subject_of_up_to_512_characters_is_taken(length: int) -> None:
    subject = "s" * length
    assert refusals(subject) == []
    assert BindingsGrant(settings("s*")).principal({"sub": subject}).name == subject
    assert BindingsGrant(settings(subject)).principal({"sub": subject}).name == subject


@pytest.mark.parametrize("subject", ["", "s" * 513, "s" * 100_000, "s\n", "s\0", "s\ud800", None, 7, ["s"]])
def test_a_subject_that_is_none_grants_nothing_and_is_not_repeated(subject: Any) -> None:
    """Requirement 20."""
    for grant in (BindingsGrant(settings("s*")), ClaimsGrant(OAuth2Settings(ISSUER, AUDIENCE))):
        with pytest.raises(NotAllowed) as caught:
            grant.principal(claims(sub=subject))
        assert not isinstance(subject, str) or not subject or subject not in str(caught.value)


@pytest.mark.parametrize("subject", ["s" * 513, "s\n", ""])
def test_a_binding_of_a_subject_that_no_token_can_have_is_refused(subject: str) -> None:
    assert len(refusals(subject)) == 1


def test_people_may_have_long_subjects_too() -> None:
    """OpenID Connect allows 255 characters; others write more."""
    who = ClaimsGrant(OAuth2Settings(ISSUER, AUDIENCE)).principal(claims(sub="p" * 512))
    assert who.name == "p" * 512


def claims(**changes: Any) -> Mapping[str, Any]:
    return {"sub": "s", "workspace": "ws_default", "role": "viewer"} | changes
