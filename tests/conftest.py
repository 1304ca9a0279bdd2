"""Share the captured telemetry between all tests, and let properties take their time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry.pipeline.lean import LeanTracerProvider
from glam_sdk.testing import CapturedTelemetry, capture_telemetry

# A busy machine is no failure of a property.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def new_tracers() -> TracerProvider:
    """Return a provider as ``init`` would make it: ours, or the SDK's where the setting says so."""
    is_plain = os.environ.get("GLAM_TELEMETRY__SPAN_PIPELINE") == "sdk"
    return (TracerProvider if is_plain else LeanTracerProvider)(shutdown_on_exit=False)


_STOPPING = {f"glam-stop-{signal}" for signal in ("traces", "metrics", "logs")}


@pytest.fixture(autouse=True)
def nothing_is_left_exporting() -> Iterator[None]:
    """Wait for exports that outlived their deadline: they would log into the next test's lines."""
    yield
    for thread in threading.enumerate():
        if thread.name in _STOPPING:
            thread.join(30)


@pytest.fixture
def telemetry() -> Iterator[CapturedTelemetry]:
    """Run ``init("test")`` for one test, with spans, metrics and log lines kept in memory."""
    with capture_telemetry() as captured:
        yield captured
