"""How an issuer's server is asked for its keys: whose certificate it must have, and which token it is shown."""

import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.auth.issuer_keys import REFRESH_SECONDS, RETRY_SECONDS
from service.auth.key_source import KeySource
from service.auth.settings import Binding, JwtSettings, OAuth2Settings
from service.auth.tokens import Tokens
from service.core.errors import Overloaded
from tests.auth.fakes import Clock, until
from tests.peers.issuer import AUDIENCE, Issuer, rsa_key
from verifiers.egress import Answer, Egress
from verifiers.settings import EgressSettings

CANARY = "Canary" + "7" * 33


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
async def cluster(authority: trustme.CA) -> AsyncIterator[Issuer]:
    """An issuer whose certificate is its own authority's."""
    one = Issuer(authority)
    await one.start()
    yield one
    await one.stop()


def reading(cluster: Issuer, egress: Egress, clock: Clock | None = None, **settings: str) -> Tokens:
    bindings = (Binding("somebody*", "ws_default", "viewer"),)
    one = JwtSettings(cluster.url, AUDIENCE, bindings=bindings, **settings)
    return Tokens(OAuth2Settings(), egress.operator, workloads=(one,), clock=clock or Clock())


async def test_certificates_of_the_named_file_are_trusted(cluster: Issuer, egress: Egress, ca_file: Path) -> None:
    tokens = reading(cluster, egress, jwks_ca_file=str(ca_file))
    assert (await tokens.check(cluster.mint())).name == "somebody"
    assert cluster.requests == {"/.well-known/openid-configuration": 1, "/jwks": 1}
    await tokens.close()


async def test_without_the_file_a_private_authority_is_not(cluster: Issuer, egress: Egress) -> None:
    tokens = reading(cluster, egress)
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    assert not cluster.requests
    await tokens.close()


async def test_what_the_system_and_the_egress_trust_counts_for_nothing_beside_the_file(
    cluster: Issuer, ca_file: Path, stranger: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of the system's, not beside: only who has the cluster's own certificates can speak for it."""
    other = tmp_path / "other.crt"
    stranger.cert_pem.write_to_path(str(other))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))  # what OpenSSL takes for the system's
    async with Egress(EgressSettings(ca_file=str(other))) as egress:
        by_system = reading(cluster, egress)
        assert (await by_system.check(cluster.mint())).name == "somebody"
        by_file = reading(cluster, egress, jwks_ca_file=str(other))
        with pytest.raises(Overloaded):
            await by_file.check(cluster.mint())
    async with Egress(EgressSettings(ca_file=str(ca_file))) as egress:
        by_egress = reading(cluster, egress, jwks_ca_file=str(other))
        with pytest.raises(Overloaded):
            await by_egress.check(cluster.mint())
    for one in (by_system, by_file, by_egress):
        await one.close()


async def test_another_host_with_a_certificate_of_the_authority_is_not_the_issuer(
    cluster: Issuer, egress: Egress, ca_file: Path
) -> None:
    """The certificate is for 127.0.0.1."""
    there = cluster.url.replace("127.0.0.1", "localhost")
    tokens = reading(cluster, egress, jwks_url=f"{there}/jwks", jwks_ca_file=str(ca_file))
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    await tokens.close()


async def test_certificates_that_are_replaced_count_at_the_next_fetch(
    cluster: Issuer, egress: Egress, ca_file: Path, stranger: trustme.CA, authority: trustme.CA, clock: Clock
) -> None:
    right = ca_file.read_bytes()
    stranger.cert_pem.write_to_path(str(ca_file))
    tokens = reading(cluster, egress, clock, jwks_ca_file=str(ca_file))
    for written in (ca_file.read_bytes(), b"no certificate"):
        ca_file.write_bytes(written)
        with pytest.raises(Overloaded):
            await tokens.check(cluster.mint())
        clock.advance(RETRY_SECONDS)
    ca_file.unlink()
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    clock.advance(RETRY_SECONDS)
    ca_file.write_bytes(right)
    assert (await tokens.check(cluster.mint())).name == "somebody"
    await tokens.close()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
async def test_the_token_of_the_file_is_shown_to_the_issuer(
    cluster: Issuer, egress: Egress, ca_file: Path, tmp_path: Path, end: str
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{CANARY}{end}", newline="")
    cluster.wanted = CANARY
    tokens = reading(cluster, egress, jwks_ca_file=str(ca_file), jwks_token_file=str(file))
    assert (await tokens.check(cluster.mint())).name == "somebody"
    assert cluster.shown == [f"Bearer {CANARY}"] * 2
    await tokens.close()


async def test_a_token_that_is_replaced_is_read_again(
    cluster: Issuer, egress: Egress, ca_file: Path, tmp_path: Path, clock: Clock
) -> None:
    """Kubernetes writes a new one before the old one expires."""
    file = tmp_path / "token"
    file.write_text("first")
    cluster.wanted = "first"
    tokens = reading(cluster, egress, clock, jwks_ca_file=str(ca_file), jwks_token_file=str(file))
    await tokens.check(cluster.mint())
    file.write_text("second")
    cluster.wanted = "second"
    cluster.rotate("rsa-2", rsa_key(1))
    assert (await tokens.check(cluster.mint("rsa-2"))).name == "somebody"
    assert cluster.shown == ["Bearer first"] * 2 + ["Bearer second"] * 2
    clock.advance(REFRESH_SECONDS)
    await tokens.check(cluster.mint("rsa-2", sub="somebody else"))
    await until(lambda: len(cluster.shown) == 6)
    await tokens.close()


async def test_without_its_token_the_issuer_gives_no_keys(cluster: Issuer, egress: Egress, ca_file: Path) -> None:
    cluster.wanted = CANARY
    tokens = reading(cluster, egress, jwks_ca_file=str(ca_file))
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    assert cluster.shown == [None]
    await tokens.close()


async def test_a_host_that_the_discovery_document_names_is_not_shown_the_token(
    cluster: Issuer, authority: trustme.CA, egress: Egress, ca_file: Path, tmp_path: Path
) -> None:
    """Requirement 30: it is the cluster's, and goes to the host that the operator wrote and to no other port of it."""
    file = tmp_path / "token"
    file.write_text(CANARY)
    elsewhere = Issuer(authority)
    await elsewhere.start()
    cluster.discovery = {"jwks_uri": elsewhere.jwks_url}
    tokens = reading(cluster, egress, jwks_ca_file=str(ca_file), jwks_token_file=str(file))
    assert (await tokens.check(cluster.mint())).name == "somebody"
    assert (cluster.shown, elsewhere.shown) == ([f"Bearer {CANARY}"], [None])
    await tokens.close()
    # Where the operator names the key set's host, that one is shown it.
    direct = reading(
        cluster,
        egress,
        jwks_url=elsewhere.jwks_url,
        jwks_ca_file=str(ca_file),
        jwks_token_file=str(file),
    )
    assert (await direct.check(cluster.mint())).name == "somebody"
    assert elsewhere.shown == [None, f"Bearer {CANARY}"]
    await direct.close()
    await elsewhere.stop()


class Recording:
    """In place of the way out: answers every request with the same document, and keeps what was asked."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.asked: list[tuple[str, str | None]] = []

    async def request(self, method: str, url: str, *, headers: dict[str, str], tls: ssl.SSLContext | None) -> Answer:
        self.asked.append((url, headers.get("Authorization")))
        return Answer(200, {}, json.dumps(self.document).encode(), complete=True)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://issuer.example:8443/openid/v1/jwks", True),
        ("https://issuer.example:8443", True),
        ("https://issuer.example:8443?x", False),
        ("https://issuer.example/openid/v1/jwks", False),
        ("https://issuer.example:84430/jwks", False),
        ("https://issuer.example:8443.other.example/jwks", False),
        ("https://issuer.example:8443@other.example/jwks", False),
        ("https://issuer.example:8443\\@other.example/jwks", False),
        ("https://other.example/https://issuer.example:8443/jwks", False),
        ("https://other.example/?https://issuer.example:8443/", False),
        ("https://ISSUER.example:8443/jwks", False),
    ],
)
async def test_only_a_key_set_at_the_issuers_own_host_and_port_is_shown_the_token(
    tmp_path: Path, uri: str, shown: bool
) -> None:
    """Requirement 30: compared by its characters up to the first slash, so that nobody can read it otherwise."""
    file = tmp_path / "token"
    file.write_text(CANARY)
    issuer = "https://issuer.example:8443"
    session = Recording({"issuer": issuer, "jwks_uri": uri, "keys": []})
    assert await KeySource(issuer, "", session, token_file=str(file)).fetch() == []
    bearer = f"Bearer {CANARY}"
    discovery = f"{issuer}/.well-known/openid-configuration"
    assert session.asked == [(discovery, bearer), (uri, bearer if shown else None)]


async def test_no_token_goes_out_in_the_clear(tmp_path: Path) -> None:
    """Requirement 30: even where nobody refused to start."""
    file = tmp_path / "token"
    file.write_text(CANARY)
    session = Recording({"keys": []})
    await KeySource("https://issuer.example", "http://issuer.example/jwks", session, token_file=str(file)).fetch()
    assert session.asked == [("http://issuer.example/jwks", None)]


@pytest.mark.parametrize(
    "written", [b"", b"\n", b"two words", b"two\nlines", b"a\r\nX-Header: b", b"\xff\xfe", "é".encode(), b"x" * 16_385]
)
async def test_a_file_that_holds_no_token_sends_nothing(
    cluster: Issuer, egress: Egress, ca_file: Path, tmp_path: Path, written: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(written)
    tokens = reading(cluster, egress, jwks_ca_file=str(ca_file), jwks_token_file=str(file))
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    assert cluster.shown == []
    await tokens.close()


async def test_the_token_is_in_no_log(
    cluster: Issuer,
    egress: Egress,
    ca_file: Path,
    tmp_path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requirement 30: neither a right one, nor a refused one, nor one that is none."""
    file = tmp_path / "token"
    cluster.wanted = CANARY
    tokens = reading(cluster, egress, clock, jwks_ca_file=str(ca_file), jwks_token_file=str(file))
    with caplog.at_level(logging.DEBUG):
        for written in (f"{CANARY}x", f"{CANARY} {CANARY}", f"{CANARY}é"):
            file.write_text(written)
            with pytest.raises(Overloaded) as caught:
                await tokens.check(cluster.mint())
            assert CANARY not in repr(caught.value)
            clock.advance(RETRY_SECONDS)
        file.write_text(CANARY)
        await tokens.check(cluster.mint())
    assert caplog.text.count(f"the token issuer {cluster.url} could not") == 3
    assert "jwks_token_file holds no token" in caplog.text
    assert CANARY not in caplog.text
    await tokens.close()


async def test_a_context_of_ones_own_shares_no_connection_with_the_egress(
    cluster: Issuer, egress: Egress, ca_file: Path
) -> None:
    """Requirement 1: who is trusted for one issuer is trusted for nothing else, on a kept connection neither."""
    trusting = ssl.create_default_context(cafile=str(ca_file))
    assert (await egress.operator.request("GET", cluster.jwks_url, tls=trusting)).status == 200
    tokens = reading(cluster, egress)
    with pytest.raises(Overloaded):
        await tokens.check(cluster.mint())
    assert cluster.requests["/jwks"] == 1
    await tokens.close()
