"""Rules of the waits between attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.messaging import ConsumerPolicy

waits = st.lists(st.timedeltas(timedelta(0), timedelta(hours=1)), min_size=1, max_size=5)


@given(backoff=waits, attempts=st.integers(1, 20), attempt=st.integers(1, 1000))
def test_each_failed_attempt_has_a_wait_of_the_list(backoff, attempts, attempt):
    """No attempt is without a wait, and an exhausted message waits longest."""
    policy = ConsumerPolicy(backoff=tuple(backoff), max_attempts=attempts)
    wait = policy.delay_after(attempt)
    assert wait in backoff
    if attempt >= attempts:
        assert wait == max(backoff)


@pytest.mark.parametrize(
    "settings", [{"concurrency": 0}, {"batch": 0}, {"max_attempts": 0}, {"backoff": ()}]
)
def test_values_no_consumer_can_work_with_are_refused(settings):
    """A consumer that could never take a message fails where it is declared."""
    with pytest.raises(ValueError, match="must be 1 or more"):
        ConsumerPolicy(**settings)
