"""Service principals: against an authority on loopback HTTPS, Azurite checking tokens, and scripted answers."""

import asyncio
import importlib
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from marshmallow import ValidationError

from tests.peers import entra as entras
from tests.peers.azure_stub import LIST_REPLY, AzureStub, Reply, refusal
from tests.peers.azurite import Azurite, running_azurite
from tests.peers.entra import Entra, Refused, error_body
from verifiers.azure_service_principal import KIND, SCOPE, VERIFIER
from verifiers.base import Run, verify
from verifiers.egress import Egress
from verifiers.settings import AzureSettings, EgressSettings, ProviderSettings
from verifiers.verdict import Report

VERIFIED = ("verified", "ok", "none")
BAD_SECRET = ("failed", "bad_secret", "credential")
EXPIRED = ("failed", "expired", "credential")
UNKNOWN_KEY = ("failed", "unknown_key", "credential")
DISABLED = ("failed", "disabled", "credential")
POLICY = ("unknown", "denied", "policy")
THROTTLED = ("unknown", "throttled", "provider")
PROVIDER_ERROR = ("unknown", "provider_error", "provider")

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT = "82195c37-7497-458c-b643-f4a3d0a64190"
ACCOUNT = "vouchtests"


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    """Load what the first probe loads: it takes most of the short deadlines here."""
    importlib.import_module("azure.identity.aio")


@pytest.fixture
async def blob() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


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


async def ask(
    entra: Entra,
    values: dict[str, str],
    *,
    blob: str = "https://storage.invalid/{account}",
    ca_file: str | None = None,
    authority: str = "",
    deadline: float = 5.0,
) -> Report:
    """Verify what a file says against the authority."""
    payload = KIND.split(KIND.schema().load(values))
    settings = ProviderSettings(azure=AzureSettings(authority=authority or entra.authority, blob_endpoint=blob))
    async with Egress(EgressSettings(ca_file=entra.ca_file if ca_file is None else ca_file)) as egress:
        return await verify(VERIFIER, payload, Run(egress, settings), deadline)


def said(report: Report) -> tuple[str, str, str]:
    return report.verdict.outcome.value, report.verdict.reason.value, report.verdict.fault.value


def checks(report: Report) -> dict[str, str]:
    return {one.name: one.outcome.value for one in report.checks}


# Signing in


async def test_a_good_secret_signs_in_and_says_who_it_is(entra: Entra) -> None:
    values = entra.register()
    report = await ask(entra, values)
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass"}
    assert report.identity == {"tenant_id": values["tenant_id"], "client_id": values["client_id"]}
    assert report.expires_at is None
    (request,) = entra.requests
    assert request.path == f"/{values['tenant_id']}/oauth2/v2.0/token"
    assert request.form == {
        "client_id": values["client_id"],
        "client_secret": values["client_secret"],
        "grant_type": "client_credentials",
        "scope": SCOPE,
    }
    assert request.headers["User-Agent"].startswith("vouch/")


async def test_a_tenant_may_go_by_its_domain(entra: Entra) -> None:
    report = await ask(entra, entra.register("contoso.onmicrosoft.com"))
    assert said(report) == VERIFIED


@pytest.mark.parametrize("secret", ["a+b&c=d%20e", "=~._-", "ünïcode-ß", "trailing space "])
async def test_a_secret_of_any_characters_arrives_unchanged(entra: Entra, secret: str) -> None:
    values = {**entra.register(), "client_secret": secret}
    entra.application(values).secrets[secret] = False
    assert said(await ask(entra, values)) == VERIFIED


async def test_a_wrong_secret_is_a_bad_secret(entra: Entra) -> None:
    report = await ask(entra, {**entra.register(), "client_secret": "not~the~secret"})
    assert said(report) == BAD_SECRET
    assert checks(report) == {"authenticates": "fail"}
    assert report.identity == {}
    assert len(entra.requests) == 1


async def test_a_secret_past_its_date_is_expired(entra: Entra) -> None:
    assert said(await ask(entra, entra.register(expired=True))) == EXPIRED


async def test_a_client_that_the_tenant_has_not_is_unknown(entra: Entra) -> None:
    report = await ask(entra, {**entra.register(), "client_id": CLIENT})
    assert said(report) == UNKNOWN_KEY
    assert "client id" in report.verdict.message


async def test_a_tenant_that_is_not_there_is_unknown(entra: Entra) -> None:
    report = await ask(entra, {**entra.register(), "tenant_id": TENANT})
    assert said(report) == UNKNOWN_KEY
    assert "tenant" in report.verdict.message


async def test_a_disabled_application_is_disabled(entra: Entra) -> None:
    values = entra.register()
    entra.application(values).disabled = True
    assert said(await ask(entra, values)) == DISABLED


async def test_conditional_access_says_nothing_about_the_secret(entra: Entra) -> None:
    values = entra.register()
    entra.application(values).blocked = True
    report = await ask(entra, values)
    assert said(report) == POLICY
    assert checks(report) == {"authenticates": "skip"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (7000215, BAD_SECRET),
        (7000222, EXPIRED),
        (7000112, DISABLED),
        (700016, UNKNOWN_KEY),
        (90002, UNKNOWN_KEY),
        (900023, UNKNOWN_KEY),
        (53003, POLICY),
        (50196, THROTTLED),
        (90055, THROTTLED),
        (7000218, PROVIDER_ERROR),
        (500011, PROVIDER_ERROR),
        (90033, PROVIDER_ERROR),
    ],
)
@pytest.mark.parametrize("place", ["error_codes", "error_description", "both"])
async def test_every_code_means_what_the_table_says_wherever_it_stands(
    entra: Entra, code: int, expected: tuple[str, str, str], place: str
) -> None:
    body = error_body(Refused("invalid_client", code, "Said so."))
    if place == "error_codes":
        del body["error_description"]
    if place == "error_description":
        del body["error_codes"]
    entra.answer_with(401, body)
    report = await ask(entra, entra.register())
    assert said(report) == expected
    assert f"AADSTS{code}" in report.verdict.message or expected != PROVIDER_ERROR


BAD = error_body(Refused("invalid_client", 7000215, "Invalid client secret provided."))
TOKEN = {"token_type": "Bearer", "expires_in": 3599, "access_token": "a.b.c"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, BAD),
        (500, BAD),
        (200, BAD),
        (302, BAD),
        (403, b"<html>Blocked by your company: AADSTS7000215</html>"),
        (401, {"error": "invalid_client"}),
        (401, {"error": "invalid_client", "error_description": "about AADSTS7000215 and so on"}),
        (401, {"error": "invalid_client", "error_codes": [7000215, 53003]}),
        (401, {"error": "invalid_client", "error_codes": ["7000215"]}),
        (401, {"error": "invalid_client", "error_codes": [True, None, {}, 7e6, -1, 10**4000]}),
        (401, {"error": "invalid_client", "error_codes": 7000215}),
        (401, [BAD]),
        (401, json.dumps(BAD).encode()[:-9]),
        (401, json.dumps(BAD).encode() + b" " * 70000),
        (401, b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        (401, b"[" * 60000),
        (401, b"\xff\xfe\x00"),
        (200, b""),
        (200, b"garbage"),
        (200, b"[" * 60000),
        (200, []),
        (200, "token"),
        (200, {}),
        (200, {"access_token": "a.b.c"}),
        (200, {**TOKEN, "access_token": ""}),
        (200, {**TOKEN, "access_token": None}),
        (200, {**TOKEN, "access_token": {"a": "b"}}),
        (200, {**TOKEN, "access_token": "a\r\nX-Header: b"}),
        (200, {**TOKEN, "access_token": "a" * 70000}),
        (200, {**TOKEN, "expires_in": "soon"}),
        (201, TOKEN),
        (401, TOKEN),
        (503, TOKEN),
    ],
)
async def test_what_is_no_clear_answer_of_entras_is_unknown(entra: Entra, status: int, body: object) -> None:
    entra.answer_with(status, body)
    report = await ask(entra, entra.register())
    assert said(report) == PROVIDER_ERROR
    assert checks(report) == {"authenticates": "skip"}
    assert len(entra.requests) == 1


@pytest.mark.parametrize(("wait", "expected"), [("17", 17), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
async def test_a_throttling_answer_tells_when_to_come_back(entra: Entra, wait: str, expected: int | None) -> None:
    entra.answer_with(429, {"error": "temporarily_unavailable"}, {"Retry-After": wait})
    report = await ask(entra, entra.register())
    assert said(report) == THROTTLED
    assert report.retry_after == expected
    assert len(entra.requests) == 1


async def test_an_authority_that_hangs_ends_at_the_deadline(entra: Entra) -> None:
    entra.hanging = True
    started = time.monotonic()
    report = await ask(entra, entra.register(), deadline=0.5)
    assert said(report) == ("unknown", "timeout", "network")
    assert time.monotonic() - started < 2


async def test_a_redirect_is_not_followed(entra: Entra) -> None:
    """Requirement 4: the form has the secret in it."""
    entra.answer_with(307, b"", {"Location": f"{entra.authority}/elsewhere/oauth2/v2.0/token"})
    assert said(await ask(entra, entra.register())) == PROVIDER_ERROR
    assert len(entra.requests) == 1


async def test_an_authority_that_nobody_vouches_for_gets_no_secret(entra: Entra) -> None:
    report = await ask(entra, entra.register(), ca_file="")
    assert said(report) == ("unknown", "unreachable", "network")
    assert "TLS" in report.verdict.message
    assert entra.requests == []


async def test_the_environment_chooses_no_authority_and_no_proxy(
    entra: Entra, blob: AzureStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirements 4, 8 and 10."""
    blob.script = [Reply(200)]
    for name in ("AZURE_AUTHORITY_HOST", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{blob.address}")
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    assert said(await ask(entra, entra.register())) == VERIFIED
    assert blob.calls == []


@pytest.mark.parametrize("authority", ["", "login.microsoftonline.com", "https://", "https://a b", "ftp://x"])
async def test_an_authority_that_is_no_url_is_the_services_fault(authority: str, entra: Entra) -> None:
    report = await ask(entra, entra.register(), authority=authority or " ")
    assert said(report) == ("unknown", "unreachable", "service")


async def test_an_authority_may_have_a_path_and_a_slash_at_its_end(entra: Entra) -> None:
    values = entra.register()
    assert said(await ask(entra, values, authority=f"{entra.authority}/")) == VERIFIED
    assert said(await ask(entra, values, authority=f"{entra.authority}/behind/a/proxy")) == PROVIDER_ERROR


async def test_many_sign_in_at_once_without_sharing_anything(entra: Entra) -> None:
    good = [entra.register() for _ in range(5)]
    bad = [{**one, "client_secret": "not~the~secret"} for one in good]
    reports = await asyncio.gather(*(ask(entra, one) for pair in zip(good, bad, strict=True) for one in pair))
    assert [said(one) for one in reports] == [VERIFIED, BAD_SECRET] * 5


async def test_a_second_verification_asks_again(entra: Entra) -> None:
    """No token is kept: a secret that is revoked stops working here at once."""
    values = entra.register()
    assert said(await ask(entra, values)) == VERIFIED
    entra.application(values).secrets.clear()
    assert said(await ask(entra, values)) == BAD_SECRET


# Listing containers with the token


async def test_the_token_lists_the_accounts_containers(entra: Entra, azurite_with_tokens: Azurite) -> None:
    values = {**entra.register(), "account_name": azurite_with_tokens.account}
    report = await ask(entra, values, blob=azurite_with_tokens.operator_endpoint)
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "lists_containers": "pass"}
    assert report.identity == {
        "tenant_id": values["tenant_id"],
        "client_id": values["client_id"],
        "account": azurite_with_tokens.account,
    }


async def test_the_listing_is_one_get_with_the_token_and_a_version(entra: Entra, blob: AzureStub) -> None:
    blob.script = [LIST_REPLY]
    await ask(entra, {**entra.register(), "account_name": ACCOUNT}, blob=blob.operator_endpoint)
    (call,) = blob.calls
    assert (call.method, call.path, call.query) == ("GET", f"/{ACCOUNT}/", {"comp": "list", "maxresults": "1"})
    assert call.headers["Authorization"] == f"Bearer {entra.tokens[0]}"
    assert call.headers["x-ms-version"] >= "2017-11-09"  # the first that takes tokens


@pytest.mark.parametrize(
    ("reply", "outcome", "reason", "says"),
    [
        (refusal("AuthorizationPermissionMismatch"), "warn", "denied", "role"),
        (refusal("InvalidAuthenticationInfo", 401), "warn", "denied", "another tenant"),
        (refusal("AuthenticationFailed"), "warn", "denied", "another tenant"),
        (refusal("AccountIsDisabled"), "warn", "disabled", "disabled"),
        (refusal("AuthorizationFailure", Server="Microsoft-HTTPAPI/2.0"), "skip", "denied", "network rules"),
        (refusal("ResourceNotFound", 404), "skip", "provider_error", "no such account"),
        (refusal("SomethingNew"), "skip", "provider_error", "SomethingNew"),
        (refusal("ServerBusy", 503), "skip", "throttled", "busy"),
        (Reply(500), "skip", "provider_error", "could not answer"),
        (Reply(200, "<html>Please log in</html>"), "skip", "provider_error", "did not answer as"),
        (Reply(302, "", {"Location": "http://169.254.169.254/"}), "skip", "provider_error", "did not answer as"),
        (Reply(200, hangs=True), "skip", "timeout", "deadline"),
    ],
    ids=str,
)
async def test_what_storage_says_never_spoils_the_verdict(
    entra: Entra, blob: AzureStub, reply: Reply, outcome: str, reason: str, says: str
) -> None:
    """Denied is not dead: the secret has been proved."""
    blob.script = [reply]
    report = await ask(entra, {**entra.register(), "account_name": ACCOUNT}, blob=blob.operator_endpoint)
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "lists_containers": outcome}
    assert report.checks[1].reason == reason
    assert says in report.checks[1].message
    assert "nothing is known" not in report.checks[1].message
    assert set(report.identity) == {"tenant_id", "client_id"}


async def test_an_account_that_does_not_resolve_is_a_skip(entra: Entra) -> None:
    report = await ask(entra, {**entra.register(), "account_name": ACCOUNT})
    assert said(report) == VERIFIED
    assert checks(report) == {"authenticates": "pass", "lists_containers": "skip"}
    assert report.checks[1].reason == "unreachable"


async def test_nobody_is_asked_for_a_list_without_a_token(entra: Entra, blob: AzureStub) -> None:
    blob.script = [LIST_REPLY]
    values = {**entra.register(expired=True), "account_name": ACCOUNT}
    assert said(await ask(entra, values, blob=blob.operator_endpoint)) == EXPIRED
    assert blob.calls == []


# What may be seen


async def _works(entra: Entra, values: dict[str, str], blob: AzureStub) -> Report:
    return await ask(entra, {**values, "account_name": ACCOUNT}, blob=blob.operator_endpoint)


async def _refused(entra: Entra, values: dict[str, str], blob: AzureStub) -> Report:
    entra.application(values).secrets.clear()
    return await ask(entra, values)


async def _garbage(entra: Entra, values: dict[str, str], blob: AzureStub) -> Report:
    entra.answer_with(200, b"{garbage " + entras.CANARY.encode())
    return await ask(entra, values)


async def _quoting(entra: Entra, values: dict[str, str], blob: AzureStub) -> Report:
    entra.answer_with(401, {"error": values["client_secret"], "error_description": values["client_secret"]})
    return await ask(entra, values)


async def _untrusted(entra: Entra, values: dict[str, str], blob: AzureStub) -> Report:
    return await ask(entra, values, ca_file="")


@pytest.mark.parametrize("way", [_works, _refused, _garbage, _quoting, _untrusted])
async def test_neither_secret_nor_token_shows_anywhere(
    entra: Entra, blob: AzureStub, way: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirements 11 and 30: at DEBUG, with a library that logs what the provider writes."""
    caplog.set_level(logging.DEBUG)
    blob.script = [refusal("AuthorizationPermissionMismatch")]
    values = entra.register()
    report = await way(entra, values, blob)  # type: ignore[operator] # one of the five above
    shown = repr(report) + str(report.to_dict()) + caplog.text
    shown += repr(KIND.split(KIND.schema().load(values)))
    assert values["client_secret"] not in shown
    assert entras.CANARY not in shown
    assert "UPSTREAM" not in shown
    assert not [token for token in entra.tokens if token[:40] in shown]
    assert [one for one in caplog.records if one.name.startswith(("azure", "msal"))] == []


# What is accepted


def fields_refused(**values: object) -> set[str]:
    given = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": "s~ecret", **values}
    with pytest.raises(ValidationError) as refused:
        KIND.schema().load(given)
    assert "s~ecret" not in str(refused.value)
    return set(refused.value.normalized_messages())


@pytest.mark.parametrize(
    "tenant",
    [
        "adfs",
        "ADFS",
        "common",
        "organizations",
        "consumers",
        "",
        ".",
        "..",
        "a/b",
        "/",
        f"{TENANT}/",
        f"{TENANT}/adfs",
        f"../{TENANT}",
        f"{TENANT}%2f..",
        f"{TENANT}?x=y",
        f"{TENANT}#x",
        f"{TENANT}\\x",
        f"{TENANT}\n",
        f" {TENANT}",
        f"{{{TENANT}}}",
        TENANT[:-1],
        TENANT.replace("-", ""),
        "contoso..com",
        ".contoso.com",
        "contoso.com.",
        "-contoso.com",
        "contoso-.com",
        "contoso.com:443",
        "contoso.com@evil.example",
        "https://contoso.com",
        "127.0.0.1",
        "169.254.169.254",
        "contoso.c",
        "cöntoso.com",
        "\uff41dfs.com",
        "x" * 64 + ".com",
        "x." * 126 + "com",
        f"{'a.' * 500}com",
        5,
    ],
)
def test_a_tenant_that_is_not_one_tenant_is_refused(tenant: object) -> None:
    """Requirement 8."""
    assert fields_refused(tenant_id=tenant) == {"tenant_id"}


@pytest.mark.parametrize(
    "tenant", [TENANT, TENANT.upper(), "contoso.com", "a-1.b2.Contoso.co.uk", "xn--bcher-kva.example"]
)
def test_a_tenants_id_and_its_domains_are_accepted(tenant: str) -> None:
    values = {"tenant_id": tenant, "client_id": CLIENT, "client_secret": "s"}
    assert KIND.schema().load(values) == values


@pytest.mark.parametrize("client", ["", "adfs", "an-app", "https://contoso.com/app", CLIENT[:-1], f"{CLIENT}\n", 5])
def test_a_client_that_is_no_guid_is_refused(client: object) -> None:
    assert fields_refused(client_id=client) == {"client_id"}


@pytest.mark.parametrize("account", ["", "Acct", "a.b", "evil.example/", "acct@evil", "{account}", "a" * 25])
def test_an_account_that_would_change_the_host_is_refused(account: str) -> None:
    assert fields_refused(account_name=account) == {"account_name"}


def test_what_is_missing_or_unknown_is_refused() -> None:
    assert fields_refused(client_secret=None) == {"client_secret"}
    assert fields_refused(client_secret="") == {"client_secret"}
    assert fields_refused(blob_endpoint="https://evil.example") == {"blob_endpoint"}
    assert fields_refused(authority="https://evil.example") == {"authority"}


def test_the_kind_is_not_on_the_v4_wire() -> None:
    assert (KIND.provider, KIND.type, KIND.slot) == ("AZURE", "service_principal", None)
    assert KIND.secret_fields == ("client_secret",)
    assert KIND.target_fields == ()
