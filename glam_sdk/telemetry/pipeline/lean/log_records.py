"""Turn a finished log line into the bytes of OTLP's ``LogRecord``, and queue them.

The line's fields are JSON types already, bounded and without secrets: so nothing is cleaned, copied
or held until a thread encodes it. What somebody logs through OpenTelemetry's own API goes the SDK's
way into the same queue.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Any, Final, cast

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import (
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs._internal import _default_logger_configurator
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from glam_sdk.telemetry.log_line import SEVERITIES, Line, attributes_of
from glam_sdk.telemetry.log_template import Filled, LineTemplate, Take
from glam_sdk.telemetry.log_usual import Kind, Usual
from glam_sdk.telemetry.pipeline.lean import wire
from glam_sdk.telemetry.pipeline.lean.batching import BatchQueue, BatchSettings
from glam_sdk.telemetry.pipeline.lean.encoding import encode_scope
from glam_sdk.telemetry.pipeline.lean.export import Encoded, Exporter, batch_settings
from glam_sdk.telemetry.pipeline.lean.pairs import Pairs
from glam_sdk.telemetry.pipeline.lean.record_template import (
    OBSERVED_TAG,
    OWNER,
    TIME_TAG,
    RecordTemplate,
    frames_of,
    pack_times,
)
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceLoggerProvider
from glam_sdk.telemetry.pipeline.watch import QueueRecord

_pack_flags: Final = Struct("<BI").pack
_FLAGS_TAG: Final = 0x45
_REMEMBERED: Final = 1024
_REMEMBERED_LENGTH: Final = 128
_SDK_LIMIT: Final = 128
"""Attributes of a record by default; our lines stay below."""
_MAX_FIELDS: Final = 100
"""Of a line that is not laid out: with more it goes the whole way, on which they are cut."""
_IDS: Final = ("correlation_id", "request_id")
_BEFORE_CORRELATION_ID, _BEFORE_REQUEST_ID = map(frames_of, _IDS)
_SHORT: Final = len(_BEFORE_REQUEST_ID)
_IN_REQUEST: Final = b"%b%b%b%b%b%b%b" + OWNER
_log = logging.getLogger("glam_sdk.telemetry")


class LeanLoggerProvider(SharedResourceLoggerProvider):
    """Be the SDK's provider, with a short way for finished lines.

    The way is open as long as nobody else wants the records and the SDK's settings for them are the
    default ones: whatever needs a record as the SDK has it gets one.
    """

    def __init__(self, **settings: Any) -> None:
        self._encoders: tuple[EncodedLogProcessor, ...] = ()
        self._is_open = True
        self._encoder = LineEncoder()
        super().__init__(**settings)
        limits = self._log_record_limits
        most = limits.max_log_record_attributes
        self._is_open = (
            self._is_open
            and not self._disabled
            and (most is None or most >= _SDK_LIMIT)
            and limits.max_log_record_attribute_length is None
            and self._logger_configurator is _default_logger_configurator
        )

    def add_log_record_processor(self, log_record_processor: LogRecordProcessor) -> None:
        """Take on one more."""
        super().add_log_record_processor(log_record_processor)
        if isinstance(log_record_processor, EncodedLogProcessor):
            self._encoders += (log_record_processor,)
        else:
            self._is_open = False

    def take_line(self, line: Line, created: float) -> bool:
        """Queue one line for export; False where it must be emitted as a record instead.

        Args:
            line: Complete, the exception included.
            created: Seconds since the Unix epoch.
        """
        if not self._is_open:
            return False
        for encoder in self._encoders:
            encoder.take_line(line, created)
        return True

    def take_usual(self, line: Usual) -> bool:
        """Queue one line that was not laid out, likewise."""
        if not self._is_open or len(line[-1]) > _MAX_FIELDS:
            return False
        for encoder in self._encoders:
            encoder.take_usual(line)
        return True

    def taker_of(self, template: LineTemplate) -> Take:
        """Return what queues a line that was made from a template, likewise."""
        scope = encode_scope(InstrumentationScope(template.line["logger"]))
        fill = self._encoder.template(template).fill

        def take(filled: Filled) -> bool:
            if not self._is_open or len(filled[3]) > _MAX_FIELDS or (body := fill(filled)) is None:
                return False
            for encoder in self._encoders:
                encoder.put((scope, body))
            return True

        return take

    def _set_logger_configurator(self, *, logger_configurator: Any) -> None:
        self._is_open = False
        super()._set_logger_configurator(logger_configurator=logger_configurator)


class EncodedLogProcessor(LogRecordProcessor):
    """Encode each record when it is made and queue the bytes.

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
        self._encoder = LineEncoder()
        self._scopes: dict[str, bytes] = {}
        self._record = record or QueueRecord()
        self._queue: BatchQueue[Encoded] = BatchQueue(
            exporter.export,
            settings or batch_settings(BatchLogRecordProcessor),
            self._record,
            name="glam-log-records",
        )
        self.put = self._queue.put
        """Queue the bytes of a scope and a record."""

    def take_line(self, line: Line, created: float) -> None:
        """Queue a line of ours."""
        name = line["logger"]
        scope = self._scopes.get(name) or self._scope(name)
        self.put((scope, self._encoder.encode(line, created)))

    def take_usual(self, line: Usual) -> None:
        """Queue a line of ours that was not laid out."""
        name = line[0].logger
        scope = self._scopes.get(name) or self._scope(name)
        self.put((scope, self._encoder.encode_usual(line)))

    def _scope(self, name: str) -> bytes:
        scope = encode_scope(InstrumentationScope(name))
        if len(self._scopes) < _REMEMBERED:
            self._scopes[name] = scope
        return scope

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue a record that came through OpenTelemetry's API."""
        try:
            whole = encode_logs([cast("ReadableLogRecord", log_record)])
            (record,) = whole.resource_logs[0].scope_logs[0].log_records
            encoded = encode_scope(log_record.instrumentation_scope), record.SerializeToString()
        except Exception:  # noqa: BLE001 - a record must not break whoever emits it
            self._record.drop_items(1, "not_encoded")
            _log.warning("telemetry.log_record_not_encoded", exc_info=True)
            return
        self.put(encoded)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export all that waits; False when that was not done in time."""
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Export all that waits and take no more."""
        self._queue.stop(timeout_millis / 1000)
        self._exporter.shutdown()


class LineEncoder:
    """Encode lines and remember what they have in common, within bounds."""

    __slots__ = ("_bodies", "_pairs")

    def __init__(self) -> None:
        self._pairs = Pairs(b"\x32")
        self._bodies: dict[str, bytes] = {}

    def encode(self, line: Line, created: float) -> bytes:
        """Return the body of a ``LogRecord`` message.

        Args:
            line: Complete.
            created: Seconds since the Unix epoch.
        """
        moment = int(created * 1e9)
        message = line["message"]
        parts = [
            pack_times(TIME_TAG, moment, OBSERVED_TAG, moment),
            _LEVELS.get(line["level"]) or _level(line["level"], SeverityNumber.INFO),
            self._bodies.get(message) or self._body(message),
        ]
        self._pairs.encode(attributes_of(line).items(), parts)
        trace_id = line.get("trace_id")
        if trace_id is not None:
            parts += (
                b"\x4a\x10",
                bytes.fromhex(trace_id),
                b"\x52\x08",
                bytes.fromhex(line["span_id"]),
                _pack_flags(_FLAGS_TAG, int(line["trace_flags"], 16)),
            )
        return b"".join(parts)

    def encode_usual(self, line: Usual) -> bytes:
        """Return the same for a line that was not laid out."""
        kind, created, span, correlation_id, request_id, fields = line
        moment = int(created * 1e9)
        times = pack_times(TIME_TAG, moment, OBSERVED_TAG, moment)
        head = kind.record_head or self._head(kind)
        pairs = b"".join(self._pairs.encode(fields.items()))
        if span is not None and correlation_id is not None and request_id is not None:
            # They never come again: so in one operation, and nothing is remembered.
            one, other = wire.utf8(correlation_id), wire.utf8(request_id)
            size, length = len(one), len(other)
            if size < _SHORT and length < _SHORT:
                return _IN_REQUEST % (
                    times,
                    head,
                    _BEFORE_CORRELATION_ID[size],
                    one,
                    _BEFORE_REQUEST_ID[length],
                    other,
                    pairs,
                    # By place: the names of a span context cost a call each.
                    span[0].to_bytes(16),
                    span[1].to_bytes(8),
                    span[3] & 255,
                )
        known = zip(_IDS, (correlation_id, request_id), strict=True)
        ids = self._pairs.encode(pair for pair in known if pair[1] is not None)
        return b"".join((times, head, *ids, pairs, b"" if span is None else _owner(span)))

    def template(self, template: LineTemplate) -> RecordTemplate:
        """Return how the records of lines begin and end that are made from a template."""
        line = template.line
        head = _LEVELS[line["level"]] + self._body(line["message"])
        return RecordTemplate(template, head, self._pairs)

    def _head(self, kind: Kind) -> bytes:
        body = self._bodies.get(kind.message) or self._body(kind.message)
        kind.record_head = _LEVELS[kind.level] + body
        return kind.record_head

    def _body(self, message: str) -> bytes:
        encoded = wire.sized(b"\x2a", wire.any_value(message))
        if len(self._bodies) < _REMEMBERED and len(encoded) <= _REMEMBERED_LENGTH:
            self._bodies[message] = encoded
        return encoded


def _owner(span: SpanContext) -> bytes:
    """Return the ids and flags of the span a record belongs to."""
    return OWNER % (span[0].to_bytes(16), span[1].to_bytes(8), span[3] & 255)


def _level(name: str, number: SeverityNumber) -> bytes:
    return b"\x10" + wire.varint(number.value) + wire.sized(b"\x1a", wire.utf8(name.upper()))


_LEVELS: Final = {name: _level(name, number) for name, number in SEVERITIES.items()}
