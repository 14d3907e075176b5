"""What a busy vouch exposes."""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.config import Config, VerificationConfig
from service.work.settings import WebhookSettings
from tests.api.native import WORKS, key_item, put
from tests.api.native import path as at
from tests.conftest import Start, Vouch
from tests.observe.promql import Exposed
from tests.peers.aws_stub import AwsStub
from tests.peers.webhook import WebhookReceiver
from verifiers.settings import AwsSettings, EgressSettings, ProviderSettings
from verifiers.verdict import Outcome, Reason

LATE = (
    "vouch_events_undelivered ",
    "vouch_schedule_watched{",
    'vouch_ready{part="store"}',
    "vouch_verifications_total{",
)
"""What is there only once what runs beside requests has had its first look."""


@pytest.fixture
async def busy(start: Start, config: Config, tmp_path: Path, receiver: WebhookReceiver, aws_stub: AwsStub) -> Vouch:
    """A vouch with everything turned on, after something of everything that is counted only when it happens."""
    secret = tmp_path / "webhook-secret"
    secret.write_text("whsec_" + base64.b64encode(b"s" * 32).decode())
    vouch = await start(
        replace(
            config,
            egress=EgressSettings(allow=(receiver.allowed,)),
            providers=ProviderSettings(aws=AwsSettings(sts_endpoint=aws_stub.url, s3_endpoint=aws_stub.url)),
            webhooks=WebhookSettings(receiver.url, str(secret)),
            verification=VerificationConfig(interval=3600),
        )
    )
    aws_stub.script(*[WORKS] * 4)
    shown = await put(vouch, key_item())
    assert (await vouch.call("POST", at(shown["id"], "/verify"))).status == 200
    assert (await vouch.call("GET", "/v4/credentials/one")).status == 200
    assert (await vouch.call("GET", "/v4/credentials/none")).status == 404
    return vouch


async def scraped(vouch: Vouch) -> str:
    """Its metrics, once everything has had its first look."""
    async with asyncio.timeout(10):
        while True:
            text = str(await (await vouch.call("GET", "/metrics", key=None)).text())
            if all(late in text for late in LATE):
                return text
            await asyncio.sleep(0.05)


@pytest.fixture
async def families(busy: Vouch) -> dict[str, Any]:
    """What it exposes: families by the name that their samples begin with, `_total` of a counter included."""
    found = {}
    for family in text_string_to_metric_families(await scraped(busy)):
        found[f"{family.name}_total" if family.type == "counter" else family.name] = family
    return found


@pytest.fixture
def exposed(families: dict[str, Any], busy: Vouch) -> Exposed:
    """Its samples with their labels; a value that can be there is taken for one that is."""
    found: Exposed = {}
    for family in families.values():
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels[label].add(value)
    found["vouch_verifications_total"] |= {"outcome": set(Outcome), "reason": set(Reason)}
    found["vouch_http_requests_total"]["status"] |= {str(status) for status in range(200, 600)}
    for name in [name for name in found if name.startswith("vouch_http_request")]:
        if "route" in found[name]:
            found[name]["route"] |= set(routes(busy))
    return found


def routes(vouch: Vouch) -> Iterator[str]:
    """The patterns of its router."""
    app = vouch.client.app
    assert app is not None
    return (resource.canonical for resource in app.router.resources())
