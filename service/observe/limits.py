"""How many in a while: sliding windows per key, in bounded memory."""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from service.core.errors import RateLimited

MOST_KEYS = 4096


class Windows:
    """At most `limit` hits of one key in any `seconds`, exactly: the times of the last hits are kept.

    Memory is bounded by `most_keys` times `limit`; the key that was hit longest ago is forgotten first.

    Args:
        limit: hits that pass; 0 turns it off.
        seconds: the width of the window.
        message: what the one who is refused reads.
        most_keys: keys that are remembered.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        limit: int,
        seconds: float = 60.0,
        *,
        message: str = "Too many in a minute. Try again later.",
        most_keys: int = MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._seconds = seconds
        self._message = message
        self._most_keys = most_keys
        self._clock = clock
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()

    def hit(self, key: str) -> None:
        """Count one more. A refused one is not counted, so waiting always helps.

        Raises:
            RateLimited: the window is full; `retry_after` is when its oldest hit leaves it.
        """
        if not self.limit:
            return
        wait = self.wait(key)
        if wait:
            raise RateLimited(self._message, wait)
        hits = self._hits.get(key)
        if hits is None:
            hits = self._hits[key] = deque(maxlen=self.limit)
            if len(self._hits) > self._most_keys:
                self._hits.popitem(last=False)
        else:
            self._hits.move_to_end(key)
        hits.append(self._clock())

    def wait(self, key: str) -> int:
        """Whole seconds until another hit of the key passes, rounded up; 0 if it passes now."""
        hits = self._hits.get(key)
        if hits is None or len(hits) < self.limit:
            return 0
        left = hits[0] + self._seconds - self._clock()
        return max(math.ceil(left), 0)

    def count(self, key: str) -> int:
        """Hits of the key in the window that ends now."""
        start = self._clock() - self._seconds
        return sum(at > start for at in self._hits.get(key, ()))

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._hits)
