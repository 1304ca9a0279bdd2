"""Show how much an outbox holds."""

from __future__ import annotations

from glam_sdk._internal.guard import guarded
from glam_sdk.outbox.store import Standing
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import get_meter


class OutboxGauges:
    """Hold the gauges of one outbox."""

    def __init__(self) -> None:
        meter = get_meter("glam_sdk.outbox")
        self._waiting = meter.create_gauge(
            conv.GLAM_OUTBOX_PENDING,
            unit="{message}",
            description="Messages that no stream has so far.",
        )
        self._age = meter.create_gauge(
            conv.GLAM_OUTBOX_OLDEST_AGE,
            unit="s",
            description="How long the oldest message has been waiting.",
        )
        self._parked = meter.create_gauge(
            conv.GLAM_OUTBOX_PARKED,
            unit="{message}",
            description="Messages set aside because no stream can take them.",
        )

    def record(self, found: Standing) -> int:
        """Set the gauges; return how many messages are set aside."""
        with guarded("outbox.gauges"):
            self._waiting.set(found.waiting)
            self._age.set(found.age_s())
            self._parked.set(found.parked)
        return found.parked
