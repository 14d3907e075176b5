"""Metrics, as Prometheus reads them."""

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.core.events import EventType
from service.observe.metrics import CONTENT_TYPE, Metrics
from tests.api.payloads import CANARY, create_body
from tests.conftest import Vouch


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels; what is not valid fails to parse, what is there twice is told."""
    found: dict[Any, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def counts(metrics: Metrics) -> dict[Any, float]:
    return samples(metrics.render().decode())


def test_what_is_counted_is_shown_by_its_labels() -> None:
    metrics = Metrics()
    metrics.event("credential.deleted")
    metrics.delivery("retried")
    metrics.delivery("retried")
    metrics.verification("AWS", "failed", "bad_secret")
    metrics.verification(None, "failed", "not_recognised")
    found = counts(metrics)
    assert found["vouch_events_total", (("type", "credential.deleted"),)] == 1
    assert found["vouch_webhook_deliveries_total", (("result", "retried"),)] == 2
    labels = (("outcome", "failed"), ("provider", "AWS"), ("reason", "bad_secret"))
    assert found["vouch_verifications_total", labels] == 1
    assert ("vouch_verifications_total", (*labels[:1], ("provider", "none"), ("reason", "not_recognised"))) in found


def test_what_may_be_counted_is_there_from_the_start() -> None:
    """A rate sees the first increment only of a series that was there before it."""
    found = counts(Metrics())
    for type_ in EventType:
        assert found["vouch_events_total", (("type", type_.value),)] == 0
    for result in ("delivered", "retried", "given_up"):
        assert found["vouch_webhook_deliveries_total", (("result", result),)] == 0


def test_two_applications_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.event("credential.deleted")
    assert counts(two)["vouch_events_total", (("type", "credential.deleted"),)] == 0


def test_a_gauge_is_read_when_somebody_looks() -> None:
    metrics = Metrics()
    busy = {"AWS": 1}
    metrics.gauge("vouch_lane_busy", "Open questions.", "lane", lambda: busy.items())
    busy |= {"AWS": 3, "callers": 2}
    found = counts(metrics)
    assert found["vouch_lane_busy", (("lane", "AWS"),)] == 3
    assert found["vouch_lane_busy", (("lane", "callers"),)] == 2


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "ä{}", ""])
def test_whatever_a_label_holds_the_text_stays_valid(text: str) -> None:
    metrics = Metrics()
    metrics.verification(text, "verified", "ok")
    assert metrics.render().decode().count("vouch_verifications_total{") == 1
    assert counts(metrics)


async def test_anybody_may_read_them_and_they_hold_nothing_that_a_caller_chose(vouch: Vouch) -> None:
    """Requirement 30."""
    name = "a name of my own"
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", name))).status == 201
    body = create_body("aws key", name)
    body["credential"]["aws"]["endpoint"] = "https://169.254.169.254"
    await vouch.call("POST", "/v4/credentials/verify", body)
    await vouch.call("GET", f"/v4/credentials/{CANARY}?provider={CANARY}")
    assert (await vouch.call("DELETE", f"/v4/credentials/{name}")).status == 204
    answer = await vouch.call("GET", "/metrics", key=None)
    text = await answer.text()
    assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    found = samples(text)
    blocked = (("outcome", "unknown"), ("provider", "AWS"), ("reason", "blocked_endpoint"))
    assert found["vouch_verifications_total", blocked] == 1
    assert found["vouch_events_total", (("type", "credential.deleted"),)] == 1
    assert found["vouch_lane_busy", (("lane", "callers"),)] == 0
    for theirs in (CANARY, name, "169.254", "minio", "ws_", vouch.admin_key):
        assert theirs not in text
    assert (await vouch.call("GET", "/metrics", key="vouch_wrong")).status == 200


async def test_they_are_shown_beside_a_store_that_hangs(vouch: Vouch) -> None:
    with closing(sqlite3.connect(vouch.config.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        write = asyncio.create_task(vouch.call("POST", "/v4/credentials", create_body("aws key", "one")))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        assert (await vouch.call("GET", "/metrics", key=None)).status == 200
        assert time.monotonic() - started < 0.5
        assert not write.done()
        other.execute("ROLLBACK")
        assert (await write).status == 201
