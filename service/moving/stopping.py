"""How long work is ended from outside: after what is under way, so that nobody has to guess what became of it."""

import asyncio


class Interrupted(Exception):
    """It is to end now."""


class Stop:
    """Set when somebody wants an end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether somebody does."""
        return self._event.is_set()

    def set(self) -> None:
        """Want an end."""
        self._event.set()

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Interrupted: somebody wants an end meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        raise Interrupted
