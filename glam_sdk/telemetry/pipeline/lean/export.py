"""Collect what is encoded and send it in batches, by OTLP over HTTP."""

# The SDK's queue, its client and our own spans have no public doors for these.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.semconv.attributes.http_attributes import HTTP_RESPONSE_STATUS_CODE

from glam_sdk._internal.afterwards import Afterwards, settle
from glam_sdk.telemetry.pipeline.lean.batching import BatchQueue, BatchSettings
from glam_sdk.telemetry.pipeline.lean.encoding import (
    SpanEncoder,
    Told,
    encode_resource,
    encode_scope,
    join_request,
)
from glam_sdk.telemetry.pipeline.watch import QueueRecord

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.span import LeanSpan

_log = logging.getLogger("glam_sdk.telemetry")

Encoded = tuple[bytes, bytes]
"""The scope and the body of a span or a log record."""


class Exporter(Protocol):
    """Take batches of what has been encoded."""

    def export(self, batch: Sequence[Encoded], /) -> object:
        """Send a batch."""

    def shutdown(self) -> None:
        """Send nothing more."""


def batch_settings(rules: Any = BatchSpanProcessor) -> BatchSettings:
    """Return what the variables of a signal's batches say, read by the SDK's rules.

    Args:
        rules: The SDK's processor: ``BatchSpanProcessor`` for ``OTEL_BSP_*``,
            ``BatchLogRecordProcessor`` for ``OTEL_BLRP_*``.

    Raises:
        ValueError: They contradict each other.
    """
    capacity = rules._default_max_queue_size()
    delay_ms = rules._default_schedule_delay_millis()
    size = rules._default_max_export_batch_size()
    rules._validate_arguments(capacity, delay_ms, size)
    return BatchSettings(capacity=capacity, batch_size=size, delay_s=delay_ms / 1000)


def longest_export_s(rules: Any = BatchSpanProcessor) -> float:
    """Return the ``…_EXPORT_TIMEOUT`` of a signal, which the SDK reads and forgets, in seconds."""
    return float(rules._default_export_timeout_millis()) / 1000


class EncodedSpanProcessor(SpanProcessor):
    """Encode each span when it ends and queue the bytes.

    Args:
        exporter: Takes the batches.
        settings: Of the queue; what the variables say by default.
        record: Counts what is exported and what is dropped.
    """

    def __init__(
        self,
        exporter: Exporter,
        settings: BatchSettings | None = None,
        record: QueueRecord | None = None,
    ) -> None:
        self._exporter = exporter
        self._encoder = SpanEncoder()
        self._encode_later = Afterwards(self.encode)
        self._record = record or QueueRecord()
        self._queue = BatchQueue(
            exporter.export, settings or batch_settings(), self._record, name="glam-spans"
        )

    def take(self, span: LeanSpan) -> None:
        """Queue a sampled span of ours that has ended, at the end of the turn."""
        self._encode_later(span)

    def encode(self, span: LeanSpan) -> None:
        """Queue it at once."""
        try:
            encoded = self._encoder.encode_lean(span)
        except Exception:  # noqa: BLE001 - a span must not break what it observes
            self._refuse(span.name)
            return
        self._queue.put((span._tracer.encoded_scope, encoded))

    def tell(self, told: Told) -> None:
        """Queue a sampled span that was told of; putting it off would cost more than this."""
        try:
            encoded = self._encoder.encode_told(told)
        except Exception:  # noqa: BLE001 - as above
            self._refuse(told[0].name)
            return
        self._queue.put((told[5], encoded))

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span of anybody's, if it is sampled."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        try:
            encoded = self._encoder.encode(span)
            scope = encode_scope(span.instrumentation_scope)
        except Exception:  # noqa: BLE001 - a span must not break what it observes
            self._refuse(span.name)
            return
        self._queue.put((scope, encoded))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export all that waits; False when that was not done in time."""
        settle()
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Export all that waits and take no more."""
        settle()
        self._queue.stop(timeout_millis / 1000)
        self._exporter.shutdown()

    def _refuse(self, name: str) -> None:
        self._record.drop_items(1, "not_encoded")
        _log.warning("telemetry.span_not_encoded", extra={"span": name}, exc_info=True)


class EncodedExporter:
    """Join encoded spans, or log records, to requests and send them through the SDK's exporter.

    Retries, timeout, compression, headers and certificates are that exporter's, and so are their
    ``OTEL_EXPORTER_OTLP_*`` variables; only its encoder is left out.

    Args:
        inner: The SDK's exporter for OTLP over HTTP.
        resource: Gives the resource, whose attributes are others in a forked process.
        longest_s: Bounds an export where the exporter's own timeout is longer.
    """

    def __init__(
        self, inner: Any, resource: Callable[[], Resource], *, longest_s: float | None = None
    ) -> None:
        self._inner = inner
        self._get_resource = resource
        self._encoded_resource: tuple[object, bytes] = (None, b"")
        if longest_s:  # zero is no limit
            inner._client._timeout = min(inner._client._timeout, longest_s)

    def export(self, batch: Sequence[Encoded]) -> SpanExportResult:
        """Send one batch."""
        inner = self._inner
        if inner._shutdown:
            return SpanExportResult.FAILURE
        data = join_request(self._resource_bytes(), batch)
        with inner._metrics.export_operation(len(batch)) as result:
            if 0 < inner._max_request_size < len(data):
                _log.warning("telemetry.batch_too_large", extra={"size_bytes": len(data)})
                result.error = ValueError(f"A request of {len(data)} bytes is too large.")
                return SpanExportResult.FAILURE
            sent = inner._client.export(data)
            if not sent.success:
                result.error = sent.error
                if sent.status_code is not None:
                    result.error_attrs = {HTTP_RESPONSE_STATUS_CODE: sent.status_code}
                return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Send nothing more; an attempt under way is given up."""
        self._inner.shutdown()

    def _resource_bytes(self) -> bytes:
        resource = self._get_resource()
        known, encoded = self._encoded_resource
        if known is not resource.attributes:
            encoded = encode_resource(resource)
            self._encoded_resource = (resource.attributes, encoded)
        return encoded
