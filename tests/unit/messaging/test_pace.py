"""How far a handler is slowed down, and how it gets going again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.messaging import Pacing
from glam_sdk.messaging.pace import Pace

LIMITS = Pacing(after=3, first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=5))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(LIMITS, lambda _: None, clock=clock)


def test_nearly_only_failures_slow_a_handler_down(pace):
    """The third one does here; two and a success do not."""
    for _ in range(2):
        pace.failed()
    pace.succeeded()
    for _ in range(2):
        pace.failed()
    assert not pace.is_slowed
    pace.failed()
    assert pace.is_slowed
    assert pace.pause == timedelta(seconds=1)


def test_the_pause_doubles_up_to_the_longest(pace, clock):
    """1, 2, 4 and then 5 seconds."""
    for _ in range(3):
        pace.failed()
    pauses = []
    for _ in range(4):
        clock.now += pace.pause.total_seconds()
        pace.failed()
        pauses.append(pace.pause.total_seconds())
    assert pauses == [2, 4, 5, 5]


def test_what_began_together_counts_once(pace):
    """A hundred failures at one moment do not make the longest pause."""
    for _ in range(100):
        pace.failed()
    assert pace.pause == timedelta(seconds=1)


def test_one_success_lets_go_at_once(clock):
    """There is no pause left, and whoever watches is told."""
    seen = []
    pace = Pace(LIMITS, lambda changed: seen.append(changed.is_slowed), clock=clock)
    for _ in range(3):
        pace.failed()
    pace.succeeded()
    assert (pace.is_slowed, pace.pause, seen) == (False, timedelta(0), [True, False])


def test_it_can_be_switched_off():
    """Zero never slows down."""
    pace = Pace(Pacing(after=0), lambda _: None)
    for _ in range(1000):
        pace.failed()
    assert not pace.is_slowed


@given(st.lists(st.sampled_from("sssf"), max_size=300))
def test_a_handler_that_mostly_works_is_left_alone(outcomes):
    """Whatever the order: with a success before each run of two failures nothing is slowed."""
    pace = Pace(LIMITS, lambda _: None)
    for outcome in outcomes:
        pace.succeeded()
        pace.failed()
        if outcome == "f":
            pace.failed()
    assert not pace.is_slowed


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": -1},
        {"first_pause": timedelta(0)},
        {"first_pause": timedelta(seconds=31)},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong):
    """Negative counts, no pause, or a first pause above the longest."""
    with pytest.raises(ValueError, match="Pacing needs"):
        Pacing(**wrong)
