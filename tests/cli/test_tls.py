"""TLS on the service's own port: from files, renewed under a running service, and never for the worse."""

import asyncio
import json
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from service.core.errors import RefusesToStart
from service.tls import Certificate, watched
from tests.cli.test_cli import serving, vouch

LOOK = 0.02  # seconds between two looks at the files, in the tests that need no process


class Files:
    """A certificate's two files, and the authority that clients trust."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.cert = folder / "tls.crt"
        self.key = folder / "tls.key"

    def issue(self) -> tuple[bytes, bytes]:
        """A new chain and its key, in PEM."""
        made = self.authority.issue_cert("localhost", "127.0.0.1")
        return b"".join(one.bytes() for one in made.cert_chain_pems), made.private_key_pem.bytes()

    def write(self, cert: bytes, key: bytes) -> None:
        self.cert.write_bytes(cert)
        self.key.write_bytes(key)

    def renew(self) -> bytes:
        """Write a new pair; what a client will be shown of it."""
        cert, key = self.issue()
        self.write(cert, key)
        return shown(cert)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def shown(pem: bytes) -> bytes:
    """The first certificate of a chain, as a handshake has it."""
    return ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----END")[0] + "-----END CERTIFICATE-----\n")


async def served(files: Files, port: int, name: str = "localhost") -> bytes:
    """The certificate that a new connection is shown; a client that does not trust it fails."""
    context = ssl.create_default_context()
    files.authority.configure_trust(context)
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found
    finally:
        writer.transport.abort()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if holds():
                return
            await asyncio.sleep(LOOK)


async def until_served(files: Files, port: int, wanted: bytes) -> None:
    async with asyncio.timeout(10):
        while True:
            if await served(files, port) == wanted:
                return
            await asyncio.sleep(LOOK)


@asynccontextmanager
async def listening(files: Files, look: float = LOOK) -> AsyncIterator[tuple[Certificate, int]]:
    """A port that serves the files' certificate and looks at them often."""
    certificate = Certificate(str(files.cert), str(files.key))
    server = await asyncio.start_server(lambda _reader, writer: None, "127.0.0.1", 0, ssl=certificate.context)
    watching = asyncio.create_task(certificate.watch(look))
    try:
        yield certificate, server.sockets[0].getsockname()[1]
    finally:
        watching.cancel()
        server.close()


# A running service


async def test_a_running_service_serves_a_renewed_certificate_to_new_connections_without_a_restart(
    tmp_path: Path, files: Files
) -> None:
    first = files.renew()
    (tmp_path / "config.toml").write_text('[server]\ntls_cert = "tls.crt"\ntls_key = "tls.key"\n')
    with serving(tmp_path) as (url, process):
        port = int(url.rpartition(":")[2])
        assert await served(files, port) == first
        reader, writer = await open_one(files, port)
        second = files.renew()
        await until_served(files, port, second)
        # What was open before goes on as it was.
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["level"] for one in events if "certificate" in one["event"]] == ["info"]


async def open_one(files: Files, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    files.authority.configure_trust(context)
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")


def test_health_asks_a_port_with_tls_too(tmp_path: Path, files: Files) -> None:
    """Whatever host the certificate is for: it is our own port."""
    files.renew()
    config = '[server]\nhost = "0.0.0.0"\ntls_cert = "tls.crt"\ntls_key = "tls.key"\n'
    (tmp_path / "config.toml").write_text(config)
    with serving(tmp_path) as (url, _process):
        (tmp_path / "config.toml").write_text(f"{config}port = {url.rpartition(':')[2]}\n")
        done = vouch(tmp_path, "health")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ready"


# Files that change


async def test_every_client_is_shown_the_new_one_with_a_name_in_its_hello_or_without(files: Files) -> None:
    files.renew()
    async with listening(files) as (_certificate, port):
        second = files.renew()
        await until_served(files, port, second)
        assert await served(files, port, "127.0.0.1") == second  # an address is never in a hello (RFC 6066 section 3)


async def test_a_secret_volume_that_is_renewed_by_moving_a_link_is_noticed(tmp_path: Path, files: Files) -> None:
    """As Kubernetes does it: the files are links through one, which is replaced."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    files.renew()
    for path in (files.cert, files.key):
        path.rename(tmp_path / "old" / path.name)
    (tmp_path / "..data").symlink_to("old")
    for path in (files.cert, files.key):
        path.symlink_to(f"..data/{path.name}")
    async with listening(files) as (_certificate, port):
        cert, key = files.issue()
        (tmp_path / "new" / "tls.crt").write_bytes(cert)
        (tmp_path / "new" / "tls.key").write_bytes(key)
        (tmp_path / "..moving").symlink_to("new")
        (tmp_path / "..moving").replace(tmp_path / "..data")
        await until_served(files, port, shown(cert))


def broken(name: str, files: Files) -> None:
    """Leave the files as somebody's interrupted work would."""
    cert, key = files.issue()
    match name:
        case "half a certificate":
            files.write(cert[: len(cert) // 3], key)
        case "half a key":
            files.write(cert, key[: len(key) // 2])
        case "another's key":
            files.cert.write_bytes(cert)
        case "empty":
            files.write(b"", b"")
        case "no certificate":
            files.cert.unlink()
        case "a folder":
            files.key.unlink()
            files.key.mkdir()
        case "a key with a password":
            from cryptography.hazmat.primitives.serialization import (
                BestAvailableEncryption,
                Encoding,
                PrivateFormat,
                load_pem_private_key,
            )

            sealed = load_pem_private_key(key, None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
            )
            files.write(cert, sealed)


BREAKS = (
    "half a certificate", "half a key", "another's key", "empty", "no certificate", "a folder", "a key with a password",
)  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
async def test_files_that_cannot_be_used_change_nothing_are_told_in_one_line_and_mended_later(
    name: str, files: Files
) -> None:
    first = files.renew()
    with capture_logs() as logs:
        async with listening(files) as (_certificate, port):
            broken(name, files)
            await until(lambda: bool(logs))
            await asyncio.sleep(10 * LOOK)
            assert await served(files, port) == first
            assert [one["log_level"] for one in logs] == ["error"]
            assert {"event", "tls_cert", "tls_key", "reason"} <= set(logs[0])
            assert "PRIVATE" not in str(logs)
            if files.key.is_dir():
                files.key.rmdir()
            last = files.renew()
            await until(lambda: len(logs) == 2)
            assert await served(files, port) == last
            assert logs[1]["event"] == "certificate reloaded"


async def test_files_that_are_still_being_written_are_left_alone_until_they_rest(files: Files) -> None:
    """One renewal is one line, though it takes many writes."""
    files.renew()
    with capture_logs() as logs:
        async with listening(files, 0.3) as (_certificate, port):
            cert, key = files.issue()
            files.cert.write_bytes(b"")
            for part in range(0, len(cert), 1 + len(cert) // 15):
                with files.cert.open("ab") as file:
                    file.write(cert[part : part + 1 + len(cert) // 15])
                await asyncio.sleep(0.05)
            files.key.write_bytes(key)
            await until(lambda: bool(logs))
            assert await served(files, port) == shown(cert)
    assert [one["event"] for one in logs] == ["certificate reloaded"]


async def test_a_touched_file_of_the_same_content_does_no_harm(files: Files) -> None:
    first = files.renew()
    with capture_logs() as logs:
        async with listening(files) as (_certificate, port):
            os.utime(files.cert, (time.time() + 5, time.time() + 5))
            await until(lambda: bool(logs))
            assert await served(files, port) == first


async def test_a_service_without_tls_watches_nothing() -> None:
    before = len(asyncio.all_tasks())
    async with watched(None):
        assert len(asyncio.all_tasks()) == before


async def test_nothing_older_than_tls_1_2_is_spoken(files: Files) -> None:
    files.renew()
    async with listening(files) as (certificate, _port):
        assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


# The start


@pytest.mark.parametrize("name", BREAKS)
def test_files_that_cannot_be_used_refuse_to_start(name: str, files: Files) -> None:
    files.renew()
    broken(name, files)
    with pytest.raises(RefusesToStart, match=r"server\.tls_cert and server\.tls_key") as caught:
        Certificate(str(files.cert), str(files.key))
    assert "PRIVATE" not in str(caught.value)


def test_config_check_names_files_that_cannot_be_used(tmp_path: Path, files: Files) -> None:
    files.renew()
    (tmp_path / "config.toml").write_text('[server]\ntls_cert = "tls.crt"\ntls_key = "tls.key"\n')
    assert vouch(tmp_path, "config", "check").returncode == 0
    files.key.write_bytes(b"")
    done = vouch(tmp_path, "config", "check")
    assert (done.returncode, "server.tls_cert" in done.stderr) == (1, True)
