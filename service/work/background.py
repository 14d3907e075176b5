"""Tasks that live as long as the application: begun again if one breaks, ended before the store is closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger("vouch.work")

AGAIN_SECONDS = 10.0


@asynccontextmanager
async def background(works: dict[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Run each of them beside the block, by name, and cancel them after it."""
    tasks = [asyncio.create_task(_again_and_again(name, work), name=name) for name, work in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again_and_again(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a surprise must not end the work for good
            # The type alone: an exception's text may quote what it was given.
            told = type(error).__name__
            if isinstance(error, ExceptionGroup):
                told = ", ".join(sorted({type(one).__name__ for one in error.exceptions}))
            log.error("work broke off and begins again", work=name, error=told, seconds=AGAIN_SECONDS)
        await asyncio.sleep(AGAIN_SECONDS)
