"""Which pipeline records spans; ``make test-sdk`` relies on it."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from glam_sdk.telemetry.pipeline.lean import LeanTracerProvider
from glam_sdk.testing import capture_telemetry


@pytest.mark.parametrize(("named", "is_lean"), [("lean", True), ("sdk", False)])
def test_one_variable_takes_the_sdks_spans_in_place_of_ours(
    monkeypatch: pytest.MonkeyPatch, *, named: str, is_lean: bool
) -> None:
    """In tests as well, so that any of them runs on both."""
    monkeypatch.setenv("GLAM_TELEMETRY__SPAN_PIPELINE", named)
    with capture_telemetry():
        assert isinstance(trace.get_tracer_provider(), LeanTracerProvider) is is_lean
