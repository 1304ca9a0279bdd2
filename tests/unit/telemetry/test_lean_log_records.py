"""Prove that a line encoded by us reads as the one the SDK encodes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.logs import get_logger, pipeline
from glam_sdk.telemetry.pipeline.lean.log_records import (
    EncodedLogProcessor,
    LeanLoggerProvider,
    LineEncoder,
)
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceLoggerProvider
from glam_sdk.testing import OtlpReceiver, capture_telemetry

# The SDK drops what has an empty key, with a warning each time; a nested one we keep.
_KEYS = st.text(min_size=1)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=8
)


class _Kept:
    """Be the exporter behind the queue and keep what it is given."""

    def __init__(self) -> None:
        self.batch = []

    def export(self, batch):
        self.batch.extend(batch)

    def shutdown(self) -> None:
        return


def _by_sdk(level, message, fields, exc) -> LogRecord:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    LogPipeline(provider=provider, write=lambda _: None).log(
        level, "orders", message, fields, exc=exc, created=1_764_000_000.123456
    )
    encoded = encode_logs(exporter.get_finished_logs())
    return encoded.resource_logs[0].scope_logs[0].log_records[0]


def _by_us(level, message, fields, exc) -> LogRecord:
    kept = _Kept()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    LogPipeline(provider=provider, write=lambda _: None).log(
        level, "orders", message, fields, exc=exc, created=1_764_000_000.123456
    )
    processor.shutdown()
    ((_, body),) = kept.batch
    return LogRecord.FromString(body)


def _same(ours: LogRecord, theirs: LogRecord) -> None:
    assert ours.observed_time_unix_nano == ours.time_unix_nano
    theirs.observed_time_unix_nano = ours.observed_time_unix_nano
    assert str(ours) == str(theirs)


@given(
    st.sampled_from(["debug", "info", "warning", "error", "critical"]),
    st.text(),
    st.dictionaries(_KEYS, _VALUES, max_size=8),
)
def test_our_bytes_read_as_the_sdks(level, message, fields):
    """Whatever is logged, a collector sees the same record."""
    _same(_by_us(level, message, fields, None), _by_sdk(level, message, fields, None))


def test_the_span_and_the_exception_are_those_of_the_line():
    """Ids, flags and the three attributes of the conventions arrive on both ways."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("work") as s:
        exc = ValueError("no")
        ours = _by_us("error", "failed", {"order": 7}, exc)
        _same(ours, _by_sdk("error", "failed", {"order": 7}, exc))
    assert ours.trace_id.hex() == f"{s.get_span_context().trace_id:032x}"
    assert ours.flags & 1
    keys = {pair.key for pair in ours.attributes}
    assert keys == {"order", "exception.type", "exception.message", "exception.stacktrace"}


def test_a_level_without_a_number_is_information():
    """Its name stays as it was given."""
    line = {"level": "notice", "message": "m", "logger": "x"}
    record = LogRecord.FromString(LineEncoder().encode(line, datetime.now(UTC).timestamp()))
    assert (record.severity_text, record.severity_number) == ("NOTICE", 9)


@pytest.fixture
def receiver():
    with OtlpReceiver() as receiver:
        yield receiver


def _settings(endpoint: str, **telemetry):
    only_logs = {"traces_exporter": ["none"], "metrics_exporter": ["none"]}
    return {"telemetry": only_logs | {"logs_exporter": ["otlp"], "endpoint": endpoint} | telemetry}


def test_somebody_elses_processor_gets_the_records_too(receiver):
    """It sees each line as the SDK's record, and the collector still has it once."""
    exporter = InMemoryLogRecordExporter()
    with capture_telemetry("orders", overrides=_settings(receiver.endpoint)):
        provider = pipeline().provider
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        get_logger("x").info("placed", order_id=7)
        provider.force_flush()
    assert [data.log_record.body for data in exporter.get_finished_logs()] == ["placed"]
    assert [log.attributes for log in receiver.logs if log.body == "placed"] == [{"order_id": 7}]


def test_a_record_of_opentelemetrys_api_takes_the_same_queue(receiver):
    """An instrumentation that logs through the provider needs no other exporter."""
    with capture_telemetry("orders", overrides=_settings(receiver.endpoint)):
        provider = pipeline().provider
        provider.get_logger("theirs").emit(body="by hand", attributes={"a": 1})
        provider.force_flush()
    (log,) = [log for log in receiver.logs if log.body == "by hand"]
    assert (log.service, log.attributes) == ("orders", {"a": 1})


@pytest.mark.parametrize("body", [object(), 1 << 70, {1, 2}, "\ud800"])
def test_a_record_that_cannot_be_encoded_breaks_nobody(receiver, body):
    """Whoever logs it through the API is not told; it is counted and costs no other record."""
    with capture_telemetry("orders", overrides=_settings(receiver.endpoint, span_pipeline="lean")):
        provider = pipeline().provider
        provider.get_logger("theirs").emit(body=body)
        provider.get_logger("theirs").emit(body="by hand")
        provider.force_flush()
        (processor,) = provider._encoders
        assert processor._record.dropped == {"not_encoded": 1}
    assert [log.body for log in receiver.logs].count("by hand") == 1


@pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
def test_no_attributes_are_kept_where_the_limit_is_zero(receiver, monkeypatch):
    """Zero is a limit too."""
    monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "0")
    with capture_telemetry("orders", overrides=_settings(receiver.endpoint)):
        get_logger("x").info("placed", note="abcdef")
        pipeline().provider.force_flush()
    assert [log.attributes for log in receiver.logs if log.body == "placed"] == [{}]


def test_limits_of_the_sdk_are_kept(receiver, monkeypatch):
    """Whoever sets OTEL_LOGRECORD_* gets records that obey."""
    monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    with capture_telemetry("orders", overrides=_settings(receiver.endpoint)):
        get_logger("x").info("placed", note="abcdef")
        pipeline().provider.force_flush()
    assert [log.attributes for log in receiver.logs if log.body == "placed"] == [{"note": "abc"}]


def test_the_plain_pipeline_is_one_setting_away(receiver):
    """With ``sdk`` nothing of ours is between a line and the SDK's own processor."""
    with capture_telemetry(overrides=_settings(receiver.endpoint, span_pipeline="sdk")):
        assert type(pipeline().provider) is SharedResourceLoggerProvider
        get_logger("x").info("placed")
        pipeline().provider.force_flush()
    assert "placed" in [log.body for log in receiver.logs]
