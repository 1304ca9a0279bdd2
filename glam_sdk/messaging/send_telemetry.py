"""Observe sending: one span, one duration and one count for each message.

What a subject's spans and measurements have in common is prepared with its first message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from types import TracebackType
from typing import Final

from opentelemetry import metrics
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.events import Envelope
from glam_sdk.messaging.measured_span import MeasuredSpan
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import duration_histogram
from glam_sdk.telemetry.series import series
from glam_sdk.telemetry.tracing import Span, SpanKind, error_type, span

_MAX_SUBJECTS: Final = 1000
_OTHER: Final = "_other"

Labels = dict[str, AttributeValue]


class SendTelemetry:
    """Hold the tracer and the instruments of sending.

    Args:
        tracer: Makes the PRODUCER spans.
        meter: Makes the instruments.
    """

    def __init__(self, tracer: Tracer, meter: metrics.Meter) -> None:
        self._tracer = tracer
        self._sent = meter.create_counter(
            conv.MESSAGING_CLIENT_SENT_MESSAGES,
            unit="{message}",
            description="Messages a producer attempted to send.",
        )
        self._operation = duration_histogram(
            meter,
            conv.MESSAGING_CLIENT_OPERATION_DURATION,
            description="Duration of a send, until the stream acknowledged it.",
            buckets=conv.MESSAGING_DURATION_BUCKETS,
        )
        self._subjects: dict[str, _Subject] = {}

    def publishing(self, envelope: Envelope, size_bytes: int) -> AbstractContextManager[Span]:
        """Run a send under its PRODUCER span."""
        measured = self._measured(envelope.subject)
        attributes = measured.labels.copy()
        attributes[conv.MESSAGING_DESTINATION_NAME] = envelope.subject
        attributes[conv.MESSAGING_MESSAGE_ID] = envelope.event_id
        attributes[conv.MESSAGING_MESSAGE_BODY_SIZE] = size_bytes
        if envelope.correlation_id:
            attributes[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
        what = (f"publish {envelope.subject}", SpanKind.PRODUCER)
        return MeasuredSpan(self._tracer, measured.measure_one, what, attributes)

    def sending(self, subject: str) -> AbstractContextManager[None]:
        """Measure a send without a span of its own."""
        return _Sending(self._measured(subject))

    def sent(
        self, subject: str, count: int, duration_s: float, error: BaseException | None = None
    ) -> None:
        """Measure messages of one subject that were sent together."""
        with guarded("messaging.sent"):
            self._measured(subject).measure(count, duration_s, error)

    @contextmanager
    def publishing_many(self, envelopes: Sequence[Envelope]) -> Iterator[Span]:
        """Run the sending of many messages under one PRODUCER span; each counts by itself."""
        counts = Counter(envelope.subject for envelope in envelopes)
        only = next(iter(counts)) if len(counts) == 1 else None
        attributes = {**_labels(only or ""), conv.MESSAGING_BATCH_MESSAGE_COUNT: len(envelopes)}
        if only is None:
            del attributes[conv.MESSAGING_DESTINATION_NAME]
        name = f"publish {only}" if only else "publish"
        error: BaseException | None = None
        started = perf_counter()
        try:
            with span(self._tracer, name, kind=SpanKind.PRODUCER, attributes=attributes) as current:
                yield current
        except BaseException as exc:
            error = exc
            raise
        finally:
            duration_s = perf_counter() - started
            for subject, count in counts.items():
                self.sent(subject, count, duration_s, error)

    def _measured(self, subject: str) -> _Subject:
        found = self._subjects.get(subject)
        if found is None:
            if len(self._subjects) >= _MAX_SUBJECTS:
                subject = _OTHER  # No name that is made up at run time grows metrics for ever.
                found = self._subjects.get(subject)
            if found is None:
                found = self._subjects[subject] = _Subject(self._sent, self._operation, subject)
        return found


class _Subject:
    """Measure the sends of one subject."""

    __slots__ = ("_count", "_operation", "_record", "_sent", "labels")

    def __init__(self, sent: metrics.Counter, operation: metrics.Histogram, subject: str) -> None:
        self._sent, self._operation = sent, operation
        self.labels = _labels(subject)
        self._count = series(sent, self.labels)
        self._record = series(operation, self.labels)

    def measure_one(self, duration_s: float, error: BaseException | None) -> None:
        """Count one message and record how long it took."""
        self.measure(1, duration_s, error)

    def measure(self, count: int, duration_s: float, error: BaseException | None) -> None:
        """Count messages and record how long they took."""
        if error is None:
            self._count(count)
            self._record(duration_s)
            return
        labels = {**self.labels, conv.ERROR_TYPE: error_type(error)}
        self._sent.add(count, labels)
        self._operation.record(duration_s, labels)


class _Sending:
    """Measure a block."""

    __slots__ = ("_started", "_subject")

    def __init__(self, subject: _Subject) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self._subject.measure(1, perf_counter() - self._started, exc)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded("messaging.sending"):
                raise


def _labels(subject: str) -> Labels:
    return {
        conv.MESSAGING_SYSTEM: "nats",
        conv.MESSAGING_OPERATION_NAME: "publish",
        conv.MESSAGING_OPERATION_TYPE: "send",
        conv.MESSAGING_DESTINATION_NAME: subject,
    }
