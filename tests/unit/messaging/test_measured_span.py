"""A block is run and measured whatever becomes of its span."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

from glam_sdk.messaging.measured_span import MeasuredSpan
from tests.conftest import new_tracers


class Unstartable(SpanProcessor):
    """Be a processor of somebody's that fails at each PRODUCER span."""

    def on_start(self, span, parent_context=None):
        if span.kind is SpanKind.PRODUCER:
            raise RuntimeError("no")


@pytest.fixture
def tracer():
    tracers = new_tracers()
    tracers.add_span_processor(Unstartable())
    return tracers.get_tracer("t")


def as_in_production(monkeypatch):
    """Let the guard report what it raises in a test."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)


def test_a_block_runs_below_the_current_span_where_its_own_cannot_start(tracer, monkeypatch):
    """What it sends belongs to the trace all the same; the span around it goes on."""
    as_in_production(monkeypatch)
    measured = []
    with tracer.start_as_current_span("around") as around:
        with MeasuredSpan(
            tracer, lambda *given: measured.append(given), ("publish x", SpanKind.PRODUCER), {}
        ) as span:
            assert trace.get_current_span() is span
            assert span.get_span_context() == around.get_span_context()
        assert around.is_recording()
        assert trace.get_current_span() is around
    assert [error for _, error in measured] == [None]


def test_an_error_passes_where_the_span_cannot_start(tracer, monkeypatch):
    """It is measured, and nobody's span fails for it."""
    as_in_production(monkeypatch)
    measured = []
    note = lambda _, error: measured.append(error)  # noqa: E731 - as telemetry hands one over
    error = ValueError("no")
    started = MeasuredSpan(tracer, note, ("publish x", SpanKind.PRODUCER), {})
    with pytest.raises(ValueError, match="no"), started:
        raise error
    assert measured == [error]
