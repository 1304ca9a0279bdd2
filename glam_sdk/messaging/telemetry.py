"""Observe sending and processing: one span, one duration and one count for each message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.events import Envelope
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import Meter, duration_histogram, get_meter
from glam_sdk.telemetry.tracing import Span, SpanKind, error_type, get_tracer, span

_SCOPE: Final = "glam_sdk.messaging"
_SYSTEM: Final = "nats"


class MessagingTelemetry:
    """Hold the tracer and the instruments of this area.

    Args:
        tracer: The global provider's by default.
        meter: The global provider's by default.
    """

    def __init__(self, *, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        self._tracer = tracer or get_tracer(_SCOPE)
        meter = meter or get_meter(_SCOPE)
        self._sent = meter.create_counter(
            conv.MESSAGING_CLIENT_SENT_MESSAGES,
            unit="{message}",
            description="Messages a producer attempted to send.",
        )
        self._consumed = meter.create_counter(
            conv.MESSAGING_CLIENT_CONSUMED_MESSAGES,
            unit="{message}",
            description="Messages delivered to the application.",
        )
        self._operation = duration_histogram(
            meter,
            conv.MESSAGING_CLIENT_OPERATION_DURATION,
            description="Duration of a send, until the stream acknowledged it.",
            buckets=conv.MESSAGING_DURATION_BUCKETS,
        )
        self._process = duration_histogram(
            meter,
            conv.MESSAGING_PROCESS_DURATION,
            description="Duration of processing one message.",
            buckets=conv.MESSAGING_DURATION_BUCKETS,
        )

    @contextmanager
    def publishing(self, envelope: Envelope, size_bytes: int) -> Iterator[Span]:
        """Run a send under its PRODUCER span."""
        labels = _labels("publish", "send", envelope.subject)
        attributes = {
            **labels,
            **_message(envelope),
            conv.MESSAGING_MESSAGE_BODY_SIZE: size_bytes,
        }
        with (
            span(
                self._tracer,
                f"publish {envelope.subject}",
                kind=SpanKind.PRODUCER,
                attributes=attributes,
            ) as current,
            self.sending(envelope.subject),
        ):
            yield current

    @contextmanager
    def sending(self, subject: str) -> Iterator[None]:
        """Measure a send without a span of its own."""
        labels = _labels("publish", "send", subject)
        started = perf_counter()
        try:
            yield
        except BaseException as exc:
            labels[conv.ERROR_TYPE] = error_type(exc)
            raise
        finally:
            with guarded("messaging.sending"):
                self._sent.add(1, labels)
                self._operation.record(perf_counter() - started, labels)

    @contextmanager
    def processing(
        self,
        subject: str,
        *,
        durable: str,
        attempt: int,
        envelope: Envelope | None,
        size_bytes: int,
    ) -> Iterator[Span]:
        """Run the processing of a message under its CONSUMER span, child of the current context."""
        labels = _labels("process", "process", subject)
        labels[conv.MESSAGING_CONSUMER_GROUP_NAME] = durable
        attributes = {
            **labels,
            **_message(envelope),
            conv.MESSAGING_MESSAGE_BODY_SIZE: size_bytes,
            conv.GLAM_DELIVERY_ATTEMPT: attempt,
        }
        started = perf_counter()
        try:
            with span(
                self._tracer, f"process {subject}", kind=SpanKind.CONSUMER, attributes=attributes
            ) as current:
                yield current
        except BaseException as exc:
            labels[conv.ERROR_TYPE] = error_type(exc)
            raise
        finally:
            with guarded("messaging.processing"):
                self._consumed.add(1, labels)
                self._process.record(perf_counter() - started, labels)


def _labels(operation: str, kind: str, subject: str) -> dict[str, AttributeValue]:
    return {
        conv.MESSAGING_SYSTEM: _SYSTEM,
        conv.MESSAGING_OPERATION_NAME: operation,
        conv.MESSAGING_OPERATION_TYPE: kind,
        conv.MESSAGING_DESTINATION_NAME: subject,
    }


def _message(envelope: Envelope | None) -> Mapping[str, AttributeValue]:
    if envelope is None:
        return {}
    attributes = {conv.MESSAGING_MESSAGE_ID: envelope.event_id}
    if envelope.correlation_id:
        attributes[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
    return attributes
