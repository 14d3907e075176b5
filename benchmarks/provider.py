"""A stand-in for AWS STS: GetCallerIdentity, after a given time. `python -m benchmarks.provider MILLISECONDS`.

It knows no keys: whatever is signed is right, whatever isn't is refused. `GET /asked` answers how many were right, so
that a benchmark can tell whether it was asked at all. It prints the port that it took.
The answer's form: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html.
"""

import asyncio
import re
import sys
from typing import cast

import uvloop

_BACKLOG = 2048
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SIGNED = re.compile(rb"\r\nauthorization: *AWS4-HMAC-SHA256 Credential=[^\r]+Signature=[0-9a-f]{64}\r\n", re.I)

IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>arn:aws:iam::123456789012:user/benchmark</Arn>
    <UserId>AIDACKCEVSQ6C2EXAMPLE</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>
"""
_REFUSAL = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>MissingAuthenticationToken</Code><Message>Not signed.</Message></Error></ErrorResponse>
"""


class Provider:
    """What all connections share."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of the protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        """Wait for the whole request, then for the time that a provider takes."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        head += b"\r\n"
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"GET /asked "):
            self._answer(200, str(self._provider.asked).encode())
        elif _SIGNED.search(head) and b"Action=GetCallerIdentity" in body:
            self._provider.asked += 1
            asyncio.get_running_loop().call_later(self._provider.seconds, self._answer, 200, IDENTITY)
        else:
            self._answer(403, _REFUSAL)

    def _answer(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(seconds: float) -> None:
    """Serve until killed."""
    provider = Provider(seconds)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(provider), "127.0.0.1", 0, backlog=_BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        running.run(serve(float(sys.argv[1]) / 1000))
