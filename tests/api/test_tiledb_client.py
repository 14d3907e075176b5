"""TileDB's generated client against a running vouch: its model classes refuse an answer they can't use."""

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from service import bootstrap
from service.auth.passwords import hash_password
from service.core.access import Access
from tests.api.payloads import KINDS
from tests.conftest import Vouch
from tests.peers import tiledb

api_v4 = tiledb.load()
SLOTS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any]]] = {
    "aws key": ("credential", api_v4.Credential, api_v4.AWSCredential),
    "aws role": ("role", api_v4.AccessCredentialRole, api_v4.AWSRole),
    "azure key": ("credential", api_v4.Credential, api_v4.AzureCredential),
    "azure sas": ("token", api_v4.Token, api_v4.AzureToken),
    "gcp hmac": ("credential", api_v4.Credential, api_v4.GCPInteroperabilityCredential),
    "gcp service account": ("token", api_v4.Token, api_v4.GCPServiceAccountKey),
}


def client(vouch: Vouch, **authentication: Any) -> tiledb.CredentialsApi:
    configuration = api_v4.Configuration(host=f"{vouch.url}/v4", **authentication)
    return tiledb.CredentialsApi(api_v4.ApiClient(configuration))


def with_key(vouch: Vouch) -> tiledb.CredentialsApi:
    return client(vouch, api_key={"X-TILEDB-REST-API-KEY": vouch.admin_key})


def request(kind: str, model: Callable[..., Any], name: str) -> Any:
    provider, _type, slot, sub, payload, _secret = KINDS[kind]
    _slot, slot_model, payload_model = SLOTS[kind]
    given = dict(payload)
    if kind == "gcp service account":
        given |= {"account_id": "whatever", "key_id": "whatever"}  # the model class demands them
    return model(name=name, provider=provider, **{slot: slot_model(**{sub: payload_model(**given)})})


@pytest.mark.parametrize("kind", KINDS)
async def test_the_generated_client_does_all_it_can_with_every_kind(vouch: Vouch, kind: str) -> None:
    def work() -> None:
        api = with_key(vouch)
        slot, _slot_model, _payload_model = SLOTS[kind]
        sub = KINDS[kind][3]
        assert api.create_credential(request(kind, api_v4.CredentialCreateRequest, "one")) is None
        got = api.get_credential_by_name("one").data
        assert (got.name, got.provider, got.credential_type) == ("one", KINDS[kind][0], "workspace")
        assert got.created_at.utcoffset() == timedelta(0)
        shown = getattr(getattr(got, slot), sub).to_dict()
        if secret := KINDS[kind][5]:
            assert shown[secret] == ""
        listed = api.get_credentials(provider=KINDS[kind][0], type=KINDS[kind][1], page=1, per_page=10)
        assert [one.id for one in listed.data] == [got.id]
        assert listed.pagination_metadata.to_dict() == {"page": 1, "per_page": 10, "total_pages": 1, "total_items": 1}
        # What was read, sent back: the client of a form that shows no secret.
        update = api_v4.CredentialUpdateRequest(name="two", allowed_in_tasks=True, **{slot: getattr(got, slot)})
        assert api.patch_credential_by_name("one", update) is None
        assert api.get_credential_by_name("two").data.allowed_in_tasks is True
        assert api.delete_credential_by_name("two") is None
        assert api.get_credentials().data == []

    await asyncio.to_thread(work)


async def test_the_generated_client_reads_our_errors(vouch: Vouch) -> None:
    def work() -> Any:
        with pytest.raises(api_v4.ApiException) as caught:
            with_key(vouch).get_credential_by_name("none")
        return caught.value

    error = await asyncio.to_thread(work)
    assert error.status == 404
    parsed = api_v4.Error(**(await _json(error.body)))
    assert parsed.request_id == error.headers["X-Request-ID"]


async def _json(text: str) -> dict[str, Any]:
    import json

    body: dict[str, Any] = json.loads(text)
    return body


async def test_every_way_of_authenticating_that_the_client_knows_works(vouch: Vouch) -> None:
    store = await bootstrap.open_store(vouch.config)
    try:
        await Access(store, hash_password).create_user(
            bootstrap.operator(), name="ada", password="correct horse", role="viewer", workspace="ws_default"
        )
    finally:
        await store.close()
    header = "X-TILEDB-REST-API-KEY"

    def work() -> list[Any]:
        prefixed = client(vouch, api_key={header: vouch.admin_key}, api_key_prefix={header: "Bearer"})
        basic = client(vouch, username="ada", password="correct horse")
        bearer = client(vouch)
        bearer._client.configuration.access_token = vouch.admin_key
        return [api.get_credentials().data for api in (prefixed, basic, bearer)]

    assert await asyncio.to_thread(work) == [[], [], []]
    wrong = base64.b64encode(b"ada:wrong").decode()
    refused = await vouch.call("GET", "/v4/credentials", key=None, headers={"Authorization": f"Basic {wrong}"})
    assert refused.status == 401
