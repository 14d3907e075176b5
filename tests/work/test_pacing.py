"""How fast turns are taken."""

import pytest

from service.work.pacing import HEADROOM, MOST_AT_ONCE, beat

HOUR = 3600.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("watched", "interval", "limit", "rest"),
    [
        (0, DAY, 1, 10.0),  # a look at a counter every ten seconds
        (1, DAY, 1, 10.0),
        (100, DAY, 1, 10.0),  # the first hundred within 17 minutes, then one every 14 minutes comes due
        (100, 300.0, 1, 2.0),
        (100_000, DAY, 2, 1.152),
        (100_000, HOUR, 42, 1.008),
        (100_000, 300.0, 100, 0.2),
        (1_000_000, DAY, 18, 1.0368),
    ],
)
def test_the_beat_fits_what_is_watched_into_the_interval(
    watched: int, interval: float, limit: int, rest: float
) -> None:
    assert beat(watched, interval, 10.0) == pytest.approx((limit, rest))


@pytest.mark.parametrize("interval", [300.0, 301.7, HOUR, 7 * HOUR, DAY, 30 * DAY])
@pytest.mark.parametrize("watched", [0, 1, 2, 7, 99, 100, 101, 4321, 100_000, 1_000_003])
def test_it_keeps_up_with_a_margin_and_is_never_much_faster(watched: int, interval: float) -> None:
    """A burst of everything at once is spread; and what comes due is taken, with room to catch up."""
    limit, rest = beat(watched, interval, 10.0)
    taken = limit / rest
    needed = watched / interval
    assert taken >= needed * HEADROOM * 0.999
    assert taken <= max(needed * HEADROOM, 0.1) * 1.001
    assert 1 <= limit <= MOST_AT_ONCE
    assert 0 < rest <= 10.0


@pytest.mark.parametrize("watched", [0, 1, 10, 50, 100, 1000, 8639])
def test_a_small_store_asks_for_turns_no_more_often_than_every_few_seconds(watched: int) -> None:
    """An idle service is cheap: with a day's interval, a look costs at most one statement a second."""
    assert beat(watched, DAY, 10.0).rest >= 1.0
