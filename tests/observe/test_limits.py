"""Sliding windows: exact, and bounded in memory."""

import pytest

from service.core.errors import RateLimited
from service.observe.limits import Windows


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_next_one_after_the_limit_is_refused_until_the_oldest_leaves_the_window(clock: Clock) -> None:
    windows = Windows(3, clock=clock)
    for _ in range(3):
        windows.hit("a")
        clock.at += 10
    with pytest.raises(RateLimited) as caught:
        windows.hit("a")
    assert caught.value.retry_after == 30
    clock.at += 29.9
    with pytest.raises(RateLimited) as caught:
        windows.hit("a")
    assert caught.value.retry_after == 1
    clock.at += 0.1
    windows.hit("a")
    assert windows.count("a") == 3


def test_never_more_than_the_limit_pass_in_any_window(clock: Clock) -> None:
    windows = Windows(5, seconds=60, clock=clock)
    passed = []
    for _ in range(1000):
        clock.at += 1.7
        try:
            windows.hit("a")
        except RateLimited:
            continue
        passed.append(clock.at)
    assert max(sum(start <= at < start + 60 for at in passed) for start in passed) == 5
    # Nor fewer: whoever waits is let in.
    assert len(passed) >= 1000 * 1.7 / 62 * 5


def test_a_refused_one_is_not_counted_so_that_waiting_helps(clock: Clock) -> None:
    windows = Windows(1, clock=clock)
    windows.hit("a")
    for _ in range(59):
        clock.at += 1
        with pytest.raises(RateLimited):
            windows.hit("a")
    clock.at += 1
    windows.hit("a")
    assert windows.count("a") == 1


def test_keys_do_not_share_a_window(clock: Clock) -> None:
    windows = Windows(1, clock=clock)
    windows.hit("a")
    windows.hit("b")
    assert (windows.wait("a"), windows.wait("b"), windows.wait("c")) == (60, 60, 0)


def test_zero_turns_it_off_and_remembers_nothing(clock: Clock) -> None:
    windows = Windows(0, clock=clock)
    for _ in range(100):
        windows.hit("a")
    assert (len(windows), windows.wait("a"), windows.count("a")) == (0, 0, 0)


def test_a_stranger_who_invents_keys_does_not_buy_memory(clock: Clock) -> None:
    windows = Windows(2, most_keys=100, clock=clock)
    for number in range(10_000):
        windows.hit(f"invented {number}")
    assert len(windows) == 100
    assert windows.count("invented 9999") == 1


def test_the_key_that_was_hit_longest_ago_is_the_one_that_is_forgotten(clock: Clock) -> None:
    windows = Windows(5, most_keys=3, clock=clock)
    for key in ("a", "b", "c", "a", "d"):
        windows.hit(key)
    assert [windows.count(key) for key in ("a", "b", "c", "d")] == [2, 0, 1, 1]


def test_the_count_forgets_what_is_out_of_the_window(clock: Clock) -> None:
    windows = Windows(10, clock=clock)
    windows.hit("a")
    clock.at += 59
    windows.hit("a")
    assert windows.count("a") == 2
    clock.at += 1
    assert windows.count("a") == 1
