"""Metrics, as Prometheus reads them."""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import __version__
from service.app_keys import HEALTH
from service.config import Config, VerificationConfig
from service.core.errors import StoreUnavailable
from service.core.events import EventType
from service.core.lease_results import RESULTS as LEASE_RESULTS
from service.health import Health
from service.observe.metrics import CONTENT_TYPE, Metrics
from service.work.watcher import RESULTS as TURN_RESULTS
from tests.api.aws_leases import ROLE, before, session
from tests.api.native import REFUSED, WORKS, file_item, key_item, new_id, path, put
from tests.api.payloads import CANARY, create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub


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


async def scrape(vouch: Vouch) -> dict[Any, float]:
    return samples(await (await vouch.call("GET", "/metrics", key=None)).text())


async def until(vouch: Vouch, name: str, labels: tuple[tuple[str, str], ...], value: float) -> dict[Any, float]:
    """What is shown as soon as this is."""
    for _ in range(250):
        found = await scrape(vouch)
        if found.get((name, labels)) == value:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def test_a_probe_is_counted_with_its_time_and_a_file_without_a_provider_as_nobodys(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    vouch = await start(before(config, aws_stub.url))
    aws_stub.script(REFUSED)
    shown = await put(vouch, key_item())
    await vouch.call("POST", path(shown["id"], "/verify"))
    other = await put(vouch, file_item("notes", "just some notes"))
    await vouch.call("POST", path(other["id"], "/verify"))
    found = await scrape(vouch)
    assert found["vouch_verification_duration_seconds_count", (("provider", "AWS"),)] == 1
    assert 0 < found["vouch_verification_duration_seconds_sum", (("provider", "AWS"),)] < 5
    nothing = (("outcome", "failed"), ("provider", "none"), ("reason", "not_recognised"))
    assert found["vouch_verifications_total", nothing] == 1
    assert ("vouch_verification_duration_seconds_count", (("provider", "none"),)) not in found


async def test_leases_are_counted_by_provider_and_result(start: Start, config: Config, aws_stub: AwsStub) -> None:
    vouch = await start(before(config, aws_stub.url))
    aws_stub.script(session(), REFUSED)
    role = {"role_arn": ROLE, "ttl_seconds": 900}
    shown = await put(vouch, key_item(allowed_in_tasks=True))
    closed = await put(vouch, key_item("two"))
    statuses = [
        (await vouch.call("POST", path(id_, "/lease"), wanted)).status
        for id_, wanted in (
            (shown["id"], role),
            (shown["id"], role),
            (shown["id"], {"ttl_seconds": 7200}),
            (closed["id"], role),
            (new_id(), role),
        )
    ]
    assert statuses == [200, 422, 400, 403, 404]
    found = await scrape(vouch)
    counted = {labels: count for (name, labels), count in found.items() if name == "vouch_leases_total" and count}
    assert {(dict(labels)["provider"], dict(labels)["result"]): count for labels, count in counted.items()} == {
        ("AWS", "granted"): 1,
        ("AWS", "refused"): 1,
        ("none", "invalid"): 1,
        ("AWS", "not_allowed"): 1,
        ("none", "not_found"): 1,
    }
    for result in LEASE_RESULTS:
        assert ("vouch_leases_total", (("provider", "GCP"), ("result", result))) in found


async def test_wrong_attempts_are_counted_by_kind_and_missing_ones_are_none(vouch: Vouch) -> None:
    """Requirement 17."""
    for _ in range(3):
        assert (await vouch.call("GET", "/v4/credentials", key="vouch_wrong")).status == 401
    assert (await vouch.call("GET", "/v4/credentials", key=None)).status == 401
    found = await scrape(vouch)
    counted = {kind: found["vouch_authentication_failures_total", (("kind", kind),)] for kind in ("api_key", "token")}
    assert counted == {"api_key": 3, "token": 0}


async def test_the_schedule_shows_its_turns_and_that_it_keeps_up(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    off = await start(before(config, aws_stub.url))
    await put(off, key_item())
    assert not [key for key in await scrape(off) if key[0].startswith("vouch_schedule")], "turned off"
    await off.client.close()
    aws_stub.script(WORKS, WORKS)
    vouch = await start(before(config, aws_stub.url, interval=3600))
    found = await until(vouch, "vouch_schedule_turns_total", (("lane", "AWS"), ("result", "asked")), 1)
    assert found["vouch_schedule_watched", (("lane", "AWS"),)] == 1
    assert found["vouch_schedule_watched", (("lane", "GCP"),)] == 0
    assert found["vouch_schedule_lag_seconds", (("lane", "AWS"),)] < 5
    for lane in ("AWS", "AZURE", "GCP", "shared"):
        for result in TURN_RESULTS:
            assert ("vouch_schedule_turns_total", (("lane", lane), ("result", result))) in found


async def test_a_lanes_room_is_shown_beside_what_is_busy(start: Start, config: Config) -> None:
    vouch = await start(replace(config, verification=VerificationConfig(concurrency=7)))
    found = await scrape(vouch)
    assert found["vouch_lane_capacity", ()] == 7
    busy = {dict(labels)["lane"]: value for (name, labels), value in found.items() if name == "vouch_lane_busy"}
    assert busy == dict.fromkeys(("AWS", "AZURE", "GCP", "lease:AWS", "lease:AZURE", "lease:GCP", "callers"), 0)


async def test_readiness_is_looked_at_also_when_nobody_asks(vouch: Vouch) -> None:
    """Requirement 35 for `service`."""
    found = await until(vouch, "vouch_ready", (("part", "store"),), 1)
    assert found["vouch_ready", (("part", "key_ring"),)] == found["vouch_ready", (("part", "service"),)] == 1
    app = vouch.client.app
    assert app is not None
    app[HEALTH].draining = True
    assert (await scrape(vouch))["vouch_ready", (("part", "service"),)] == 0


async def test_a_part_that_breaks_is_shown_as_not_ready_until_it_works_again() -> None:
    health, broken = Health(), False

    async def check() -> None:
        if broken:
            raise StoreUnavailable

    async def seen(*, ready: bool) -> None:
        for _ in range(500):
            if health.ready().get("store") is ready:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(health.ready())

    health.watch({"store": check})
    assert health.ready() == {"service": True}, "nothing is claimed of what nobody has looked at"
    looking = asyncio.create_task(health.keep_looking(0.02))
    await seen(ready=True)
    broken = True
    await seen(ready=False)
    broken = False
    await seen(ready=True)
    looking.cancel()
    await asyncio.wait([looking])


async def test_a_look_that_hangs_does_not_hold_up_who_reads_the_last_one() -> None:
    health, asked = Health(), asyncio.Event()

    async def hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    health.watch({"store": hang})
    looking = asyncio.create_task(health.keep_looking())
    await asyncio.wait_for(asked.wait(), 5)
    assert health.ready() == {"service": True}
    looking.cancel()
    await asyncio.wait([looking])


async def test_the_version_and_the_process_are_shown(vouch: Vouch) -> None:
    found = await scrape(vouch)
    assert found["vouch_build_info", (("version", __version__),)] == 1
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert time.time() - found["process_start_time_seconds", ()] < 86_400
    assert not [name for name, _labels in found if name.endswith("_created")], "a second family for each counter"


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
