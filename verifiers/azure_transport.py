"""azure-core's transport over our own way out: what azure-identity sends goes through the guarded session.

The interfaces are those of "azure.core.pipeline.transport.AsyncHttpTransport" and "azure.core.rest.AsyncHttpResponse"
(https://learn.microsoft.com/python/api/azure-core). Importing this module imports azure-core: for a first use alone.
"""

import json
from collections.abc import AsyncIterator, MutableMapping
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from multidict import CIMultiDict

from verifiers.egress import Answer, GuardedSession


class GuardedTransport(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """Posts forms to one URL through the guarded session, and keeps what came back for us to judge.

    Nothing that the library decides goes out but the form: the URL is ours, so that no tenant can lead elsewhere, and
    of the headers only the content type. `answer` is None until something has answered; whatever the library makes of
    it afterwards, it is what counts.

    Args:
        session: the way out.
        url: of the token endpoint.
    """

    def __init__(self, session: GuardedSession, url: str) -> None:
        self._session = session
        self._url = url
        self.answer: Answer | None = None

    async def send(self, request: HttpRequest, **kwargs: Any) -> AsyncHttpResponse:  # noqa: ARG002 - the library's
        """Send a form.

        Raises:
            NotVerified: there is no answer, and the verdict says why.
            RuntimeError: this is not the one POST of a form that a sign-in is.
        """
        if self.answer is not None or request.method != "POST" or not isinstance(request.content, dict):
            raise RuntimeError("a sign-in is one POST of a form")
        self.answer = await self._session.request(
            "POST",
            self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            data=urlencode(request.content).encode(),
        )
        return _Response(request, self.answer)

    async def open(self) -> None:
        """The session is open already."""

    async def close(self) -> None:
        """The session is not ours to close."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


class _Response(AsyncHttpResponse):
    """An answer as azure-core has responses: read to its end, closed, and JSON whatever it calls itself.

    (The library would parse what says that it is XML.)
    """

    encoding = "utf-8"

    def __init__(self, request: HttpRequest, answer: Answer) -> None:
        self._request = request
        self._answer = answer

    @property
    def request(self) -> HttpRequest:
        return self._request

    @property
    def url(self) -> str:
        return self._request.url

    @property
    def status_code(self) -> int:
        return self._answer.status

    @property
    def reason(self) -> str:
        try:
            return HTTPStatus(self._answer.status).phrase
        except ValueError:
            return ""

    @property
    def headers(self) -> MutableMapping[str, str]:
        return CIMultiDict(self._answer.headers)

    @property
    def content_type(self) -> str:
        return "application/json"

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_stream_consumed(self) -> bool:
        return True

    @property
    def content(self) -> bytes:
        return self._answer.body

    def text(self, encoding: str | None = None) -> str:
        return self._answer.body.decode(encoding or self.encoding, "replace")

    def json(self) -> Any:
        return json.loads(self.text())

    def raise_for_status(self) -> None:
        if self._answer.status >= 400:
            raise HttpResponseError(response=self)

    async def read(self) -> bytes:
        return self._answer.body

    async def iter_raw(self, **kwargs: Any) -> AsyncIterator[bytes]:  # noqa: ARG002 - the library's signature
        yield self._answer.body

    async def iter_bytes(self, **kwargs: Any) -> AsyncIterator[bytes]:  # noqa: ARG002
        yield self._answer.body

    async def close(self) -> None:
        """It is closed."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()
