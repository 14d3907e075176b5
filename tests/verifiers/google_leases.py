"""How the tests lease from the peer, and how a job then uses what it got."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from tests.peers.google import TokenEndpoint
from verifiers.base import Run
from verifiers.egress import Egress
from verifiers.gcp_service_account import KIND, VERIFIER
from verifiers.lease_terms import LeaseScope, LeaseTerms, Material
from verifiers.leasing import LeaseFailed, lease
from verifiers.settings import EgressSettings, GcpSettings, ProviderSettings
from verifiers.verdict import Report


def utc_now() -> datetime:
    return datetime.now(UTC)


async def lease_of(
    google: TokenEndpoint,
    scope: LeaseScope | None = None,
    *,
    file: dict[str, Any] | None = None,
    seconds: int = 900,
    role_arn: str = "",
    external_id: str = "",
    token_uri: str = "",
    sts_endpoint: str = "",
    deadline: float = 5.0,
    now: Callable[[], datetime] = utc_now,
) -> Material:
    """Lease a key of the peer's; what the way out costs is closed again."""
    gcp = GcpSettings(token_uri=token_uri or google.token_uri, sts_endpoint=sts_endpoint or google.sts_endpoint)
    payload = KIND.split(KIND.schema().load({"key_text": json.dumps(file or google.make_key())}))
    terms = LeaseTerms(seconds, scope, "vouch-test", role_arn=role_arn, external_id=external_id)
    async with Egress(EgressSettings()) as egress:
        return await lease(VERIFIER, payload, terms, Run(egress, ProviderSettings(gcp=gcp), now=now), deadline)


async def refusal_of(google: TokenEndpoint, scope: LeaseScope | None = None, **how: Any) -> Report:
    """The report of a lease that must fail."""
    try:
        material = await lease_of(google, scope, **how)
    except LeaseFailed as failed:
        return failed.report
    raise AssertionError(f"a lease was given: {material!r}")


class Job:
    """Uses a token at the peer's Cloud Storage; each method gives the status."""

    def __init__(self, google: TokenEndpoint, material: Material) -> None:
        self._origin = URL(google.origin)
        self._headers = {"Authorization": f"Bearer {material.values['access_token']}"}

    async def _status(self, method: str, url: URL, data: bytes | None = None) -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.request(method, url, data=data) as response,
        ):
            return response.status, await response.read()

    def _object(self, bucket: str, name: str) -> URL:
        return self._origin / "storage/v1/b" / bucket / "o" / name

    async def get(self, bucket: str, name: str) -> int:
        return (await self._status("GET", self._object(bucket, name)))[0]

    async def put(self, bucket: str, name: str) -> int:
        url = (self._origin / "upload/storage/v1/b" / bucket / "o").with_query(uploadType="media", name=name)
        return (await self._status("POST", url, b"new"))[0]

    async def delete(self, bucket: str, name: str) -> int:
        return (await self._status("DELETE", self._object(bucket, name)))[0]

    async def list(self, bucket: str, prefix: str = "") -> int | list[str]:
        """The status, or the names of a list that was given."""
        url = self._origin / "storage/v1/b" / bucket / "o"
        status, body = await self._status("GET", url.with_query(prefix=prefix) if prefix else url)
        return [one["name"] for one in json.loads(body)["items"]] if status == 200 else status
