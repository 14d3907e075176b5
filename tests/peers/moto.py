"""moto: an AWS of our own, in a process of its own, with signatures and policies really checked.

It fails open where AWS does not (a role that does not exist, no external id, an inactive key, an old date): those
answers come from `tests.peers.aws_stub`.
"""

import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Pair(NamedTuple):
    """An access key, and the ARN of the user it belongs to."""

    access_key_id: str
    secret_access_key: str
    arn: str = ""

    @property
    def payload(self) -> dict[str, str]:
        """The pair as a credential's fields."""
        return {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}


def allow(*actions: str) -> dict[str, Any]:
    """A policy that allows these actions everywhere."""
    return _policy({"Effect": "Allow", "Action": list(actions), "Resource": "*"})


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


class Moto:
    """The running server. `url` is STS, IAM and S3 in one."""

    account = "123456789012"

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            raise RuntimeError("moto did not start")
        self.port = int(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._iam = self._client(Pair("none", "none"))
        admin = self.user(allow("*"))
        self._iam = self._client(admin)
        self._s3 = self.client("s3", admin.payload)
        self._check_signatures()

    def _client(self, pair: Pair) -> Any:
        return self.client("iam", pair.payload)

    def client(self, service: str, keys: Mapping[str, str]) -> Any:
        """A boto3 client that signs with these keys and nobody else's.

        Args:
            service: such as `s3`.
            keys: `access_key_id`, `secret_access_key` and perhaps `session_token`.
        """
        import boto3

        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=keys.get("session_token"),
        )

    def _check_signatures(self) -> None:
        """From here on every call is authenticated and authorised, none is free."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def user(self, policy: dict[str, Any] | None = None) -> Pair:
        """A new user with an access key, and a policy of its own if given."""
        name = f"user-{uuid.uuid4().hex[:12]}"
        arn = self._iam.create_user(UserName=name)["User"]["Arn"]
        if policy is not None:
            self._iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        key = self._iam.create_access_key(UserName=name)["AccessKey"]
        return Pair(key["AccessKeyId"], key["SecretAccessKey"], arn)

    def role(self, who: Pair, external_id: str | None = None, policy: dict[str, Any] | None = None) -> str:
        """A new role that a user may assume, and if an external id is given not with another; its ARN.

        Args:
            who: the user.
            external_id: what the trust policy asks for.
            policy: what the role may do; nothing without.
        """
        trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": who.arn}, "Action": "sts:AssumeRole"}
        if external_id is not None:
            trust["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
        name = f"role-{uuid.uuid4().hex[:12]}"
        made = self._iam.create_role(RoleName=name, Path="/data/", AssumeRolePolicyDocument=json.dumps(_policy(trust)))
        if policy is not None:
            self._iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        arn: str = made["Role"]["Arn"]
        return arn

    def bucket(self, objects: Mapping[str, bytes]) -> str:
        """A new bucket with these objects by key; its name."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self._s3.create_bucket(Bucket=name)
        for key, content in objects.items():
            self._s3.put_object(Bucket=name, Key=key, Body=content)
        return name

    def stop(self) -> None:
        """End the process: it lives as long as its input is open."""
        self._process.communicate(timeout=20)


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """moto, one for the whole run."""
    server = Moto()
    yield server
    server.stop()
