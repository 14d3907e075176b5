"""Leases of Google service-account keys, used at a Cloud Storage that holds tokens to their boundaries."""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from google.auth import downscoped
from google.oauth2 import service_account

from tests.peers.google import TokenEndpoint
from tests.verifiers.google_keys import BAD_KEYS, said
from tests.verifiers.google_leases import Job, lease_of, refusal_of, utc_now
from verifiers import gcp_hmac
from verifiers.base import Run
from verifiers.egress import Egress
from verifiers.gcp_lease import LISTING, LIVES_LONGER, READ_WRITE, TO_NARROW, UNIFORM, UNSCOPED
from verifiers.lease_terms import LeaseAccess, LeaseScope, LeaseTerms, MaterialForm, NotLeasable, TermsRefused
from verifiers.leasing import lease
from verifiers.settings import EgressSettings, ProviderSettings

READ = LeaseScope("lake", "raw/2026/")
WRITE = LeaseScope("lake", "raw/2026/", LeaseAccess.WRITE)
ODD = "raw/2026/b c'\u00e9"
BOTH = LeaseScope("lake", "raw/2026/", LeaseAccess.READ_WRITE)


@pytest.fixture
def stored(google: TokenEndpoint) -> TokenEndpoint:
    """The peer with objects in two buckets."""
    names = [
        ("lake", "raw/2026/a"),
        ("lake", ODD),
        ("lake", "raw/2025/a"),
        ("lake", "x"),
        ("sea", "raw/2026/a"),
    ]
    google.storage.objects.update(dict.fromkeys(names, b"old"))
    return google


# What the holder may do


async def test_a_read_lease_reads_and_lists_its_prefix_and_nothing_else(stored: TokenEndpoint) -> None:
    material = await lease_of(stored, READ)
    assert (material.form, material.narrowed) == (MaterialForm.GOOGLE_ACCESS_TOKEN, True)
    job = Job(stored, material)
    assert await job.get("lake", "raw/2026/a") == 200
    assert await job.list("lake", "raw/2026/") == ["raw/2026/a", ODD]
    assert await job.list("lake", "raw/2026/b") == [ODD]
    assert [await job.get("lake", name) for name in ("raw/2025/a", "x", "raw/2026")] == [403, 403, 403]
    assert [await job.list("lake", prefix) for prefix in ("", "raw/", "raw/2025/")] == [403, 403, 403]
    assert await job.get("sea", "raw/2026/a") == await job.list("sea", "raw/2026/") == 403
    assert await job.put("lake", "raw/2026/new") == await job.delete("lake", "raw/2026/a") == 403


async def test_a_write_lease_puts_and_deletes_under_its_prefix_and_reads_nothing(stored: TokenEndpoint) -> None:
    job = Job(stored, await lease_of(stored, WRITE))
    assert await job.put("lake", "raw/2026/new") == await job.put("lake", "raw/2026/a") == 200
    assert await job.delete("lake", "raw/2026/new") == 204
    assert await job.put("lake", "raw/2025/new") == await job.delete("lake", "x") == await job.put("sea", "x") == 403
    assert await job.get("lake", "raw/2026/a") == await job.list("lake", "raw/2026/") == await job.list("lake") == 403


async def test_a_lease_for_both_does_both_under_its_prefix_alone(stored: TokenEndpoint) -> None:
    job = Job(stored, await lease_of(stored, BOTH))
    assert await job.put("lake", "raw/2026/a") == await job.get("lake", "raw/2026/a") == 200
    assert await job.list("lake", "raw/2026/a") == ["raw/2026/a"]
    assert await job.delete("lake", "raw/2026/a") == 204
    assert await job.get("lake", "x") == await job.put("lake", "x") == await job.delete("lake", "x") == 403
    assert await job.list("lake") == await job.list("sea", "raw/2026/") == 403


@pytest.mark.parametrize(("access", "get", "put"), [("read", 200, 403), ("write", 403, 200), ("read_write", 200, 200)])
async def test_a_lease_without_a_prefix_is_held_to_the_bucket(
    stored: TokenEndpoint, access: str, get: int, put: int
) -> None:
    job = Job(stored, await lease_of(stored, LeaseScope("lake", access=LeaseAccess(access))))
    assert (await job.get("lake", "x"), await job.put("lake", "x")) == (get, put)
    assert await job.list("lake", "x") == (["x"] if get == 200 else 403)
    assert await job.get("sea", "raw/2026/a") == await job.put("sea", "x") == await job.list("sea") == 403


async def test_a_prefix_with_a_quote_and_letters_beyond_ascii_is_taken_letter_by_letter(stored: TokenEndpoint) -> None:
    job = Job(stored, await lease_of(stored, LeaseScope("lake", ODD)))
    assert await job.get("lake", ODD) == 200
    assert await job.get("lake", "raw/2026/a") == 403


async def test_a_lease_without_a_scope_is_not_narrowed_and_says_so(stored: TokenEndpoint) -> None:
    material = await lease_of(stored)
    assert not material.narrowed
    assert material.notes == (UNSCOPED,)
    assert stored.sts.requests == []
    assert stored.requests[-1].claims["scope"] == READ_WRITE
    job = Job(stored, material)
    assert await job.get("sea", "raw/2026/a") == await job.put("lake", "x") == 200


# What Google is asked


@pytest.mark.parametrize("scope", [READ, WRITE, BOTH])
async def test_two_calls_make_a_narrowed_token_and_only_that_leaves(google: TokenEndpoint, scope: LeaseScope) -> None:
    material = await lease_of(google, scope, seconds=1200)
    (grant,), (exchange,) = google.requests, google.sts.requests
    assert grant.claims["scope"] == TO_NARROW
    assert grant.claims["exp"] - grant.claims["iat"] == 1200
    assert exchange["subject_token"] == google.tokens[-1]
    assert dict(material.values) == {"access_token": google.sts.tokens[-1]}
    assert google.sts.headers[-1]["User-Agent"].startswith("vouch/")
    assert material.notes == ((UNIFORM, LISTING) if scope.access.reads else (UNIFORM,))


class Transport:
    """google-auth's requests, sent to the peer whatever host they are for."""

    def __init__(self, google: TokenEndpoint) -> None:
        self._origin = google.origin

    def __call__(self, url: str, method: str, body: bytes, headers: Mapping[str, str], **_: Any) -> SimpleNamespace:
        path = url.removeprefix("https://sts.googleapis.com").removeprefix("https://oauth2.googleapis.com")
        request = urllib.request.Request(self._origin + path, body, dict(headers), method=method)
        with urllib.request.urlopen(request, timeout=5) as response:
            return SimpleNamespace(status=response.status, headers=response.headers, data=response.read())


async def test_googles_own_library_asks_the_same_for_the_boundary_of_its_documentation(stored: TokenEndpoint) -> None:
    file = stored.make_key()
    source = service_account.Credentials.from_service_account_info(file, scopes=[TO_NARROW])
    rule = downscoped.AccessBoundaryRule(
        "//storage.googleapis.com/projects/_/buckets/example-bucket",
        ["inRole:roles/storage.objectViewer"],
        downscoped.AvailabilityCondition(
            "resource.name.startsWith('projects/_/buckets/example-bucket/objects/customer-a/invoices/') || "
            "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('customer-a/invoices/')"
        ),
    )
    theirs = downscoped.Credentials(source, downscoped.CredentialAccessBoundary([rule]))
    await asyncio.to_thread(theirs.refresh, Transport(stored))
    await lease_of(stored, LeaseScope("example-bucket", "customer-a/invoices/"), file=file)
    asked_by_google, asked_by_us = (dict(one) for one in stored.sts.requests)
    assert stored.sts.tokens[0] == theirs.token
    assert json.loads(unquote(asked_by_google.pop("options"))) == json.loads(asked_by_us.pop("options"))
    assert asked_by_us.pop("subject_token") != asked_by_google.pop("subject_token")
    assert asked_by_us == asked_by_google


# How long it lives


def close(moment: datetime, expected: datetime) -> bool:
    return abs(moment - expected) <= timedelta(seconds=3)


@pytest.mark.parametrize("says_lifetime", [True, False])
async def test_it_lives_as_long_as_was_asked_also_where_the_exchange_does_not_say(
    google: TokenEndpoint, says_lifetime: bool
) -> None:
    google.sts.says_lifetime = says_lifetime
    before = utc_now()
    material = await lease_of(google, READ, seconds=600)
    assert close(material.expires_at, before + timedelta(seconds=600))
    assert material.expires_at.timestamp() <= google.rights[material.values["access_token"]].ends
    assert LIVES_LONGER not in material.notes


async def test_a_token_that_lives_longer_than_was_asked_is_told_with_its_real_end(google: TokenEndpoint) -> None:
    google.hour_long = True
    material = await lease_of(google, READ, seconds=600)
    assert close(material.expires_at, utc_now() + timedelta(seconds=3599))
    assert LIVES_LONGER in material.notes


async def test_a_lease_of_a_second_is_of_an_assertion_that_still_arrives(google: TokenEndpoint) -> None:
    material = await lease_of(google, seconds=1)
    assert google.requests[-1].claims["exp"] - google.requests[-1].claims["iat"] == 60
    assert material.notes == (UNSCOPED, LIVES_LONGER)


@pytest.mark.parametrize(("told", "lasts"), [(120, 120), (43200, 600)])
async def test_the_end_is_the_exchanges_own_but_never_after_the_source_tokens(
    google: TokenEndpoint, told: int, lasts: int
) -> None:
    google.sts.answer_with(200, {"access_token": "ya29.d.narrowed", "token_type": "bearer", "expires_in": told})
    material = await lease_of(google, READ, seconds=600)
    assert close(material.expires_at, utc_now() + timedelta(seconds=lasts))


# What can't be met


async def test_terms_that_google_cannot_meet_are_told_at_once_and_nobody_is_asked(google: TokenEndpoint) -> None:
    scope = LeaseScope("10.1.2.3", "a/../b")
    with pytest.raises(TermsRefused) as refused:
        await lease_of(google, scope, seconds=3601, role_arn="arn:aws:iam::1:role/x", external_id="e")
    assert set(refused.value.fields) == {"ttl_seconds", "scope.bucket", "scope.prefix", "role_arn", "external_id"}
    assert google.requests == []
    assert (await lease_of(google, READ, seconds=3600)).narrowed


async def test_a_prefix_too_long_for_a_boundary_is_refused_before_anything_is_asked(
    google: TokenEndpoint,
) -> None:
    with pytest.raises(TermsRefused) as refused:
        await lease_of(google, LeaseScope("lake", "'" * 512))
    assert set(refused.value.fields) == {"scope.prefix"}
    assert google.requests == []


async def test_a_key_of_another_universe_is_leased_to_nobody(google: TokenEndpoint) -> None:
    """Requirement 7."""
    report = await refusal_of(google, READ, file={**google.make_key(), "universe_domain": "apis-tpczero.goog"})
    assert said(report) == ("unknown", "blocked_endpoint", "policy")
    assert google.requests == []


async def test_a_damaged_key_is_malformed(google: TokenEndpoint) -> None:
    report = await refusal_of(google, READ, file={**google.make_key(), "private_key": BAD_KEYS["a wrong exponent"]})
    assert said(report) == ("failed", "malformed", "credential")


async def test_an_hmac_key_is_not_leasable_and_says_what_to_use_instead() -> None:
    kind = gcp_hmac.KIND
    payload = kind.split(kind.schema().load({"access_key_id": "GOOG1EXAMPLE", "secret_access_key": "x"}))
    async with Egress(EgressSettings()) as egress:
        run = Run(egress, ProviderSettings())
        with pytest.raises(NotLeasable, match="key file of a service account"):
            await lease(gcp_hmac.VERIFIER, payload, LeaseTerms(900, READ, "vouch-test"), run, 5.0)
