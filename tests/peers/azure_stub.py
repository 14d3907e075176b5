"""A blob service that answers what a test scripted: for the answers that Azurite never gives."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

LISTING = (
    '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://x.invalid/">'
    "<MaxResults>1</MaxResults><Containers /><NextMarker /></EnumerationResults>"
)
ACCOUNT = {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2"}


@dataclass(frozen=True)
class Reply:
    """One scripted answer. Headers here replace the stub's own, such as Date; one that hangs never comes."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False


def refusal(code: str, status: int = 403, **headers: str) -> Reply:
    """An error as Azure writes it ("Status and error codes"), its code in the header and in the body."""
    return Reply(status, error_body(code), {"x-ms-error-code": code, **headers})


def error_body(code: str) -> str:
    """The XML of an error."""
    text = "Server failed to authenticate the request. UPSTREAM-TEXT"
    return f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'


ACCOUNT_REPLY = Reply(200, "", ACCOUNT)
LIST_REPLY = Reply(200, LISTING)


@dataclass(frozen=True)
class Call:
    """One call that the stub got."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class AzureStub:
    """Answers every call with the next reply of `script`, and with the last one for ever after."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.calls: list[Call] = []
        self.port = 0
        self._closing = asyncio.Event()

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def operator_endpoint(self) -> str:
        """The endpoint as an operator's setting."""
        return f"http://{self.address}/{{account}}"

    async def __aenter__(self) -> "AzureStub":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls.append(Call(request.method, request.path, dict(request.query), dict(request.headers)))
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if reply.hangs:
            await self._closing.wait()
        return web.Response(status=reply.status, body=reply.body.encode(), headers=dict(reply.headers))
