"""Stock SDKs unchanged: jobs in processes of their own, a real `vouch serve`, and providers that check every signature.

A job has nothing but vouch's address and an API key. What it prints is all that it could see of the credentials.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service import bootstrap
from service.auth.passwords import hash_password
from service.config import Config
from service.core.access import Access
from tests.api.leaks import needles
from tests.peers.azurite import Azurite
from tests.peers.google import TokenEndpoint
from tests.peers.moto import Moto, Pair, allow

ROOT = Path(__file__).parents[2]
LAUNCHER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from service.cli import main
main(prog_name="vouch")
"""
OUR_SECRET = "of-the-service"

LIST_S3 = """
import sys, boto3, botocore.utils
botocore.utils.ContainerMetadataFetcher.SLEEP_TIME = 0  # between the three times that it asks
session = boto3.Session()
got = session.get_credentials().get_frozen_credentials()
print(got.access_key, got.secret_key, got.token)
for one in session.client("s3").list_objects_v2(Bucket=sys.argv[1])["Contents"]:
    print("found", one["Key"])
"""
LIST_AZURE = """
import json, subprocess, sys
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import ContainerClient
command = [sys.argv[1], "lease", sys.argv[2], "--provider", "AZURE", "--bucket", sys.argv[3]]
done = subprocess.run(command, stdout=subprocess.PIPE)
if done.returncode:
    sys.exit(done.returncode)
print(done.stdout.decode())
got = json.loads(done.stdout)["material"]
credential = AzureSasCredential(got["sas_token"])
container = ContainerClient(got["blob_endpoint"], got["container"], credential=credential)
print("found", len(list(container.list_blobs())))
"""
LIST_GOOGLE = """
import sys, google.auth
from google.auth.transport.requests import AuthorizedSession, Request
scopes = ["https://www.googleapis.com/auth/devstorage.read_only"]
credentials, _ = google.auth.load_credentials_from_file(sys.argv[1], scopes=scopes)
credentials.refresh(Request())
print(credentials.token, credentials.valid)
answer = AuthorizedSession(credentials).get(sys.argv[2] + "/storage/v1/b/lake/o?prefix=raw/")
print("found", [one["name"] for one in answer.json()["items"]])
"""


class Done(NamedTuple):
    """How a job ended."""

    code: int
    out: str
    error: str

    @property
    def found(self) -> list[str]:
        """What it says that it found."""
        return [line.removeprefix("found ") for line in self.out.splitlines() if line.startswith("found ")]


@dataclass(frozen=True)
class Served:
    """A `vouch serve` in a process of its own, as its operator and its jobs see it."""

    url: str
    folder: Path
    admin_key: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that an admin is answered with; None for an empty body."""
        headers = {"X-TILEDB-REST-API-KEY": self.admin_key, "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", sent, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None
        return json.loads(raw) if raw else None

    async def keep(self, name: str, provider: str, **slot: Any) -> None:
        """Store a credential that is allowed in tasks."""
        body = {"name": name, "provider": provider, "allowed_in_tasks": True, **slot}
        await asyncio.to_thread(self.call, "POST", "/v4/credentials", body)

    async def make_key(self, role: str = "consumer") -> str:
        """An API key made beside the running service."""
        async with self._access() as access:
            _row, text = await access.create_api_key(
                bootstrap.operator(), name="a job", role=role, workspace="ws_default"
            )
            return text

    async def revoke(self, key: str) -> None:
        """Revoke an API key beside the running service."""
        async with self._access() as access:
            assert await access.revoke_api_key(bootstrap.operator(), key.split("_")[1])

    def _access(self) -> "_Beside":
        return _Beside(replace(Config(), data_dir=str(self.folder / "vouch-data")))

    async def run(self, script: str, *arguments: str, token: str, **environ: str) -> Done:
        """Run a job; its token is in a file, and nothing of this process' environment is in its own."""
        file = self.folder / "token"
        file.write_text(token)
        env = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "VOUCH_URL": self.url,
            "VOUCH_TOKEN_FILE": str(file),
            **environ,
        }
        command = [sys.executable, "-c", script, *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def launcher(self) -> str:
        """The `vouch` command, as an installation has it."""
        file = self.folder / "vouch"
        if not file.exists():
            file.write_text(LAUNCHER)
            file.chmod(0o755)
        return str(file)

    def log(self) -> str:
        """All that the service wrote."""
        return (self.folder / "log").read_text()

    def assert_hidden(self, *secrets: str, done: Done | None = None) -> None:
        """None of these is in the service's log, at DEBUG, nor in what a job saw."""
        places = [self.log()] if done is None else [self.log(), done.out, done.error]
        for needle in needles(*secrets):
            for place in places:
                assert needle not in place.encode()


class _Beside:
    """The store, opened beside the running service."""

    def __init__(self, config: Config) -> None:
        self._config = config

    async def __aenter__(self) -> Access:
        self._store = await bootstrap.open_store(self._config)
        return Access(self._store, hash_password)

    async def __aexit__(self, *error: object) -> None:
        await self._store.close()


@contextmanager
def serving(folder: Path, settings: str, **environ: str) -> Iterator[Served]:
    """Start a vouch with these settings, whose own environment is this and nothing else."""
    (folder / "config.toml").write_text(f'[log]\nlevel = "DEBUG"\n{settings}')
    env = {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=folder,
            env=env | environ,
            stdout=log,
            stderr=log,
        )
    try:
        port = _port(folder / "log", process)
        key = (folder / "vouch-data" / "admin-key").read_text().strip()
        yield Served(f"http://127.0.0.1:{port}", folder, key)
    finally:
        process.terminate()
        process.wait(timeout=25)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return int(json.loads(line)["port"])
        time.sleep(0.05)
    raise AssertionError(f"the service did not start: {log.read_text()}")


class Aws(NamedTuple):
    """vouch before moto, with an identity of its own, and a bucket for the jobs."""

    served: Served
    moto: Moto
    service: Pair
    bucket: str

    def profile(self, command: str, **more: str) -> dict[str, str]:
        """The environment of a job whose default profile has this `credential_process`."""
        file = self.served.folder / "aws-config"
        file.write_text(f"[default]\ncredential_process = {self.served.launcher} credential-process {command}\n")
        return {"AWS_CONFIG_FILE": str(file), "AWS_ENDPOINT_URL_S3": self.moto.url, **more}

    def container(self, query: str, token: str) -> dict[str, str]:
        """The environment of a job that asks vouch as if it were the container's own endpoint."""
        file = self.served.folder / "authorization"
        file.write_text(token)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.served.url}/v1/aws/credentials?{query}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
            "AWS_ENDPOINT_URL_S3": self.moto.url,
        }


@pytest.fixture(scope="module")
def aws(moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """One for the module: a process' identity is its environment's."""
    service = moto.user(allow("sts:*"))
    bucket = moto.bucket({"raw/a": b"1", "raw/b": b"2"})
    settings = f'[providers.aws]\nsts_endpoint = "{moto.url}"\n'
    keys = {"AWS_ACCESS_KEY_ID": service.access_key_id, "AWS_SECRET_ACCESS_KEY": service.secret_access_key}
    with serving(tmp_path_factory.mktemp("vouch"), settings, **keys) as served:
        yield Aws(served, moto, service, bucket)


@pytest.fixture
async def lake(aws: Aws) -> AsyncIterator[str]:
    """A stored role, which vouch itself assumes; its name."""
    role = {"role_arn": aws.moto.role(aws.service, "tenant:42", allow("s3:*")), "external_id": "tenant:42"}
    await aws.served.keep("lake", "AWS", role={"aws": role})
    yield "lake"
    await asyncio.to_thread(aws.served.call, "DELETE", "/v4/credentials/lake")


async def test_boto3_lists_a_bucket_through_a_credential_process(aws: Aws, lake: str) -> None:
    """Requirement 30: the session is all that the job sees, and nothing of it is in the log."""
    token = await aws.served.make_key()
    env = aws.profile(f"{lake} --bucket {aws.bucket} --prefix raw/ --purpose nightly")
    done = await aws.served.run(LIST_S3, aws.bucket, token=token, **env)
    assert done.found == ["raw/a", "raw/b"], done.error
    session = done.out.splitlines()[0].split()
    assert session[0].startswith("ASIA")
    aws.served.assert_hidden(aws.service.secret_access_key, done=done)
    aws.served.assert_hidden(token, *session[1:])
    (listed,) = (await asyncio.to_thread(aws.served.call, "GET", "/v1/leases?limit=1"))["data"]
    assert (listed["purpose"], listed["scope"]["bucket"]) == ("nightly", aws.bucket)


async def test_boto3_uses_a_stored_key_through_a_role_that_it_assumes(aws: Aws) -> None:
    """Requirement 30: the stored secret is nowhere but in the store."""
    user = aws.moto.user(allow("sts:AssumeRole"))
    arn = aws.moto.role(user, "job:7", allow("s3:*"))
    await aws.served.keep("stored-key", "AWS", credential={"aws": user.payload})
    token = await aws.served.make_key()
    env = aws.profile(f"stored-key --bucket {aws.bucket} --role-arn {arn} --external-id job:7")
    done = await aws.served.run(LIST_S3, aws.bucket, token=token, **env)
    assert done.found == ["raw/a", "raw/b"], done.error
    assert user.access_key_id not in done.out
    aws.served.assert_hidden(user.secret_access_key, aws.service.secret_access_key, done=done)


@pytest.mark.parametrize("before", ["", "Bearer "])
async def test_boto3_lists_a_bucket_through_the_container_credentials_protocol(
    aws: Aws, lake: str, before: str
) -> None:
    """Requirement 30: SDKs send the token file's content as the whole header."""
    token = await aws.served.make_key()
    env = aws.container(f"name={lake}&bucket={aws.bucket}&prefix=raw/", f"{before}{token}")
    done = await aws.served.run(LIST_S3, aws.bucket, token="unused", **env)
    assert done.found == ["raw/a", "raw/b"], done.error
    session = done.out.splitlines()[0].split()
    assert session[0].startswith("ASIA")
    aws.served.assert_hidden(aws.service.secret_access_key, done=done)
    aws.served.assert_hidden(token, *session[1:])


async def refusals(served: Served, name: str) -> AsyncIterator[tuple[str, str, str]]:
    """Callers who get nothing: the token, the name they ask for, and what they must be told."""
    revoked = await served.make_key()
    await served.revoke(revoked)
    yield revoked, name, "The API key is not known, or no longer valid."
    yield await served.make_key(), "nowhere", "There is no such credential."
    yield await served.make_key("viewer"), name, "The role viewer does not allow this."


async def test_boto3_says_why_a_credential_process_got_nothing(aws: Aws, lake: str) -> None:
    """Requirement 23: a revoked key, too; the error is one line, and holds no token."""
    async for token, name, told in refusals(aws.served, lake):
        done = await aws.served.run(LIST_S3, aws.bucket, token=token, **aws.profile(name))
        line = done.error.strip().splitlines()[-1]
        assert done.code == 1
        assert told in line
        assert "custom-process: Error: vouch answered 40" in line
        aws.served.assert_hidden(token, done=done)


async def test_boto3_says_why_the_container_endpoint_gave_nothing(aws: Aws, lake: str) -> None:
    """Requirement 23."""
    async for token, name, told in refusals(aws.served, lake):
        done = await aws.served.run(LIST_S3, aws.bucket, token="unused", **aws.container(f"name={name}", token))
        line = done.error.strip().splitlines()[-1]
        assert done.code == 1
        assert told in line
        aws.served.assert_hidden(token, done=done)


async def test_a_token_file_with_a_line_end_works_for_the_commands(aws: Aws, lake: str) -> None:
    """As `vouch api-key create > FILE` writes it."""
    token = await aws.served.make_key()
    done = await aws.served.run(LIST_S3, aws.bucket, token=f"{token}\n", **aws.profile(lake))
    assert done.found == ["raw/a", "raw/b"], done.error


# Azure


@pytest.fixture(scope="module")
def azure(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """vouch before Azurite."""
    settings = f'[providers.azure]\nblob_endpoint = "{azurite.operator_endpoint}"\n'
    with serving(tmp_path_factory.mktemp("vouch"), settings) as served:
        yield served


async def test_azures_sdk_lists_a_container_with_the_sas_of_a_lease(azure: Served, azurite: Azurite) -> None:
    """Requirement 30."""
    await asyncio.to_thread(azurite.create_container, "stock")
    payload = {"account_name": azurite.account, "account_key": azurite.key}
    await azure.keep("blobs", "AZURE", credential={"azure": payload})
    token = await azure.make_key()
    done = await azure.run(LIST_AZURE, azure.launcher, "blobs", "stock", token=token)
    assert done.found == ["0"], done.error
    azure.assert_hidden(azurite.key, done=done)
    sas = json.loads(done.out.partition("found")[0])["material"]["sas_token"]
    azure.assert_hidden(sas, sas.partition("sig=")[2], token)
    async for refused, name, told in refusals(azure, "blobs"):
        done = await azure.run(LIST_AZURE, azure.launcher, name, "stock", token=refused)
        assert (done.code, done.out) == (1, "")
        assert len(done.error.splitlines()) == 1
        assert told in done.error
        azure.assert_hidden(refused, done=done)


# Google


@pytest.fixture
def gcp(google: TokenEndpoint, tmp_path: Path) -> Iterator[Served]:
    """vouch before Google's peer."""
    settings = f'[providers.gcp]\ntoken_uri = "{google.token_uri}"\nsts_endpoint = "{google.sts_endpoint}"\n'
    with serving(tmp_path, settings) as served:
        yield served


async def test_google_auth_gets_a_token_through_an_executable(gcp: Served, google: TokenEndpoint) -> None:
    """Requirement 30: the file that names the executable holds no secret either."""
    google.storage.objects["lake", "raw/a"] = b"1"
    key_file = google.make_key()
    await gcp.keep("robot", "GCP", token={"gcp": {"key_text": json.dumps(key_file)}})
    token = await gcp.make_key()
    file = await credentials_file(gcp, "robot", token)
    assert token not in file.read_text()
    done = await gcp.run(LIST_GOOGLE, str(file), google.origin, token=token, **EXECUTABLES)
    assert done.found == ["['raw/a']"], done.error
    given, valid = done.out.splitlines()[0].split()
    assert valid == "True"
    assert [given] == google.sts.tokens
    gcp.assert_hidden(*key_file["private_key"].splitlines()[1:-2], google.tokens[0], done=done)
    gcp.assert_hidden(given, token)


async def test_google_auth_says_why_it_got_nothing(gcp: Served, google: TokenEndpoint) -> None:
    """Requirement 23."""
    await gcp.keep("robot", "GCP", token={"gcp": {"key_text": json.dumps(google.make_key())}})
    async for token, name, told in refusals(gcp, "robot"):
        file = await credentials_file(gcp, name, token)
        done = await gcp.run(LIST_GOOGLE, str(file), google.origin, token=token, **EXECUTABLES)
        line = done.error.strip().splitlines()[-1]
        assert done.code == 1
        assert told in line
        gcp.assert_hidden(token, done=done)
    done = await gcp.run(LIST_GOOGLE, str(file), google.origin, token="", **EXECUTABLES)
    line = done.error.strip().splitlines()[-1]
    assert "RefreshError" in line
    assert "NO_TOKEN" in line


EXECUTABLES = {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}


async def credentials_file(served: Served, name: str, token: str) -> Path:
    """What `vouch google-credentials` prints, in a file."""
    script = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    command = [served.launcher, "google-credentials", name, "--bucket", "lake", "--prefix", "raw/"]
    done = await served.run(script, *command, token=token)
    assert done.code == 0, done.error
    file = served.folder / "google.json"
    file.write_text(done.out)
    return file
