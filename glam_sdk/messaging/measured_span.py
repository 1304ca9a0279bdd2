"""Measure a block inside of its span, so that the measurement can name the span."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType

from opentelemetry.context import attach
from opentelemetry.trace import NonRecordingSpan, Tracer, get_current_span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded, report
from glam_sdk.telemetry.tracing import Span, SpanKind, span

Measure = Callable[[float, BaseException | None], None]
"""Takes the seconds that something took, and what it ended with."""


class MeasuredSpan(span):
    """Run a block under a span as :class:`~glam_sdk.telemetry.tracing.span` does, and measure it.

    Args:
        tracer: Makes the span.
        measure: Called right before the span ends.
        what: Name and kind of the span.
        attributes: Set at the start.
    """

    __slots__ = ("_measure", "_started")

    def __init__(
        self,
        tracer: Tracer,
        measure: Measure,
        what: tuple[str, SpanKind],
        attributes: Mapping[str, AttributeValue],
    ) -> None:
        self._tracer = tracer
        self._measure = measure
        name, kind = what
        self._arguments = (name, None, kind, attributes, None)

    def __enter__(self) -> Span:
        try:
            current = self._tracer.start_span(*self._arguments)
        except Exception as failure:  # noqa: BLE001 - somebody's processor or sampler
            report("messaging.start_span", failure)
            # As below a span that is not sampled; the current one is not ours to end.
            current = NonRecordingSpan(get_current_span().get_span_context())
        self._span = current
        self._token = attach(set_span_in_context(current))
        self._started = perf_counter()
        return current

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self._measure(perf_counter() - self._started, exc)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded("messaging.measure"):
                raise
        super().__exit__(kind, exc, tb)
