"""One scheme in one request, and every way of getting it wrong."""

import base64
import re

import pytest

from service.auth.authenticator import CHALLENGES, Authenticator
from service.auth.passwords import Passwords
from service.auth.tokens import Tokens
from service.core import key_format
from service.core.access import Access
from service.core.errors import NotAllowed, NotAuthenticated, RateLimited, TwoSchemes
from service.core.model import Caller, PrincipalKind, Role
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore
from tests.auth.fakes import ADDRESS, PASSWORD, basic, bearer, headers
from tests.peers.issuer import Issuer

KEY = "X-TILEDB-REST-API-KEY"


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture
async def ada(access: Access, operator: Caller) -> None:
    await access.create_user(operator, name="ada", password=PASSWORD, role="verifier", workspace="ws_a")


@pytest.fixture
def with_tokens(store: SqliteStore, passwords: Passwords, tokens: Tokens, windows: Windows) -> Authenticator:
    return Authenticator(store, passwords, tokens, "", windows)


@pytest.mark.parametrize(
    "pairs",
    [
        [(KEY, "{key}"), ("Authorization", "Bearer {key}")],
        [(KEY, "{key}"), (KEY, "{key}")],
        [(KEY, "{key}"), (KEY.lower(), "{key}")],
        [("Authorization", "Bearer {key}"), ("Authorization", "Bearer {key}")],
        [("Authorization", "Bearer {key}"), ("authorization", "Basic YTpi")],
        [(KEY, "{key}"), ("Authorization", "")],
        [(KEY, ""), ("Authorization", "Bearer {key}")],
        [(KEY, "rubbish"), ("Authorization", "rubbish")],
    ],
)
async def test_two_schemes_in_one_request_are_refused_even_when_both_are_right(
    access: Access, operator: Caller, authenticator: Authenticator, pairs: list[tuple[str, str]]
) -> None:
    """Requirement 14."""
    _, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    with pytest.raises(TwoSchemes):
        await authenticator.authenticate(headers(*((name, value.format(key=text)) for name, value in pairs)), ADDRESS)


async def test_nothing_given_is_nobody(authenticator: Authenticator) -> None:
    """Requirement 20."""
    assert await authenticator.authenticate(headers(("Accept", "*/*")), ADDRESS) is None


async def test_an_anonymous_role_is_for_those_who_give_nothing_and_for_the_default_workspace(
    store: SqliteStore, passwords: Passwords, windows: Windows
) -> None:
    authenticator = Authenticator(store, passwords, None, "viewer", windows)
    who = await authenticator.authenticate(headers(), ADDRESS)
    assert who is not None
    assert (who.kind, who.workspace, who.role) == (PrincipalKind.ANONYMOUS, "ws_default", Role.VIEWER)
    for given in (bearer(key_format.make().text), basic("a", "b"), headers((KEY, ""))):
        with pytest.raises(NotAuthenticated):
            await authenticator.authenticate(given, ADDRESS)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic ",
        "Digest username=a",
        "Negotiate YTpi",
        "vouch_abc",
        "Bearer: x",
        "Bearer x y",
        "Bearer\tx",
        "Token x",
        "\udce9",
        "Bearer \udce9",
        "é é",
        "x" * 8000,
        "Bearer " + "x" * 100_000,
        "Bearer ..",
        "Bearer a.b.c",
        "Bearer vouch_",
        "Bearer vouch_é_é",
        "Bearer null",
    ],
)
async def test_an_authorization_that_is_none_is_refused_in_a_sentence(
    authenticator: Authenticator, with_tokens: Authenticator, value: str
) -> None:
    """Bad authentication of every form is a 401, never an error of ours."""
    for one in (authenticator, with_tokens):
        with pytest.raises(NotAuthenticated) as caught:
            await one.authenticate(headers(("Authorization", value)), ADDRESS)
        assert str(caught.value).endswith(".")
        assert len(value.strip()) < 12 or value not in str(caught.value)


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic "])
async def test_a_user_signs_in_with_name_and_password(ada: None, authenticator: Authenticator, scheme: str) -> None:
    value = f"{scheme} {encoded(f'ada:{PASSWORD}'.encode())}"
    who = await authenticator.authenticate(headers(("Authorization", value)), ADDRESS)
    assert who is not None
    assert (who.kind, who.id, who.workspace) == (PrincipalKind.USER, "ada", "ws_a")
    assert (who.role, who.teamspaces) == (Role.VERIFIER, None)


async def test_a_password_may_hold_colons_and_any_script(
    access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    await access.create_user(
        operator, name="Zo\u00eb", password="pa:ss:w\u00f6rd\u4e2d", role="viewer", workspace="ws_a"
    )
    who = await authenticator.authenticate(basic("Zoe\u0308", "pa:ss:wo\u0308rd\u4e2d"), ADDRESS)
    assert who is not None
    assert who.id == "Zo\u00eb"


@pytest.mark.parametrize(
    "value",
    [
        "!!!!",
        "YTpi=",
        "YTpi\n",
        "YTpi YTpi",
        "YTp",
        "YTpj=",
        "YTp=",
        "é",
        "\udce9\udce9",
        "=",
        encoded(b"no colon"),
        encoded(b"\xff\xfe:password"),
        encoded(b"ada:\xff\xff"),
        encoded(b"\xed\xa0\x80:lone surrogate"),
        encoded(b"ada\0:password"),
        encoded(b"ada:pass\nword"),
        base64.urlsafe_b64encode(b"\xc3\xbf\xc3\xbf:\xc3\xbf\xc3\xbe").decode(),
    ],
)
async def test_a_malformed_basic_header_is_refused_and_repeats_nothing(
    authenticator: Authenticator, value: str
) -> None:
    """Basic with bad base64, no colon, bad UTF-8 is a 401."""
    with pytest.raises(NotAuthenticated) as caught:
        await authenticator.authenticate(headers(("Authorization", f"Basic {value}")), ADDRESS)
    assert "user:password" in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["", "nobody", "x" * 256, "x" * 5000, "ADA", "ada ", "' OR 1=1 --"])
async def test_an_unknown_name_and_a_wrong_password_read_the_same(
    ada: None, authenticator: Authenticator, name: str
) -> None:
    """Requirement 16."""
    with pytest.raises(NotAuthenticated) as unknown:
        await authenticator.authenticate(basic(name, PASSWORD), ADDRESS)
    with pytest.raises(NotAuthenticated) as wrong:
        await authenticator.authenticate(basic("ada", "wrong"), ADDRESS)
    assert str(unknown.value) == str(wrong.value)


async def test_a_deleted_user_is_out_at_once_although_the_password_is_remembered(
    ada: None, access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    """Requirement 23."""
    assert await authenticator.authenticate(basic("ada", PASSWORD), ADDRESS) is not None
    await access.delete_user(operator, "ada")
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(basic("ada", PASSWORD), ADDRESS)
    await access.create_user(operator, name="ada", password="another-password", role="viewer", workspace="ws_b")
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(basic("ada", PASSWORD), ADDRESS)
    who = await authenticator.authenticate(basic("ada", "another-password"), ADDRESS)
    assert who is not None
    assert who.workspace == "ws_b"


async def test_a_bearer_is_a_key_or_a_token_by_how_it_begins(
    issuer: Issuer, access: Access, operator: Caller, with_tokens: Authenticator
) -> None:
    key, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    by_key = await with_tokens.authenticate(bearer(text), ADDRESS)
    by_token = await with_tokens.authenticate(bearer(issuer.mint(sub="ada")), ADDRESS)
    assert by_key is not None
    assert by_token is not None
    assert (by_key.kind, by_key.id) == (PrincipalKind.API_KEY, key.id)
    assert (by_token.kind, by_token.id) == (PrincipalKind.TOKEN, "ada")


async def test_a_token_is_refused_where_no_issuer_is_configured(issuer: Issuer, authenticator: Authenticator) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        await authenticator.authenticate(bearer(issuer.mint()), ADDRESS)
    assert "issuer" in str(caught.value)
    assert issuer.requests == {}


async def test_a_token_that_grants_nothing_is_known_but_not_allowed(issuer: Issuer, with_tokens: Authenticator) -> None:
    with pytest.raises(NotAllowed):
        await with_tokens.authenticate(bearer(issuer.mint(role="guest")), ADDRESS)


@pytest.mark.parametrize("padding", ["", " "])
async def test_a_bearer_without_a_scheme_is_taken_where_that_is_the_protocol(
    issuer: Issuer, access: Access, operator: Caller, with_tokens: Authenticator, padding: str
) -> None:
    """AWS' SDKs send the content of a token file as the whole header."""
    key, text = await access.create_api_key(operator, name="k", role="consumer", workspace="ws_default")
    by_key = await with_tokens.authenticate(headers(("Authorization", text + padding)), ADDRESS, bare=True)
    token = issuer.mint(sub="ada") + padding
    by_token = await with_tokens.authenticate(headers(("Authorization", token)), ADDRESS, bare=True)
    assert by_key is not None
    assert by_token is not None
    assert (by_key.kind, by_key.id, by_key.role) == (PrincipalKind.API_KEY, key.id, Role.CONSUMER)
    assert (by_token.kind, by_token.id) == (PrincipalKind.TOKEN, "ada")
    for value in (text, token):
        with pytest.raises(NotAuthenticated, match="scheme"):
            await with_tokens.authenticate(headers(("Authorization", value)), ADDRESS)


async def test_every_scheme_goes_on_where_a_bearer_may_be_bare(
    ada: None, issuer: Issuer, access: Access, operator: Caller, with_tokens: Authenticator
) -> None:
    _, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    for given in (bearer(text), headers((KEY, text)), basic("ada", PASSWORD), bearer(issuer.mint())):
        assert await with_tokens.authenticate(given, ADDRESS, bare=True) is not None
    assert await with_tokens.authenticate(headers(), ADDRESS, bare=True) is None
    with pytest.raises(TwoSchemes):
        await with_tokens.authenticate(headers((KEY, text), ("Authorization", text)), ADDRESS, bare=True)


@pytest.mark.parametrize("value", ["", " ", "Bearer", "Basic", "rubbish", "vouch_", "vouch_a_b", "a.b.c", "x" * 9000])
async def test_a_bare_value_that_is_no_bearer_is_refused_and_counted(
    authenticator: Authenticator, with_tokens: Authenticator, value: str
) -> None:
    """Requirement 17."""
    for one in (authenticator, with_tokens):
        with pytest.raises(NotAuthenticated) as caught:
            await one.authenticate(headers(("Authorization", value)), ADDRESS, bare=True)
        assert len(value.strip()) < 8 or value not in str(caught.value)


async def test_one_bearer_text_is_a_key_or_a_token(
    issuer: Issuer, access: Access, operator: Caller, with_tokens: Authenticator, authenticator: Authenticator
) -> None:
    key, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    for one in (authenticator, with_tokens):
        assert (await one.authenticate_token(text, ADDRESS)).id == key.id
    assert (await with_tokens.authenticate_token(issuer.mint(sub="ada"), ADDRESS)).id == "ada"
    with pytest.raises(NotAllowed):
        await with_tokens.authenticate_token(issuer.mint(role="guest"), ADDRESS)
    await access.revoke_api_key(operator, key.id)
    with pytest.raises(NotAuthenticated):
        await with_tokens.authenticate_token(text, ADDRESS)


@pytest.mark.parametrize("text", ["", " ", "Bearer x", "vouch_", "vouch_é_é", "a.b.c", "\udce9", "x" * 100_000, "a\nb"])
async def test_wrong_bearer_texts_are_refused_and_count_as_everywhere(
    store: SqliteStore, passwords: Passwords, tokens: Tokens, text: str
) -> None:
    """Requirement 17."""
    for known in (None, tokens):
        authenticator = Authenticator(store, passwords, known, None, Windows(2))
        for _ in range(2):
            with pytest.raises(NotAuthenticated) as caught:
                await authenticator.authenticate_token(text, ADDRESS)
            assert len(text.strip()) < 8 or text not in str(caught.value)
        for again in (
            authenticator.authenticate_token(text, ADDRESS),
            authenticator.authenticate(headers(("Authorization", "rubbish")), ADDRESS, bare=True),
        ):
            with pytest.raises(RateLimited):
                await again


def test_the_challenges_name_both_schemes_and_the_charset() -> None:
    """RFC 7617 section 2.1, RFC 6750 section 3."""
    assert re.findall(r"(\w+) realm=", CHALLENGES) == ["Bearer", "Basic"]
    assert CHALLENGES.endswith('charset="UTF-8"')
