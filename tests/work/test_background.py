"""Work beside requests: begun again when it breaks, ended with the application."""

import asyncio
import time
from typing import Any

import pytest

from service.work.background import background
from tests.api.payloads import CANARY
from tests.work.house import until


async def test_works_run_beside_each_other_and_end_with_the_block() -> None:
    began, ended = [], []

    def work(name: str) -> Any:
        async def run() -> None:
            began.append(name)
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(name)

        return run

    async with background({"a": work("a"), "b": work("b")}):
        await asyncio.sleep(0.01)
        assert (sorted(began), ended) == (["a", "b"], [])
    assert sorted(ended) == ["a", "b"]


async def test_one_that_breaks_begins_again_and_disturbs_no_other(lines: list[Any]) -> None:
    began: list[str] = []

    async def steady() -> None:
        began.append("steady")
        await asyncio.sleep(60)

    async def breaking() -> None:
        began.append("breaking")
        raise ValueError(CANARY)

    async def breaking_in_parts() -> None:
        raise ExceptionGroup(CANARY, [ValueError(CANARY), ExceptionGroup("", [OSError(CANARY), ValueError()])])

    works = {"steady": steady, "breaking": breaking, "parts": breaking_in_parts}
    async with background(works, again_seconds=0.02):
        await until(lambda: began.count("breaking") >= 3)
    assert began.count("steady") == 1
    assert {(line["work"], line["error"]) for line in lines} == {
        ("breaking", "ValueError"),
        ("parts", "OSError, ValueError"),
    }
    assert CANARY not in str(lines), "its text may quote what it was given"


async def test_one_that_does_not_heed_its_end_is_not_waited_for_long(lines: list[Any]) -> None:
    """Requirement 35."""
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    started = time.monotonic()
    async with background({"stubborn": stubborn}, end_seconds=0.1):
        await asyncio.sleep(0)
    assert 0.09 < time.monotonic() - started < 2
    assert lines == [{"event": "work does not end", "log_level": "error", "work": "stubborn"}]
    (task,) = [one for one in asyncio.all_tasks() if one.get_name() == "stubborn"]
    let_go.set()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_goes_on_up_once_the_work_has_ended() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def block() -> None:
        async with background({"work": work}):
            await asyncio.sleep(0.01)
            raise KeyError

    with pytest.raises(KeyError):
        await block()
    assert ended.is_set()


async def test_nothing_to_do_is_fine() -> None:
    async with background({}):
        pass
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
