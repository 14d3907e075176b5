"""A whole vouch on PostgreSQL, and two of them as replicas."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service import bootstrap
from service.app import create_app
from service.auth.passwords import hash_password
from service.config import Config, load_config
from service.core.access import Access
from service.core.errors import RefusesToStart
from service.keyrings.file import FileKeyRing
from service.observe import logs
from service.store_rules import StoreConfig
from tests.api.payloads import CANARY, KINDS, create_body
from tests.conftest import Start, Vouch
from tests.peers.postgres import Postgres
from tests.storage.postgres_stores import beside, name_of

Replica = Callable[[], Awaitable[Vouch]]


@pytest.fixture
def on_postgres(config: Config, database: str, tmp_path: Path) -> Config:
    """A vouch on an empty database, with a key ring that somebody brought."""
    ring = tmp_path / "ring"
    FileKeyRing.create(ring)
    return replace(config, store=StoreConfig(url=database), keys=replace(config.keys, file=str(ring)))


@pytest.fixture
async def first(start: Start, on_postgres: Config) -> Vouch:
    """The first replica, which made the admin key."""
    return await start(on_postgres)


@pytest.fixture
def replica(first: Vouch, on_postgres: Config, aiohttp_client: Any, tmp_path: Path) -> Replica:
    """Starts another replica, which has a data folder of its own."""

    async def run() -> Vouch:
        config = replace(on_postgres, data_dir=str(tmp_path / "another"))
        assert await bootstrap.first_start(config, terminal=True) is None, "the store has its first key"
        return Vouch(await aiohttp_client(create_app(config)), config, first.admin_key)

    return run


# Replicas


async def test_what_one_replica_writes_the_other_reads(first: Vouch, replica: Replica) -> None:
    second = await replica()
    body = create_body("aws key", "warehouse")
    assert (await first.call("POST", "/v4/credentials", body)).status == 201
    read = await second.call("GET", "/v4/credentials/warehouse")
    assert read.status == 200
    tag = {"If-Match": read.headers["ETag"]}
    assert (await second.call("PATCH", "/v4/credentials/warehouse", {"name": "lake"}, headers=tag)).status == 204
    assert (await first.call("PATCH", "/v4/credentials/lake", {"name": "pond"}, headers=tag)).status == 412
    assert (await first.call("GET", "/v4/credentials/warehouse")).status == 404
    assert (await first.call("DELETE", "/v4/credentials/lake")).status == 204
    assert (await second.call("GET", "/v4/credentials/lake")).status == 404


async def test_a_revoked_key_is_dead_on_both_at_once(first: Vouch, replica: Replica) -> None:
    """Requirement 23."""
    second = await replica()
    key = await second.make_key("viewer")
    for vouch in (first, second):
        assert (await vouch.call("GET", "/v4/credentials", key=key)).status == 200
    store = await bootstrap.open_store(first.config)
    await Access(store, hash_password).revoke_api_key(bootstrap.operator(), key.split("_")[1])
    await store.close()
    for vouch in (first, second):
        assert (await vouch.call("GET", "/v4/credentials", key=key)).status == 401


async def test_there_is_one_default_per_provider_whoever_sets_it(first: Vouch, replica: Replica) -> None:
    both = (first, await replica())
    bodies = [{**create_body("aws key", f"n{number:02}"), "provider_default": True} for number in range(20)]
    made = await asyncio.gather(
        *(both[number % 2].call("POST", "/v4/credentials", body) for number, body in enumerate(bodies))
    )
    assert [answer.status for answer in made] == [201] * 20
    for vouch in both:
        listed = await vouch.call("GET", "/v4/credentials")
        assert [one["provider_default"] for one in listed.json_body["data"]].count(True) == 1


async def test_fifty_creates_of_one_name_on_two_replicas_make_one(first: Vouch, replica: Replica) -> None:
    both = (first, await replica())
    made = await asyncio.gather(
        *(both[number % 2].call("POST", "/v4/credentials", create_body("aws key", "same")) for number in range(50))
    )
    assert sorted(answer.status for answer in made) == [201] + [409] * 49


async def test_what_one_replica_seals_the_other_opens(first: Vouch, replica: Replica) -> None:
    second = await replica()
    body = {"credential_name": "file", "type": "text", "text_value": CANARY}
    bearer = {"Authorization": f"Bearer {first.admin_key}"}
    assert (await first.call("POST", "/api/credentials", body, key=None, headers=bearer)).status == 201
    read = await second.call("GET", "/api/credentials/file", key=None, headers=bearer)
    assert read.json_body["text_value"] == CANARY


async def test_a_database_that_is_away_is_503_and_a_red_part_of_readiness(
    first: Vouch, postgres: Postgres, on_postgres: Config
) -> None:
    """And all is well as soon as it is back."""
    name = name_of(on_postgres.store.url)
    assert (await first.call("GET", "/readyz")).status == 200
    await postgres.administer(
        f"ALTER DATABASE {name} CONNECTION LIMIT 0",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        for method, path, body in (
            ("GET", "/v4/credentials", None),
            ("POST", "/v4/credentials", create_body("aws key", "x")),
            ("GET", "/readyz", None),
        ):
            answer = await first.call(method, path, body)
            assert answer.status == 503
        assert answer.json_body["checks"]["store"] == "The store is not available."
        assert (await first.call("GET", "/livez")).status == 200
    finally:
        await postgres.administer(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    assert (await first.call("POST", "/v4/credentials", create_body("aws key", "x"))).status == 201
    assert (await first.call("GET", "/readyz")).status == 200


# The key ring


async def test_no_key_is_made_unasked(config: Config, database: str) -> None:
    for keys in (config.keys, replace(config.keys, file=f"{config.data_dir}/named")):
        missing = replace(config, store=StoreConfig(url=database), keys=keys)
        with pytest.raises(RefusesToStart, match=r"There is no key ring at .*, and none is made on PostgreSQL"):
            await bootstrap.first_start(missing, terminal=True)
        assert not missing.key_file.exists()
    async with beside(database) as plain:
        assert await plain.fetchval("SELECT count(*) FROM canary") == 0
        assert await plain.fetchval("SELECT count(*) FROM api_key") == 0


async def test_a_wrong_key_ring_refuses_to_start_and_overwrites_nothing(
    first: Vouch, on_postgres: Config, tmp_path: Path
) -> None:
    """Requirement 27."""
    async with beside(on_postgres.store.url) as plain:
        before = await plain.fetchrow("SELECT * FROM canary")
        other = tmp_path / "other ring"
        FileKeyRing.create(other)
        wrong = replace(on_postgres, keys=replace(on_postgres.keys, file=str(other)))
        with pytest.raises(RefusesToStart, match="key"):
            await bootstrap.first_start(wrong, terminal=True)
        assert await plain.fetchrow("SELECT * FROM canary") == before


async def test_replicas_that_start_together_have_one_canary_and_one_first_key(
    on_postgres: Config, tmp_path: Path
) -> None:
    configs = [replace(on_postgres, data_dir=str(tmp_path / f"replica {number}")) for number in range(4)]
    made = await asyncio.gather(*(bootstrap.first_start(config, terminal=False) for config in configs))
    assert sum(key is not None for key in made) == 1
    assert sum(bootstrap.admin_key_file(config).exists() for config in configs) == 1
    async with beside(on_postgres.store.url) as plain:
        assert await plain.fetchval("SELECT count(*) FROM api_key") == 1


async def test_of_two_replicas_with_two_key_rings_one_starts(on_postgres: Config, tmp_path: Path) -> None:
    FileKeyRing.create(tmp_path / "other ring")
    other = replace(on_postgres, keys=replace(on_postgres.keys, file=str(tmp_path / "other ring")))
    ended = await asyncio.gather(
        *(bootstrap.first_start(each, terminal=True) for each in (on_postgres, other)), return_exceptions=True
    )
    assert sum(isinstance(one, str) for one in ended) == 1
    assert sum(isinstance(one, RefusesToStart) for one in ended) == 1


async def test_a_read_only_folder_is_no_hindrance(on_postgres: Config) -> None:
    """In a container the key ring and the first key are mounted; nothing else needs a folder."""
    nowhere = replace(on_postgres, data_dir="/proc/nowhere")
    assert await bootstrap.first_start(nowhere, terminal=True) is not None


# Secrets


async def test_no_secret_is_in_the_database_or_in_any_log(
    start: Start, on_postgres: Config, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30, while the server logs every statement with its values."""
    name = name_of(on_postgres.store.url)
    await postgres.administer(
        f"ALTER DATABASE {name} SET log_statement = 'all'",
        f"ALTER DATABASE {name} SET log_parameter_max_length_on_error = -1",
    )
    logs.configure("DEBUG", "json")
    caplog.set_level(logging.DEBUG)
    before = len(postgres.log)
    try:
        vouch = await start(on_postgres)
        for number, kind in enumerate(KINDS):
            body = create_body(kind, f"n{number}")
            assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
            assert (await vouch.call("POST", "/v4/credentials", body)).status == 409
            assert (await vouch.call("GET", f"/v4/credentials/n{number}")).status == 200
        shared = {"credential_name": "file", "type": "text", "text_value": CANARY}
        bearer = {"Authorization": f"Bearer {vouch.admin_key}"}
        assert (await vouch.call("POST", "/api/credentials", shared, key=None, headers=bearer)).status == 201
    finally:
        await postgres.administer(f"ALTER DATABASE {name} RESET ALL")
    said = postgres.log[before:]
    assert "INSERT INTO credential" in said, "it must have logged the statements"
    dump = await _everything(on_postgres.store.url)
    secret = vouch.admin_key.rpartition("_")[2]
    for place in (said, caplog.text, dump):
        assert CANARY not in place
        assert CANARY.encode().hex() not in place
        assert secret not in place
    assert "vouch:" not in repr(on_postgres)
    password = on_postgres.store.url.partition("@")[0].rpartition(":")[2]
    assert password not in repr(on_postgres) + caplog.text


async def _everything(url: str) -> str:
    """All rows of all tables, as text."""
    async with beside(url) as plain:
        tables = await plain.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'vouch'")
        rows = [await plain.fetch(f"SELECT t::text FROM {row['tablename']} AS t") for row in tables]
        return "\n".join(row[0] for some in rows for row in some)


# Settings


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('url = "mysql://h/d"', "store.url must be empty, sqlite:///PATH or postgresql://USER@HOST/DATABASE."),
        ('url = "postgresql://canary@h"', "store.url must end with a database's name"),
        ('url = "postgresql://canary@h/"', "store.url must end with a database's name"),
        ('url = "postgresql:///canary"', "store.url must name a host, or several"),
        ('url = "postgresql://u:canary@/d"', "store.url must name a host, or several"),
        ('url = "postgresql://h:canary/d"', "store.url must name a host, or several"),
        ('url = "postgresql://u:canary@h,:1/d"', "store.url must name a host, or several"),
        ('url = "postgresql://h/d?sslmod=canary"', "store.url may have no options but host, passfile"),
        ('url = "postgresql://h/d?sslmode=canary"', "store.url: sslmode must be one of disable, allow"),
        ('url = "postgresql://h/d?canary"', "store.url is not a URL."),
        ('url = "postgresql://[h/canary"', "store.url is not a URL."),
        ("pool_max_size = 0", "store.pool_max_size must be from 1 to 1000"),
        ("pool_min_size = 11", "store.pool_max_size must be from 1 to 1000"),
        ("pool_min_size = -1", "store.pool_max_size must be from 1 to 1000"),
        ("pool_wait_seconds = 0", "store.pool_wait_seconds, store.statement_seconds and store.lock_seconds must be"),
        ("lock_seconds = inf", "store.pool_wait_seconds, store.statement_seconds and store.lock_seconds must be"),
        ("statement_seconds = nan", "store.pool_wait_seconds, store.statement_seconds and store.lock_seconds must be"),
    ],
)
def test_a_setting_that_cannot_work_refuses_to_start_and_quotes_no_url(
    tmp_path: Path, table: str, sentence: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[store]\n{table}\n")
    with pytest.raises(RefusesToStart) as refused:
        load_config(path, {})
    assert str(refused.value).startswith(sentence)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://vouch:p%40ss@db.corp:5433/vouch?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgres://vouch@a:5432,[::1]:5433/vouch?target_session_attrs=read-write",
        "postgresql:///vouch?host=/run/postgresql",
    ],
)
def test_an_address_of_postgresql_is_a_setting(tmp_path: Path, url: str) -> None:
    config = load_config(None, {"VOUCH_STORE__URL": url, "VOUCH_STORE__POOL_MAX_SIZE": "30"})
    assert config.on_postgres
    assert config.store.pool_max_size == 30
    assert not load_config(None, {}).on_postgres


async def test_without_the_driver_the_start_is_refused_with_what_to_install(
    on_postgres: Config, tmp_path: Path
) -> None:
    """In a process whose path has something else by the driver's name: as if it were not installed."""
    script = (
        "import asyncio, sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Missing(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'asyncpg':\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from service import bootstrap\n"
        "from service.config import load_config\n"
        "from service.core.errors import RefusesToStart\n"
        "try:\n"
        "    asyncio.run(bootstrap.open_store(load_config(None, {'VOUCH_STORE__URL': sys.argv[1]})))\n"
        "except RefusesToStart as error:\n"
        "    print(error)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, on_postgres.store.url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said.decode() == ("store.url names PostgreSQL, and its driver is not installed: install vouch[postgres].\n")


async def test_the_driver_is_not_loaded_for_an_embedded_store() -> None:
    script = "import service.app, sys; print('asyncpg' in sys.modules, 'service.storage.postgres' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode() == "False False\n"
