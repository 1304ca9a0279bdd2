"""Observe processing: one span, one duration and one count for each attempt at a message.

What the spans and measurements of a handler have in common is prepared once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk.events import Envelope
from glam_sdk.messaging.measured_span import MeasuredSpan
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.series import series
from glam_sdk.telemetry.tracing import Span, SpanKind, error_type

if TYPE_CHECKING:
    from glam_sdk.messaging.delivery import Incoming
    from glam_sdk.messaging.origin import Origin


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
        self._what = (f"process {template}", SpanKind.CONSUMER)
        self._labels: dict[str, AttributeValue] = {
            conv.MESSAGING_SYSTEM: "nats",
            conv.MESSAGING_OPERATION_NAME: "process",
            conv.MESSAGING_OPERATION_TYPE: "process",
            conv.MESSAGING_DESTINATION_NAME: template,
            conv.MESSAGING_CONSUMER_GROUP_NAME: durable,
        }
        self._count = series(self._consumed, self._labels)
        self._record = series(self._process, self._labels)

    def processing(
        self,
        message: Incoming,
        envelope: Envelope | None,
        *,
        attempt: int,
        origin: Origin,
    ) -> AbstractContextManager[Span]:
        """Run the processing of a message under its CONSUMER span, in the sender's context."""
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
        context, links, _ = origin
        return MeasuredSpan(
            self._tracer, self.measure, self._what, attributes, parent=context, links=links
        )

    def measure(self, duration_s: float, error: BaseException | None) -> None:
        """Count one attempt and take its duration."""
        if error is None:
            self._count(1)
            self._record(duration_s)
            return
        labels = {**self._labels, conv.ERROR_TYPE: error_type(error)}
        self._consumed.add(1, labels)
        self._process.record(duration_s, labels)
