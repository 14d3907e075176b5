"""API keys, from the header to the principal, on the real store."""

from datetime import UTC, datetime, timedelta

import pytest

from service.auth.api_keys import ApiKeys
from service.auth.authenticator import Authenticator
from service.core import key_format
from service.core.access import Access
from service.core.audit import Action, record
from service.core.errors import NotAuthenticated, StoreUnavailable
from service.core.model import ApiKey, Caller, PrincipalKind, Role, Scope, timestamp
from service.storage.sqlite import SqliteStore
from tests.auth.fakes import ADDRESS, bearer, headers


async def refusal(authenticator: Authenticator, text: str) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        await authenticator.authenticate(bearer(text), ADDRESS)
    return str(caught.value)


async def test_a_key_gives_its_workspace_role_and_teamspaces(
    access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    key, text = await access.create_api_key(operator, name="etl", role="editor", workspace="ws_a", teamspaces=["t"])
    who = await authenticator.authenticate(bearer(text), ADDRESS)
    assert who is not None
    assert (who.kind, who.id, who.name) == (PrincipalKind.API_KEY, key.id, "etl")
    assert (who.workspace, who.role, who.teamspaces) == ("ws_a", Role.EDITOR, frozenset({"t"}))


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}", "Bearer  {}"])
async def test_tiledbs_header_takes_the_key_with_and_without_the_prefix(
    access: Access, operator: Caller, authenticator: Authenticator, form: str
) -> None:
    key, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    who = await authenticator.authenticate(headers(("X-TILEDB-REST-API-KEY", form.format(text))), ADDRESS)
    assert who is not None
    assert who.id == key.id


async def test_unknown_wrong_revoked_and_expired_keys_read_the_same(
    access: Access, operator: Caller, store: SqliteStore, authenticator: Authenticator
) -> None:
    """Requirements 15 and 23: the answer does not tell which keys there were."""
    revoked, revoked_text = await access.create_api_key(operator, name="r", role="viewer", workspace="ws_default")
    await access.revoke_api_key(operator, revoked.id)
    made = key_format.make()
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = ApiKey(made.id, "e", made.secret_hash, "ws_default", Role.VIEWER, None, timestamp(past), past, None)
    await store.create_api_key(expired, record(operator, Scope("ws_default"), Action.KEY_CREATE, made.id))
    other = key_format.make()
    texts = {
        "unknown": other.text,
        "revoked": revoked_text,
        "expired": made.text,
        "wrong secret": f"vouch_{revoked.id}_" + "a" * 38,
        "mistyped": revoked_text[:-1] + ("a" if revoked_text[-1] != "a" else "b"),
    }
    sentences = {name: await refusal(authenticator, text) for name, text in texts.items()}
    assert len(set(sentences.values())) == 1, sentences


async def test_the_id_of_a_live_key_with_another_secret_is_nobody(
    access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    """Requirement 15."""
    key, text = await access.create_api_key(operator, name="k", role="admin", workspace="ws_default")
    _, other = await access.create_api_key(operator, name="k", role="admin", workspace="ws_default")
    for secret in ("a" * 40, other.rpartition("_")[2], key.secret_hash.hex()):
        await refusal(authenticator, f"vouch_{key.id}_{secret}")
    assert await authenticator.authenticate(bearer(text), ADDRESS) is not None


async def test_a_key_expires_at_its_moment_and_not_before(access: Access, operator: Caller, store: SqliteStore) -> None:
    key, text = await access.create_api_key(
        operator, name="k", role="viewer", workspace="ws_default", expires_in=timedelta(days=1)
    )
    given = key_format.parse(text)
    assert given is not None
    assert key.expires_at is not None
    end = key.expires_at
    assert await ApiKeys(store, now=lambda: end - timedelta(microseconds=1)).check(given) is not None
    assert await ApiKeys(store, now=lambda: end).check(given) is None


async def test_a_revocation_holds_for_the_very_next_request(
    access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    """Requirement 23."""
    key, text = await access.create_api_key(operator, name="k", role="admin", workspace="ws_default")
    for _ in range(3):
        assert await authenticator.authenticate(bearer(text), ADDRESS) is not None
    await access.revoke_api_key(operator, key.id)
    await refusal(authenticator, text)


@pytest.mark.parametrize("accent", ["é", "\udce9", "\u0661", "\uff11"])
@pytest.mark.parametrize("header", ["X-TILEDB-REST-API-KEY", "Authorization"])
async def test_a_key_with_a_letter_that_is_not_ascii_is_refused_and_not_an_error(
    authenticator: Authenticator, accent: str, header: str
) -> None:
    """Requirement 15: compared on bytes."""
    text = key_format.make().text
    value = f"{text[:30]}{accent}{text[31:]}"
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(
            headers((header, value if header != "Authorization" else f"Bearer {value}")), ADDRESS
        )


@pytest.mark.parametrize("value", ["", " ", "Bearer", "Bearer ", "hunter2", "vouch_", "eyJhbGciOiJub25lIn0.e30."])
async def test_tiledbs_header_takes_nothing_but_an_api_key(authenticator: Authenticator, value: str) -> None:
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(headers(("X-TILEDB-REST-API-KEY", value)), ADDRESS)


async def test_while_the_store_is_away_nobody_is_called_unknown(
    access: Access, operator: Caller, store: SqliteStore, authenticator: Authenticator
) -> None:
    _, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    await store.close()
    with pytest.raises(StoreUnavailable):
        await authenticator.authenticate(bearer(text), ADDRESS)
