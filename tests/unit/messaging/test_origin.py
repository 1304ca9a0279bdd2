"""Rules of which messages continue their senders' traces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from glam_sdk.messaging import origin
from glam_sdk.messaging.origin import Freshness

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock(datetime):
    """Tell the time that a test has set."""

    moment = NOON

    @classmethod
    def now(cls, tz=None):
        return cls.moment


@pytest.fixture
def let_pass(monkeypatch):
    """Set the clocks to noon, and let time pass."""
    Clock.moment = NOON
    monkeypatch.setattr(origin, "datetime", Clock)

    def elapsed():
        return (Clock.moment - NOON).total_seconds()

    monkeypatch.setattr(origin, "monotonic", elapsed)

    def step(duration):
        Clock.moment += duration

    return step


def test_the_limit_moves_on_with_time(let_pass):
    """It is worked out anew every second for an hour, and so is as exact."""
    fresh = Freshness(HOUR)
    assert fresh.includes(NOON - HOUR)
    assert not fresh.includes(NOON - HOUR - timedelta(microseconds=1))
    let_pass(timedelta(seconds=1))
    assert not fresh.includes(NOON - HOUR)
    assert fresh.includes(NOON + timedelta(seconds=1) - HOUR)


def test_no_age_is_too_old_where_none_is_allowed(let_pass):
    """It is worked out each time then."""
    fresh = Freshness(timedelta(0))
    assert fresh.includes(NOON)
    let_pass(timedelta(microseconds=1))
    assert not fresh.includes(NOON)


@pytest.mark.usefixtures("let_pass")
def test_an_age_beyond_all_time_includes_everything():
    """As who wants one trace for all says it."""
    assert Freshness(timedelta.max).includes(datetime.min.replace(tzinfo=UTC))
