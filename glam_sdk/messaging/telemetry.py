"""Observe sending and processing: one span, one duration and one count for each message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.messaging.process_telemetry import ProcessTelemetry
from glam_sdk.messaging.send_telemetry import SendTelemetry
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import Meter, duration_histogram, get_meter
from glam_sdk.telemetry.tracing import get_tracer

if TYPE_CHECKING:
    from glam_sdk.messaging.binding import Backlog

_SCOPE: Final = "glam_sdk.messaging"
_SYSTEM: Final = "nats"
_GAUGES: Final = {
    conv.GLAM_MESSAGING_CONSUMER_LAG: (
        "{message}",
        "Messages of the stream not delivered to the consumer so far.",
    ),
    conv.GLAM_MESSAGING_CONSUMER_UNSETTLED: (
        "{message}",
        "Messages delivered to the consumer and not settled, in all processes.",
    ),
    conv.GLAM_MESSAGING_CONSUMER_REDELIVERED: (
        "{message}",
        "Unsettled messages delivered more than once.",
    ),
    conv.GLAM_MESSAGING_CONSUMER_OLDEST_AGE: (
        "s",
        "How long the oldest unsettled message has been in the stream.",
    ),
    conv.GLAM_MESSAGING_IN_FLIGHT: ("{message}", "Messages being handled in this process."),
    conv.GLAM_MESSAGING_HANDLER_PAUSE: (
        "s",
        "Time between attempts of a handler slowed down because all fail, or 0.",
    ),
}


class MessagingTelemetry(SendTelemetry):
    """Hold the tracer and the instruments of this area.

    Args:
        tracer: The global provider's by default.
        meter: The global provider's by default.
    """

    def __init__(self, *, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        meter = meter or get_meter(_SCOPE)
        super().__init__(tracer or get_tracer(_SCOPE), meter)
        self._consumed = meter.create_counter(
            conv.MESSAGING_CLIENT_CONSUMED_MESSAGES,
            unit="{message}",
            description="Messages delivered to the application.",
        )
        self._dead_letters = meter.create_counter(
            conv.GLAM_MESSAGING_DEAD_LETTERS,
            unit="{message}",
            description="Messages stored as dead letters.",
        )
        self._suppressed = meter.create_counter(
            conv.GLAM_MESSAGING_SUPPRESSED_DUPLICATES,
            unit="{message}",
            description="Deliveries not handled because the event had been handled before.",
        )
        self._gauges = {
            name: meter.create_gauge(name, unit=unit, description=description)
            for name, (unit, description) in _GAUGES.items()
        }
        self._process = duration_histogram(
            meter,
            conv.MESSAGING_PROCESS_DURATION,
            description="Duration of processing one message.",
            buckets=conv.MESSAGING_DURATION_BUCKETS,
        )

    def processing_of(self, template: str, durable: str) -> ProcessTelemetry:
        """Return what observes one consumer's work on the messages of one declared subject."""
        return ProcessTelemetry(self._tracer, (self._consumed, self._process), template, durable)

    def dead_lettered(self, subject: str, durable: str, reason: str) -> None:
        """Count a message that became a dead letter."""
        with guarded("messaging.dead_lettered"):
            labels = _labels("settle", "settle", subject)
            labels[conv.MESSAGING_CONSUMER_GROUP_NAME] = durable
            self._dead_letters.add(1, {**labels, conv.GLAM_REASON: reason})

    def backlog(self, durable: str, found: Backlog, running: int) -> None:
        """Record how much is waiting for a consumer and how much is under way here."""
        with guarded("messaging.backlog"):
            labels = {conv.MESSAGING_SYSTEM: _SYSTEM, conv.MESSAGING_CONSUMER_GROUP_NAME: durable}
            for name, value in (
                (conv.GLAM_MESSAGING_CONSUMER_LAG, found.waiting),
                (conv.GLAM_MESSAGING_CONSUMER_UNSETTLED, found.unsettled),
                (conv.GLAM_MESSAGING_CONSUMER_REDELIVERED, found.redelivered),
                (conv.GLAM_MESSAGING_CONSUMER_OLDEST_AGE, found.oldest_age_s),
                (conv.GLAM_MESSAGING_IN_FLIGHT, running),
            ):
                self._gauges[name].set(value, labels)

    def paced(self, subject: str, durable: str, pause_s: float) -> None:
        """Record the time between attempts of a handler that is slowed down, or none."""
        with guarded("messaging.paced"):
            labels = _labels("process", "process", subject)
            labels[conv.MESSAGING_CONSUMER_GROUP_NAME] = durable
            self._gauges[conv.GLAM_MESSAGING_HANDLER_PAUSE].set(pause_s, labels)

    def suppressed(self, subject: str, durable: str) -> None:
        """Count a delivery of what was handled before."""
        with guarded("messaging.suppressed"):
            labels = _labels("process", "process", subject)
            labels[conv.MESSAGING_CONSUMER_GROUP_NAME] = durable
            self._suppressed.add(1, labels)


def _labels(operation: str, kind: str, subject: str) -> dict[str, AttributeValue]:
    return {
        conv.MESSAGING_SYSTEM: _SYSTEM,
        conv.MESSAGING_OPERATION_NAME: operation,
        conv.MESSAGING_OPERATION_TYPE: kind,
        conv.MESSAGING_DESTINATION_NAME: subject,
    }
