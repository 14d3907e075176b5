"""What a caller is told when the store is locked or damaged."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service import bootstrap
from service.core.envelope import Envelope
from service.core.errors import StoreUnavailable
from service.core.records import Records
from service.core.shared import FileType, SharedCredentials, SharedFile
from service.keyrings.file import FileKeyRing
from service.storage.sqlite import open_sqlite
from tests.api.payloads import CANARY, create_body
from tests.conftest import Vouch
from tests.core.silence import SILENT

BODY = create_body("aws key", "one")
FILE = {"credential_name": "one", "type": "text", "text_value": f"{CANARY} text"}
STORED = {"name": "one", "provider": "AWS"}


@contextmanager
def database(vouch: Vouch) -> Iterator[sqlite3.Connection]:
    """The store as another process has it open."""
    with closing(sqlite3.connect(vouch.config.database, isolation_level=None)) as connection:
        yield connection


async def test_while_another_process_holds_the_write_lock_writes_are_503_and_reads_go_on(vouch: Vouch) -> None:
    """Requirements 29 and 37: bounded, nothing half done, and no secret leaves without its audit record."""
    for name in ("one", "zero"):
        assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", name))).status == 201
    assert (await vouch.call("POST", "/api/credentials", FILE)).status == 201
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/v4/credentials", create_body("gcp hmac", "two")),
        ("PATCH", "/v4/credentials/one", {"allowed_in_tasks": True}),
        ("DELETE", "/v4/credentials/zero", None),
        ("GET", "/api/credentials/one", None),
        ("GET", "/api/credentials/one/download", None),
    ]
    with database(vouch) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        under_way = [asyncio.ensure_future(vouch.call(*write)) for write in writes]
        reads = 0
        while not all(write.done() for write in under_way):
            asked = time.monotonic()
            assert (await vouch.call("GET", "/v4/credentials/one")).status == 200
            assert (await vouch.call("GET", "/livez", key=None)).status == 200
            assert time.monotonic() - asked < 1
            reads += 1
            await asyncio.sleep(0.05)
        assert time.monotonic() - started < 8
        assert reads > 10
        ready = await vouch.call("GET", "/readyz", key=None)
        assert (ready.status, ready.json_body["checks"]["store"] == "ok") == (503, False)
        other.execute("ROLLBACK")
    for (method, path, _body), write in zip(writes, under_way, strict=True):
        answer = await write
        assert (answer.status, int(answer.headers["Retry-After"]) >= 1) == (503, True), f"{method} {path}"
        assert CANARY not in await answer.text()
        if path.startswith("/v4"):
            assert answer.json_body["code"] == 1502
    assert (await vouch.call("GET", "/readyz", key=None)).status == 200
    shown = (await vouch.call("GET", "/v4/credentials")).json_body["data"]
    assert [(one["name"], one["allowed_in_tasks"]) for one in shown] == [("one", False), ("zero", False)]
    for method, path, body in writes:
        assert (await vouch.call(method, path, body)).status in (200, 201, 204)


async def test_many_writers_of_one_record_do_not_wait_for_each_others_waiting(tmp_path: Path) -> None:
    """Requirement 37: behind a locked store the last of them is told as soon as the first."""
    caller = bootstrap.operator()
    file = SharedFile("one", FileType.TEXT, b"a")
    store = await open_sqlite(tmp_path / "vouch.db", lock_timeout=0.3)
    try:
        shared = SharedCredentials(
            Records(store, Envelope(FileKeyRing.create(tmp_path / "keys")), SILENT, turn_seconds=0.3),
        )
        await shared.create(caller, file)
        with closing(sqlite3.connect(tmp_path / "vouch.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            writers = [shared.replace(caller, file) for _ in range(10)]
            writers += [shared.delete(caller, "one") for _ in range(10)]
            outcomes = await asyncio.gather(*writers, return_exceptions=True)
            spent = time.monotonic() - started
            other.execute("ROLLBACK")
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert spent < 2
        await shared.replace(caller, file)
    finally:
        await store.close()


def flipped(sealed: bytes, place: float) -> bytes:
    """One bit of it changed, so far in."""
    at = round(place * (len(sealed) - 1))
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "the format": lambda sealed: flipped(sealed, 0),
    "the key's id": lambda sealed: sealed[:2] + bytes([sealed[2] ^ 1]) + sealed[3:],
    "the wrapped key": lambda sealed: flipped(sealed, 0.3),
    "the middle": lambda sealed: flipped(sealed, 0.5),
    "the ciphertext": lambda sealed: flipped(sealed, 0.8),
    "the tag": lambda sealed: flipped(sealed, 1),
    "the end cut off": lambda sealed: sealed[:-1],
    "nothing left": lambda _sealed: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_envelope_is_one_and_the_same_500_and_nothing_of_it_is_told(
    vouch: Vouch, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirement 28: it fails closed, whatever the damage."""
    assert (await vouch.call("POST", "/v4/credentials", BODY)).status == 201
    assert (await vouch.call("POST", "/api/credentials", FILE)).status == 201
    with database(vouch) as other:
        other.create_function("damaged", 1, DAMAGES[damage])
        assert other.execute("UPDATE envelope SET sealed = damaged(sealed)").rowcount == 2
    answer = await vouch.call("POST", "/v4/credentials/verify", STORED)
    expected = {"code": 1900, "message": "Something went wrong on our side."}
    assert (answer.status, answer.json_body) == (500, expected | {"request_id": answer.headers["X-Request-ID"]})
    # Keeping a secret by sending it back empty means opening it.
    kept = {"credential": {"aws": BODY["credential"]["aws"] | {"secret_access_key": ""}}}
    assert (await vouch.call("PATCH", "/v4/credentials/one", kept)).status in (204, 500)
    for method, path in (("GET", ""), ("GET", "/download"), ("POST", "/verify")):
        shared = await vouch.call(method, f"/api/credentials/one{path}")
        assert (shared.status, shared.json_body["message"]) == (500, expected["message"]), path
        assert CANARY not in await shared.text()
    # Metadata opens no envelope, and whoever has the secret can put it right again.
    shown = await vouch.call("GET", "/v4/credentials/one")
    assert (shown.status, "status" in shown.json_body["data"]) == (200, False)
    assert (await vouch.call("PATCH", "/v4/credentials/one", {"credential": BODY["credential"]})).status == 204
    assert (await vouch.call("POST", "/v4/credentials/verify", STORED)).status != 500
    assert CANARY not in capsys.readouterr().err


async def test_an_envelope_moved_to_another_row_does_not_open_there(vouch: Vouch) -> None:
    """Requirements 25 and 28."""
    for name in ("one", "two"):
        assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", name))).status == 201
    with database(vouch) as other:
        (first, _), (second, _) = rows = other.execute("SELECT credential, sealed FROM envelope").fetchall()
        for here, (_there, sealed) in zip((second, first), rows, strict=True):
            other.execute("UPDATE envelope SET sealed = ? WHERE credential = ?", (sealed, here))
    for name in ("one", "two"):
        answer = await vouch.call("POST", "/v4/credentials/verify", STORED | {"name": name})
        assert (answer.status, answer.json_body["code"]) == (500, 1900)
        assert "verification" not in answer.json_body


async def test_public_fields_changed_behind_our_back_are_not_used_with_the_secret(vouch: Vouch) -> None:
    """Requirement 25: nobody who can write to the database has the secret sent to an endpoint of his own."""
    assert (await vouch.call("POST", "/v4/credentials", BODY)).status == 201
    public = BODY["credential"]["aws"] | {"endpoint": "https://elsewhere.example"}
    del public["secret_access_key"]
    with database(vouch) as other:
        text = json.dumps(public, sort_keys=True, separators=(",", ":"))
        assert other.execute("UPDATE credential SET public = ?", (text,)).rowcount == 1
    shown = (await vouch.call("GET", "/v4/credentials/one")).json_body["data"]
    assert shown["credential"]["aws"]["endpoint"] == "https://elsewhere.example"
    answer = await vouch.call("POST", "/v4/credentials/verify", STORED)
    assert (answer.status, answer.json_body["code"]) == (500, 1900)
