"""Leases of Azure credentials: against Azurite through Microsoft's own SDK, and each refusal without anybody."""

import base64
import logging
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

import pytest
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import generate_container_sas
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.azurite import Azurite
from tests.verifiers.azure_reports import SECRET
from verifiers import azure_key, azure_lease, azure_sas, azure_service_principal
from verifiers.azure_lease import UNPROVEN
from verifiers.base import Payload, Run, Verifier
from verifiers.egress import Egress
from verifiers.lease_terms import (
    LeaseAccess,
    LeaseScope,
    LeaseTerms,
    Material,
    MaterialForm,
    NotLeasable,
    TermsRefused,
)
from verifiers.leasing import LeaseFailed, lease
from verifiers.settings import AzureSettings, EgressSettings, ProviderSettings

NOW = datetime(2026, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC)
LATE = NOW.replace(tzinfo=None, year=2090)
KEY = base64.b64encode(b"canary-canary-canary").decode()
ENDPOINT = "https://vouchtests.blob.core.windows.net"
OF_BOX = f"sv=2022-11-02&sr=c&sp=rl&se=2026-03-01T12:10:00Z&sig={SECRET}%2B{SECRET}%3D"
OF_ACCOUNT = OF_BOX.replace("sr=c", "ss=b&srt=sco")
READ_BOX = LeaseScope("box")


def nobody(*asked: object, **named: object) -> list[tuple[object, ...]]:
    """A resolver for those who are not to ask anybody."""
    raise AssertionError("a lease of Azure's makes no call")


async def leased(
    verifier: Verifier,
    values: Mapping[str, str],
    scope: LeaseScope | None,
    *,
    seconds: int = 600,
    now: datetime | None = None,
    operator: str = AzureSettings.blob_endpoint,
    **terms: str,
) -> Material:
    """Lease a payload as the service would make it of a request; the clock says `now`, None is the real one."""
    payload = verifier.kind.split(verifier.kind.schema().load(values))
    asked = LeaseTerms(seconds=seconds, scope=scope, session="vouch-test", **terms)
    async with Egress(EgressSettings(), getaddrinfo=nobody) as out:
        run = Run(out, ProviderSettings(azure=AzureSettings(blob_endpoint=operator)), now=lambda: now or _real_now())
        return await lease(verifier, payload, asked, run, 5)


def _real_now() -> datetime:
    return datetime.now(UTC)


async def of_key(scope: LeaseScope | None, *, endpoint: str = ENDPOINT, **terms: str) -> Material:
    """A lease of the canary key, of ten minutes from `NOW`."""
    values = {"account_name": "vouchtests", "account_key": KEY, "blob_endpoint": endpoint}
    return await leased(azure_key.VERIFIER, values, scope, now=NOW, **terms)


async def of_sas(
    sas: str,
    scope: LeaseScope | None = None,
    *,
    path: str = "/box",
    seconds: int = 600,
    now: datetime = NOW,
    **terms: str | bool,
) -> Material:
    """A lease of a SAS; the credential's endpoint has that path."""
    values = {"account_name": "vouchtests", "sas_token": sas, "blob_endpoint": ENDPOINT + path}
    return await leased(azure_sas.VERIFIER, values, scope, seconds=seconds, now=now, **terms)


async def on_azurite(
    azurite: Azurite,
    access: LeaseAccess,
    *,
    key: str | None = None,
    now: datetime | None = None,
    bucket: str = "leased",
) -> Material:
    """A lease of Azurite's account key for a container."""
    values = {"account_name": azurite.account, "account_key": key or azurite.key, "blob_endpoint": azurite.endpoint}
    return await leased(azure_key.VERIFIER, values, LeaseScope(bucket, access=access), now=now)


def parameters(material: Material) -> dict[str, str]:
    """The parameters of a leased SAS."""
    return dict(parse_qsl(material.values["sas_token"], strict_parsing=True))


def client(material: Material, container: str | None = None) -> ContainerClient:
    """The SDK's client as a job makes it of what it was given."""
    given_values = material.values
    return ContainerClient(
        given_values["blob_endpoint"],
        container or given_values["container"],
        credential=AzureSasCredential(given_values["sas_token"]),
        retry_total=0,
    )


async def names(container: ContainerClient) -> list[str]:
    """The names of a container's blobs."""
    return [one.name async for one in container.list_blobs()]


@contextmanager
def refused(code: str) -> Iterator[None]:
    """What is inside is refused with a 403 of that code.

    Azurite says `AuthorizationFailure` of a signature that is wrong, or out of its time, where Azure says
    `AuthenticationFailed`.
    """
    with pytest.raises(HttpResponseError) as refusal:
        yield
    assert (refusal.value.status_code, refusal.value.error_code) == (403, code)


@pytest.fixture
async def containers(azurite: Azurite) -> None:
    """The containers `leased`, `elsewhere` and `$web`, each with one blob, made with the account's key."""
    credential = {"account_name": azurite.account, "account_key": azurite.key}
    async with BlobServiceClient(azurite.endpoint, credential=credential) as service:
        for name in ("leased", "elsewhere", "$web"):
            container = service.get_container_client(name)
            if not await container.exists():
                await container.create_container()
            await container.upload_blob("folder/one.txt", b"the content", overwrite=True)


@pytest.mark.usefixtures("containers")
async def test_a_leased_sas_lists_its_container_and_reads_a_blob(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.READ)) as container:
        assert await names(container) == ["folder/one.txt"]
        blob = await container.download_blob("folder/one.txt")
        assert await blob.readall() == b"the content"


@pytest.mark.usefixtures("containers")
async def test_a_website_container_can_be_leased(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.READ, bucket="$web")) as container:
        assert await names(container) == ["folder/one.txt"]


@pytest.mark.usefixtures("containers")
@pytest.mark.parametrize("access", list(LeaseAccess))
async def test_a_leased_sas_opens_no_other_container(azurite: Azurite, access: LeaseAccess) -> None:
    async with client(await on_azurite(azurite, access), "elsewhere") as container:
        with refused("AuthorizationFailure"):
            await names(container)
        with refused("AuthorizationFailure"):
            await container.download_blob("folder/one.txt")
        with refused("AuthorizationFailure"):
            await container.upload_blob("new.txt", b"x")
        with refused("AuthorizationFailure"):
            await container.delete_blob("folder/one.txt")


@pytest.mark.usefixtures("containers")
async def test_a_read_lease_neither_writes_nor_deletes(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.READ)) as container:
        with refused("AuthorizationPermissionMismatch"):
            await container.upload_blob("new.txt", b"x")
        with refused("AuthorizationPermissionMismatch"):
            await container.delete_blob("folder/one.txt")


@pytest.mark.usefixtures("containers")
async def test_a_write_lease_makes_changes_and_deletes_blobs_but_neither_reads_nor_lists(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.WRITE)) as container:
        blob = container.get_blob_client("new.txt")
        await blob.upload_blob(b"first")
        await blob.upload_blob(b"second", overwrite=True)
        await blob.stage_block("MDAx", b"third")
        await blob.commit_block_list(["MDAx"])
        log = container.get_blob_client("log.txt")
        await log.create_append_blob()
        await log.append_block(b"a line")
        with refused("AuthorizationPermissionMismatch"):
            await blob.download_blob()
        with refused("AuthorizationPermissionMismatch"):
            await names(container)
        await blob.delete_blob()
        await log.delete_blob()


@pytest.mark.usefixtures("containers")
async def test_a_lease_to_read_and_write_does_both(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.READ_WRITE)) as container:
        blob = container.get_blob_client("both.txt")
        await blob.upload_blob(b"both")
        assert await (await blob.download_blob()).readall() == b"both"
        assert "both.txt" in await names(container)
        await blob.delete_blob()


@pytest.mark.usefixtures("containers")
@pytest.mark.parametrize("access", list(LeaseAccess))
async def test_a_lease_never_touches_the_container_itself(azurite: Azurite, access: LeaseAccess) -> None:
    async with client(await on_azurite(azurite, access)) as container:
        for call in (
            container.delete_container(),
            container.set_container_metadata({"a": "b"}),
            container.get_container_access_policy(),
            container.set_container_access_policy({}, public_access="container"),
        ):
            with refused("AuthorizationPermissionMismatch"):
                await call


@pytest.mark.usefixtures("containers")
async def test_a_lease_that_has_ended_opens_nothing(azurite: Azurite) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    async with client(await on_azurite(azurite, LeaseAccess.READ, now=an_hour_ago)) as container:
        with refused("AuthorizationFailure"):
            await names(container)


@pytest.mark.usefixtures("containers")
async def test_a_wrong_account_key_makes_a_sas_that_is_refused(azurite: Azurite) -> None:
    async with client(await on_azurite(azurite, LeaseAccess.READ, key=KEY)) as container:
        with refused("AuthorizationFailure"):
            await names(container)


@pytest.mark.usefixtures("containers")
async def test_a_registered_sas_that_is_narrow_and_short_is_handed_on_and_works(azurite: Azurite) -> None:
    values = {
        "account_name": azurite.account,
        "sas_token": azurite.service_sas("leased", se=datetime.now(UTC) + timedelta(minutes=5)),
        "blob_endpoint": f"{azurite.endpoint}/leased",
    }
    async with client(await leased(azure_sas.VERIFIER, values, LeaseScope("leased"))) as container:
        assert await names(container) == ["folder/one.txt"]


@pytest.mark.usefixtures("containers")
async def test_an_account_sas_leased_without_a_scope_works(azurite: Azurite) -> None:
    sas = azurite.account_sas(se=datetime.now(UTC) + timedelta(minutes=5))
    values = {"account_name": azurite.account, "sas_token": "?" + sas}
    material = await leased(azure_sas.VERIFIER, values, None, operator=azurite.operator_endpoint)
    assert material.values["blob_endpoint"] == azurite.endpoint
    async with client(material, "elsewhere") as container:
        assert await names(container) == ["folder/one.txt"]


@given(
    permissions=st.sampled_from(["r", "rl", "wd", "rwdl", "racwdl", "racwdxyltfmei"]),
    container=st.sampled_from(["abc", "a-b-c", "$root", "$web", "0" * 63]),
    start=st.none() | st.datetimes(NOW.replace(tzinfo=None), LATE),
    expiry=st.datetimes(NOW.replace(tzinfo=None), LATE),
    optional=st.fixed_dictionaries(
        {},
        optional={
            "protocol": st.sampled_from(["https", "https,http"]),
            "ip": st.sampled_from(["168.1.5.60", "168.1.5.60-168.1.5.70"]),
            "policy_id": st.text("abc-é", min_size=1, max_size=64),
            "cache_control": st.just("no-store"),
            "content_disposition": st.just("inline; filename=ä.txt"),
            "content_encoding": st.just("gzip"),
            "content_language": st.just("de"),
            "content_type": st.just("text/plain"),
            "encryption_scope": st.just("mine"),
        },
    ),
    key=st.binary(min_size=1, max_size=64),
)
@settings(max_examples=200, deadline=None)
def test_the_signature_is_the_one_that_microsofts_library_makes(
    permissions: str,
    container: str,
    start: datetime | None,
    expiry: datetime,
    optional: dict[str, str],
    key: bytes,
) -> None:
    encoded = base64.b64encode(key).decode()
    theirs = dict(
        parse_qsl(
            generate_container_sas(
                "vouchtests", container, encoded, permission=permissions, start=start, expiry=expiry, **optional
            )
        )
    )
    expected = theirs.pop("sig")
    assert azure_lease.signature("vouchtests", encoded, container, theirs) == expected


@pytest.mark.parametrize(("access", "letters"), [("read", "rl"), ("write", "wd"), ("read_write", "rwdl")])
async def test_a_lease_of_a_key_is_for_exactly_what_is_asked(access: str, letters: str) -> None:
    material = await of_key(LeaseScope("box", access=LeaseAccess(access)))
    told = parameters(material)
    sig = told.pop("sig")
    assert told == {
        "sv": "2021-12-02",
        "st": "2026-03-01T11:45:00Z",
        "se": "2026-03-01T12:10:00Z",
        "sr": "c",
        "sp": letters,
        "spr": "https",
    }
    assert sig == azure_lease.signature("vouchtests", KEY, "box", told)
    assert material.expires_at == datetime(2026, 3, 1, 12, 10, tzinfo=UTC)


async def test_the_material_is_what_the_sdk_wants() -> None:
    material = await of_key(READ_BOX, endpoint=ENDPOINT + "/")
    assert (material.form, material.narrowed) == (MaterialForm.AZURE_SAS, True)
    assert set(material.values) == {"account_name", "sas_token", "blob_endpoint", "container"}
    assert material.values["account_name"] == "vouchtests"
    assert material.values["blob_endpoint"] == ENDPOINT
    assert material.values["container"] == "box"
    assert not material.values["sas_token"].startswith("?")
    assert any("rotating" in note for note in material.notes)


@pytest.mark.parametrize(
    ("endpoint", "expected", "protocols"),
    [
        ("http://127.0.0.1:10000/vouchtests", "http://127.0.0.1:10000/vouchtests", "https,http"),
        ("HTTP://127.0.0.1:10000/vouchtests/box/", "http://127.0.0.1:10000/vouchtests", "https,http"),
        ("https://storage.example/vouchtests", "https://storage.example/vouchtests", "https"),
        (ENDPOINT + "/box", ENDPOINT, "https"),
        (ENDPOINT + "/%62ox", ENDPOINT, "https"),
    ],
)
async def test_plain_http_is_allowed_only_where_the_endpoint_is_plain(
    endpoint: str, expected: str, protocols: str
) -> None:
    material = await of_key(READ_BOX, endpoint=endpoint)
    assert material.values["blob_endpoint"] == expected
    assert parameters(material)["spr"] == protocols


async def test_a_clock_of_another_time_zone_makes_no_difference() -> None:
    values = {"account_name": "vouchtests", "account_key": KEY}
    elsewhere = NOW.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    material = await leased(azure_key.VERIFIER, values, READ_BOX, now=elsewhere)
    assert parameters(material)["se"] == "2026-03-01T12:10:00Z"
    assert material.expires_at.tzinfo is UTC


async def refusal(attempt: Awaitable[Material]) -> dict[str, str]:
    """The fields of the terms that are refused."""
    with pytest.raises(TermsRefused) as refused:
        await attempt
    return refused.value.fields


async def test_a_key_without_a_scope_is_asked_for_a_container() -> None:
    fields = await refusal(of_key(None))
    assert set(fields) == {"scope"}
    assert "container" in fields["scope"]


async def test_a_prefix_is_refused_rather_than_dropped() -> None:
    assert set(await refusal(of_key(LeaseScope("box", prefix="folder/")))) == {"scope.prefix"}
    assert set(await refusal(of_sas(OF_BOX, LeaseScope("box", prefix="folder/")))) == {"scope.prefix"}


@pytest.mark.parametrize(
    "bucket",
    [
        "ab",
        "a" * 64,
        "a--b",
        "-ab",
        "ab-",
        "a.b",
        "a_b",
        "Box",
        "box\n",
        "box/blob",
        "bóx",
        "$logs",
        "$blobchangefeed",
        "$roots",
        "",
    ],
)
async def test_what_is_no_containers_name_is_refused(bucket: str) -> None:
    fields = await refusal(of_key(LeaseScope(bucket)))
    assert set(fields) == {"scope.bucket"}
    assert "3 to 63" in fields["scope.bucket"]


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "a-b-c", "123", "$root", "$web"])
async def test_a_containers_name_is_taken(bucket: str) -> None:
    assert (await of_key(LeaseScope(bucket))).values["container"] == bucket


async def test_everything_that_is_wrong_is_told_at_once() -> None:
    fields = await refusal(of_key(LeaseScope("a.b", prefix="x"), role_arn="arn:aws:iam::1:role/r", external_id="x"))
    assert set(fields) == {"scope.bucket", "scope.prefix", "role_arn", "external_id"}


async def test_a_role_is_not_for_azure() -> None:
    assert set(await refusal(of_key(READ_BOX, role_arn="arn:aws:iam::1:role/r"))) == {"role_arn"}
    assert set(await refusal(of_sas(OF_BOX, external_id="x"))) == {"external_id"}


@pytest.mark.parametrize("path", ["/other", "/boxes", "/box%2Fblob", "/.."])
async def test_another_container_than_the_endpoints_is_wider_than_the_credential(path: str) -> None:
    assert set(await refusal(of_key(READ_BOX, endpoint=ENDPOINT + path))) == {"scope.bucket"}
    assert set(await refusal(of_sas(OF_BOX, READ_BOX, path=path))) == {"scope.bucket"}


async def test_a_key_whose_endpoint_names_a_blob_cant_be_leased() -> None:
    with pytest.raises(NotLeasable, match="blob_endpoint"):
        await of_key(READ_BOX, endpoint=ENDPOINT + "/box/folder")


async def test_a_sas_is_handed_on_as_it_came() -> None:
    material = await of_sas("?" + OF_BOX, READ_BOX, proven=True)
    assert dict(material.values) == {
        "account_name": "vouchtests",
        "sas_token": OF_BOX,
        "blob_endpoint": ENDPOINT,
        "container": "box",
    }
    assert material.expires_at == datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
    assert material.narrowed
    assert UNPROVEN not in material.notes
    assert any("rotating the account's key" in note for note in material.notes)


async def test_a_sas_that_was_never_verified_is_not_called_narrowed() -> None:
    """It does not say which container it is for: only asking Azure does."""
    material = await of_sas(OF_BOX, READ_BOX)
    assert not material.narrowed
    assert UNPROVEN in material.notes


@pytest.mark.parametrize(
    ("sas", "reason"),
    [
        (OF_BOX.replace("12:10", "11:59"), "expired"),
        (OF_BOX.replace("12:10:00", "12:00:00"), "expired"),
        (OF_BOX + "&ske=2026-03-01T11:00:00Z", "expired"),
        (OF_BOX + "&st=2026-03-01T12:05:00Z", "not_yet_valid"),
        (OF_BOX + "&skt=2026-03-01T12:05:00Z", "not_yet_valid"),
    ],
)
async def test_a_sas_out_of_its_time_fails_as_it_does_when_verified(sas: str, reason: str) -> None:
    with pytest.raises(LeaseFailed) as failed:
        await of_sas(sas, READ_BOX)
    verdict = failed.value.report.verdict
    assert (verdict.outcome.value, verdict.reason.value, verdict.fault.value) == ("failed", reason, "credential")


@pytest.mark.parametrize("scope", [READ_BOX, None])
async def test_a_sas_must_not_outlive_the_lease_by_a_second(scope: LeaseScope | None) -> None:
    on_the_dot = NOW.replace(microsecond=0)
    for now in (NOW, on_the_dot):
        material = await of_sas(OF_BOX, scope, seconds=600, now=now)
        assert material.expires_at == datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
    with pytest.raises(NotLeasable) as refused:
        await of_sas(OF_BOX, scope, seconds=599)
    assert "2026-03-01T12:10:00Z" in str(refused.value)
    assert "account's key" in str(refused.value)
    assert "ttl_seconds" in str(refused.value)


async def test_the_end_of_its_signing_key_is_a_sas_end_too() -> None:
    sas = OF_BOX.replace("2026-03-01T12:10", "2026-03-02T12:10") + "&skoid=a&ske=2026-03-01T12:09:00Z"
    material = await of_sas(sas, READ_BOX)
    assert material.expires_at == datetime(2026, 3, 1, 12, 9, tzinfo=UTC)
    assert any("user delegation key" in note for note in material.notes)


@pytest.mark.parametrize(
    ("letters", "access"),
    [
        ("rwl", "read"),
        ("rcl", "read"),
        ("rlt", "read"),
        ("rlx", "read"),
        ("rle", "read"),
        ("racwdl", "write"),
        ("wdx", "write"),
        ("wdy", "write"),
        ("wdl", "write"),
        ("racwdxl", "read_write"),
        ("rwdlp", "read_write"),
        ("rl\n", "read"),
    ],
)
async def test_a_sas_that_allows_more_than_is_asked_cant_be_leased(letters: str, access: str) -> None:
    with pytest.raises(NotLeasable, match="allows more"):
        await of_sas(OF_BOX.replace("sp=rl", f"sp={quote(letters)}"), LeaseScope("box", access=LeaseAccess(access)))


@pytest.mark.parametrize(
    ("letters", "access", "missing"),
    [
        ("r", "read", "l"),
        ("l", "read", "r"),
        ("wd", "read", "r, l"),
        ("rl", "write", "w, d"),
        ("w", "write", "d"),
        ("acd", "write", "w"),
        ("rl", "read_write", "w, d"),
        ("rwd", "read_write", "l"),
    ],
)
async def test_a_scope_wider_than_the_sas_is_refused(letters: str, access: str, missing: str) -> None:
    scope = LeaseScope("box", access=LeaseAccess(access))
    fields = await refusal(of_sas(OF_BOX.replace("sp=rl", f"sp={letters}"), scope))
    assert set(fields) == {"scope.access"}
    assert f"lack {missing}." in fields["scope.access"]


@pytest.mark.parametrize(
    ("letters", "access"),
    [("rl", "read"), ("wd", "write"), ("acwd", "write"), ("rwdl", "read_write"), ("racwdl", "read_write")],
)
async def test_a_sas_for_exactly_what_is_asked_is_handed_on(letters: str, access: str) -> None:
    material = await of_sas(OF_BOX.replace("sp=rl", f"sp={letters}"), LeaseScope("box", access=LeaseAccess(access)))
    assert parameters(material)["sp"] == letters


@pytest.mark.parametrize("path", ["", "/box"])
async def test_an_account_sas_is_never_as_narrow_as_a_container(path: str) -> None:
    with pytest.raises(NotLeasable, match="account SAS"):
        await of_sas(OF_ACCOUNT, READ_BOX, path=path)


async def test_a_container_sas_is_leased_only_where_the_endpoint_names_its_container() -> None:
    with pytest.raises(NotLeasable, match="blob_endpoint"):
        await of_sas(OF_BOX, READ_BOX, path="")


@pytest.mark.parametrize("scope", [READ_BOX, None])
@pytest.mark.parametrize("more", ["", "&sp=rl&se=2026-03-01T12:10:00Z"])
async def test_a_stored_access_policy_hides_what_a_sas_allows(scope: LeaseScope | None, more: str) -> None:
    with pytest.raises(NotLeasable, match="stored access policy"):
        await of_sas(f"sv=2022-11-02&sr=c&si=policy&sig={SECRET}{more}", scope)


@pytest.mark.parametrize(
    "sas",
    [
        OF_ACCOUNT.replace("ss=b", "ss=qft"),
        OF_BOX.replace("sr=c", "sr=s"),
        OF_BOX.replace("sr=c&", ""),
    ],
)
@pytest.mark.parametrize("scope", [READ_BOX, None])
async def test_a_sas_for_another_service_cant_be_leased(sas: str, scope: LeaseScope | None) -> None:
    with pytest.raises(NotLeasable, match="blob service"):
        await of_sas(sas, scope)


@pytest.mark.parametrize("resource", ["sr=b", "sr=d&sdd=1", "sr=bs"])
async def test_a_container_is_wider_than_a_sas_for_less(resource: str) -> None:
    assert set(await refusal(of_sas(OF_BOX.replace("sr=c", resource), READ_BOX, path="/box/one"))) == {"scope"}


@pytest.mark.parametrize(
    ("sas", "path", "told"),
    [
        (OF_ACCOUNT, "", {}),
        (OF_ACCOUNT, "/box", {}),
        (OF_BOX, "", {}),
        (OF_BOX, "/box", {"container": "box"}),
        (OF_BOX, "/box/folder", {"container": "box"}),
        (OF_BOX.replace("sr=c", "sr=b"), "/box/a/b%20c", {"container": "box", "blob": "a/b c"}),
        (OF_BOX.replace("sr=c", "sr=d&sdd=1"), "/box/folder", {"container": "box", "blob": "folder"}),
    ],
)
async def test_without_a_scope_a_short_sas_is_handed_on_with_what_is_known_of_it(
    sas: str, path: str, told: dict[str, str]
) -> None:
    material = await of_sas(sas, path=path)
    more = {name: value for name, value in material.values.items() if name in {"container", "blob"}}
    assert more == told
    assert material.values["sas_token"] == sas
    assert not material.narrowed
    assert any("does not know which" in note for note in material.notes) == (sas is OF_BOX and not path)


async def test_a_sas_for_some_addresses_says_so() -> None:
    assert azure_lease.ADDRESSES in (await of_sas(OF_BOX + "&sip=168.1.5.60", READ_BOX)).notes
    assert azure_lease.ADDRESSES not in (await of_sas(OF_BOX, READ_BOX)).notes


async def test_a_service_principal_cant_be_leased_and_says_what_to_use() -> None:
    tenant = "00000000-0000-0000-0000-000000000000"
    values = {"tenant_id": tenant, "client_id": tenant, "client_secret": KEY}
    with pytest.raises(NotLeasable) as refused:
        await leased(azure_service_principal.VERIFIER, values, READ_BOX)
    assert "Register the key of a storage account" in str(refused.value)


REFUSED = [
    (None, OF_BOX),
    (LeaseScope("a.b", prefix="x"), OF_BOX),
    (READ_BOX, OF_ACCOUNT),
    (READ_BOX, OF_BOX.replace("12:10", "11:10")),
    (READ_BOX, OF_BOX.replace("12:10", "13:10")),
    (READ_BOX, OF_BOX.replace("sp=rl", "sp=rwl")),
    (READ_BOX, f"sv=2022-11-02&sr=c&si=policy&sig={SECRET}"),
]


async def test_neither_keys_nor_signatures_show_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    shown, signatures = "", []
    for material in (await of_key(READ_BOX), await of_sas(OF_BOX, READ_BOX), await of_sas(OF_ACCOUNT)):
        shown += repr(material) + str(material)
        signatures.append(parameters(material)["sig"])
    for scope, sas in REFUSED:
        for attempt in (of_key(scope, endpoint=ENDPOINT + "/other"), of_sas(sas, scope)):
            try:
                shown += repr(await attempt)
            except (TermsRefused, NotLeasable, LeaseFailed) as error:
                shown += repr(error) + str(error) + repr(vars(error))
    shown += caplog.text
    assert "sig=" not in shown
    for secret in (KEY, base64.b64decode(KEY).decode(), SECRET, *signatures):
        assert secret not in shown
        assert quote(secret, safe="") not in shown


async def test_a_key_that_is_none_shows_nowhere_either(caplog: pytest.LogCaptureFixture) -> None:
    """Requirement 30: a stored key that the schema would refuse today ends in a clear answer."""
    caplog.set_level(logging.DEBUG)
    broken = "canary-not-base64!"
    public = {"account_name": "vouchtests", "blob_endpoint": ENDPOINT}
    payload = Payload(azure_key.KIND, public, {"account_key": broken})
    async with Egress(EgressSettings(), getaddrinfo=nobody) as out:
        run = Run(out, ProviderSettings())
        with pytest.raises(LeaseFailed) as failed:
            await lease(azure_key.VERIFIER, payload, LeaseTerms(60, READ_BOX, "vouch-test"), run, 5)
    assert failed.value.report.verdict.outcome.value == "unknown"
    assert broken not in caplog.text + repr(failed.value) + repr(failed.value.report)
