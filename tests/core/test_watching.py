"""When a credential is due again."""

from datetime import UTC, datetime

import pytest

from service.core.kept import Watch
from service.core.watching import RAREST, Pace
from verifiers.base import conclude
from verifiers.verdict import WORKS, Fault, Reason, Report, failed, unknown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400.0

GOOD = conclude(None, WORKS)
BAD = conclude(None, failed(Reason.BAD_SECRET, Fault.CREDENTIAL, "It is wrong.", "Mend it."))
DOWN = conclude(None, unknown(Reason.UNREACHABLE, Fault.NETWORK, "Nobody answers.", "Try again."))


def seconds(watch: Watch) -> float:
    return (datetime.fromisoformat(watch.due_at) - NOW).total_seconds()


def pace(at: float = 0.5) -> Pace:
    return Pace(DAY, lambda: at)


@pytest.mark.parametrize(
    ("report", "before", "times", "after"),
    [
        (GOOD, 0, 1, 0),
        (GOOD, 5, 1, 0),
        (BAD, 0, 2, 1),
        (BAD, 1, 4, 2),
        (BAD, 2, 8, 3),
        (BAD, 3, 8, 4),
        (BAD, 10**9, 8, 10**9 + 1),
        (DOWN, 0, 1, 0),
        (DOWN, 2, 4, 2),
        (DOWN, 9, 8, 9),
    ],
)
def test_a_rejected_one_is_due_later_and_later_up_to_a_limit(
    report: Report, before: int, times: int, after: int
) -> None:
    watch = pace().after(report, NOW, rejections=before, claim="c")
    assert (seconds(watch), watch.rejections, watch.claim) == (times * DAY, after, "c")
    assert times <= RAREST


@pytest.mark.parametrize(("at", "part"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_the_jitter_is_a_tenth_either_way(at: float, part: float) -> None:
    assert seconds(pace(at).after(GOOD, NOW, rejections=0)) == pytest.approx(DAY * part)
    assert seconds(pace(at).after(BAD, NOW, rejections=0)) == pytest.approx(2 * DAY * part)
    assert seconds(pace(at).again(NOW, rejections=3, claim="c")) == pytest.approx(DAY * part)


def test_turns_of_one_moment_do_not_stay_together() -> None:
    turns = sorted(seconds(Pace(DAY).after(GOOD, NOW, rejections=0)) for _ in range(1000))
    assert DAY * 0.9 <= turns[0] < DAY * 0.92
    assert DAY * 1.08 < turns[-1] <= DAY * 1.1


def test_one_that_came_to_nothing_keeps_its_rejections() -> None:
    watch = pace().again(NOW, rejections=3, claim="c")
    assert (watch.rejections, watch.claim) == (3, "c")


def test_one_that_came_too_early_comes_between_once_and_twice_the_wait() -> None:
    assert seconds(pace(0.0).soon(NOW, 30, rejections=1, claim="c")) == 30
    assert seconds(pace(1.0).soon(NOW, 30, rejections=1, claim="c")) == 60
    assert pace().soon(NOW, 30, rejections=1, claim="c").rejections == 1


def test_without_a_schedule_a_verdict_leaves_its_credential_due() -> None:
    """So that it is in turn as soon as somebody turns the schedule on."""
    assert seconds(Pace(0, lambda: 0.5).after(GOOD, NOW, rejections=0)) == 1
