"""The counts of requests: bounded labels, cheap, and nothing in them that a caller chose."""

import base64
import json
import re
import time
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from service.config import Config, VerificationConfig
from service.observe.requests import BUCKETS, NO_ROUTE, OTHER, Requests
from tests.api.leaks import needles
from tests.api.native import file_item, item, new_id, path, providers
from tests.api.payloads import CANARY, KINDS, create_body
from tests.conftest import Start, Vouch
from tests.observe.conftest import routes
from tests.observe.test_metrics import samples
from tests.peers.aws_stub import AwsStub

ANSWERS = "vouch_http_requests_total"
SECONDS = "vouch_http_request_duration_seconds"
SECRET = f"{CANARY}0123456789"


def shown(requests: Requests) -> dict[Any, float]:
    registry = CollectorRegistry()
    registry.register(requests)
    return samples(generate_latest(registry).decode())


async def metrics(vouch: Vouch) -> str:
    return str(await (await vouch.call("GET", "/metrics", key=None)).text())


def answered(method: str, route: str, status: int) -> tuple[str, tuple[tuple[str, str], ...]]:
    return ANSWERS, (("method", method), ("route", route), ("status", str(status)))


def test_an_answer_is_in_every_bucket_whose_bound_it_does_not_exceed() -> None:
    requests = Requests()
    for seconds in (0.0, BUCKETS[0], BUCKETS[3], BUCKETS[-1] + 1):
        requests.answered("GET", "/a", 200, None, seconds)
    found = shown(requests)
    below = {
        bound: found[f"{SECONDS}_bucket", (("le", bound), ("route", "/a"))] for bound in (*map(str, BUCKETS), "+Inf")
    }
    assert below[str(BUCKETS[0])] == below[str(BUCKETS[2])] == 2
    assert below[str(BUCKETS[3])] == below[str(BUCKETS[-1])] == 3
    assert below["+Inf"] == found[f"{SECONDS}_count", (("route", "/a"),)] == 4
    assert found[f"{SECONDS}_sum", (("route", "/a"),)] == sum((BUCKETS[0], BUCKETS[3], BUCKETS[-1] + 1))


def test_answers_are_told_apart_by_method_route_and_status_and_errors_by_code() -> None:
    requests = Requests()
    requests.answered("GET", "/a", 200, None, 0.1)
    requests.answered("GET", "/a", 200, None, 0.1)
    requests.answered("GET", "/a", 404, 1200, 0.1)
    requests.answered("PUT", "/a", 200, None, 0.1)
    requests.answered("GET", None, 404, 1303, 0.1)
    found = shown(requests)
    counted = {key: value for key, value in found.items() if key[0] == ANSWERS}
    assert counted == {
        answered("GET", "/a", 200): 2,
        answered("GET", "/a", 404): 1,
        answered("PUT", "/a", 200): 1,
        answered("GET", NO_ROUTE, 404): 1,
    }
    codes = {
        dict(labels)["code"]: value for (name, labels), value in found.items() if name == "vouch_http_errors_total"
    }
    assert {code: value for code, value in codes.items() if value} == {"1200": 1, "1303": 1}
    assert codes["1502"] == codes["1900"] == 0, "there before the first one"


def test_methods_that_callers_make_up_are_one() -> None:
    requests = Requests()
    for number in range(1000):
        requests.answered(f"{SECRET}{number}", None, 404, 1303, 0.001)
    assert shown(requests)[answered(OTHER, NO_ROUTE, 404)] == 1000


def test_counting_costs_a_request_microseconds() -> None:
    """A read takes about 150: this must not be seen in it."""
    requests = Requests()
    best = 1.0
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(1000):
            requests.answered("GET", "/v4/credentials/{name}", 200, None, 0.0003)
        best = min(best, (time.perf_counter() - started) / 1000)
    assert best < 5e-6


async def test_requests_are_counted_by_the_pattern_and_not_the_path(vouch: Vouch) -> None:
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))).status == 201
    for name in ("one", "one", "two"):
        await vouch.call("GET", f"/v4/credentials/{name}")
    await vouch.call("GET", "/v4/credentials/one", key="vouch_wrong")
    await vouch.call("GET", f"/nowhere/{SECRET}")
    await vouch.call("PUT", "/v4/credentials/one", {})
    found = samples(await metrics(vouch))
    assert found[answered("POST", "/v4/credentials", 201)] == 1
    assert found[answered("GET", "/v4/credentials/{name}", 200)] == 2
    assert found[answered("GET", "/v4/credentials/{name}", 404)] == 1
    assert found[answered("GET", "/v4/credentials/{name}", 401)] == 1
    assert found[answered("GET", NO_ROUTE, 404)] == 1
    assert found[answered("PUT", NO_ROUTE, 405)] == 1
    assert found[f"{SECONDS}_count", (("route", "/v4/credentials/{name}"),)] == 4
    assert found["vouch_http_errors_total", (("code", "1100"),)] == 1
    assert found["vouch_http_requests_in_flight", ()] == 1, "the scrape itself"


def bodies() -> list[Any]:
    """Bodies with a canary in every field: right ones of every kind, and wrong ones."""
    names = ("name", "provider", "type", "credential", "role", "token", "payload", "content", "credential_name")
    others = (
        "text_value",
        "binary_value",
        "purpose",
        "scope",
        "role_arn",
        "external_id",
        "kind",
        "subject_token",
        SECRET,
    )
    wrong = dict.fromkeys((*names, *others), SECRET)
    right = [create_body(kind, f"{SECRET}-{number}") for number, kind in enumerate(KINDS)]
    return [wrong, *right, *(item(kind, SECRET) for kind in KINDS), file_item(SECRET, SECRET), SECRET, [SECRET]]


async def test_a_canary_in_every_field_of_every_route_is_not_in_the_metrics(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Requirement 30, and that no caller can make series."""
    url = aws_stub.url
    peers = providers(config, aws=url, azure=url, authority=url, gcp=url, storage=url)
    vouch = await start(replace(peers, verification=VerificationConfig(deadline_seconds=0.5)))
    id_ = new_id()
    assert (await vouch.call("PUT", path(id_), item("aws key", SECRET, allowed_in_tasks=True))).status == 201
    basic = base64.b64encode(f"{SECRET}:{SECRET}".encode()).decode()
    app = vouch.client.app
    assert app is not None
    asked, sent = 0, bodies()
    told = {
        "X-Request-ID": SECRET,
        "User-Agent": SECRET,
        "X-Forwarded-For": SECRET,
        "If-Match": SECRET,
        "Prefer": SECRET,
    }
    for route in app.router.routes():
        pattern = route.resource.canonical if route.resource else ""
        for given in (SECRET, id_):
            where = re.sub(r"\{[^}]*\}", given, pattern)
            query = {
                "teamspace_id": "",
                "provider": SECRET,
                "type": SECRET,
                "page": SECRET,
                "cursor": SECRET,
                SECRET: SECRET,
            }
            some = sent if route.method in ("POST", "PUT", "PATCH") else [None]
            for body in some:
                await vouch.call(route.method, where, body, headers=told)
                asked += 1
            await vouch.call(route.method, where, None, params=query, headers=told)
        await vouch.call(route.method, where, None, key=f"vouch_{SECRET}_{SECRET}")
        await vouch.call(route.method, where, None, key=None, headers={"Authorization": f"Bearer {SECRET}"})
    await vouch.call("GET", "/v4/credentials", key=None, headers={"Authorization": f"Basic {basic}"})
    await vouch.call("OPTIONS", f"/{SECRET}", {SECRET: SECRET})
    text = await metrics(vouch)
    assert asked > 300
    assert aws_stub.received
    payloads = [value for kind in KINDS.values() for value in kind[4].values() if isinstance(value, str)]
    hidden = needles(SECRET, vouch.admin_key.rpartition("_")[2], *(one for one in payloads if len(one) >= 12))
    for needle in (*hidden, CANARY.encode(), id_.encode(), b"ws_default", json.dumps(SECRET).encode()):
        assert needle not in text.encode()
    labels = {(name, value) for _name, each in samples(text) for name, value in each if name in ("route", "method")}
    assert {value for name, value in labels if name == "route"} <= {*routes(vouch), NO_ROUTE}
    assert {value for name, value in labels if name == "method"} <= {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        OTHER,
    }
    for kind in ("api_key", "password"):
        assert samples(text)["vouch_authentication_failures_total", (("kind", kind),)] > 0
