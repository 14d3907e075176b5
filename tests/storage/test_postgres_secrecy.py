"""TLS to PostgreSQL, and what is said of errors."""

import logging
import ssl
from pathlib import Path

import pytest
import trustme

from service.core.errors import RefusesToStart, StoreUnavailable
from service.storage.postgres.store import open_postgres
from tests.contracts.records import (
    a_credential,
    a_seal,
    an_api_key,
    an_audit,
    changed,
    create,
    listed,
    update,
)
from tests.peers.postgres import Postgres
from tests.peers.postgres_line import Line, line_to
from tests.storage.postgres_stores import SOON, beside, name_of, opened

# TLS


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, str]:
    """A certificate authority, and its certificate in a file."""
    authority = trustme.CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return authority, str(path)


async def test_a_server_with_the_right_certificate_is_used(
    postgres: Postgres, database: str, authority: tuple[trustme.CA, str]
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(tls)
    async with line_to(postgres, tls) as line:
        url = line.url(name_of(database)).replace("sslmode=disable", f"sslmode=verify-full&sslrootcert={authority[1]}")
        async with opened(url) as store:
            await create(store, a_credential())
            assert await listed(store) == (["one"], 1)


@pytest.mark.parametrize("names", [("other.example",), ()], ids=["another's", "somebody else's"])
async def test_a_server_with_a_wrong_certificate_is_refused(
    postgres: Postgres, database: str, authority: tuple[trustme.CA, str], names: tuple[str, ...]
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer = authority[0] if names else trustme.CA()
    issuer.issue_cert(*(names or ("127.0.0.1",))).configure_cert(tls)
    async with line_to(postgres, tls) as line:
        url = line.url(name_of(database)).replace("sslmode=disable", f"sslmode=verify-full&sslrootcert={authority[1]}")
        with pytest.raises(RefusesToStart, match="SSLCertVerificationError"):
            await open_postgres(url, SOON)


async def test_a_server_without_tls_is_refused_where_tls_is_required(database: str) -> None:
    with pytest.raises(RefusesToStart, match="ConnectionError"):
        await open_postgres(database.replace("sslmode=disable", "sslmode=require"), SOON)


# Secrets


async def test_no_error_says_what_was_written(
    database: str, line: Line, caplog: pytest.LogCaptureFixture, postgres: Postgres
) -> None:
    """Requirement 30, in our log and in the server's."""
    caplog.set_level(logging.DEBUG)
    before = len(postgres.log)
    async with opened(line.url(name_of(database)), SOON) as store, beside(database) as plain:
        one = a_credential("one", public='{"x":"canary-public"}')
        await store.create_credential(one, a_seal("canary-sealed"), an_audit(one))
        async with plain.transaction():
            await plain.execute("SELECT 1 FROM credential FOR UPDATE")
            with pytest.raises(StoreUnavailable) as refused:
                await update(store, changed(one, verification="canary-report"), a_seal("canary-envelope"))
        assert "canary" not in str(refused.value)
        with pytest.raises(StoreUnavailable):
            await store.create_api_key(an_api_key("k", secret_hash=b"canary-hash", name=None), an_audit())
        line.lose = b"COMMIT"
        line.silent = True
        with pytest.raises(StoreUnavailable):
            await update(store, changed(one), a_seal("canary-lost"))
        line.silent = False
        line.cut()
    assert "LockNotAvailableError" in caplog.text
    assert "canary" not in caplog.text
    said = postgres.log[before:]
    assert "lock timeout" in said
    assert "canary-sealed" not in said
    assert "canary-envelope" not in said
    assert "canary-report" not in said
