"""Observe processing: one span, one duration and one count for each attempt at a message.

What the spans and measurements of a handler have in common is prepared once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.events import Envelope
from glam_sdk.messaging.bound import bound
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.tracing import Link, Span, SpanKind, error_type, span

if TYPE_CHECKING:
    from glam_sdk.messaging.delivery import Incoming


class ProcessTelemetry:
    """Observe what one consumer does with the messages of one declared subject.

    Args:
        tracer: Makes the CONSUMER spans.
        instruments: Count of deliveries, and durations.
        template: The declared subject.
        durable: Name of the consumer.
    """

    def __init__(
        self, tracer: Tracer, instruments: tuple[Counter, Histogram], template: str, durable: str
    ) -> None:
        self._tracer = tracer
        self._consumed, self._process = instruments
        self._template = template
        self._name = f"process {template}"
        self._labels: dict[str, AttributeValue] = {
            conv.MESSAGING_SYSTEM: "nats",
            conv.MESSAGING_OPERATION_NAME: "process",
            conv.MESSAGING_OPERATION_TYPE: "process",
            conv.MESSAGING_DESTINATION_NAME: template,
            conv.MESSAGING_CONSUMER_GROUP_NAME: durable,
        }
        self._count = bound(self._consumed, self._labels)
        self._record = bound(self._process, self._labels)

    def processing(
        self,
        message: Incoming,
        envelope: Envelope | None,
        *,
        attempt: int,
        links: tuple[Link, ...] = (),
    ) -> AbstractContextManager[Span]:
        """Run the processing of a message under its CONSUMER span, child of the current context."""
        attributes = {
            **self._labels,
            conv.MESSAGING_MESSAGE_BODY_SIZE: len(message.body),
            conv.GLAM_DELIVERY_ATTEMPT: attempt,
        }
        if envelope is not None:
            attributes[conv.MESSAGING_MESSAGE_ID] = envelope.event_id
            if envelope.correlation_id:
                attributes[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
        if self._template != message.subject:
            attributes[conv.MESSAGING_DESTINATION_NAME] = message.subject
            attributes[conv.MESSAGING_DESTINATION_TEMPLATE] = self._template
        opened = span(
            self._tracer, self._name, kind=SpanKind.CONSUMER, attributes=attributes, links=links
        )
        return _Processing(self, opened)

    def measure(self, duration_s: float, error: BaseException | None) -> None:
        """Count one attempt and take its duration."""
        if error is None:
            self._count(1)
            self._record(duration_s)
            return
        labels = {**self._labels, conv.ERROR_TYPE: error_type(error)}
        self._consumed.add(1, labels)
        self._process.record(duration_s, labels)


class _Processing:
    """Measure a block inside of its span, so that the measurement can name the span."""

    __slots__ = ("_span", "_started", "_telemetry")

    def __init__(self, telemetry: ProcessTelemetry, opened: AbstractContextManager[Span]) -> None:
        self._telemetry = telemetry
        self._span = opened

    def __enter__(self) -> Span:
        current = self._span.__enter__()
        self._started = perf_counter()
        return current

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        try:
            self._telemetry.measure(perf_counter() - self._started, exc)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded("messaging.processing"):
                raise
        return self._span.__exit__(kind, exc, tb)
