"""The certificate of the service's own port: read from files, and read again when they change.

Whoever renews it (cert-manager, certbot, an operator) replaces two files, and not in one step. What can't be used
is told once and changes nothing: the certificate that is there goes on serving.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from service.core.errors import RefusesToStart

log = structlog.get_logger("vouch.tls")

POLL_SECONDS = 1.0
"""How often the files are looked at."""

State = tuple[tuple[int, int, int, int], ...]
"""What tells one content of the files from another, without reading them."""


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer that serves the certificate of these PEM files.

    Raises:
        OSError: they can't be read, or are not a certificate and its unencrypted private key (ssl.SSLError is one).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without a password of ours OpenSSL would ask for one on the terminal, and wait.
    context.load_cert_chain(cert, key, password="")
    return context


class Certificate:
    """What new connections are served with. Nothing of it is in a repr.

    Args:
        cert: the chain's file.
        key: the private key's file.

    Raises:
        RefusesToStart: they can't be used.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._cert = cert
        self._key = key
        self._seen = self._state()
        try:
            self._current = server_context(cert, key)
        except OSError as error:
            raise RefusesToStart(f"server.tls_cert and server.tls_key can't be used: {_reason(error)}.") from None
        # A listener keeps the context that it was made with, so every handshake is handed the current one.
        self.context = server_context(cert, key)
        self.context.sni_callback = self._serve_current

    def _serve_current(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def reload(self) -> None:
        """Take the files as they are now; if they can't be used, say so and keep what there is."""
        try:
            self._current = server_context(self._cert, self._key)
        except OSError as error:
            log.error(
                "certificate not reloaded, the old one stays",
                tls_cert=self._cert,
                tls_key=self._key,
                reason=_reason(error),
            )
        else:
            log.info("certificate reloaded", tls_cert=self._cert)

    async def watch(self, seconds: float = POLL_SECONDS) -> None:
        """Reload whenever the files have changed and been left alone for a while; runs until it is cancelled.

        Args:
            seconds: between two looks. Files that differ at every look are being written still.
        """
        before = self._seen
        while True:
            await asyncio.sleep(seconds)
            try:
                now = await asyncio.to_thread(self._state)
                if now == before != self._seen:
                    await asyncio.to_thread(self.reload)
                    self._seen = now
            except RuntimeError:  # no thread to be had: the next look is soon
                continue
            before = now

    def _state(self) -> State:
        return tuple(_stat(Path(name)) for name in (self._cert, self._key))


@asynccontextmanager
async def watched(certificate: Certificate | None) -> AsyncIterator[None]:
    """Keep a certificate up to date for as long as this lasts; None needs nothing."""
    task = asyncio.create_task(certificate.watch()) if certificate else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _stat(path: Path) -> tuple[int, int, int, int]:
    # Through links: Kubernetes renews a secret by moving one that all of its files go through.
    try:
        found: os.stat_result = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _reason(error: OSError) -> str:
    """In words that quote no file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a certificate and its private key in PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__
