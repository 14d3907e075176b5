"""Leases of a registered SAS: it is handed on, and who has not verified it does not know what it is for.

A service SAS carries no container's name (Microsoft's "Create a service SAS"): that it is for the one that the
credential's endpoint names is what verifying it proves.
"""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Config
from tests.api.aws_leases import listed, store
from tests.conftest import Start, Vouch
from tests.peers.azurite import Azurite
from verifiers.settings import AzureSettings, EgressSettings, ProviderSettings

CONTAINER = "leased"
SCOPED = {"ttl_seconds": 3600, "scope": {"bucket": CONTAINER}}
WHOLE = {"ttl_seconds": 3600}


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> str:
    azurite.create_container(CONTAINER)
    return f"{azurite.endpoint}/{CONTAINER}"


@pytest.fixture
async def vouch(start: Start, config: Config, azurite: Azurite) -> Vouch:
    """A vouch that reaches Azurite."""
    azure = ProviderSettings(azure=AzureSettings(blob_endpoint=azurite.operator_endpoint))
    return await start(replace(config, providers=azure, egress=EgressSettings(allow=(azurite.address,))))


@pytest.fixture
async def sas(vouch: Vouch, azurite: Azurite, container: str) -> str:
    """A SAS of that container, registered with the container in its endpoint; its id."""
    return await store(vouch, body(azurite, container))


def body(azurite: Azurite, container: str, token: str = "") -> dict[str, Any]:
    sas_token = token or azurite.service_sas(CONTAINER, se=datetime.now(UTC) + timedelta(minutes=20))
    payload = {"account_name": azurite.account, "sas_token": sas_token, "blob_endpoint": container}
    return {"name": "sas", "provider": "AZURE", "token": {"azure": payload}}


async def lease(vouch: Vouch, id_: str, wanted: Any = SCOPED) -> dict[str, Any]:
    answer = await vouch.call("POST", f"/v1/credentials/{id_}/lease", wanted)
    assert answer.status == 200, answer.json_body
    found: dict[str, Any] = answer.json_body
    return found


def advises_to_verify(one: dict[str, Any]) -> bool:
    return any("verify" in note for note in one["notes"])


async def verify(vouch: Vouch, id_: str) -> str:
    told = await vouch.call("POST", f"/v1/credentials/{id_}/verify")
    assert told.status == 200
    outcome: str = told.json_body["outcome"]
    return outcome


async def test_a_sas_that_nobody_has_verified_is_handed_on_and_not_called_narrow(vouch: Vouch, sas: str) -> None:
    one = await lease(vouch, sas)
    assert one["narrowed"] is False
    assert advises_to_verify(one)
    assert one["material"]["sas_token"]
    assert len(await listed(vouch)) == 1


async def test_once_it_is_verified_it_is_narrow(vouch: Vouch, sas: str) -> None:
    assert await verify(vouch, sas) == "verified"
    one = await lease(vouch, sas)
    assert one["narrowed"] is True
    assert not advises_to_verify(one)
    assert one["material"]["container"] == CONTAINER


async def test_a_verdict_that_is_unknown_is_none(vouch: Vouch, sas: str) -> None:
    """A verified SAS stays so while nobody can tell."""
    with closing(sqlite3.connect(vouch.config.database)) as db, db:
        db.execute("UPDATE credential SET status = NULL, attempt = '{}'")
    assert (await lease(vouch, sas))["narrowed"] is False


async def test_another_sas_in_its_place_has_to_be_verified_again(
    vouch: Vouch, sas: str, azurite: Azurite, container: str
) -> None:
    assert await verify(vouch, sas) == "verified"
    other = body(azurite, container, azurite.service_sas(CONTAINER, se=datetime.now(UTC) + timedelta(minutes=10)))
    assert (await vouch.call("PATCH", "/v4/credentials/sas", {"token": other["token"]})).status == 204
    one = await lease(vouch, sas)
    assert one["narrowed"] is False
    assert advises_to_verify(one)


async def test_a_sas_of_another_container_is_found_out_by_verifying_it(
    vouch: Vouch, azurite: Azurite, container: str
) -> None:
    """Registered for one container, and signed for another: nothing in its text says so."""
    await asyncio.to_thread(azurite.create_container, "another")
    stray = azurite.service_sas("another", se=datetime.now(UTC) + timedelta(minutes=20))
    id_ = await store(vouch, body(azurite, container, stray))
    one = await lease(vouch, id_)
    assert (one["narrowed"], advises_to_verify(one)) == (False, True)
    assert await verify(vouch, id_) == "failed"
    refused = await vouch.call("POST", f"/v1/credentials/{id_}/lease", SCOPED)
    assert (refused.status, refused.json_body["code"]) == (409, 1203)
    forced = await lease(vouch, id_, SCOPED | {"force": True})
    assert (forced["narrowed"], advises_to_verify(forced)) == (False, True)


async def test_without_a_scope_nothing_is_said_of_verifying(vouch: Vouch, sas: str) -> None:
    """Nobody asked what it is for."""
    one = await lease(vouch, sas, WHOLE)
    assert one["narrowed"] is False
    assert not advises_to_verify(one)


async def test_a_sas_made_of_a_key_is_narrow_at_once(vouch: Vouch, azurite: Azurite, container: str) -> None:
    """vouch signs it itself: there is nothing to be found out."""
    assert container
    payload = {"account_name": azurite.account, "account_key": azurite.key}
    id_ = await store(vouch, {"name": "key", "provider": "AZURE", "credential": {"azure": payload}})
    one = await lease(vouch, id_)
    assert one["narrowed"] is True
    assert not advises_to_verify(one)
