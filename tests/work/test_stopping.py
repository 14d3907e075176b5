"""The schedule in a real process that is stopped, killed and started again. The provider is a stub of AWS."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.api.payloads import CANARY, create_body
from tests.cli.test_cli import serving
from tests.cli.test_shutdown import ended, headers
from tests.peers.aws_stub import AwsStub
from tests.work.house import GOOD, until
from tests.work.test_schedule import Gate

CREDENTIALS = 3


def configure(folder: Path, stub: AwsStub) -> None:
    (folder / "config.toml").write_text(
        "[server]\nshutdown_seconds = 6\n[verification]\ndeadline_seconds = 30\ninterval = 300\n"
        f'[providers.aws]\nsts_endpoint = "{stub.url}"\n'
    )


async def store_some(folder: Path, url: str, count: int = CREDENTIALS) -> None:
    async with aiohttp.ClientSession(url, headers=headers(folder)) as session:
        for number in range(count):
            body = create_body("aws key", f"n{number}")
            del body["credential"]["aws"]["endpoint"]
            async with session.post("/v4/credentials", json=body) as answer:
                assert answer.status == 201


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "vouch-data" / "vouch.db")) as db:
        return db.execute(query).fetchall()


def turns(folder: Path) -> list[tuple[float, bool]]:
    """Of each watched credential: seconds until it is due, and whether somebody has its turn."""
    now = datetime.now(UTC)
    found = rows(folder, "SELECT due_at, claim FROM watch ORDER BY due_at")
    return [((datetime.fromisoformat(due) - now).total_seconds(), claim is not None) for due, claim in found]


async def test_a_stop_with_probes_under_way_is_in_time_and_leaves_their_turns_to_others(
    tmp_path: Path, aws_stub: AwsStub
) -> None:
    """Requirements 35 and 40. The small store takes one turn in ten seconds, and the first at once."""
    gate = Gate()
    aws_stub.script(*[gate] * 9)
    configure(tmp_path, aws_stub)
    with serving(tmp_path) as (url, _process):
        await store_some(tmp_path, url)
    with serving(tmp_path) as (_url, process):
        await until(lambda: gate.arrived == 1, 15)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) < 3, "it does not wait for the probe's deadline"
    assert rows(tmp_path, "SELECT count(*) FROM verification") == [(0,)]
    *due, (seconds, claimed) = turns(tmp_path)
    assert claimed
    assert 290 < seconds <= 331
    assert [(in_seconds < 0, taken) for in_seconds, taken in due] == [(True, False)] * (CREDENTIALS - 1)
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    log = (tmp_path / "log").read_text()
    assert "error" not in log
    assert CANARY not in log


async def test_a_killed_replicas_turn_stays_claimed_and_the_next_one_takes_the_others(
    tmp_path: Path, aws_stub: AwsStub
) -> None:
    gate = Gate()
    aws_stub.script(gate, GOOD)
    configure(tmp_path, aws_stub)
    with serving(tmp_path) as (url, _process):
        await store_some(tmp_path, url, 2)
    with serving(tmp_path) as (_url, process):
        await until(lambda: gate.arrived == 1, 15)
        process.kill()
        await asyncio.to_thread(process.wait, 5)
    with serving(tmp_path) as (_url, process):
        await until(lambda: rows(tmp_path, "SELECT count(*) FROM verification") == [(1,)], 15)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) < 3
    assert rows(tmp_path, "SELECT status, count(*) FROM credential GROUP BY status ORDER BY 1") == [
        (None, 1),
        ("verified", 1),
    ]
    assert sorted(claimed for _seconds, claimed in turns(tmp_path)) == [False, True]
    assert len(aws_stub.received) == 2
