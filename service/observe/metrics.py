"""Metrics for Prometheus: counts and gauges of this process. No name, id or other text of a caller is ever a label."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.core.events import EventType

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RESULTS = ("delivered", "retried", "given_up")


class Metrics:
    """What is counted; one for an application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = self._counter("vouch_events", "Events of credentials, by type.", "type")
        self._deliveries = self._counter("vouch_webhook_deliveries", "Attempts to deliver events, by result.", "result")
        self._verifications = self._counter(
            "vouch_verifications", "Verifications, by provider, outcome and reason.", "provider", "outcome", "reason"
        )
        # There from the start, at 0: a rate over a series sees its first increment only if it was there before.
        for type_ in EventType:
            self._events.labels(type_.value)
        for result in _RESULTS:
            self._deliveries.labels(result)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._registry)

    def event(self, type_: str) -> None:
        """Count an event."""
        self._events.labels(type_).inc()

    def delivery(self, result: str) -> None:
        """Count an attempt to deliver one: `delivered`, `retried` or `given_up`."""
        self._deliveries.labels(result).inc()

    def verification(self, provider: str | None, outcome: str, reason: str) -> None:
        """Count a verification."""
        self._verifications.labels(provider or "none", outcome, reason).inc()

    def gauge(self, name: str, what: str, label: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Show values that are read when somebody looks: from memory, for a look must not wait for the store."""
        self._registry.register(_Gauge(name, what, label, read))

    def render(self) -> bytes:
        """All of it, in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


class _Gauge(Collector):
    def __init__(self, name: str, what: str, label: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._name, self._what, self._label, self._read = name, what, label, read

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        family = GaugeMetricFamily(self._name, self._what, labels=[self._label])
        for label, value in self._read():
            family.add_metric([label], value)
        yield family
