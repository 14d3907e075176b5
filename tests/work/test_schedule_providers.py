"""The schedule with every kind of credential, and real signatures checked by moto, Azurite and Google's stand-in."""

import base64
import json

from service.core.model import Family
from tests.peers.azurite import Azurite
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto
from tests.work.house import House, payload, until
from verifiers.settings import AwsSettings, AzureSettings, GcpSettings, ProviderSettings


async def test_two_replicas_verify_every_kind_once(
    house: House, moto: Moto, azurite: Azurite, google: TokenEndpoint
) -> None:
    providers = ProviderSettings(
        aws=AwsSettings(sts_endpoint=moto.url),
        gcp=GcpSettings(token_uri=google.token_uri, storage_endpoint=moto.url),
        azure=AzureSettings(blob_endpoint=azurite.operator_endpoint),
    )
    allow = (moto.url.removeprefix("http://"), azurite.address)
    one, two = [await house.replica(providers=providers, allow=allow, deadline=10.0) for _ in range(2)]
    user, wrong = moto.user(), base64.b64encode(b"not the key").decode()
    file = google.make_key()
    account = {"account_name": azurite.account, "account_key": azurite.key}
    good = {
        "aws key": payload("AWS", "key", **user.payload),
        "minio key": payload("AWS", "key", **user.payload, endpoint=moto.url, use_path_style=True),
        "azure key": payload("AZURE", "key", **account),
        "azure key elsewhere": payload("AZURE", "key", **account, blob_endpoint=azurite.endpoint),
        "azure sas": payload("AZURE", "azure_token", account_name=azurite.account, sas_token=azurite.account_sas()),
        "gcp hmac": payload("GCP", "key", **user.payload),
        "gcp service account": payload("GCP", "token", key_text=json.dumps(file)),
    }
    bad = {
        "aws bad": payload("AWS", "key", **(user.payload | {"secret_access_key": "x" * 40})),
        "azure bad": payload("AZURE", "key", **(account | {"account_key": wrong})),
        "gcp gone": payload("GCP", "token", key_text=json.dumps(file | {"private_key_id": "0" * 40})),
    }
    for name, given in (good | bad).items():
        await one.add(name, given)
    await one.add_file("shared", json.dumps(file).encode())
    house.write("INSERT INTO watch SELECT seq, 'shared', created_at, NULL, 0 FROM credential WHERE family = 'shared'")
    async with one.at_work(), two.at_work():
        await until(lambda: (one.outcomes + two.outcomes).total() == 11 and house.settled(), 30)
    assert {name: await one.status(name) for name in good} == dict.fromkeys(good, "verified")
    assert {name: await two.status(name) for name in bad} == dict.fromkeys(bad, "failed")
    assert await one.history("shared", Family.SHARED) == [("schedule", "verified")]
    for name in good:
        assert await two.history(name) == [("schedule", "verified")]
    assert house.rows("SELECT * FROM lane_pause") == []
