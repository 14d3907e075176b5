"""What tests put in place of time, of a request and of argon2."""

import asyncio
import base64
import threading
from collections.abc import Callable

from multidict import CIMultiDict, CIMultiDictProxy

ADDRESS = "203.0.113.7"
PASSWORD = "canary-correct-horse"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    """Request headers as aiohttp gives them."""
    return CIMultiDictProxy(CIMultiDict(pairs))


def bearer(text: str) -> CIMultiDictProxy[str]:
    return headers(("Authorization", f"Bearer {text}"))


def basic(name: str, password: str) -> CIMultiDictProxy[str]:
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return headers(("Authorization", f"Basic {encoded}"))


class Verifying:
    """Stands in for argon2: right when the stored text is the password; holds each check until let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.calls: list[tuple[str, str]] = []
        self.now = 0
        self.most = 0
        self.gate = threading.Event()
        self.lock = threading.Lock()
        if not held:
            self.gate.set()

    def __call__(self, stored: str, password: str) -> bool:
        with self.lock:
            self.calls.append((stored, password))
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(10)
        with self.lock:
            self.now -= 1
        return stored == password


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what happens in a thread."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - it happens in a peer or a thread
            await asyncio.sleep(0.005)
