"""Requirement 30: a canary secret that goes through every scheme and fault is in no log, no error and no repr."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from service.auth.authenticator import Authenticator
from service.auth.passwords import Passwords
from service.auth.settings import OAuth2Settings
from service.auth.tokens import Tokens
from service.core import key_format
from service.core.access import Access
from service.core.errors import VouchError
from service.core.model import Caller
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore
from tests.auth.fakes import ADDRESS, basic, bearer, headers
from tests.peers.issuer import AUDIENCE, Issuer, rsa_key, sign
from verifiers.egress import Egress
from verifiers.settings import EgressSettings

CANARY = "Canary" + "7" * 33


def shown(error: BaseException) -> str:
    """Everything that a careless handler could print of an exception, chained ones too."""
    parts = ["".join(traceback.format_exception(error))]
    while error is not None:
        parts += [repr(error), str(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "".join(parts)


GIVEN: dict[str, Callable[[Issuer], Any]] = {
    "unknown key": lambda i: bearer(f"vouch_abc_{CANARY}"),
    "key with an accent": lambda i: bearer(f"vouch_abc_{CANARY}é"),
    "key in TileDB's header": lambda i: headers(("X-TILEDB-REST-API-KEY", CANARY)),
    "key twice": lambda i: headers(("Authorization", CANARY), ("X-TILEDB-REST-API-KEY", CANARY)),
    "unknown scheme": lambda i: headers(("Authorization", f"Digest {CANARY}")),
    "no scheme": lambda i: headers(("Authorization", CANARY)),
    "wrong password": lambda i: basic("ada", CANARY),
    "password as the name": lambda i: basic(CANARY, "x"),
    "malformed Basic": lambda i: headers(("Authorization", f"Basic {CANARY}\xff")),
    "no token": lambda i: bearer(CANARY),
    "token with strange claims": lambda i: bearer(i.mint(workspace=CANARY)),
    "token with a strange role": lambda i: bearer(i.mint(role=CANARY)),
    "token with a strange time": lambda i: bearer(i.mint(exp=CANARY)),
    "token of a stranger": lambda i: bearer(sign(rsa_key(1), "RS256", i.claims(), {"kid": CANARY})),
    "token of an unlisted algorithm": lambda i: bearer(i.mint(headers={"alg": CANARY})),
}


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("name", GIVEN)
async def test_a_refused_secret_is_repeated_nowhere(
    issuer: Issuer,
    store: SqliteStore,
    access: Access,
    operator: Caller,
    passwords: Passwords,
    caplog: pytest.LogCaptureFixture,
    name: str,
    bare: bool,
) -> None:
    """Requirement 30."""
    await access.create_user(operator, name="ada", password="another-password", role="viewer", workspace="ws_a")
    async with Egress(EgressSettings()) as egress:
        tokens = Tokens(OAuth2Settings(issuer.url, AUDIENCE), egress.operator)
        authenticator = Authenticator(store, passwords, tokens, None, Windows(3))
        # The test's own peer aside: a server on this loop logs too.
        with caplog.at_level(logging.DEBUG):
            for _ in range(5):
                given = GIVEN[name](issuer)
                with pytest.raises(VouchError) as caught:
                    await authenticator.authenticate(given, ADDRESS, bare=bare)
                text = shown(caught.value)
                assert CANARY not in text
                token = given.get("Authorization", "").rpartition(" ")[2]
                assert len(token) < 20 or token not in text
            await authenticator.close()
    assert CANARY not in caplog.text


async def test_a_right_secret_is_repeated_nowhere(
    store: SqliteStore,
    access: Access,
    operator: Caller,
    authenticator: Authenticator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requirement 30: nor is its hash."""
    with caplog.at_level(logging.DEBUG):
        key, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_a")
        user = await access.create_user(operator, name="ada", password=CANARY, role="viewer", workspace="ws_a")
        by_key = await authenticator.authenticate(bearer(text), ADDRESS)
        by_password = await authenticator.authenticate(basic("ada", CANARY), ADDRESS)
        await access.revoke_api_key(operator, key.id)
    secret = text.rpartition("_")[2]
    everything = caplog.text + repr(by_key) + repr(by_password) + repr(key_format.parse(text))
    for hidden in (secret, CANARY, user.password_hash):
        assert hidden not in everything
