"""Measure requests and the errors they were answered with (OpenTelemetry HTTP metrics)."""

from __future__ import annotations

from glam_sdk._internal.guard import guarded, report
from glam_sdk.api.attributes import Outcome
from glam_sdk.api.exchange import Exchange
from glam_sdk.errors import GlamBaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import metrics
from glam_sdk.telemetry.series import SeriesOf


class Instruments:
    """Hold the metrics of the HTTP edge; a request that is excluded reaches none but the errors."""

    def __init__(self) -> None:
        meter = metrics.get_meter("glam_sdk.api")
        self._duration = SeriesOf(
            metrics.duration_histogram(
                meter,
                conv.HTTP_SERVER_REQUEST_DURATION,
                description="Duration of HTTP server requests.",
                buckets=conv.HTTP_DURATION_BUCKETS,
            )
        )
        self._active = SeriesOf(
            meter.create_up_down_counter(
                conv.HTTP_SERVER_ACTIVE_REQUESTS,
                unit="{request}",
                description="Number of active HTTP server requests.",
            )
        )
        self._errors = meter.create_counter(
            conv.GLAM_ERRORS,
            unit="{error}",
            description="Number of requests answered with an error, by its code.",
        )

    def opened(self, exchange: Exchange) -> None:
        """Count a request as active."""
        try:
            kind = exchange.kind
            found = self._active.get(kind.key) or self._active.add(kind.key, kind.attributes)
            exchange.count_active = found
            found(1)
        except Exception as exc:  # noqa: BLE001 - as guarded, which costs more than this measurement
            report("api.metrics", exc)

    def closed(self, exchange: Exchange, outcome: Outcome) -> None:
        """Measure a request that has ended and was counted; its context is the current one."""
        if exchange.count_active is None:
            return
        try:
            exchange.count_active(-1)
            record = self._duration.get(outcome.key)
            if record is None:
                record = self._duration.add(outcome.key, outcome.attributes)
            record(exchange.duration_s)
        except Exception as exc:  # noqa: BLE001 - as above
            report("api.metrics", exc)

    def failed(self, exchange: Exchange, outcome: Outcome) -> None:
        """Count the error of a request that was answered with one."""
        code = exchange.shown_code()
        if code is None or exchange.is_excluded:
            return
        if isinstance(exchange.error, GlamBaseError):
            code = type(exchange.error).code  # an instance's own may have any number of values
        labels = {conv.GLAM_ERROR_CODE: code}
        if conv.HTTP_ROUTE in outcome.attributes:
            labels[conv.HTTP_ROUTE] = outcome.attributes[conv.HTTP_ROUTE]
        with guarded("api.metrics"):
            self._errors.add(1, labels)
