"""Prove that a ``Retry-After`` header of any server is read, or left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glam_sdk.errors import parse_retry_after
from glam_sdk.errors.classify import MAX_RETRY_AFTER_S

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7\t", 7),
        ("007", 7),
        ("99999999999", MAX_RETRY_AFTER_S),
        ("9" * 10_000, MAX_RETRY_AFTER_S),
        ("0" * 10_000, 0),
        ("Thu, 15 Jan 2026 10:31:00 GMT", 60),
        ("Thursday, 15-Jan-26 10:31:00 GMT", 60),
        ("Thu Jan 15 10:31:00 2026", 60),
        ("Thu, 15 Jan 2026 11:31:00 +0100", 60),
        ("Thu, 15 Jan 2026 10:31:00 -0000", 60),
        ("Thu, 15 Jan 2026 10:29:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_S),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MAX_RETRY_AFTER_S),
        (None, None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e9", None),
        ("NaN", None),
        ("inf", None),
        ("0x10", None),
        ("١٢", None),
        ("5, 10", None),
        ("5\n", None),
        ("soon", None),
        ("Thu, 15 Jan 2026 10:31:00 GMT" + " " * 10_000 + "x", None),
        ("Thu, 99 Jan 2026 10:31:00 GMT", None),
        ("Thu, 15 Jan 99999 10:31:00 GMT", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(value, seconds) -> None:
    """All three date forms of RFC 9110 are read; hostile values cost nothing and mean nothing."""
    assert parse_retry_after(value, now=NOW) == seconds


@given(
    value=st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} \d{1,9} [\d:]{0,12}.{0,8}")
)
@example(value="Thu, 15 Jan 2026 10:31:00 +999999999999")
@example(value=" , ")
def test_any_retry_after_is_none_or_a_bounded_number_of_seconds(value) -> None:
    """A header of another server never raises."""
    seconds = parse_retry_after(value, now=NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S


@given(seconds=st.integers(min_value=0))
def test_seconds_are_taken_as_they_are_up_to_the_longest_wait(seconds) -> None:
    """Any number of digits is read without converting more than can matter."""
    assert parse_retry_after(str(seconds), now=NOW) == min(seconds, MAX_RETRY_AFTER_S)


@given(wait_s=st.integers(-10_000_000, 10_000_000))
def test_a_date_is_the_seconds_from_now_until_then(wait_s) -> None:
    """A date in the past asks for no wait."""
    date = format_datetime(NOW + timedelta(seconds=wait_s), usegmt=True)
    assert parse_retry_after(date, now=NOW) == min(max(0, wait_s), MAX_RETRY_AFTER_S)


def test_the_clock_is_the_current_time_by_default() -> None:
    """Without a clock a date ahead is a wait, and one behind is none."""
    ahead = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    assert 290 <= (parse_retry_after(ahead) or 0) <= 300
    assert parse_retry_after("Thu, 15 Jan 2015 10:31:00 GMT") == 0
