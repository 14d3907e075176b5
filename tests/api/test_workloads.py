"""Workloads as callers over HTTP: a cluster with its own authority, a CI, and people's tokens, side by side."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.config import Config, load_config
from tests.api.payloads import create_body
from tests.conftest import Start, Vouch
from tests.peers.issuer import ABSENT, AUDIENCE, Issuer, confused, rsa_key, sign, unsigned

BODY = create_body("aws key", "one")
LOADER = "system:serviceaccount:etl:loader"
BUILD = "repo:org/name:ref:refs/heads/main"
POD_TOKEN = "Canary" + "7" * 33

CONFIGURATION = """
[auth.oauth2]
issuer = "{people}"
audience = "{audience}"

[[auth.jwt]]
issuer = "{cluster}"
audience = "{audience}"
jwks_url = "{cluster}/jwks"
jwks_ca_file = "{folder}/ca.crt"
jwks_token_file = "{folder}/token"
bindings = [
    {{ subject = "system:serviceaccount:etl:viewer", workspace = "ws_default", role = "viewer" }},
    {{ subject = "system:serviceaccount:etl:consumer", workspace = "ws_default", role = "consumer", teamspaces = [] }},
    {{ subject = "system:serviceaccount:etl:red-*", workspace = "ws_default", role = "editor", teamspaces = ["red"] }},
    {{ subject = "system:serviceaccount:etl:*", workspace = "ws_default", role = "editor" }},
]

[[auth.jwt]]
issuer = "{ci}"
audience = "{audience}"
bindings = [
    {{ subject = "repo:org/*:ref:refs/heads/main", workspace = "ws_ci", role = "admin" }},
    {{ subject = "{loader}", workspace = "ws_default", role = "editor" }},
]
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def cluster(authority: trustme.CA) -> AsyncIterator[Issuer]:
    """A cluster's API server: its own authority, and keys for pods alone."""
    one = Issuer(authority, key=1)
    one.wanted = POD_TOKEN
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def ci() -> AsyncIterator[Issuer]:
    """A CI that anybody may ask for its keys."""
    one = Issuer(key=2)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
def configuration(
    issuer: Issuer, cluster: Issuer, ci: Issuer, authority: trustme.CA, tmp_path: Path, config: Config
) -> Config:
    """People's issuer, the cluster and the CI, as an operator writes it."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text(f"{POD_TOKEN}\n")
    file = tmp_path / "vouch.toml"
    names = {"people": issuer.url, "cluster": cluster.url, "ci": ci.url, "audience": AUDIENCE, "loader": LOADER}
    file.write_text(CONFIGURATION.format(**names, folder=tmp_path))
    return replace(load_config(file, {}), data_dir=config.data_dir)


@pytest.fixture
async def vouch(start: Start, configuration: Config) -> Vouch:
    """A vouch that takes the tokens of all three."""
    return await start(configuration)


def pod(cluster: Issuer, subject: str = LOADER, **changes: Any) -> str:
    """A token as Kubernetes projects it into a pod: no type in its header, a list of audiences, no claims of ours."""
    namespace, name = subject.split(":")[2:]
    own = {"namespace": namespace, "serviceaccount": {"name": name, "uid": "0"}, "pod": {"name": "p", "uid": "0"}}
    claims = {"sub": subject, "aud": [AUDIENCE], "role": ABSENT, "workspace": ABSENT, "kubernetes.io": own}
    return cluster.mint(headers={"typ": None}, **claims | changes)


async def call(vouch: Vouch, token: str, method: str, path: str, body: Any = None) -> Any:
    """The answer to a request with a token."""
    return await vouch.call(method, path, body, key=None, headers={"Authorization": f"Bearer {token}"})


async def listed(vouch: Vouch, token: str, where: str = "") -> int:
    """The status of a list of credentials."""
    return (await call(vouch, token, "GET", f"/v4/credentials{where}")).status


async def test_a_service_account_acts_with_the_role_of_its_binding(vouch: Vouch, cluster: Issuer) -> None:
    """Requirement 18."""
    viewer = pod(cluster, "system:serviceaccount:etl:viewer")
    assert (await call(vouch, pod(cluster), "POST", "/v4/credentials", BODY)).status == 201
    assert (await call(vouch, viewer, "GET", "/v4/credentials/one")).status == 200
    refused = await call(vouch, viewer, "DELETE", "/v4/credentials/one")
    assert (refused.status, refused.json_body["code"]) == (403, 1101)
    assert (await vouch.call("GET", "/v4/credentials/one")).status == 200


async def test_a_consumer_reads_no_metadata(vouch: Vouch, cluster: Issuer) -> None:
    """Requirement 20: the role is there, and for nothing else than using."""
    answer = await call(vouch, pod(cluster, "system:serviceaccount:etl:consumer"), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["message"]) == (403, "The role consumer does not allow this.")
    key = await vouch.make_key("consumer")
    assert (await vouch.call("GET", "/v4/credentials", key=key)).status == 403


async def test_teamspaces_of_a_binding_are_all_that_it_may_use(vouch: Vouch, cluster: Issuer) -> None:
    limited = pod(cluster, "system:serviceaccount:etl:red-loader")
    assert (await call(vouch, limited, "POST", "/v4/credentials?teamspace_id=red", BODY)).status == 201
    assert [await listed(vouch, limited, where) for where in ("", "?teamspace_id=blue")] == [403, 403]
    everywhere = pod(cluster)
    assert [await listed(vouch, everywhere, where) for where in ("", "?teamspace_id=red")] == [200, 200]


@pytest.mark.parametrize(
    "subject",
    ["system:serviceaccount:other:loader", "system:serviceaccount:etl-2:loader", "system:serviceaccount:ETL:x"],
)
async def test_another_namespace_is_known_but_not_allowed(vouch: Vouch, cluster: Issuer, subject: str) -> None:
    """Requirement 20."""
    answer = await call(vouch, pod(cluster, subject), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["code"]) == (403, 1101)
    assert subject not in await answer.text()
    assert "WWW-Authenticate" not in answer.headers


async def test_three_issuers_are_believed_at_the_same_time(
    vouch: Vouch, issuer: Issuer, cluster: Issuer, ci: Issuer
) -> None:
    build = ci.mint(sub=BUILD, role=ABSENT, workspace=ABSENT)
    assert (await call(vouch, build, "POST", "/v4/credentials", BODY)).status == 201
    assert [await listed(vouch, token) for token in (issuer.mint(), pod(cluster), build)] == [200, 200, 200]
    # The CI's workspace is its own.
    assert (await call(vouch, pod(cluster), "GET", "/v4/credentials/one")).status == 404
    for subject in ("repo:org/name:ref:refs/heads/other", "repo:organised/name:ref:refs/heads/main"):
        assert await listed(vouch, ci.mint(sub=subject)) == 403


async def test_a_subject_of_two_issuers_is_two_callers(vouch: Vouch, cluster: Issuer, ci: Issuer) -> None:
    """The audit trail tells them apart: the issuer is part of who it is."""
    for name, token in (("one", pod(cluster)), ("two", ci.mint(sub=LOADER))):
        assert (await call(vouch, token, "POST", "/v4/credentials", create_body("aws key", name))).status == 201
    with closing(sqlite3.connect(vouch.config.database)) as other:
        actors = other.execute("SELECT actor_kind, actor_id, actor_name FROM audit WHERE actor_kind = 'workload'")
        found = set(actors)
    assert found == {("workload", f"{one.url}#{LOADER}", LOADER) for one in (cluster, ci)}


def hostile(cluster: Issuer, ci: Issuer, issuer: Issuer) -> dict[str, str]:
    """Tokens of a bound subject that its issuer did not sign for vouch, or not for now."""
    claims = cluster.claims(sub=LOADER)
    return {
        "another audience": pod(cluster, aud=["https://kubernetes.default.svc"]),
        "an issuer that is not configured": pod(cluster, iss="https://other.example"),
        "the CI's key": ci.mint(iss=cluster.url, sub=LOADER),
        "the key of people's issuer": issuer.mint(iss=cluster.url, sub=LOADER),
        "a stranger's key": sign(rsa_key(4), "RS256", claims, {"kid": "rsa-1"}),
        "expired": pod(cluster, exp=claims["iat"] - 1),
        "a token without end, as Kubernetes once made them": pod(cluster, exp=ABSENT, aud=ABSENT),
        "algorithm none": unsigned(claims),
        "the public key as an HMAC secret": confused(claims, rsa_key(1)),
        "an extension that must be understood": cluster.mint(sub=LOADER, headers={"crit": ["b64"], "b64": True}),
    }


async def test_a_hostile_token_is_a_401_with_a_challenge(
    vouch: Vouch, cluster: Issuer, ci: Issuer, issuer: Issuer
) -> None:
    """Requirement 18."""
    for name, token in hostile(cluster, ci, issuer).items():
        answer = await call(vouch, token, "GET", "/v4/credentials")
        assert (answer.status, answer.json_body["code"]) == (401, 1100), name
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), name
        assert token not in await answer.text(), name
    assert await listed(vouch, pod(cluster)) == 200


async def test_an_issuer_with_another_authoritys_certificate_is_not_believed_and_the_rest_goes_on(
    start: Start, configuration: Config, cluster: Issuer, ci: Issuer, issuer: Issuer, tmp_path: Path
) -> None:
    """Requirement 18."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    vouch = await start(configuration)
    answer = await call(vouch, pod(cluster), "GET", "/v4/credentials")
    assert (answer.status, answer.json_body["code"]) == (503, 1501)
    assert int(answer.headers["Retry-After"]) >= 1
    assert cluster.url not in await answer.text()
    assert not cluster.requests
    assert await listed(vouch, ci.mint(sub=BUILD)) == 200
    assert await listed(vouch, issuer.mint()) == 200
    assert (await vouch.call("GET", "/v4/credentials")).status == 200


async def test_an_issuer_that_is_down_concerns_its_own_tokens_alone(
    vouch: Vouch, cluster: Issuer, ci: Issuer, issuer: Issuer
) -> None:
    """Requirement 18."""
    cluster.on = False
    assert await listed(vouch, pod(cluster)) == 503
    assert [await listed(vouch, token) for token in (ci.mint(sub=BUILD), issuer.mint())] == [200, 200]
    assert (await vouch.call("GET", "/readyz", key=None)).status == 200


async def test_the_pods_own_token_opens_the_key_set_and_is_read_again(
    vouch: Vouch, cluster: Issuer, ci: Issuer, tmp_path: Path
) -> None:
    """Kubernetes replaces it long before it expires."""
    assert await listed(vouch, pod(cluster)) == 200
    (tmp_path / "token").write_text("the-next-one")
    cluster.wanted = "the-next-one"
    cluster.rotate("rsa-2", rsa_key(5))
    late = cluster.mint("rsa-2", sub=LOADER, headers={"typ": None})
    assert await listed(vouch, late) == 200
    assert await listed(vouch, ci.mint(sub=BUILD)) == 200
    assert cluster.shown == [f"Bearer {POD_TOKEN}", "Bearer the-next-one"]
    assert set(ci.shown) == {None}
