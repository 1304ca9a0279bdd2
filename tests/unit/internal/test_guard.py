"""Prove that telemetry cannot break the code it observes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from glam_sdk._internal.guard import guarded


def test_a_failure_is_swallowed_and_logged(monkeypatch, caplog):
    """The caller goes on, and the place and the traceback are in the log."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTEST_VERSION")
    with caplog.at_level(logging.WARNING), guarded("test.swallowed"):
        raise ValueError("broken")
    (record,) = caplog.records
    assert (record.message, record.place) == ("telemetry.failed", "test.swallowed")
    assert record.exc_info is not None


def test_a_failure_is_logged_once_a_minute_per_place(monkeypatch, caplog):
    """A fault on every request must not fill the log."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTEST_VERSION")
    for place in ("test.often", "test.often", "test.elsewhere"):
        with guarded(place):
            raise ValueError("broken")
    assert [r.place for r in caplog.records] == ["test.often", "test.elsewhere"]


def test_a_failure_is_raised_in_a_test():
    """Our own faults cannot hide in a test suite."""
    with pytest.raises(ValueError, match="broken"), guarded("test.raised"):
        raise ValueError("broken")


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(monkeypatch, kind):
    """A cancellation or an interrupt is never swallowed."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTEST_VERSION")
    with pytest.raises(kind), guarded("test.passes"):
        raise kind


def test_a_block_without_failure_is_left_alone():
    """The guard adds nothing of its own."""
    with guarded("test.fine"):
        value = 1
    assert value == 1
