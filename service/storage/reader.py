"""Reading: whatever waits while the thread is busy goes into it together, in the next hop."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from service.core.errors import StoreUnavailable
from service.storage.connection import Condition, Connection

T = TypeVar("T")

# A hop's results come all at once, so a batch without a bound would make its first reader wait for its last.
MOST_PER_HOP = 32


class _Waiting(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    future: "asyncio.Future[Any]"


class _Failed(NamedTuple):
    error: Exception


class Reader:
    """The connection that reads. A hop into its thread costs several times a point read, so hops are shared."""

    def __init__(self, connection: Connection, condition: Condition) -> None:
        self._connection = connection
        self._condition = condition
        self._waiting: deque[_Waiting] = deque()
        self._hop: asyncio.Future[list[Any]] | None = None

    async def read(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function(connection, *arguments)` in the thread. It must leave no cursor open.

        It sees every commit made before this call, by this process or another.

        Raises:
            StoreUnavailable: the database could not be read.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(function, arguments, future))
        if self._hop is None:
            self._start()
        return await future

    async def close(self) -> None:
        """Finish the hop under way, refuse what still waits, close the connection."""
        refused, self._waiting = self._waiting, deque()
        for one in refused:
            if not one.future.done():
                one.future.set_exception(StoreUnavailable())
        await self._connection.close()

    def _start(self) -> None:
        """Send what is waiting into the thread; readers that gave up are left out."""
        self._hop = None
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < MOST_PER_HOP:
            one = self._waiting.popleft()
            if not one.future.done():
                batch.append(one)
        if not batch:
            return
        try:
            self._hop = self._connection.submit(partial(_run, batch))
        except StoreUnavailable as closed:
            for one in batch:
                one.future.set_exception(closed)
            return
        self._hop.add_done_callback(partial(self._finished, batch))

    def _finished(self, batch: list[_Waiting], hop: "asyncio.Future[list[Any]]") -> None:
        """Hand out a hop's results, then start the next."""
        error = hop.exception()
        results = hop.result() if error is None else [_Failed(_as_exception(error))] * len(batch)
        for one, result in zip(batch, results, strict=True):
            if one.future.done():
                continue
            if not isinstance(result, _Failed):
                one.future.set_result(result)
            elif isinstance(result.error, sqlite3.Error):
                one.future.set_exception(self._condition.translate(result.error, "reading"))
            else:
                one.future.set_exception(result.error)
        self._start()


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let several statements see one state of the database."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        # A failed statement may have ended it already. An open one would keep the WAL from being reset.
        if connection.in_transaction:
            connection.execute("COMMIT")


def _run(batch: list[_Waiting], connection: sqlite3.Connection) -> list[Any]:
    """In the thread: one result or one failure for each."""
    if len(batch) == 1:
        return [_attempt(batch[0], connection)]
    # Taking and dropping SQLite's read lock once for all of them is cheaper than once for each.
    with snapshot(connection):
        return [_attempt(one, connection) for one in batch]


def _attempt(one: _Waiting, connection: sqlite3.Connection) -> Any:
    try:
        return one.function(connection, *one.arguments)
    except Exception as error:  # noqa: BLE001 - it belongs to this reader; the others go on
        return _Failed(error)


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else StoreUnavailable()
