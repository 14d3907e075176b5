"""Resolving names in threads of their own, so that a name server that hangs stops nothing else."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
GetAddressInfo = Callable[..., Sequence[AddressInfo]]

_AT_ONCE = 32


class Names(AbstractResolver):
    """Looks names up with the system's `getaddrinfo`, at most 32 at once, each name once at a time.

    The threads are daemons and are not waited for: one that hangs must not keep the process from ending.
    A lookup that nobody waits for any more keeps its place until it is over: a name server that hangs would
    get a thread for every try otherwise.

    Args:
        getaddrinfo: as `socket.getaddrinfo`; another one in tests.
    """

    def __init__(self, getaddrinfo: GetAddressInfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._under_way: dict[tuple[str, int, int], asyncio.Task[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError if there are none."""
        key = (host, port, int(family))
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._look_up(host, port, family))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        found = await asyncio.shield(task)
        if not found:
            raise OSError(socket.EAI_NONAME, "the name has no address")
        return list(found)

    async def _look_up(self, host: str, port: int, family: int) -> list[ResolveResult]:
        """One lookup; empty if it failed, so that no exception is shared between those who wait."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()

        def settle(found: Sequence[AddressInfo]) -> None:
            self._places.release()
            if not answer.done():
                answer.set_result(found)

        def work() -> None:
            try:
                found = self._getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            except Exception:  # noqa: BLE001 - whatever went wrong, there is no address, and the place is given back
                found = ()
            try:
                loop.call_soon_threadsafe(settle, found)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits

        try:
            threading.Thread(target=work, name="vouch-names", daemon=True).start()
        except RuntimeError:  # no thread to be had
            settle(())
        return [_result(host, port, info) for info in await answer]

    async def close(self) -> None:
        """Let go of those who wait; the threads end by themselves."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _result(host: str, port: int, info: AddressInfo) -> ResolveResult:
    family, _, proto, _, sockaddr = info
    address = str(sockaddr[0])
    if family == socket.AF_INET6 and sockaddr[3] and "%" not in address:
        address = f"{address}%{sockaddr[3]}"
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=proto,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
