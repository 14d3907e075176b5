"""How often an SDK comes back: a lease of the default length is used again, a short one is not.

botocore renews what has at most 15 minutes left, for every request that it signs (`RefreshableCredentials`, its
"advisory refresh"; past 10 minutes it insists). A lease of 900 s, the shortest that AWS gives, is in that time from its
first second: every call of the SDK makes another lease, and another session at AWS. That is why leases live an hour if
nobody asks for less.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from service.config import LeasesConfig
from tests.api.test_stock_sdks import Aws, serving
from tests.peers.moto import Moto, allow

CALLS = 10
LIST_AGAIN = """
import sys, boto3
client = boto3.client("s3")
for _ in range(int(sys.argv[2])):
    for one in client.list_objects_v2(Bucket=sys.argv[1])["Contents"]:
        print("found", one["Key"])
"""


@pytest.fixture(scope="module")
def aws(moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """vouch before moto, with an identity of its own, and nothing said of leases in its configuration."""
    service = moto.user(allow("sts:*"))
    bucket = moto.bucket({"raw/a": b"1"})
    settings = f'[providers.aws]\nsts_endpoint = "{moto.url}"\n'
    keys = {"AWS_ACCESS_KEY_ID": service.access_key_id, "AWS_SECRET_ACCESS_KEY": service.secret_access_key}
    with serving(tmp_path_factory.mktemp("vouch"), settings, **keys) as served:
        yield Aws(served, moto, service, bucket)


@pytest.fixture
async def lake(aws: Aws) -> AsyncIterator[str]:
    """A stored role; its name."""
    role = {"role_arn": aws.moto.role(aws.service, "tenant:42", allow("s3:*")), "external_id": "tenant:42"}
    await aws.served.keep("lake", "AWS", role={"aws": role})
    yield "lake"
    await asyncio.to_thread(aws.served.call, "DELETE", "/v4/credentials/lake")


async def leases_of(aws: Aws, way: str, lake: str, calls: int, seconds: int | None = None) -> int:
    """How many leases a job makes that lists a bucket so many times, in one process with one client."""
    token = await aws.served.make_key()
    if way == "container":
        more = "" if seconds is None else f"&ttl_seconds={seconds}"
        env = aws.container(f"name={lake}{more}", token)
    else:
        env = aws.profile(lake if seconds is None else f"{lake} --ttl {seconds}")
    done = await aws.served.run(LIST_AGAIN, aws.bucket, str(calls), token=token, **env)
    assert done.found == ["raw/a"] * calls, done.error
    page = await asyncio.to_thread(aws.served.call, "GET", "/v1/leases?limit=1000")
    assert page["next_cursor"] is None
    return sum(one["caller"]["id"] == token.split("_")[1] for one in page["data"])


def test_a_lease_lives_an_hour_if_nobody_asks_for_less() -> None:
    assert LeasesConfig().default_ttl_seconds == 3600


@pytest.mark.parametrize("way", ["container", "process"])
async def test_boto3_makes_one_lease_for_many_calls(aws: Aws, lake: str, way: str) -> None:
    assert await leases_of(aws, way, lake, CALLS) == 1


@pytest.mark.parametrize("way", ["container", "process"])
async def test_boto3_makes_a_lease_for_every_call_where_they_live_a_quarter_of_an_hour(
    aws: Aws, lake: str, way: str
) -> None:
    """Not a fault of vouch's: at 900 s and less, botocore thinks each too old from the start (see above)."""
    assert await leases_of(aws, way, lake, 3, seconds=900) >= 3


async def test_a_lease_somewhat_longer_than_a_quarter_of_an_hour_is_used_again(aws: Aws, lake: str) -> None:
    """Until it has 15 minutes left."""
    assert await leases_of(aws, "container", lake, CALLS, seconds=1200) == 1
