"""Prove that a storm of one error becomes a few lines and a count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import glam_sdk
from glam_sdk.telemetry.log_repeats import ErrorKey, RepeatLimiter, error_key
from glam_sdk.telemetry.logs import get_logger, pipeline


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(telemetry, clock):
    """The captured service with a limit of 3 lines in 10 s of a clock that stands still."""
    pipeline().repeats = RepeatLimiter(3, 10.0, clock=clock)
    return telemetry


def fail(log, message="failed", kind=ValueError):
    try:
        raise_it(kind)
    except kind:
        log.exception(message)


def raise_it(kind):
    raise kind("no")


def test_the_first_lines_are_whole_and_the_others_counted(limited, clock):
    """After the window one line says how many were held back, in nobody's trace."""
    log = get_logger("orders")
    for _ in range(10):
        fail(log)
    log.info("unrelated")
    assert [e["message"] for e in limited.logs()] == ["failed"] * 3 + ["unrelated"]
    clock.now += 10
    log.info("next")
    summary = limited.logs()[-2]
    assert (summary["message"], summary["level"], summary["repeated"]) == ("failed", "error", 7)
    assert (summary["logger"], summary["error"]) == ("orders", "ValueError")
    assert "test_log_repeats.py" in summary["place"]
    assert "trace_id" not in summary
    fail(log)
    assert "exception" in limited.logs()[-1]


def test_errors_that_differ_are_not_held_back(limited):
    """Logger, event, exception type and place tell errors apart."""
    log, other = get_logger("a"), get_logger("b")
    for _ in range(3):
        fail(log)
        fail(log, "other event")
        fail(log, kind=KeyError)
        fail(other)
        try:
            int("another place")
        except ValueError:
            log.exception("failed")
    assert len(limited.logs()) == 15


def test_nothing_below_an_error_is_held_back(limited):
    """Warnings and access lines of good requests are never limited."""
    for level in ("debug", "info", "warning"):
        for _ in range(50):
            pipeline().log(level, "x", "same", {})
    assert len(limited.logs()) == 150


def test_an_error_that_ends_is_no_repetition(limited, clock):
    """Few errors, however long apart, give no summary."""
    log = get_logger("x")
    for _ in range(3):
        fail(log)
    clock.now += 60
    log.info("later")
    assert len(limited.logs()) == 4


def test_access_lines_only_lose_their_traceback(limited):
    """Each failed request keeps its line, so that its trace id can be found."""
    log = get_logger("glam_sdk.access")
    for _ in range(5):
        fail(log, "http.request")
        log.error("http.request")
    entries = limited.logs("http.request")
    assert len(entries) == 10
    assert sum("exception" in e for e in entries) == 3
    assert sum("exception.type" in e for e in entries) == 5


def test_counts_are_written_at_shutdown(limited):
    """What was held back when the service ends is told before it ends."""
    for _ in range(5):
        fail(get_logger("x"))
    limited.service.shutdown()
    assert limited.logs()[-1]["repeated"] == 2


def test_what_is_held_back_is_counted_in_a_metric(limited):
    """The scrape shows that lines are missing."""
    for _ in range(5):
        fail(get_logger("x"))
    assert 'glam_log_dropped_lines_total{glam_reason="repeated"} 2' in limited.scrape()


def test_the_limit_can_be_switched_off(clock):
    """A limit of 0 lets everything through."""
    limiter = RepeatLimiter(0, 10.0, clock=clock)
    assert all(limiter.admit(ErrorKey("error", "x", "y")) for _ in range(100))


def test_so_many_different_errors_cost_bounded_memory(clock):
    """Beyond a fixed number of keys lines are let through, until windows end."""
    limiter = RepeatLimiter(1, 10.0, clock=clock)
    assert all(limiter.admit(ErrorKey("error", "x", str(n))) for n in range(5_000))
    clock.now += 10
    assert list(limiter.ended()) == []
    assert not limiter.is_due
    assert limiter.admit(ErrorKey("error", "x", "new"))
    assert not limiter.admit(ErrorKey("error", "x", "new"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60))
def test_every_line_is_written_or_counted(events):
    """Whatever the order and the times, admitted and held back add up."""
    clock = Clock()
    limiter = RepeatLimiter(2, 10.0, clock=clock)
    admitted, held = 0, 0
    for name, wait in events:
        clock.now += wait
        if limiter.is_due:
            held += sum(count for _, count in limiter.ended())
        admitted += limiter.admit(ErrorKey("error", "x", name))
    held += sum(count for _, count in limiter.ended(all_of_them=True))
    assert admitted + held == len(events)
    assert limiter.held_total == held


def test_the_place_is_where_it_was_raised():
    """The innermost frame identifies an error, and there may be none."""
    with pytest.raises(ValueError, match="no") as caught:
        raise_it(ValueError)
    assert error_key("error", "x", "y", caught.value).place.startswith(__file__)
    assert error_key("error", "x", "y", ValueError()).place == ""
    assert error_key("error", "x", "y", None).exception_type == ""


def test_errors_that_differ_in_their_fields_are_all_written(telemetry):
    """Only what is identical is held back: each of these orders failed."""
    log = glam_sdk.get_logger("pay")
    for number in range(12):
        log.error("payment.failed", order_id=f"o-{number}")
    assert len(telemetry.logs("payment.failed")) == 12
