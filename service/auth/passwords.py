"""Passwords: argon2id, few at once, the same cost for unknown users, remembered briefly once proved right."""

import asyncio
import base64
import hmac
import logging
import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

from service.core.access import LONGEST_PASSWORD
from service.core.errors import Overloaded

log = logging.getLogger("vouch.auth")

# The least that the OWASP Password Storage Cheat Sheet asks of argon2id: 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
AT_ONCE = 2
REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 1024

# A check takes 20 to 70 ms, so these are waits of a few seconds at most. One name alone, or the suspects
# alone, can never fill the room of all.
MOST_WAITING = 128
MOST_WAITING_FOR_ONE = 64

_SUSPECTS = "suspects"


def hash_password(password: str) -> str:
    """An argon2id string of a password, for the store. As slow as a check: call it in a thread."""
    return HASHER.hash(_normal(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether an argon2id string is this password's, which is in normal form already."""
    try:
        return HASHER.verify(stored, password)
    except VerifyMismatchError:
        return False
    except (Argon2Error, InvalidHashError) as error:
        log.error("a stored password hash could not be used: %s", type(error).__name__)
        return False


class Passwords:
    """Checks passwords in threads of its own, at most two at once.

    Guesses at one name take turns, so they never have more than one of the two threads. Guesses from suspect
    addresses take turns among themselves before that: a name meets one at a time, and others go between.

    Args:
        verify: whether an argon2id string is this password's; slow, called in a thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        verify: Callable[[str, str], bool] = verify_password,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verify = verify
        self._clock = clock
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._memory_key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._lanes: dict[str, _Lane] = {}
        self._inside = 0
        self._nobodys_hash = _unknown_hash()

    def close(self) -> None:
        """Let go of the threads; checks that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def check(self, name: str, stored: str | None, password: str, *, suspect: bool = False) -> bool:
        """Whether the password is the user's.

        Args:
            name: the user's name, known or not.
            stored: the user's argon2id string, freshly read; None for an unknown user, which costs the same.
            password: what was given.
            suspect: whether it comes from an address that was wrong too often.

        Raises:
            Overloaded: too many checks are waiting.
        """
        password = _normal(password)
        if len(password) > LONGEST_PASSWORD:
            return False
        memory = self._digest(name, stored, password) if stored is not None else None
        if self._remembers(memory):
            return True
        first = self._lane(_SUSPECTS) if suspect else nullcontext()
        async with first, self._lane(f"name:{name}"):
            if self._remembers(memory):  # somebody with the same password went before us
                return True
            right = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._verify, stored or self._nobodys_hash, password
            )
        if not right or memory is None:
            return False
        self._remember(memory)
        return True

    @asynccontextmanager
    async def _lane(self, name: str) -> AsyncIterator[None]:
        """Wait for one's turn in a lane, unless too many already do."""
        lane = self._lanes.get(name) or _Lane()
        if lane.inside >= MOST_WAITING_FOR_ONE or self._inside >= MOST_WAITING:
            raise Overloaded("Too many passwords are being checked. Try again in a moment.", retry_after=2)
        self._lanes[name] = lane
        lane.inside += 1
        self._inside += 1
        try:
            async with lane.turn:
                yield
        finally:
            lane.inside -= 1
            self._inside -= 1
            if not lane.inside:
                self._lanes.pop(name, None)

    def _digest(self, name: str, stored: str, password: str) -> bytes:
        # Neither a user's name nor an argon2 string has a NUL in it, so no two triples make one message.
        message = "\0".join((name, stored, password)).encode()
        return hmac.digest(self._memory_key, message, "sha256")

    def _remembers(self, memory: bytes | None) -> bool:
        return memory is not None and self._remembered.get(memory, 0.0) > self._clock()

    def _remember(self, memory: bytes) -> None:
        self._remembered[memory] = self._clock() + REMEMBERED_SECONDS
        self._remembered.move_to_end(memory)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)


class _Lane:
    """Checks that take turns, and how many of them there are, the one under way included."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.inside = 0


def _normal(password: str) -> str:
    # RFC 8265 section 4.2: keyboards that compose an accent differently type the same password.
    return unicodedata.normalize("NFC", password)


def _unknown_hash() -> str:
    """An argon2id string that no password fits: checking against it costs the same."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (HASHER.salt_len, HASHER.hash_len)
    )
    cost = f"m={HASHER.memory_cost},t={HASHER.time_cost},p={HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
