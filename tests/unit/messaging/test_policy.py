"""Rules of the waits between attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.config import NatsSettings
from glam_sdk.messaging import Backoff, ConsumerPolicy, Pacing

waits = st.lists(st.timedeltas(timedelta(0), timedelta(hours=1)), min_size=1, max_size=5)


@given(delays=waits, attempt=st.integers(1, 1000))
def test_each_failed_attempt_has_a_wait_of_the_list(delays, attempt):
    """The waits are used in order, and the last one repeats."""
    backoff = Backoff(*delays, attempts=7)
    assert backoff.delay_after(attempt) == delays[min(attempt, len(delays)) - 1]
    assert backoff.longest == max(delays)


def test_seconds_and_durations_are_the_same_backoff():
    """Both spellings are one value, and the default is five attempts."""
    assert Backoff(1, 0.5) == Backoff(timedelta(seconds=1), timedelta(seconds=0.5), attempts=5)
    assert Backoff() == Backoff(1, 5, 30)


@pytest.mark.parametrize("make", [lambda: Backoff(attempts=0), lambda: Backoff(-1)])
def test_a_backoff_that_makes_no_sense_is_refused(make):
    """No attempt, or a wait below zero."""
    with pytest.raises(ValueError, match="1 attempt or more"):
        make()


@pytest.mark.parametrize(
    "settings",
    [{"concurrency": 0}, {"batch": 0}, {"max_ack_pending": 1}, {"timeout": timedelta(0)}],
)
def test_values_no_consumer_can_work_with_are_refused(settings):
    """A consumer that could never take a message fails where it is declared."""
    with pytest.raises(ValueError, match="must be"):
        ConsumerPolicy(**settings)


def test_an_operator_sets_pacing_and_copies():
    """What the settings say, and the defaults of both are the same."""
    settings = NatsSettings(slow_down_after=7, longest_pause_s=4, bookkeeping_replicas=3)
    policy = ConsumerPolicy.of(settings)
    assert policy.pacing == Pacing(after=7, longest_pause=timedelta(seconds=4))
    assert policy.bookkeeping_replicas == 3
    assert ConsumerPolicy.of(NatsSettings()) == ConsumerPolicy()
