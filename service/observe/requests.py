"""What requests there were, by method, route pattern and status: the hot path of metrics.

Plain counts in dictionaries, made into families when somebody looks: a third of the time of prometheus_client's
children, whose every increment takes a lock. Here one thread counts, the event loop's.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds: a read takes about a millisecond, a password a tenth of a second, a provider seconds."""
_BOUNDS = (*map(str, BUCKETS), "+Inf")

NO_ROUTE = "none"
"""The route of what matches none."""
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CODES = (1100, 1101, 1500, 1501, 1502, 1900)
"""Errors that an operator wants to see the first of, by the stable number of the contract."""


class Requests(Collector):
    """Counts answers. No path, name or other text of a caller is kept: a method that is no usual one is `other`."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._errors: Counter[int] = Counter(dict.fromkeys(_CODES, 0))
        self._seconds: dict[str, list[float]] = {}
        """By route: the sum, and then one count for each bucket and for what is beyond the last one."""

    def answered(self, method: str, route: str | None, status: int, code: int | None, seconds: float) -> None:
        """Count an answer.

        Args:
            method: of the request, as it was sent.
            route: the pattern that it matched; None for none.
            status: of the answer.
            code: the stable number of the error; None if it is none.
            seconds: that it took.
        """
        if method not in _METHODS:
            method = OTHER
        if route is None:
            route = NO_ROUTE
        self._answers[method, route, status] += 1
        if code is not None:
            self._errors[code] += 1
        seen = self._seconds.get(route)
        if seen is None:
            seen = self._seconds[route] = [0.0] * (len(BUCKETS) + 2)
        seen[0] += seconds
        seen[bisect_left(BUCKETS, seconds) + 1] += 1

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        answers = CounterMetricFamily("vouch_http_requests", "Requests answered.", labels=["method", "route", "status"])
        for (method, route, status), count in self._answers.items():
            answers.add_metric([method, route, str(status)], count)
        yield answers
        errors = CounterMetricFamily(
            "vouch_http_errors", "Answers that carry an error, by its stable code.", labels=["code"]
        )
        for code, count in self._errors.items():
            errors.add_metric([str(code)], count)
        yield errors
        durations = HistogramMetricFamily(
            "vouch_http_request_duration_seconds", "Seconds from a request's head to its answer.", labels=["route"]
        )
        for route, (total, *counts) in self._seconds.items():
            durations.add_metric([route], _cumulative(counts), total)
        yield durations


def _cumulative(counts: list[float]) -> list[tuple[str, float]]:
    """Counts of buckets as Prometheus wants them: of all that took no longer, by the bound as text."""
    found, below = [], 0.0
    for bound, count in zip(_BOUNDS, counts, strict=True):
        below += count
        found.append((bound, below))
    return found
