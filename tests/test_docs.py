"""The page on probes says what the code does: every kind, every call that is really made, every setting and name."""

import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.config import Config
from tests.api.test_tiledb_verify import providers
from tests.conftest import Start
from tests.peers.aws_stub import ASSUMED_ROLE, AwsStub, Scripted
from tests.peers.faults import FaultMode, FaultPeer
from tests.verifiers.fault_subjects import LEASES, OFFLINE_LEASES, PROBES, PROVEN, ROLE, UNPROVEN, Subject, probed
from tests.verifiers.fault_subjects import leased as leased_by
from verifiers import (
    aws_policy,
    aws_role,
    azure_lease,
    azure_service_principal,
    gcp_boundary,
    gcp_lease,
    gcp_service_account,
)
from verifiers.egress import USER_AGENT
from verifiers.leasing import LeaseFailed
from verifiers.registry import BUILT_IN
from verifiers.settings import ProviderSettings

PAGE = (Path(__file__).parent.parent / "docs" / "probes.md").read_text(encoding="utf-8")
_HEADING = re.compile(r"^## (?P<title>.+) \(`(?P<provider>\w+)`, `(?P<type>\w+)`\)$", re.MULTILINE)
_SETTING = re.compile(r"\[(?P<section>[a-z_.]+)\] (?P<names>[a-z0-9_]+(?:`, `[a-z0-9_]+)*)")


def sections() -> dict[tuple[str, str], str]:
    """The text about each kind, by provider and type."""
    found = list(_HEADING.finditer(PAGE))
    return {(one["provider"], one["type"]): PAGE[one.end() :].partition("\n## ")[0] for one in found}


# Kinds


def test_every_kind_of_the_registry_has_its_section_and_no_other_has() -> None:
    headings = [(one["provider"], one["type"], one["title"]) for one in _HEADING.finditer(PAGE)]
    assert headings == [(one.kind.provider, one.kind.type, one.kind.title) for one in BUILT_IN]


@pytest.mark.parametrize("verifier", BUILT_IN, ids=lambda one: one.kind.title)
def test_every_section_says_what_is_needed_and_whether_there_are_leases(verifier: Any) -> None:
    text = sections()[verifier.kind.provider, verifier.kind.type]
    assert text.count("**Needs**: ") == 1
    lease = text.partition("**Lease**: ")[2]
    assert lease
    assert lease.startswith("none.") == (verifier.lease is None)


@pytest.mark.parametrize("verifier", BUILT_IN, ids=lambda one: one.kind.title)
def test_a_section_names_the_fields_with_which_a_caller_chooses_the_host(verifier: Any) -> None:
    text = sections()[verifier.kind.provider, verifier.kind.type]
    for name in verifier.kind.target_fields:
        assert f"own `{name}`" in text


# Calls: what the peer really got is on the page


def described(request: bytes) -> list[str]:
    """The words in which the page must have this call."""
    head, _, body = request.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    url = urlsplit(target)
    if "Action" in form:
        return [f"`{form['Action']}`", "STS, POST"]
    if url.path.endswith("/oauth2/v2.0/token"):
        return [f"`{method} /TENANT/oauth2/v2.0/token`", f"`{form['scope']}`"]
    if "grant_type" in form:
        return [f"`{form['grant_type']}`"]
    signed = url.query.partition("&sv=")[0]
    return [f"{method} {url.path}?{signed}`" if signed else f"`{method} /`"]


CALLING = {**PROBES, **UNPROVEN, **PROVEN}


@pytest.mark.parametrize("subject", CALLING.values(), ids=CALLING)
async def test_every_call_of_a_probe_is_on_the_page_and_says_who_it_is(subject: Subject, fault_peer: FaultPeer) -> None:
    fault_peer.first = list(subject.first)
    fault_peer.mode = FaultMode.UNAVAILABLE
    await probed(subject, fault_peer.url)
    assert len(fault_peer.requests) == len(subject.first) + 1
    assert_described(subject, fault_peer)


@pytest.mark.parametrize("subject", LEASES.values(), ids=LEASES)
async def test_every_call_of_a_lease_is_on_the_page_and_says_who_it_is(subject: Subject, fault_peer: FaultPeer) -> None:
    fault_peer.first = list(subject.first)
    fault_peer.mode = FaultMode.UNAVAILABLE
    with pytest.raises(LeaseFailed):
        await leased_by(subject, fault_peer.url)
    assert len(fault_peer.requests) == len(subject.first) + 1
    assert_described(subject, fault_peer)


def assert_described(subject: Subject, peer: FaultPeer) -> None:
    text = sections()[subject.key]
    for request in peer.requests:
        assert f"\r\nUser-Agent: {USER_AGENT}\r\n".encode() in request
        for words in described(request):
            assert words in text


@pytest.mark.parametrize("subject", OFFLINE_LEASES.values(), ids=OFFLINE_LEASES)
async def test_a_lease_without_a_call_is_told_to_be_one(subject: Subject, fault_peer: FaultPeer) -> None:
    await leased_by(subject, fault_peer.url)
    assert fault_peer.connections == 0
    assert "**Lease**: no call." in sections()[subject.key]


# Names that others match on


def test_the_user_agent_and_the_name_of_a_session_are_quoted_as_they_are() -> None:
    """Rule 5: stable, so that they can be matched."""
    assert f"`User-Agent: {USER_AGENT}`" in PAGE
    assert USER_AGENT.startswith("vouch/")
    assert f"the session's name is `{aws_role.SESSION_NAME}`" in PAGE
    assert f"{aws_role.SESSION_SECONDS} seconds" in PAGE


async def test_a_leased_session_is_named_after_the_lease(start: Start, config: Config, aws_stub: AwsStub) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=900)).strftime("%Y-%m-%dT%H:%M:%SZ")
    aws_stub.script(Scripted(200, ASSUMED_ROLE.replace("2030-01-01T00:00:00Z", end)))
    vouch = await start(replace(providers(config, aws=aws_stub.url)))
    pair = {"access_key_id": "AKIAEXAMPLE000000000", "secret_access_key": "s" * 40}
    body = {"name": "one", "provider": "AWS", "credential": {"aws": pair}, "allowed_in_tasks": True}
    await vouch.call("POST", "/v4/credentials", body)
    one = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]["id"]
    leased = await vouch.call("POST", f"/v1/credentials/{one}/lease", {"ttl_seconds": 900, **ROLE})
    assert leased.status == 200, await leased.text()
    (asked,) = aws_stub.received
    assert asked.form["RoleSessionName"] == f"vouch-{leased.json_body['id']}"
    assert asked.form["SourceIdentity"].startswith("api_key-")
    assert "the session's name is `vouch-` and the lease's id" in PAGE
    assert "`api_key-ID`" in PAGE


def test_scopes_permissions_and_roles_are_the_codes_own() -> None:
    google = sections()["GCP", "token"]
    scopes = (gcp_service_account.READ_ONLY, gcp_lease.READ_WRITE, gcp_lease.TO_NARROW)
    assert [one for one in scopes if f"`{one}`" not in google] == []
    assert [one for one in (gcp_boundary.READER, gcp_boundary.WRITER) if one.partition(":")[2] not in google] == []
    assert azure_service_principal.SCOPE in sections()["AZURE", "service_principal"]
    for access, letters in azure_lease.PERMISSIONS.items():
        assert f"`{letters}`" in sections()["AZURE", "key"], access
    role = sections()["AWS", "arn"]
    actions = [*aws_policy.READS, *aws_policy.WRITES, "s3:ListBucket", "s3:GetBucketLocation"]
    assert [one for one in actions if f"`{one}`" not in role] == []
    assert set(re.findall(r"s3:\w+", role)) == set(actions)


# Settings


def settings(tree: Any, section: str = "") -> set[str]:
    """The dotted name of every setting."""
    found = set()
    for one in fields(tree):
        value = getattr(tree, one.name)
        name = f"{section}.{one.name}" if section else one.name
        found |= settings(value, name) if is_dataclass(value) else {name}
    return found


def named() -> set[str]:
    """The dotted name of every setting that the page names."""
    return {f"{one['section']}.{name}" for one in _SETTING.finditer(PAGE) for name in one["names"].split("`, `")}


def test_every_setting_that_the_page_names_exists() -> None:
    assert len(named()) > 15
    assert named() - settings(Config()) == set()


def test_every_setting_that_says_where_a_provider_is_is_on_the_page() -> None:
    places = {f"providers.{one}" for one in settings(ProviderSettings()) if not one.endswith(".region")}
    assert places - named() == set()
