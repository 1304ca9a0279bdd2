"""Observe processing: one span, one duration and one count for each attempt at a message.

What the spans and measurements of a handler have in common is prepared once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.afterwards import Afterwards
from glam_sdk.messaging.processing import Processing
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.series import series
from glam_sdk.telemetry.tracing import PlainAttributes, Span, SpanKind, error_type

if TYPE_CHECKING:
    from glam_sdk.messaging.work import Work


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
        self.tell_later = Afterwards(Processing.tell)
        """Takes an attempt that went well."""
        self._labels: dict[str, AttributeValue] = {
            conv.MESSAGING_SYSTEM: "nats",
            conv.MESSAGING_OPERATION_NAME: "process",
            conv.MESSAGING_OPERATION_TYPE: "process",
            conv.MESSAGING_DESTINATION_NAME: template,
            conv.MESSAGING_CONSUMER_GROUP_NAME: durable,
        }
        self._count = series(self._consumed, self._labels)
        self._record = series(self._process, self._labels)

    def start_span(self, work: Work) -> Span:
        """Start the CONSUMER span of an attempt."""
        message, envelope = work.message, work.envelope
        attributes = PlainAttributes(self._labels)
        attributes[conv.MESSAGING_MESSAGE_BODY_SIZE] = len(message.body)
        attributes[conv.GLAM_DELIVERY_ATTEMPT] = work.number
        if envelope is not None:
            attributes[conv.MESSAGING_MESSAGE_ID] = envelope.event_id
            if envelope.correlation_id:
                attributes[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
        if self._template != message.subject:
            attributes[conv.MESSAGING_DESTINATION_NAME] = message.subject
            attributes[conv.MESSAGING_DESTINATION_TEMPLATE] = self._template
        return self._tracer.start_span(
            self._name, work.context, SpanKind.CONSUMER, attributes, work.links or None
        )

    def measure(self, duration_s: float) -> None:
        """Count one attempt that went well and take its duration."""
        self._count(1)
        self._record(duration_s)

    def measure_failed(self, duration_s: float, error: BaseException) -> None:
        """Count one attempt that failed and take its duration."""
        labels = {**self._labels, conv.ERROR_TYPE: error_type(error)}
        self._consumed.add(1, labels)
        self._process.record(duration_s, labels)
