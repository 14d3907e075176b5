"""Lanes: who waits, who is turned away, and how all of it ends. Requirement 34."""

import asyncio
from collections import Counter

import pytest

from service.core.errors import Overloaded
from service.core.lanes import Lanes


async def hold(lanes: Lanes, lane: str, let_go: asyncio.Event, *, wait: bool = False) -> None:
    async with lanes.enter(lane, wait=wait):
        await let_go.wait()


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_waits_enters_once_there_is_room() -> None:
    lanes, let_go = Lanes(2), asyncio.Event()
    async with lanes.enter("AWS"):
        waiting = asyncio.create_task(hold(lanes, "AWS", let_go, wait=True))
        await settle()
        assert lanes.busy() == {"AWS": 1}
    await settle()
    assert lanes.busy() == {"AWS": 1}
    let_go.set()
    await waiting
    assert lanes.busy() == {"AWS": 0}


async def test_who_waits_leaves_half_of_the_lane_to_requests() -> None:
    lanes, let_go = Lanes(10), asyncio.Event()
    waiting = [asyncio.create_task(hold(lanes, "AWS", let_go, wait=True)) for _ in range(20)]
    await settle()
    assert lanes.busy() == {"AWS": 5}
    requests = [asyncio.create_task(hold(lanes, "AWS", let_go)) for _ in range(5)]
    await settle()
    assert lanes.busy() == {"AWS": 10}
    with pytest.raises(Overloaded):
        await hold(lanes, "AWS", let_go)
    let_go.set()
    await asyncio.gather(*waiting, *requests)
    assert lanes.busy() == {"AWS": 0}


async def test_a_lane_of_one_lets_in_who_waits_too() -> None:
    lanes = Lanes(1)
    async with lanes.enter("AWS", wait=True):
        pass


async def test_many_who_wait_enter_one_after_the_other_and_none_is_forgotten() -> None:
    lanes = Lanes(4)
    most: Counter[str] = Counter()

    async def visit(lane: str) -> None:
        async with lanes.enter(lane, wait=True):
            most[lane] = max(most[lane], lanes.busy()[lane])
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(*(visit(lane) for lane in ["AWS", "GCP"] * 200))
    assert most == {"AWS": 2, "GCP": 2}


async def test_one_that_waits_and_is_cancelled_takes_no_place() -> None:
    lanes, let_go = Lanes(1), asyncio.Event()
    async with lanes.enter("AWS"):
        waiting = asyncio.create_task(hold(lanes, "AWS", let_go, wait=True))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert lanes.busy() == {"AWS": 0}


async def test_a_stop_ends_those_inside_those_who_wait_and_those_who_come() -> None:
    """Requirement 35."""
    lanes, never = Lanes(2), asyncio.Event()
    inside = asyncio.create_task(hold(lanes, "AWS", never))
    await settle()
    waiting = asyncio.create_task(hold(lanes, "AWS", never, wait=True))
    await settle()
    lanes.stop()
    for task in (inside, waiting, asyncio.create_task(hold(lanes, "GCP", never))):
        with pytest.raises(Overloaded, match="shutting down"):
            await asyncio.wait_for(task, 2)
    assert set(lanes.busy().values()) <= {0}


async def test_a_timeout_of_somebody_elses_is_not_taken_for_a_stop() -> None:
    lanes = Lanes(1)
    with pytest.raises(TimeoutError):
        async with lanes.enter("AWS"):
            raise TimeoutError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), lanes.enter("AWS"):
            await asyncio.sleep(1)
    assert lanes.busy() == {"AWS": 0}
