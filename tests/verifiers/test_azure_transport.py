"""The transport that azure-identity gets: one form to one URL, and the answer kept for us."""

from collections.abc import AsyncIterator

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import AsyncPipeline
from azure.core.rest import AsyncHttpResponse, HttpRequest

from tests.peers.azure_stub import AzureStub, Reply
from verifiers.azure_transport import GuardedTransport
from verifiers.egress import Egress, GuardedSession
from verifiers.settings import EgressSettings
from verifiers.verdict import NotVerified

SECRET = "s~ecret+&=é"
FORM = {"client_id": "c", "client_secret": SECRET}
ELSEWHERE = "https://elsewhere.invalid/common/oauth2/v2.0/token"


@pytest.fixture
async def peer() -> AsyncIterator[AzureStub]:
    async with AzureStub() as started:
        yield started


@pytest.fixture
async def way_out() -> AsyncIterator[GuardedSession]:
    async with Egress(EgressSettings()) as egress:
        yield egress.operator


def form(url: str = ELSEWHERE, **headers: str) -> HttpRequest:
    """What the library sends: a form, to wherever it thinks best."""
    return HttpRequest("POST", url, data=FORM, headers=headers)


async def send(transport: GuardedTransport, request: HttpRequest) -> AsyncHttpResponse:
    """Send as the library does, through a pipeline of azure-core."""
    async with AsyncPipeline[HttpRequest, AsyncHttpResponse](transport) as pipeline:
        return (await pipeline.run(request)).http_response


async def test_the_form_goes_to_our_url_with_our_headers_alone(peer: AzureStub, way_out: GuardedSession) -> None:
    """Requirement 8: whatever the library made of the tenant."""
    peer.script = [Reply(200, "{}")]
    transport = GuardedTransport(way_out, f"http://{peer.address}/tenant/oauth2/v2.0/token")
    await send(transport, form(Authorization="Bearer x", **{"User-Agent": "azsdk", "x-ms-client-request-id": "1"}))
    (call,) = peer.calls
    assert (call.method, call.path) == ("POST", "/tenant/oauth2/v2.0/token")
    assert call.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert call.headers["User-Agent"].startswith("vouch/")
    assert {"Authorization", "x-ms-client-request-id"}.isdisjoint(call.headers)
    assert call.headers["Content-Length"] == str(len("client_id=c&client_secret=s~ecret%2B%26%3D%C3%A9"))


async def test_the_answer_is_kept_and_handed_on(peer: AzureStub, way_out: GuardedSession) -> None:
    peer.script = [Reply(418, '{"a": "\u00e9"}', {"Content-Type": "text/xml", "Retry-After": "7"})]
    transport = GuardedTransport(way_out, f"http://{peer.address}/")
    assert transport.answer is None
    request = form()
    response = await send(transport, request)
    assert transport.answer is not None
    assert (transport.answer.status, transport.answer.body) == (418, '{"a": "é"}'.encode())
    assert (response.status_code, response.reason) == (418, "I'm a Teapot")
    assert response.headers["retry-after"] == "7"
    assert response.content_type == "application/json"  # so that nothing parses XML
    assert response.text() == '{"a": "é"}'
    assert response.json() == {"a": "é"}
    assert response.content == await response.read() == b"".join([part async for part in response.iter_bytes()])
    assert response.content == b"".join([part async for part in response.iter_raw()])
    assert response.request is request
    assert response.url == ELSEWHERE
    assert response.is_closed
    assert response.is_stream_consumed
    with pytest.raises(HttpResponseError):
        response.raise_for_status()
    async with response:
        assert SECRET not in repr(response) + repr(transport)


async def test_an_answer_without_error_is_none(peer: AzureStub, way_out: GuardedSession) -> None:
    peer.script = [Reply(299, "")]
    response = await send(GuardedTransport(way_out, f"http://{peer.address}/"), form())
    response.raise_for_status()
    assert (response.status_code, response.reason, response.content) == (299, "", b"")


async def test_no_more_of_an_answer_than_64_kb_is_read(peer: AzureStub, way_out: GuardedSession) -> None:
    """Requirement 11."""
    peer.script = [Reply(200, "x" * 1_000_000)]
    transport = GuardedTransport(way_out, f"http://{peer.address}/")
    response = await send(transport, form())
    assert len(response.content) == 65536
    assert transport.answer is not None
    assert not transport.answer.complete


async def test_no_answer_is_the_guarded_sessions_verdict(way_out: GuardedSession) -> None:
    transport = GuardedTransport(way_out, "http://127.0.0.1:1/")
    with pytest.raises(NotVerified):
        await send(transport, form())
    assert transport.answer is None


async def test_bytes_that_are_no_utf8_are_no_surprise(peer: AzureStub, way_out: GuardedSession) -> None:
    peer.script = [Reply(200, "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"))]
    response = await send(GuardedTransport(way_out, f"http://{peer.address}/"), form())
    assert response.text("ascii").count("\ufffd") == len(response.content)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("GET", ELSEWHERE),
        HttpRequest("POST", ELSEWHERE, content=b"x"),
        HttpRequest("PUT", ELSEWHERE, data=FORM),
    ],
    ids=str,
)
async def test_what_is_no_form_is_not_sent(peer: AzureStub, way_out: GuardedSession, request_: HttpRequest) -> None:
    with pytest.raises(RuntimeError, match="one POST"):
        await send(GuardedTransport(way_out, f"http://{peer.address}/"), request_)
    assert peer.calls == []


async def test_a_second_form_is_not_sent(peer: AzureStub, way_out: GuardedSession) -> None:
    """A sign-in is asked for once: no policy of the library may repeat it."""
    peer.script = [Reply(503)]
    transport = GuardedTransport(way_out, f"http://{peer.address}/")
    await send(transport, form())
    with pytest.raises(RuntimeError, match="one POST"):
        await send(transport, form())
    assert len(peer.calls) == 1


async def test_the_session_outlives_the_transport(peer: AzureStub, way_out: GuardedSession) -> None:
    peer.script = [Reply(200, "{}")]
    transport = GuardedTransport(way_out, f"http://{peer.address}/")
    await transport.open()
    await transport.close()
    assert (await send(transport, form())).status_code == 200
    assert (await way_out.request("GET", f"http://{peer.address}/")).status == 200
