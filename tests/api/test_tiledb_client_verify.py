"""`verify_credential` of TileDB's generated client, for every kind, each against its real peer."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from service.config import Config
from tests.api.payloads import KINDS, key_file
from tests.conftest import Start, Vouch
from tests.peers import tiledb
from tests.peers.azurite import Azurite
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, Pair, allow
from verifiers import aws_role
from verifiers.settings import AwsSettings, AzureSettings, GcpSettings, ProviderSettings

api_v4 = tiledb.load()


@dataclass(frozen=True)
class Case:
    """A kind as the client has it: its payload's model, and a payload that works and one that does not."""

    slot: Callable[..., Any]
    model: Callable[..., Any]
    good: dict[str, Any]
    bad: dict[str, Any]
    reason: str = "bad_secret"


@pytest.fixture
def own_identity(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The service's own user, in the environment; the process keeps its keys for a while."""
    service = moto.user(allow("sts:*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", service.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", service.secret_access_key)
    aws_role.IDENTITY.forget()
    yield service
    aws_role.IDENTITY.forget()


@pytest.fixture
def cases(moto: Moto, azurite: Azurite, google: TokenEndpoint, own_identity: Pair) -> Callable[[str], Case]:
    """The case of each kind; moto's, Azurite's and the token endpoint's own credentials are the good ones."""

    def make(kind: str) -> Case:
        return {
            "aws key": lambda: pair(api_v4.AWSCredential),
            "aws role": role,
            "azure key": azure_key,
            "azure sas": azure_sas,
            "gcp hmac": lambda: pair(api_v4.GCPInteroperabilityCredential),
            "gcp service account": service_account,
        }[kind]()

    def pair(model: Callable[..., Any]) -> Case:
        good = moto.user(allow("s3:*")).payload
        return Case(api_v4.Credential, model, good, good | {"secret_access_key": "x" * 40})

    def role() -> Case:
        good = {"role_arn": moto.role(own_identity, "tenant:42"), "external_id": "tenant:42"}
        return Case(
            api_v4.AccessCredentialRole, api_v4.AWSRole, good, good | {"external_id": "tenant:43"}, reason="denied"
        )

    def azure_key() -> Case:
        good = {"account_name": azurite.account, "account_key": azurite.key}
        return Case(api_v4.Credential, api_v4.AzureCredential, good, good | {"account_key": "YWFh" * 22})

    def azure_sas() -> Case:
        sas = azurite.account_sas()
        good = {"account_name": azurite.account, "sas_token": sas}
        forged = sas.partition("sig=")[0] + "sig=" + "A" * 43 + "%3D"
        return Case(api_v4.Token, api_v4.AzureToken, good, good | {"sas_token": forged})

    def service_account() -> Case:
        file = google.make_key()
        # The model class demands account and key id; vouch takes them out of the file.
        good = {"account_id": "whatever", "key_id": "whatever", "key_text": json.dumps(file)}
        other = json.loads(key_file())["private_key"]
        bad = good | {"key_text": json.dumps(file | {"private_key": other})}
        return Case(api_v4.Token, api_v4.GCPServiceAccountKey, good, bad)

    return make


@pytest.fixture
async def vouch(start: Start, config: Config, moto: Moto, azurite: Azurite, google: TokenEndpoint) -> Vouch:
    """A vouch whose providers are the peers."""
    settings = ProviderSettings(
        aws=AwsSettings(sts_endpoint=moto.url, s3_endpoint=moto.url),
        azure=AzureSettings(blob_endpoint=azurite.operator_endpoint),
        gcp=GcpSettings(token_uri=google.token_uri, storage_endpoint=moto.url),
    )
    return await start(replace(config, providers=settings))


def client(vouch: Vouch) -> tiledb.CredentialsApi:
    configuration = api_v4.Configuration(host=f"{vouch.url}/v4", api_key={"X-TILEDB-REST-API-KEY": vouch.admin_key})
    return tiledb.CredentialsApi(api_v4.ApiClient(configuration))


def request(kind: str, case: Case, payload: dict[str, Any], model: Callable[..., Any]) -> Any:
    provider, _type, slot, sub, _payload, _secret = KINDS[kind]
    return model(name="one", provider=provider, **{slot: case.slot(**{sub: case.model(**payload)})})


def refusal(api: tiledb.CredentialsApi, body: Any) -> Any:
    """The exception that the client raises."""
    with pytest.raises(api_v4.ApiException) as caught:
        api.verify_credential(body)
    return caught.value


def report_of(error: Any) -> dict[str, Any]:
    """The report beside the Error, whose fields the client's own class has to take."""
    body = json.loads(error.body)
    report: dict[str, Any] = body.pop("verification")
    parsed = api_v4.Error(**body)
    assert parsed.request_id == error.headers["X-Request-ID"]
    assert parsed.code in (1400, 1401)
    assert parsed.message == report["message"]
    return report


@pytest.mark.parametrize("kind", KINDS)
async def test_a_payload_is_verified_or_refused_without_being_stored(
    vouch: Vouch, cases: Callable[[str], Case], kind: str
) -> None:
    case = cases(kind)

    def work() -> None:
        api = client(vouch)
        assert api.verify_credential(request(kind, case, case.good, api_v4.CredentialsVerifyRequest)) is None
        error = refusal(api, request(kind, case, case.bad, api_v4.CredentialsVerifyRequest))
        assert error.status == 422
        report = report_of(error)
        assert (report["outcome"], report["reason"]) == ("failed", case.reason)
        assert (report["provider"], report["type"]) == KINDS[kind][:2]
        if secret := KINDS[kind][5]:
            assert case.bad[secret] not in error.body
        assert api.get_credentials().data == []

    await asyncio.to_thread(work)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stored_credential_is_verified_by_its_name_and_says_so_from_then_on(
    vouch: Vouch, cases: Callable[[str], Case], kind: str
) -> None:
    case = cases(kind)
    provider, _type, slot, *_ = KINDS[kind]

    def work() -> None:
        api = client(vouch)
        by_name = api_v4.CredentialsVerifyRequest(name="one", provider=provider)
        api.create_credential(request(kind, case, case.good, api_v4.CredentialCreateRequest))
        assert api.get_credential_by_name("one").data.status is None
        assert api.verify_credential(by_name) is None
        assert api.get_credential_by_name("one").data.status == "verified"
        assert [one.status for one in api.get_credentials().data] == ["verified"]

        spoilt = request(kind, case, case.bad, api_v4.CredentialUpdateRequest)
        assert api.patch_credential_by_name("one", spoilt) is None
        assert api.get_credential_by_name("one").data.status is None
        error = refusal(api, by_name)
        assert (error.status, report_of(error)["outcome"]) == (422, "failed")
        shown = api.get_credential_by_name("one").data
        assert (shown.status, getattr(shown, slot) is None) == ("failed", False)

    await asyncio.to_thread(work)


async def test_the_name_of_none_is_a_404_and_the_wrong_provider_a_400(
    vouch: Vouch, cases: Callable[[str], Case]
) -> None:
    case = cases("gcp hmac")

    def work() -> None:
        api = client(vouch)
        missing = refusal(api, api_v4.CredentialsVerifyRequest(name="one", provider="GCP"))
        assert (missing.status, api_v4.Error(**json.loads(missing.body)).code) == (404, 1200)
        api.create_credential(request("gcp hmac", case, case.good, api_v4.CredentialCreateRequest))
        wrong = refusal(api, api_v4.CredentialsVerifyRequest(name="one", provider="AWS"))
        assert (wrong.status, api_v4.Error(**json.loads(wrong.body)).code) == (400, 1001)

    await asyncio.to_thread(work)
