"""Metrics for Prometheus: counts and gauges of this process. No name, id or other text of a caller is ever a label."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.core.events import EventType
from service.core.lease_results import NOBODY, RESULTS
from service.observe.requests import Requests

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_DELIVERIES = ("delivered", "retried", "given_up")
_KINDS = ("api_key", "password", "token")
_PROBE_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
"""Seconds. A provider nearby answers in the first, the deadline is in the last ones."""

Read = Callable[[], Iterable[tuple[str, float]]]
"""Values by label."""


class Metrics:
    """What is counted; one for an application.

    Args:
        providers: those that can be asked.
    """

    def __init__(self, providers: Iterable[str] = ()) -> None:
        # The library would add a second family to each counter, with the time when it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library says nothing of its type
        self._registry = CollectorRegistry()
        self.requests = Requests()
        self._registry.register(self.requests)
        self._events = self._counter("vouch_events", "Events of credentials, by type.", "type")
        self._deliveries = self._counter("vouch_webhook_deliveries", "Attempts to deliver events, by result.", "result")
        self._verifications = self._counter(
            "vouch_verifications", "Verifications, by provider, outcome and reason.", "provider", "outcome", "reason"
        )
        self._verifying = Histogram(
            "vouch_verification_duration_seconds",
            "Seconds that a provider's probe took.",
            ["provider"],
            buckets=_PROBE_BUCKETS,
            registry=self._registry,
        )
        self._leases = self._counter("vouch_leases", "Requests for a lease, by result.", "provider", "result")
        self._failures = self._counter(
            "vouch_authentication_failures", "Wrong attempts to authenticate, by how they were made.", "kind"
        )
        self._turns = self._counter("vouch_schedule_turns", "Turns that the schedule took.", "lane", "result")
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._begin(providers)

    def _begin(self, providers: Iterable[str]) -> None:
        """Show at 0 what may be counted: a rate over a series sees its first increment only if it was there before."""
        for type_ in EventType:
            self._events.labels(type_.value)
        for result in _DELIVERIES:
            self._deliveries.labels(result)
        for kind in _KINDS:
            self._failures.labels(kind)
        for provider in providers:
            self._verifying.labels(provider)
            for result in RESULTS:
                self._leases.labels(provider, result)
        for result in RESULTS:
            self._leases.labels(NOBODY, result)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._registry)

    def event(self, type_: str) -> None:
        """Count an event."""
        self._events.labels(type_).inc()

    def delivery(self, result: str) -> None:
        """Count an attempt to deliver one: `delivered`, `retried` or `given_up`."""
        self._deliveries.labels(result).inc()

    def verification(self, provider: str | None, outcome: str, reason: str) -> None:
        """Count a verification; without a provider, a file in which there was nothing to ask one about."""
        self._verifications.labels(provider or NOBODY, outcome, reason).inc()

    def verified_in(self, provider: str, seconds: float) -> None:
        """Count how long a probe took."""
        self._verifying.labels(provider).observe(seconds)

    def lease(self, provider: str, result: str) -> None:
        """Count a request for a lease, by one of `service.core.lease_results.RESULTS`."""
        self._leases.labels(provider, result).inc()

    def authentication_failure(self, kind: str) -> None:
        """Count a wrong attempt, right or wrong as to whom it names: `api_key`, `password` or `token`."""
        self._failures.labels(kind).inc()

    def turn(self, lane: str, result: str) -> None:
        """Count a turn of the schedule."""
        self._turns.labels(lane, result).inc()

    def expect_turns(self, lanes: Iterable[str], results: Iterable[str]) -> None:
        """Show the turns of a schedule at 0."""
        results = tuple(results)
        for lane in lanes:
            for result in results:
                self._turns.labels(lane, result)

    def gauge(self, name: str, what: str, label: str, read: Read) -> None:
        """Show values that are read when somebody looks: from memory, for a look must not wait for the store.

        Args:
            name: of the metric.
            what: it means.
            label: by which the values differ; empty for a single one.
            read: the values.
        """
        self._registry.register(_Gauge(name, what, label, read))

    def render(self) -> bytes:
        """All of it, in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


class _Gauge(Collector):
    def __init__(self, name: str, what: str, label: str, read: Read) -> None:
        self._name, self._what, self._label, self._read = name, what, label, read

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        family = GaugeMetricFamily(self._name, self._what, labels=[self._label] if self._label else [])
        for label, value in self._read():
            family.add_metric([label] if self._label else [], value)
        yield family
