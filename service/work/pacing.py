"""How fast turns are taken: so that what is watched fits into the interval, evenly, and no faster than it must."""

import math
from typing import NamedTuple

HEADROOM = 1.5
"""Turns are taken so much faster than they come due on average, to catch up after a standstill."""
MOST_AT_ONCE = 100
"""Turns that a replica takes at a time in one lane, and has open: if it dies, so many wait for their claims to end."""
SHORTEST_REST = 1.0


class Beat(NamedTuple):
    """Take at most `limit` turns, then rest for so many seconds."""

    limit: int
    rest: float


def beat(watched: int, interval: float, idle_seconds: float) -> Beat:
    """The beat that a replica keeps in a lane.

    A hundred credentials and a day: one every ten seconds, until none is due. A hundred thousand and an hour: 42 a
    second, where 28 come due. Several replicas catch up several times as fast; between that, each turn is one's.

    Args:
        watched: credentials in the lane.
        interval: seconds between two verifications of one.
        idle_seconds: the longest rest; there is a turn at least that often, for those who wait for their first one.
    """
    rate = max(watched * HEADROOM / interval, 1.0 / idle_seconds)  # turns a second
    limit = min(max(math.ceil(rate * min(SHORTEST_REST, idle_seconds)), 1), MOST_AT_ONCE)
    return Beat(limit, limit / rate)
