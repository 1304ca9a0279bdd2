"""Share the captured telemetry between all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glam_sdk.testing import CapturedTelemetry, capture_telemetry


@pytest.fixture
def telemetry() -> Iterator[CapturedTelemetry]:
    """Run ``init("test")`` for one test, with spans, metrics and log lines kept in memory."""
    with capture_telemetry() as captured:
        yield captured
