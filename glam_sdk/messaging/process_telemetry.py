"""Observe processing: one span, one duration and one count for each attempt at a message.

What the spans and measurements of a handler have in common is prepared once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.afterwards import Afterwards
from glam_sdk.messaging.handled_lines import HandledLines
from glam_sdk.messaging.processing import Processing
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.series import Record, SeriesOf
from glam_sdk.telemetry.tracing import (
    NOTHING,
    OwnAttributes,
    SharedAttributes,
    Span,
    SpanKind,
    begun,
    child_starter,
    error_type,
)

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
        self._start_child = child_starter(tracer)
        self._consumed, self._process = instruments
        self._template = template
        self._name = f"process {template}"
        self.tell_later = Afterwards(Processing.tell, anywhere=True)
        """Takes an attempt that went well."""
        self.note = HandledLines(durable).write
        """Writes its line."""
        self._labels: dict[str, AttributeValue] = {
            conv.MESSAGING_SYSTEM: "nats",
            conv.MESSAGING_OPERATION_NAME: "process",
            conv.MESSAGING_OPERATION_TYPE: "process",
            conv.MESSAGING_DESTINATION_NAME: template,
            conv.MESSAGING_CONSUMER_GROUP_NAME: durable,
        }
        self._records: tuple[Record, Record] | None = None
        self._first_attempt = SharedAttributes({**self._labels, conv.GLAM_DELIVERY_ATTEMPT: 1})

    def start_span(self, work: Work) -> Span:
        """Start the CONSUMER span of an attempt."""
        message, envelope = work.message, work.envelope
        own: OwnAttributes = {conv.MESSAGING_MESSAGE_BODY_SIZE: len(message.body)}
        if envelope is not None:
            own[conv.MESSAGING_MESSAGE_ID] = envelope.event_id
            if envelope.correlation_id:
                own[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
        shared = self._first_attempt
        if work.number != 1 or message.subject != self._template:
            shared, own = NOTHING, {**self._unusual(work), **own}
        kind, start, sender = SpanKind.CONSUMER, self._start_child, work.sender
        if start is not None and sender is not None:
            started = start(self._name, kind, sender, (shared, own))
            if started is not None:
                return started
        attributes = begun(self._tracer, shared, own)
        links = work.links or None
        return self._tracer.start_span(self._name, work.context, kind, attributes, links)

    def measure_failed(self, duration_s: float, error: BaseException) -> None:
        """Count one attempt that failed and take its duration."""
        labels = {**self._labels, conv.ERROR_TYPE: error_type(error)}
        self._consumed.add(1, labels)
        self._process.record(duration_s, labels)

    def measure(self, duration_s: float, context: Context | None = None) -> None:
        """Count one attempt that went well and take its duration.

        Args:
            duration_s: How long it took.
            context: That of the attempt, for exemplars; the current one by default.
        """
        count, record = self._records or self._bind()
        count(1, context)
        record(duration_s, context)

    def _bind(self) -> tuple[Record, Record]:
        """Find the series of attempts that went well: with the first one, because they begin so."""
        count = SeriesOf(self._consumed).add(None, self._labels)
        self._records = found = (count, SeriesOf(self._process).add(None, self._labels))
        return found

    def _unusual(self, work: Work) -> dict[str, AttributeValue]:
        """Return what stands first on the span of a further attempt, or under a pattern."""
        attributes = {**self._labels, conv.GLAM_DELIVERY_ATTEMPT: work.number}
        if work.message.subject != self._template:
            attributes[conv.MESSAGING_DESTINATION_NAME] = work.message.subject
            attributes[conv.MESSAGING_DESTINATION_TEMPLATE] = self._template
        return attributes
