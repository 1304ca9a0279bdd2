"""Collect what is encoded and send it in batches, by OTLP over HTTP."""

# The SDK's queue, its client and our own spans have no public doors for these.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.semconv.attributes.http_attributes import HTTP_RESPONSE_STATUS_CODE

from glam_sdk.telemetry.pipeline.lean.batching import BatchQueue, BatchSettings
from glam_sdk.telemetry.pipeline.lean.encoding import (
    SpanEncoder,
    encode_resource,
    encode_scope,
    join_request,
)
from glam_sdk.telemetry.pipeline.lean.span import LeanSpan
from glam_sdk.telemetry.pipeline.watch import QueueRecord

_log = logging.getLogger("glam_sdk.telemetry")

# At 5 to 10 µs a span the interpreter is taken for a fifth of a millisecond.
_AT_ONCE: Final = 32
_REST_S: Final = 0.0005

T = TypeVar("T")
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


def encode_all(
    batch: Sequence[T], encode: Callable[[T], Encoded], refuse: Callable[[T], object]
) -> list[Encoded]:
    """Encode a batch in the thread of its queue.

    One after the other, items cost less than half of what one costs between two requests, whose
    work has left nothing of the encoder in the processor's caches. So that a batch stops the event
    loop for no longer than a request does, the thread rests after every few.

    Args:
        batch: What was queued.
        encode: Returns one item's scope and body.
        refuse: Called, with the exception at hand, with an item that could not be encoded.
    """
    encoded = []
    for number, item in enumerate(batch, start=1):
        try:
            encoded.append(encode(item))
        except Exception:  # noqa: BLE001 - one item must not cost the others
            refuse(item)
        if number % _AT_ONCE == 0:
            time.sleep(_REST_S)
    return encoded


class EncodedSpanProcessor(SpanProcessor):
    """Queue each span when it ends; the queue's thread encodes and exports them.

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
        self._record = record or QueueRecord()
        self._queue: BatchQueue[ReadableSpan] = BatchQueue(
            exporter.export,
            settings or batch_settings(),
            self._record,
            prepare=self._encode_all,
            name="glam-spans",
        )
        self.take = self._queue.put
        """Queue a sampled span of ours."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span of anybody's, if it is sampled."""
        if span.context and span.context.trace_flags.sampled:
            self._queue.put(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export all that waits; False when that was not done in time."""
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Export all that waits and take no more."""
        self._queue.stop(timeout_millis / 1000)
        self._exporter.shutdown()

    def _encode_all(self, spans: list[ReadableSpan]) -> list[Encoded]:
        return encode_all(spans, self._encode, self._refuse)

    def _encode(self, span: ReadableSpan) -> Encoded:
        if isinstance(span, LeanSpan):
            # A copy, because another thread may be about to set an attribute.
            attributes, dropped = span._attributes.copy(), span._dropped
            return span._tracer.encoded_scope, self._encoder.encode(span, attributes, dropped)
        encoded = self._encoder.encode(span, span.attributes or {}, span.dropped_attributes)
        return encode_scope(span.instrumentation_scope), encoded

    def _refuse(self, span: ReadableSpan) -> None:
        self._record.drop_items(1, "not_encoded")
        _log.warning("telemetry.span_not_encoded", extra={"span": span.name}, exc_info=True)


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
