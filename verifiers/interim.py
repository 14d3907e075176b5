"""Interim answers (1xx) in a number that somebody means: a peer that sends them without end gets no more attention."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp.connector import Connection

MOST_INTERIM = 8
"""A server may send several before its answer (RFC 9110 section 15.2). aiohttp reads all that come without a pause."""


class BoundedResponse(aiohttp.ClientResponse):
    """Gives up on a peer that sends more than `MOST_INTERIM` interim answers, with a ClientResponseError."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the answer's head."""
        protocol: Any = connection.protocol
        protocol.read = self._counted(protocol.read)
        try:
            return await super().start(connection)
        finally:
            del protocol.read

    def _counted(self, read: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        reads = 0

        async def counted() -> Any:
            nonlocal reads
            reads += 1
            if reads > MOST_INTERIM + 1:
                raise aiohttp.ClientResponseError(self.request_info, ())
            if reads > 1:
                # What is there already is read without waiting: let others have a turn.
                await asyncio.sleep(0)
            return await read()

        return counted
