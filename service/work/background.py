"""Tasks that live as long as the application: begun again if one breaks, ended before the store is closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger("vouch.work")

AGAIN_SECONDS = 10.0
END_SECONDS = 2.0
"""How long the end of the application waits for work that does not heed its cancellation."""


@asynccontextmanager
async def background(
    works: dict[str, Callable[[], Awaitable[None]]],
    *,
    again_seconds: float = AGAIN_SECONDS,
    end_seconds: float = END_SECONDS,
) -> AsyncIterator[None]:
    """Run each of them beside the block, by name, and cancel them after it.

    Args:
        works: what to run.
        again_seconds: the pause before one that broke off begins again.
        end_seconds: how long the end waits for them.
    """
    tasks = [
        asyncio.create_task(_again_and_again(name, work, again_seconds), name=name) for name, work in works.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            _ended, stuck = await asyncio.wait(tasks, timeout=end_seconds)
            for task in stuck:
                log.error("work does not end", work=task.get_name())


async def _again_and_again(name: str, work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a surprise must not end the work for good
            # The type alone: an exception's text may quote what it was given.
            log.error(
                "work broke off and begins again", work=name, error=", ".join(sorted(_types(error))), seconds=seconds
            )
        await asyncio.sleep(seconds)


def _types(error: Exception) -> set[str]:
    """The type of an exception, or those of all that it is a group of."""
    if isinstance(error, ExceptionGroup):
        return set().union(*map(_types, error.exceptions))
    return {type(error).__name__}
