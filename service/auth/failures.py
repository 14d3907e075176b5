"""Wrong attempts: limited per address and per name, and reported as counts a minute, never one by one."""

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from service.core.errors import NotAuthenticated, RateLimited
from service.core.names import LONGEST_NAME
from service.observe.limits import Windows

log = logging.getLogger("vouch.auth")

REPORT_SECONDS = 60.0
_MOST_COUNTED = 1000


def origin(address: str) -> str:
    """What an address counts as: an IPv6 one as its /64, because one subscriber has all of those."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


class Failures:
    """Counts wrong attempts and says what they get.

    Args:
        windows: the limit of wrong attempts, shared by addresses and names (their keys differ).
        count: counts them by kind.
        report_seconds: a line is logged at most this often, so that a stranger can't buy disk writes.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        count: Callable[[str], None] = lambda _kind: None,
        report_seconds: float = REPORT_SECONDS,
    ) -> None:
        self._windows = windows
        self._tell = count
        self._report_seconds = report_seconds
        self._kinds: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def suspects(self, address: str) -> bool:
        """Whether an address has used up its wrong attempts: then its next ones go to the slow lane."""
        return self._windows.wait(f"address:{origin(address)}") > 0

    def refuse(self, kind: str, address: str, name: str, sentence: str) -> NoReturn:
        """Count a wrong attempt and refuse it. Never called for a right one: that passes at any time.

        Args:
            kind: how the attempt was made, in one word.
            address: where it came from.
            name: the user or key it was made at, known or not; empty if the attempt names none.
            sentence: what the caller reads while within the limit.

        Raises:
            NotAuthenticated: within the limit.
            RateLimited: beyond it.
        """
        self._count(kind, address)
        keys = [f"address:{origin(address)}"]
        if name:
            keys.append(f"{kind}:{name[:LONGEST_NAME]}")
        wait = max(self._windows.wait(key) for key in keys)
        if wait:
            raise RateLimited("Too many wrong attempts. Try again later, or with the right secret now.", wait)
        for key in keys:
            self._windows.hit(key)
        raise NotAuthenticated(sentence)

    def _count(self, kind: str, address: str) -> None:
        self._tell(kind)
        self._kinds[kind] += 1
        if address in self._origins or len(self._origins) < _MOST_COUNTED:
            self._origins[address] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._report_seconds, self.report)

    def report(self) -> None:
        """Log the counts since the last report, if any. No names: people type passwords there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._kinds:
            return
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(self._kinds.items()))
        address, most = self._origins.most_common(1)[0]
        log.warning(
            "authentication failures: %s; from %d addresses, most of them (%d) from %s",
            counts,
            len(self._origins),
            most,
            address,
        )
        self._kinds.clear()
        self._origins.clear()
