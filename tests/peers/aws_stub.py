"""A server that gives scripted answers and checks nothing: for each row of the tables, and what moto does not do."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web

CALLER_ARN = "arn:aws:iam::123456789012:user/path/somebody"
CALLER_IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>{CALLER_ARN}</Arn>
    <UserId>AIDACKCEVSQ6C2EXAMPLE</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>
"""
SESSION_SECRET = "canary-of-the-temporary-secret"
SESSION_TOKEN = "canary-of-the-temporary-token"
ASSUMED_ARN = "arn:aws:sts::123456789012:assumed-role/reader/vouch-verify"
ASSUMED_ROLE = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <Credentials>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
      <SecretAccessKey>{SESSION_SECRET}</SecretAccessKey>
      <SessionToken>{SESSION_TOKEN}</SessionToken>
      <Expiration>2030-01-01T00:00:00Z</Expiration>
    </Credentials>
    <AssumedRoleUser>
      <AssumedRoleId>AROA3XFRBF535PLBIFPI4:vouch-verify</AssumedRoleId>
      <Arn>{ASSUMED_ARN}</Arn>
    </AssumedRoleUser>
  </AssumeRoleResult>
</AssumeRoleResponse>
"""
OWN_SESSION = f"""<GetSessionTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetSessionTokenResult>
    <Credentials>
      <SessionToken>{SESSION_TOKEN}</SessionToken>
      <SecretAccessKey>{SESSION_SECRET}</SecretAccessKey>
      <Expiration>2030-01-01T00:00:00Z</Expiration>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
  </GetSessionTokenResult>
</GetSessionTokenResponse>
"""
BUCKETS = """<?xml version="1.0" encoding="UTF-8"?>
<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>somebody</ID></Owner>
<Buckets><Bucket><Name>data</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets>
</ListAllMyBucketsResult>"""
CAPTIVE_PORTAL = (
    "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the guest network</body></html>"
)


@dataclass(frozen=True)
class Scripted:
    """One answer."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def sts_error(
    code: str, status: int = 403, *, message: str = "Upstream words that are not for us.", **headers: str
) -> Scripted:
    """An error of STS, as the Query protocol writes it."""
    body = (
        f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{message}</Message></Error><RequestId>01234567</RequestId></ErrorResponse>"
    )
    return Scripted(status, body, _names(headers))


def s3_error(code: str, status: int = 403, more: str = "", **headers: str) -> Scripted:
    """An error of S3 or of Cloud Storage; `more` is XML inside the error."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>Upstream words that are not for us.</Message>{more}</Error>"
    )
    return Scripted(status, body, _names(headers))


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def scope(self) -> list[str]:
        """Date, region and service of the signature's scope."""
        return self.headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")[1:4]

    @property
    def signature(self) -> str:
        """The signature."""
        return self.headers["Authorization"].rpartition("Signature=")[2]


class AwsStub:
    """Gives its scripted answers in turn, and remembers what was asked. What is not scripted is a 500."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self._script: deque[Scripted | Callable[[], Awaitable[Scripted]]] = deque()

    @property
    def allowed(self) -> str:
        """How `[egress] allow` names it."""
        return self.url.removeprefix("http://")

    def script(self, *answers: Scripted | Callable[[], Awaitable[Scripted]]) -> None:
        """What to answer next; a function is called and awaited for its answer."""
        self._script.extend(answers)

    async def answer(self, request: web.Request) -> web.Response:
        """The next answer."""
        form = parse_qs((await request.read()).decode("utf-8"))
        self.received.append(
            Received(request.method, request.path, request.headers, {name: values[0] for name, values in form.items()})
        )
        if not self._script:
            return web.Response(status=500, text="nothing is scripted")
        scripted = self._script.popleft()
        if not isinstance(scripted, Scripted):
            scripted = await scripted()
        return web.Response(status=scripted.status, body=scripted.body.encode(), headers=scripted.headers)


@asynccontextmanager
async def running() -> AsyncIterator[AwsStub]:
    """A stub on a free port."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    stub = AwsStub("")
    app.router.add_route("*", "/{path:.*}", stub.answer)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield stub
    finally:
        await runner.cleanup()


@pytest.fixture
async def aws_stub() -> AsyncIterator[AwsStub]:
    """A stub, fresh for each test."""
    async with running() as stub:
        yield stub


@pytest.fixture
async def aws_stubs() -> AsyncIterator[tuple[AwsStub, AwsStub, AwsStub]]:
    """Three of them: endpoints of three partitions."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(running()) for _ in range(3)])


@pytest.fixture
def no_aws_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which boto3's default chain finds nothing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return monkeypatch
