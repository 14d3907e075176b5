"""The house rules: who may import whom, how long a module may be, and what there must not be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "verifiers")
LONGEST = 300  # lines of a module

SDKS = frozenset({"boto3", "botocore", "aiobotocore", "s3transfer", "google", "azure", "msal"})
DATABASES = frozenset({"aiosqlite", "asyncpg", "sqlite3", "sqlalchemy", "psycopg"})
WEB = frozenset({"aiohttp"})
CLIENTS = frozenset({"requests", "httpx", "urllib3", "urllib.request", "http.client", "ftplib", "smtplib"})
CONNECTING = frozenset(
    {"ClientSession", "TCPConnector", "open_connection", "create_connection", "open_unix_connection", "sock_connect"}
)

VERDICTS = ("verifiers.verdict",)
LEASES = ("verifiers.lease_terms", "verifiers.leasing")
KINDS = ("verifiers.registry", "verifiers.base", "verifiers.fields", "verifiers.lease_terms", *VERDICTS)


@dataclass(frozen=True)
class Room:
    """What the modules of one package, or one module, may import.

    `ours` are the modules of this project that it may import beside itself: a name stands for everything below it.
    `never` are other people's packages that it must not import.
    """

    ours: tuple[str, ...]
    never: frozenset[str] = frozenset()


# "Who may import whom" of the design; the room with the longest name that fits a module is the module's.
ROOMS: dict[str, Room] = {
    "verifiers": Room(ours=(), never=DATABASES | {"structlog", "click"}),
    "service.core": Room(
        # verifiers.verdict: what a verification says, which the core hands on and keeps.
        ours=("verifiers.base", "verifiers.registry", "verifiers.files", *VERDICTS, *LEASES),
        never=WEB | SDKS | DATABASES | CLIENTS | {"marshmallow", "click"},
    ),
    "service.storage": Room(
        ours=(
            "service.core.store",
            "service.core.kept",
            "service.core.model",
            "service.core.errors",
            "service.core.audit",
        ),
        never=WEB | SDKS | CLIENTS | {"marshmallow", "cryptography", "click"},
    ),
    # What the dialects share. It knows none of them.
    "service.api": Room(
        ours=("service", "service.core", "service.app_keys", "service.auth.authenticator", "service.observe", *KINDS),
        never=SDKS | DATABASES | CLIENTS,
    ),
    **{
        f"service.api.{dialect}": Room(
            # Beside what the design names: the other shared rooms of `service.api`, and what kinds are made of.
            ours=(
                "service.core",
                "service.app_keys",
                "service.api.errors",
                "service.api.body",
                "service.api.openapi",
                "service.api.preconditions",
                "service.api.validation",
                *KINDS,
            ),
            never=SDKS | DATABASES | CLIENTS,
        )
        for dialect in ("tiledb", "dqops", "native")
    },
    "service.auth": Room(
        # observe.limits: repeated failures are counted with the same windows as everything else (requirement 17).
        ours=("service.core", "service.observe.limits", "verifiers.egress", "verifiers.settings", *VERDICTS),
        never=WEB | SDKS | DATABASES | CLIENTS,
    ),
    "service.work": Room(
        ours=("service.core", "verifiers.egress", "verifiers.settings", *VERDICTS),
        never=WEB | SDKS | DATABASES | CLIENTS,
    ),
    "service.keyrings": Room(
        ours=("service.core", "verifiers.egress", "verifiers.settings", *VERDICTS),
        never=WEB | DATABASES | CLIENTS,  # an SDK is what a ring in somebody's cloud is made of
    ),
    "service.moving": Room(
        # What reads and writes the native API's form of a credential, the command line hands in.
        ours=("service.core", "verifiers.files", "verifiers.aws_profiles", "verifiers.base", *VERDICTS),
        never=WEB | SDKS | DATABASES | CLIENTS | {"marshmallow", "click"},
    ),
    "service.observe": Room(ours=("service.core",), never=SDKS | DATABASES | CLIENTS),
}

WIRING = "service.app"
MAY_WIRE = ("service.cli",)

ONLY_WAY_OUT = ("verifiers.egress", "verifiers.guard", "verifiers.names")
"""The modules that may make connections. Everybody else asks them."""
OWN_PORT = "service.cli.inspect"
"""`vouch health` asks this machine's own port, not through the egress: the service may be in trouble."""
OWN_SERVICE = "service.cli.client"
"""`vouch lease` and its like ask a running vouch, as jobs and people do: they are no part of the service."""


@dataclass(frozen=True)
class Import:
    """One import: the module that does it, its line, and what it imports."""

    importer: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def within(module: str, *packages: str) -> bool:
    """Whether a module is one of these, or below one of them."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports(importer: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in a module, inside functions too, and those by name."""
    for node in ast.walk(ast.parse(source)):
        for target in _targets(node, importer, is_package=is_package):
            yield Import(importer, getattr(node, "lineno", 0), target)


def _targets(node: ast.AST, importer: str, *, is_package: bool) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (name.name for name in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = module or ""
            if level:
                parts = importer.split(".")
                parts = parts[: len(parts) - level + (1 if is_package else 0)]
                base = ".".join([*parts, *([module] if module else [])])
            for name in names:
                # `from service.core import store` is about the module, `from service.core.store import Store` too.
                whole = f"{base}.{name.name}"
                foreign = base.split(".")[0] not in PACKAGES and name.name.islower()
                yield whole if foreign or whole in MODULES else base
        case ast.Call(func=ast.Name(id="__import__" | "import_module"), args=[ast.Constant(value=str(name)), *_]):
            yield name
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            yield name


def everything() -> list[Import]:
    """Every import in the project."""
    return [
        one
        for module, path in MODULES.items()
        for one in imports(module, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")
    ]


def room_of(module: str) -> tuple[str, Room] | None:
    """The room that a module is in."""
    names = [name for name in ROOMS if within(module, name)]
    longest = max(names, key=len, default=None)
    return None if longest is None else (longest, ROOMS[longest])


def fault(one: Import) -> str | None:
    """What is wrong with an import, if anything."""
    if within(one.target, "tests", "benchmarks"):
        return f"{one}: that is not part of what is installed"
    if within(one.target, WIRING) and not within(one.importer, WIRING, *MAY_WIRE):
        return f"{one}: only the command line and tests do"
    place = room_of(one.importer)
    if place is None:
        return None
    name, room = place
    if within(one.target, *PACKAGES):
        return None if _may_know(one.target, name, room) else f"{one}: {name} may not know it"
    return f"{one}: {name} may not use it" if within(one.target, *room.never) else None


def _may_know(target: str, name: str, room: Room) -> bool:
    own = room_of(target)
    if own is not None and own[0] == name:
        return True
    # "service" alone is the package's own __init__, its version.
    return target in room.ours or within(target, *(each for each in room.ours if each != "service"))


def test_every_import_keeps_to_the_table() -> None:
    """The design's "Who may import whom"."""
    found = everything()
    assert len(found) > 100
    assert [wrong for one in found if (wrong := fault(one))] == []


def test_every_room_of_the_table_that_exists_has_modules() -> None:
    for name in ("verifiers", "service.core", "service.storage", "service.auth", "service.api", "service.api.tiledb"):
        assert [module for module in MODULES if within(module, name) and room_of(module)], name


FORBIDDEN = [
    ("verifiers.aws_key", "from service.core import model"),
    ("verifiers.aws_key", "def probe():\n    import service"),
    ("service.core.credentials", "import aiohttp.web"),
    ("service.core.credentials", "def later():\n    from aiohttp import web"),
    ("service.core.credentials", "from service.storage import sqlite"),
    ("service.core.credentials", "from ..storage import sqlite"),
    ("service.core.credentials", "class A:\n    import boto3"),
    ("service.core.credentials", "import botocore.auth"),
    ("service.core.credentials", "from azure.identity import aio"),
    ("service.core.credentials", "import aiosqlite"),
    ("service.core.credentials", "from verifiers import egress"),
    ("service.core.credentials", "from verifiers.aws_key import KIND"),
    ("service.core.credentials", "import importlib\nimportlib.import_module('boto3')"),
    ("service.core.credentials", "__import__('service.storage.sqlite')"),
    ("service.storage.sqlite", "from service.core import envelope"),
    ("service.storage.sqlite", "from service.core.credentials import Draft"),
    ("service.storage.sqlite", "from verifiers.base import Kind"),
    ("service.api.tiledb.handlers", "from service.api.dqops import render"),
    ("service.api.dqops.handlers", "from service.api import tiledb"),
    ("service.api.native.handlers", "from service.storage.sqlite import open_sqlite"),
    ("service.api.tiledb.handlers", "import google.auth"),
    ("service.api.tiledb.handlers", "from verifiers.gcp_service_account import KIND"),
    ("service.api.errors", "from service.api.tiledb import render"),
    ("service.auth.tokens", "from service.api.errors import describe"),
    ("service.auth.tokens", "import requests"),
    ("service.work.webhooks", "from verifiers.base import verify"),
    ("service.keyrings.aws_kms", "from service.storage import writer"),
    ("service.server", "from service.app import create_app"),
    ("service.auth.tokens", "from service import app"),
    ("service.cli.serve", "from tests.peers import google"),
]


@pytest.mark.parametrize(("importer", "source"), FORBIDDEN)
def test_the_check_sees_a_forbidden_import_anywhere(importer: str, source: str) -> None:
    assert [wrong for one in imports(importer, source) if (wrong := fault(one))]


ALLOWED = [
    ("verifiers.aws_key", "from verifiers.base import Kind\nimport aiohttp, botocore.auth"),
    ("service.core.credentials", "from verifiers.registry import Registry\nfrom service.core import model"),
    ("service.core.envelope", "from cryptography.exceptions import InvalidTag"),
    ("service.storage.sqlite", "from service.core.store import Store\nfrom service.storage.rows import user"),
    ("service.api.tiledb.handlers", "from service.api.tiledb import render\nfrom service.app_keys import CONFIG"),
    ("service.auth.tokens", "from verifiers.egress import Egress\nfrom service.core.model import Role"),
    ("service.keyrings.aws_kms", "import botocore.session"),
    ("service.cli.serve", "from service.app import create_app"),
    ("service.app", "from service.storage import sqlite\nfrom verifiers.egress import Egress"),
]


@pytest.mark.parametrize(("importer", "source"), ALLOWED)
def test_the_check_lets_a_proper_import_pass(importer: str, source: str) -> None:
    assert [wrong for one in imports(importer, source) if (wrong := fault(one))] == []


def test_nobody_but_the_egress_makes_connections() -> None:
    """Requirement 1: one way out."""
    found = [
        str(one)
        for one in everything()
        if within(one.target, *CLIENTS) and not within(one.importer, *ONLY_WAY_OUT, OWN_PORT, OWN_SERVICE)
    ]
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if name in CONNECTING and not within(module, *ONLY_WAY_OUT):
                found.append(f"{module}:{getattr(node, 'lineno', 0)} uses {name}")
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_module_is_a_box_of_odds_and_ends() -> None:
    names = {"utils", "util", "helpers", "misc", "manager"}
    assert [module for module in MODULES if module.rpartition(".")[2] in names] == []


def test_importing_the_registry_loads_no_provider_sdk() -> None:
    """An SDK takes up to a third of a second to import; the first probe that needs one loads it."""
    code = (
        "import sys, verifiers.registry\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in set(sys.argv[1:])))"
    )
    command = [sys.executable, "-c", code, *SDKS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
