"""kill -9 under writes: what was acknowledged is there, and the file is whole."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from service.storage.sqlite import open_sqlite
from tests.contracts.records import HERE, a_seal, history, leased

ROUNDS = 8
REPOSITORY = Path(__file__).parents[2]


def write_until_killed(path: Path, prefix: str, seconds: float) -> list[tuple[str, str]]:
    """Let a process write for a while, kill it, and return what it had said: pairs of mark and name."""
    command = [sys.executable, "-m", "tests.storage.crash_writer", str(path), prefix]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        said = [writer.stdout.readline()]
        time.sleep(seconds)
        writer.kill()
        said += writer.stdout.readlines()
    # The kill may have cut the last line short: that write was acknowledged to nobody.
    return [tuple(line.split()) for line in said if line.endswith("\n")]


async def check(path: Path, said: list[tuple[str, str]]) -> int:
    """Hold the database to what was said; how many credentials there are."""
    created, updated, deleted, doubtful, used, verified = (
        {name for mark, name in said if mark == which} for which in "+=-?~!"
    )
    store = await open_sqlite(path)
    try:
        for name in created:
            found = await store.get_sealed_credential(HERE, name)
            if name in deleted:
                assert found is None, name
            elif name not in doubtful:
                assert found is not None, name
            if found is None:
                continue
            if name in verified:
                assert len(await history(store, found[0])) == 1
            if name in updated:
                assert found[1] == a_seal(name + " again")
                assert len(await store.list_versions("ws_default", found[0].id)) == 1
        page, total = await store.list_credentials(HERE, provider=None, type_=None, offset=0, limit=10**6)
        assert total == len(page)
        assert sum(one.provider_default for one in page) <= 1
        assert {one.credential_name for one in await leased(store, limit=10**6)} >= used
        return total
    finally:
        await store.close()


def hold_file_to_itself(path: Path) -> None:
    """Every table agrees with every other."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    counted = connection.execute(
        "SELECT workspace, teamspace, family, provider, type, count(*) FROM credential "
        "GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
    ).fetchall()
    kept = connection.execute("SELECT * FROM credential_count WHERE n > 0 ORDER BY 1, 2, 3, 4, 5").fetchall()
    assert kept == counted
    envelopes = connection.execute("SELECT count(*) FROM credential JOIN envelope ON credential = seq").fetchone()
    assert envelopes == connection.execute("SELECT count(*) FROM credential").fetchone()
    created, deleted, used, verified = (
        connection.execute("SELECT count(*) FROM audit WHERE action = ?", (action,)).fetchone()[0]
        for action in ("credential.create", "credential.delete", "credential.lease", "credential.verify")
    )
    assert (created - deleted,) == envelopes, "one audit record for each write, none without one"
    assert (used,) == connection.execute("SELECT count(*) FROM lease").fetchone()
    events = connection.execute("SELECT count(*) FROM event").fetchone()
    assert (verified,) == events == connection.execute("SELECT n FROM event_count").fetchone()
    turns = connection.execute("SELECT count(*) FROM watch JOIN credential ON credential = seq").fetchone()
    assert turns == envelopes == connection.execute("SELECT sum(n) FROM watch_count").fetchone()
    rotated = connection.execute("SELECT count(*) FROM credential WHERE version = 2").fetchone()
    assert rotated == connection.execute("SELECT count(*) FROM credential_version").fetchone()
    connection.close()


def test_nothing_acknowledged_is_lost_by_kill_9(path: Path) -> None:
    """Requirement 37."""
    chance = random.Random(9)
    said: list[tuple[str, str]] = []
    for number in range(ROUNDS):
        said += write_until_killed(path, f"round{number}", chance.uniform(0.02, 0.25))
        assert asyncio.run(check(path, said)) > 0
        hold_file_to_itself(path)
    assert len(said) > ROUNDS * 10, "the writer must have been killed in the middle of its work"
    assert {mark for mark, _ in said} == set("+=-?~!")
