"""Prove that a line encoded by us reads as the one the SDK encodes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
    detach,
    set_value,
)
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from glam_sdk.context import with_correlation_id, with_request_id
from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_usual import kinds, learn_kind
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


_WORK = st.sampled_from([{}, {"request_id": "r"}, {"correlation_id": "c"}, {"both": "ä" * 60}])


_KINDS = st.tuples(
    st.sampled_from(["debug", "info", "warning"]),
    st.text() | st.sampled_from(["orders", "ö", "x" * 200]),
    st.text() | st.sampled_from(["placed", "file \udcff.txt", "x" * 256, "see amqp://u:p@h"]),
)


@given(_KINDS, st.dictionaries(st.sampled_from("abc"), _SCALARS, max_size=3), _WORK, st.booleans())
def test_a_record_that_was_not_laid_out_is_the_same(kind, fields, ids, in_span):
    """The short way of a usual line gives the bytes of the long one."""
    kept = _Kept()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    chain = LogPipeline(provider=provider, write=lambda _: None)
    context = Context()
    if "request_id" in ids or "both" in ids:
        context = with_request_id(ids.get("request_id") or ids["both"], context)
    if "correlation_id" in ids or "both" in ids:
        context = with_correlation_id(ids.get("correlation_id") or ids["both"], context)
    if in_span:
        span = NonRecordingSpan(SpanContext(2**127, 2**63, is_remote=False))
        context = set_span_in_context(span, context)
    token = attach(context)
    try:
        chain.line(*kind, fields, created=1_764_000_000.5)
        for _ in range(2):  # what comes for the first time goes the long way
            chain.log(*kind, fields, created=1_764_000_000.5)
    finally:
        detach(token)
    processor.shutdown()
    long_way, _, short_way = kept.batch
    assert short_way == long_way


def test_what_was_logged_before_does_not_make_later_lines_dearer():
    """What a record begins with is kept with its kind, however many kinds there were."""
    kept = _Kept()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    chain = LogPipeline(provider=provider, write=lambda _: None)
    for message in (*(f"early {number}" for number in range(1100)), "late"):
        for _ in range(2):
            chain.log("info", "orders", message, {})
    processor.shutdown()
    record = LogRecord.FromString(kinds["info", "late", "orders", "", ""].record_head)
    assert (record.severity_text, record.body.string_value) == ("INFO", "late")


def test_a_usual_line_takes_the_short_way_to_the_exporter(monkeypatch):
    """It is exported once; where somebody wants the SDK's records, as one of these."""
    ways = []
    for name in ("take_line", "take_usual"):
        way = getattr(EncodedLogProcessor, name)
        monkeypatch.setattr(
            EncodedLogProcessor, name, lambda *given, w=way, n=name: (ways.append(n), w(*given))
        )
    kept = _Kept()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    chain = LogPipeline(provider=provider, write=lambda _: None)
    learn_kind(("info", "placed", "orders", "", ""))
    chain.line("info", "orders", "placed", {"seen_before": 1})
    chain.log("info", "orders", "placed", {"seen_before": 1})
    wide = {f"field_{number}": number for number in range(130)}
    chain.line("info", "orders", "placed", wide)
    chain.log("info", "orders", "placed", wide)
    exporter = InMemoryLogRecordExporter()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    chain.log("info", "orders", "placed", {"seen_before": 1})
    processor.shutdown()
    assert ways == ["take_line", "take_usual", "take_line", "take_line"]
    assert (len(kept.batch), len(exporter.get_finished_logs())) == (5, 1)


def test_what_an_exporter_logs_is_not_exported_the_short_way_either():
    """A dead collector must not feed itself; the line itself is written."""
    kept, lines = _Kept(), []
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    chain = LogPipeline(provider=provider, write=lines.append)
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        for _ in range(3):
            chain.log("warning", "orders", "refused", {"seen_before": 1})
    finally:
        detach(token)
    processor.shutdown()
    assert (len(lines), kept.batch) == (3, [])


def test_an_id_that_json_cannot_carry_costs_no_second_record():
    """Its line turns out to be none of the usual ones: before it is exported, not after."""
    kept, lines = _Kept(), []
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    chain = LogPipeline(provider=provider, write=lines.append)
    span = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
    context = with_correlation_id("\udc80", with_request_id("r", set_span_in_context(span)))
    token = attach(context)
    try:
        for _ in range(3):
            chain.log("info", "orders", "placed", {"seen_before": 1})
    finally:
        detach(token)
    processor.shutdown()
    assert (len(lines), len(kept.batch)) == (3, 3)
