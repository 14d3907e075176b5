"""When a credential is verified next, by itself."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.core.kept import Watch
from service.core.model import timestamp
from verifiers.verdict import Outcome, Report

JITTER = 0.1
"""The part of an interval by which a turn comes sooner or later, so that turns don't fall together."""

RAREST = 8
"""A credential that is rejected over and over is asked about this many times less often: each refused call shows in its
owner's audit trail, and can raise an alarm there."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often credentials are verified by themselves. `interval` is in seconds; 0 is never.

    Args:
        interval: between two verifications of one that works.
        random: from 0 to 1.
    """

    interval: float
    random: Callable[[], float] = random.random

    def after(self, report: Report, now: datetime, *, rejections: int, claim: str | None = None) -> Watch:
        """The turn after a verification.

        Args:
            report: what it said.
            now: when it ended.
            rejections: the failed verdicts in a row before it; one that is unknown neither adds to them nor ends them.
            claim: what the turn was claimed with.
        """
        outcome = report.verdict.outcome
        count = rejections + 1 if outcome is Outcome.FAILED else rejections if outcome is Outcome.UNKNOWN else 0
        return Watch(self._due(now, min(2 ** min(count, RAREST), RAREST)), claim, count)

    def again(self, now: datetime, *, rejections: int, claim: str) -> Watch:
        """The turn after one that came to nothing."""
        return Watch(self._due(now, 1), claim, rejections)

    def soon(self, now: datetime, seconds: float, *, rejections: int, claim: str) -> Watch:
        """The turn after one for which it was too early: it comes after so many seconds, and before twice as many."""
        later = now + timedelta(seconds=seconds * (1 + self.random()))
        return Watch(timestamp(later), claim, rejections)

    @property
    def longest(self) -> timedelta:
        """How far ahead a turn can lie."""
        return timedelta(seconds=max(self.interval, 1.0) * RAREST * (1 + JITTER))

    def _due(self, now: datetime, times: int) -> str:
        seconds = max(self.interval, 1.0) * times * (1 + JITTER * (2 * self.random() - 1))
        return timestamp(now + timedelta(seconds=seconds))
