"""A running vouch with a store of its own, and callers who may use it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from service import bootstrap
from service.app import create_app
from service.auth.passwords import hash_password
from service.config import Config
from service.core.access import Access

MakeKey = Callable[..., Awaitable[str]]
Start = Callable[..., Awaitable["Vouch"]]


class Vouch:
    """A service under test, as an HTTP client sees it.

    `call` sends JSON with an API key; `key=None` sends none.
    """

    def __init__(self, client: TestClient[Any, Any], config: Config, admin_key: str) -> None:
        self.client = client
        self.config = config
        self.admin_key = admin_key

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    async def make_key(self, role: str = "admin", **more: Any) -> str:
        """An API key made as the command line makes it: in the store, beside the running service."""
        store = await bootstrap.open_store(self.config)
        try:
            options = {"name": f"a {role}", "workspace": "ws_default", **more}
            _row, text = await Access(store, hash_password).create_api_key(bootstrap.operator(), role=role, **options)
            return text
        finally:
            await store.close()

    async def call(self, method: str, path: str, body: Any = None, *, key: str | None = "", **more: Any) -> Any:
        """The answer to a request; `.json_body` is there if it carried JSON."""
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers.setdefault("X-TILEDB-REST-API-KEY", key or self.admin_key)
        if body is not None:
            more["json"] = body
        answer = await self.client.request(method, path, headers=headers, **more)
        answer.json_body = (
            await answer.json() if answer.content_type == "application/json" and await answer.read() else None
        )
        return answer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Defaults, with a data folder of the test's own."""
    return replace(Config(), data_dir=str(tmp_path / "data"))


@pytest.fixture
def start(aiohttp_client: Any) -> Start:
    """Start a vouch with a configuration."""

    async def run(config: Config) -> Vouch:
        key = await bootstrap.first_start(config, terminal=True)
        client = await aiohttp_client(create_app(config))
        vouch = Vouch(client, config, key or "")
        if key is None:
            vouch.admin_key = await vouch.make_key()
        return vouch

    return run


@pytest.fixture
async def vouch(start: Start, config: Config) -> Vouch:
    """A vouch with the default configuration."""
    return await start(config)
