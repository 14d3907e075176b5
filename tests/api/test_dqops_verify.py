"""`POST /api/credentials/{credentialName}/verify`: the three files against their real peers, good and bad."""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

import boto3
import pytest

from service.config import Config
from tests.api.payloads import CANARY, key_file
from tests.conftest import Start, Vouch
from tests.peers import entra as entras
from tests.peers.aws_stub import AwsStub
from tests.peers.azurite import Azurite, running_azurite
from tests.peers.entra import Entra
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, Pair, allow
from verifiers.settings import AwsSettings, AzureSettings, EgressSettings, GcpSettings, ProviderSettings

NOWHERE = "http://127.0.0.1:9"
REPORT = {
    "outcome", "reason", "fault", "provider", "type", "identity", "checks", "expires_at", "checked_at", "duration_ms",
    "message", "remedy",
}  # fmt: skip
"""Section 4 of the contract, and the verdict's sentence."""

SPRINGS = {"timestamp", "status", "error", "message", "path"}

PLACEHOLDERS = {
    ("AWS", "key"): "[default]\naws_access_key_id=PLEASE_REPLACE_WITH_YOUR_AWS_ACCESS_KEY_ID\n"
    "aws_secret_access_key=PLEASE_REPLACE_WITH_YOUR_AWS_SECRET_ACCESS_KEY\n",
    ("GCP", "token"): "{\n    this is the placeholder of the JSON key file, please replace it\n}\n",
    ("AZURE", "service_principal"): "tenant_id=PLEASE_REPLACE_WITH_YOUR_AZURE_TENANT_ID\n"
    "client_id=PLEASE_REPLACE_WITH_YOUR_AZURE_CLIENT_ID\n"
    "client_secret=PLEASE_REPLACE_WITH_YOUR_AZURE_CLIENT_SECRET\n",
}


@pytest.fixture(scope="module")
def azurite_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite on HTTPS: it takes a bearer token by its audience, issuer and times."""
    folder = tmp_path_factory.mktemp("azurite-tokens")
    certificate = entras.certificate_authority().issue_cert("127.0.0.1", "localhost")
    key, chain = folder / "key.pem", folder / "certificate.pem"
    certificate.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
    with running_azurite(folder, "--oauth", "basic", "--cert", str(chain), "--key", str(key)) as peer:
        yield peer


def configured(
    config: Config, *, aws: str = NOWHERE, google: str = NOWHERE, entra: Entra | None = None, blob: str = NOWHERE
) -> Config:
    """A configuration whose providers are these peers; the others are a closed port."""
    settings = ProviderSettings(
        aws=AwsSettings(sts_endpoint=aws, s3_endpoint=aws),
        gcp=GcpSettings(token_uri=google, storage_endpoint=google),
        azure=AzureSettings(authority=entra.authority if entra else NOWHERE, blob_endpoint=blob),
    )
    return replace(config, providers=settings, egress=EgressSettings(ca_file=entra.ca_file if entra else ""))


async def keep(vouch: Vouch, content: str | bytes, name: str = "one") -> None:
    """Store a file: a text as a text, bytes as binary."""
    if isinstance(content, str):
        body = {"credential_name": name, "type": "text", "text_value": content}
    else:
        encoded = base64.b64encode(content).decode()
        body = {"credential_name": name, "type": "binary", "binary_value": encoded}
    answer = await vouch.call("POST", "/api/credentials", body)
    if answer.status == 409:
        answer = await vouch.call("PUT", f"/api/credential/{name}", body)
    assert answer.status in (201, 204)


async def verify(vouch: Vouch, content: str | bytes, query: str = "") -> dict[str, Any]:
    """Store a file and verify it: the report, wherever the answer has it, of the right shape and with its status."""
    await keep(vouch, content)
    path = "/api/credentials/one/verify"
    answer = await vouch.call("POST", f"{path}{query}")
    body = answer.json_body
    assert answer.headers["Cache-Control"] == "no-store"
    report: dict[str, Any] = body if answer.status == 200 else body.pop("verification")
    assert set(report) == REPORT
    assert answer.status == {"verified": 200, "failed": 422, "unknown": 502}[report["outcome"]]
    if answer.status != 200:
        assert set(body) == SPRINGS
        assert (body["status"], body["path"], body["message"]) == (answer.status, path, report["message"])
    for check in report["checks"]:
        assert set(check) == {"name", "outcome", "reason", "message", "duration_ms"}
    assert datetime.fromisoformat(report["checked_at"]).utcoffset() is not None
    assert re.fullmatch(r"[^.].*\.", report["remedy"])
    return report


def said(report: dict[str, Any]) -> tuple[str, str, str]:
    return report["outcome"], report["reason"], report["fault"]


def checks(report: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in report["checks"]}


VERIFIED = ("verified", "ok", "none")
BAD_SECRET = ("failed", "bad_secret", "credential")
MALFORMED = ("failed", "malformed", "credential")


# AWS


def profile(name: str, pair: Pair, **more: str) -> str:
    """A profile of a shared-credentials file."""
    settings = {"aws_access_key_id": pair.access_key_id, "aws_secret_access_key": pair.secret_access_key} | more
    return "\n".join([f"[{name}]", *(f"{name} = {value}" for name, value in settings.items()), ""])


async def test_an_aws_file_works_or_has_a_bad_secret(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(configured(config, aws=moto.url))
    pair = moto.user()
    report = await verify(vouch, profile("default", pair, region="us-east-1"))
    assert (said(report), report["provider"], report["type"]) == (VERIFIED, "AWS", "key")
    assert (report["identity"]["arn"], report["identity"]["account"]) == (pair.arn, moto.account)
    assert checks(report) == {"authenticates": "pass"}
    assert said(await verify(vouch, profile("default", pair._replace(secret_access_key="x" * 40)))) == BAD_SECRET
    nobody = await verify(vouch, profile("default", pair._replace(access_key_id="AKIANOBODY0000000000")))
    assert said(nobody) == ("failed", "unknown_key", "credential")


async def test_a_binary_aws_file_is_read_as_the_text_it_is(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(configured(config, aws=moto.url))
    text = profile("default", moto.user())
    assert said(await verify(vouch, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())) == VERIFIED
    assert said(await verify(vouch, text.encode("utf-16"))) == MALFORMED


async def test_a_profile_is_chosen_by_its_name(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(configured(config, aws=moto.url))
    first, second = moto.user(), moto.user()
    file = profile("default", first) + profile("dev team", second) + profile("bad", second._replace(access_key_id="X"))
    for query, pair in (
        ("", first),
        ("?profile=", first),
        ("?profile=default", first),
        ("?profile=dev%20team", second),
    ):
        report = await verify(vouch, file, query)
        assert (said(report), report["identity"]["arn"]) == (VERIFIED, pair.arn), query
    assert said(await verify(vouch, file, "?profile=bad"))[0] == "failed"
    unknown = await verify(vouch, file, "?profile=prod")
    assert (said(unknown), unknown["provider"]) == (MALFORMED, "AWS")
    assert "default, dev team, bad" in unknown["message"]
    assert "prod" not in unknown["message"]
    without_default = await verify(vouch, profile("dev", second))
    assert said(without_default) == MALFORMED
    twice = await vouch.call("POST", "/api/credentials/one/verify?profile=dev&profile=dev")
    assert (twice.status, set(twice.json_body)) == (400, SPRINGS)


async def test_a_session_needs_its_token(start: Start, config: Config, moto: Moto) -> None:
    vouch = await start(configured(config, aws=moto.url))
    user = moto.user(allow("sts:*"))
    sts = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=moto.url,
        aws_access_key_id=user.access_key_id,
        aws_secret_access_key=user.secret_access_key,
    )
    session = sts.assume_role(RoleArn=moto.role(user), RoleSessionName="a-job")["Credentials"]
    pair = Pair(session["AccessKeyId"], session["SecretAccessKey"])
    report = await verify(vouch, profile("default", pair, aws_session_token=session["SessionToken"]))
    assert said(report) == VERIFIED
    assert ":assumed-role/" in report["identity"]["arn"]
    assert session["SessionToken"] not in json.dumps(report)
    assert (await verify(vouch, profile("default", pair, aws_session_token="x" * 40)))["outcome"] == "failed"
    assert (await verify(vouch, profile("default", pair)))["outcome"] == "failed"


# Google


async def test_a_google_file_works_or_has_another_key(start: Start, config: Config, google: TokenEndpoint) -> None:
    vouch = await start(configured(config, google=google.token_uri))
    file = google.make_key()
    report = await verify(vouch, json.dumps(file, indent=2))
    assert (said(report), report["provider"], report["type"]) == (VERIFIED, "GCP", "token")
    assert report["identity"] == {
        "email": file["client_email"],
        "key_id": file["private_key_id"],
        "project_id": file["project_id"],
    }
    other = json.loads(key_file())["private_key"]
    assert said(await verify(vouch, json.dumps(file | {"private_key": other}))) == BAD_SECRET
    google.accounts[file["client_email"]].disabled = True
    assert said(await verify(vouch, json.dumps(file))) == ("failed", "disabled", "credential")
    named = await verify(vouch, json.dumps(file), "?profile=dev")
    assert said(named) == MALFORMED


async def test_a_hostile_token_uri_is_never_contacted(
    start: Start, config: Config, google: TokenEndpoint, aws_stub: AwsStub
) -> None:
    """Requirement 7: pinned, whatever the file says. The stub is a trap, and stays empty."""
    vouch = await start(configured(config, google=google.token_uri))
    file = google.make_key()
    report = await verify(vouch, json.dumps(file | {"token_uri": f"{aws_stub.url}/token"}))
    assert said(report) == VERIFIED
    assert checks(report)["token_uri_pinned"] == "warn"
    foreign = {"token_uri": f"{aws_stub.url}/token", "universe_domain": "attacker.example.org"}
    await keep(vouch, json.dumps(file | foreign))
    answer = await vouch.call("POST", "/api/credentials/one/verify")
    blocked = answer.json_body["verification"]
    assert (answer.status, said(blocked)) == (422, ("unknown", "blocked_endpoint", "policy"))
    assert aws_stub.received == []
    assert len(google.requests) == 1


# Azure


def azure_file(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


async def test_an_azure_file_works_or_has_a_bad_secret(start: Start, config: Config, entra: Entra) -> None:
    vouch = await start(configured(config, entra=entra))
    values = entra.register()
    report = await verify(vouch, azure_file(values))
    assert (said(report), report["provider"], report["type"]) == (VERIFIED, "AZURE", "service_principal")
    assert report["identity"] == {"tenant_id": values["tenant_id"], "client_id": values["client_id"]}
    assert checks(report) == {"authenticates": "pass"}
    bad = await verify(vouch, azure_file(values | {"client_secret": f"{CANARY}~wrong"}))
    assert said(bad) == BAD_SECRET
    assert CANARY not in json.dumps(bad)
    assert entras.CANARY not in json.dumps(bad)
    entra.application(values).disabled = True
    assert said(await verify(vouch, azure_file(values))) == ("failed", "disabled", "credential")


@pytest.mark.parametrize("tenant", ["adfs", "common", "contoso.com/oauth2", "../adfs", "a.b?c", "contoso.com#"])
async def test_a_tenant_that_would_lead_elsewhere_is_malformed(
    start: Start, config: Config, entra: Entra, tenant: str
) -> None:
    """Requirement 8."""
    vouch = await start(configured(config, entra=entra))
    report = await verify(vouch, azure_file(entra.register() | {"tenant_id": tenant}))
    assert (said(report), report["provider"], report["type"]) == (MALFORMED, "AZURE", "service_principal")
    assert "tenant_id" in report["message"]
    assert entra.requests == []


async def test_an_account_that_is_named_is_listed_with_the_token(
    start: Start, config: Config, entra: Entra, azurite_with_tokens: Azurite
) -> None:
    azurite = azurite_with_tokens
    vouch = await start(configured(config, entra=entra, blob=azurite.operator_endpoint))
    values = entra.register() | {"account_name": azurite.account}
    report = await verify(vouch, azure_file(values))
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "lists_containers": "pass"}
    assert report["identity"]["account"] == azurite.account
    other = await verify(vouch, azure_file(values | {"account_name": "nobodyshere"}))
    assert (said(other), checks(other)["authenticates"]) == (VERIFIED, "pass")
    assert checks(other)["lists_containers"] in ("warn", "skip")
    assert "account" not in other["identity"]


# Files that nobody is asked about


@pytest.mark.parametrize("key", PLACEHOLDERS, ids="-".join)
async def test_a_placeholder_as_dqops_ships_it_is_malformed_and_says_so(vouch: Vouch, key: tuple[str, str]) -> None:
    report = await verify(vouch, PLACEHOLDERS[key])
    assert (said(report), (report["provider"], report["type"])) == (MALFORMED, key)
    assert "placeholder" in report["message"]
    assert (report["checks"], report["identity"], report["expires_at"]) == ([], {}, None)


@pytest.mark.parametrize(
    "content", ["", "hello", CANARY, "{}", "[section]\nname = value\n", b"\x00\xff", b"\x89PNG" * 9]
)
async def test_anything_else_is_not_recognised(vouch: Vouch, content: str | bytes) -> None:
    report = await verify(vouch, content)
    assert said(report) == ("failed", "not_recognised", "credential")
    assert (report["provider"], report["type"]) == (None, None)
    assert CANARY not in json.dumps(report)


async def test_a_provider_that_does_not_answer_is_unknown_with_the_report(start: Start, config: Config) -> None:
    vouch = await start(configured(config))
    report = await verify(vouch, profile("default", Pair("AKIAEXAMPLE", "x" * 40)))
    assert said(report) == ("unknown", "unreachable", "network")


async def test_what_is_not_there_is_a_404_without_a_report(vouch: Vouch) -> None:
    answer = await vouch.call("POST", "/api/credentials/none/verify")
    assert (answer.status, set(answer.json_body)) == (404, SPRINGS)


# Who may, and what is recorded


def actions(config: Config) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(config.database)) as db:
        query = "SELECT action, outcome FROM audit WHERE action LIKE 'credential.%' ORDER BY seq"
        return db.execute(query).fetchall()


async def test_verifying_is_recorded_and_reveals_nothing(start: Start, config: Config, moto: Moto) -> None:
    """Requirement 29: there is no reveal where nothing leaves."""
    vouch = await start(configured(config, aws=moto.url))
    pair = moto.user()
    await keep(vouch, profile("default", pair))
    answer = await vouch.call("POST", "/api/credentials/one/verify")
    assert answer.status == 200
    assert pair.secret_access_key not in await answer.text()
    assert actions(config) == [("credential.create", "done"), ("credential.verify", "verified: ok")]


async def test_a_verifier_may_verify_and_not_read(start: Start, config: Config, moto: Moto) -> None:
    """Requirement 13: verifying has its own permission."""
    vouch = await start(configured(config, aws=moto.url))
    await keep(vouch, profile("default", moto.user()))
    verifier, viewer = await vouch.make_key("verifier"), await vouch.make_key("viewer")
    limited = await vouch.make_key("admin", teamspaces=["red"])
    stranger = await vouch.make_key("admin", workspace="ws_other")
    for key, status in ((verifier, 200), (viewer, 403), (limited, 403), (stranger, 404), (None, 401)):
        answer = await vouch.call("POST", "/api/credentials/one/verify", key=key)
        assert answer.status == status
    for path in ("/api/credentials/one", "/api/credentials/one/download"):
        refused = await vouch.call("GET", path, key=verifier)
        assert (refused.status, set(refused.json_body)) == (403, SPRINGS)
    (listed,) = (await vouch.call("GET", "/api/credentials", key=verifier)).json_body
    assert (listed["can_edit"], listed["can_access_credential"]) == (False, False)
    assert [action for action, _outcome in actions(config)] == ["credential.create", "credential.verify"]
