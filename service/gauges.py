"""The gauges of a running service: read when somebody looks at its metrics, from memory and never from the store."""

from collections.abc import Iterable

from service import __version__
from service.core.lanes import CALLERS_LANE, Lanes
from service.health import Health
from service.observe.metrics import Metrics
from service.work.schedule import Schedule
from service.work.watcher import RESULTS
from service.work.webhooks import Webhooks


def show(metrics: Metrics, health: Health, lanes: Lanes, capacity: int, providers: Iterable[str]) -> None:
    """Show what there is from the start.

    Args:
        metrics: where.
        health: readiness, and the requests under way.
        lanes: the questions under way.
        capacity: of every lane.
        providers: each has a lane for verifications and one for leases.
    """
    idle = dict.fromkeys([*providers, *(f"lease:{provider}" for provider in providers), CALLERS_LANE], 0)
    metrics.gauge("vouch_build_info", "1; the version is in the label.", "version", lambda: [(__version__, 1)])
    metrics.gauge(
        "vouch_http_requests_in_flight",
        "Requests accepted and not answered yet, this one included.",
        "",
        lambda: [("", health.under_way)],
    )
    metrics.gauge(
        "vouch_ready", "Whether a part worked when it was last looked at.", "part", lambda: health.ready().items()
    )
    metrics.gauge(
        "vouch_lane_busy", "Open questions to providers, by lane.", "lane", lambda: (idle | lanes.busy()).items()
    )
    metrics.gauge("vouch_lane_capacity", "Open questions that a lane has room for.", "", lambda: [("", capacity)])


def show_schedule(metrics: Metrics, schedule: Schedule) -> None:
    """Show how the schedule keeps up, by lane; one that is turned off has none."""
    metrics.expect_turns(schedule.lanes, RESULTS)
    metrics.gauge(
        "vouch_schedule_lag_seconds",
        "Seconds since nothing more was due.",
        "lane",
        lambda: schedule.lag().items(),
    )
    metrics.gauge("vouch_schedule_watched", "Credentials that are watched.", "lane", lambda: schedule.watched().items())


def show_webhooks(metrics: Metrics, webhooks: Webhooks) -> None:
    """Show what is left to deliver; nothing while the store can't say."""
    metrics.gauge(
        "vouch_events_undelivered",
        "Events that are not delivered yet.",
        "",
        lambda: [] if webhooks.undelivered is None else [("", webhooks.undelivered)],
    )
