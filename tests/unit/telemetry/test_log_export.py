"""Prove that log lines leave by OTLP where that is wanted, and never feed themselves."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

import glam_sdk
from glam_sdk.context import with_correlation_id
from glam_sdk.telemetry.logs import get_logger, pipeline
from glam_sdk.testing import OtlpReceiver, capture_telemetry, free_port
from tests.unit.telemetry.conftest import wait_until


@pytest.fixture
def records(telemetry):
    """The log records of the captured service, kept in memory."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    pipeline().provider = provider
    return lambda: [data.log_record for data in exporter.get_finished_logs()]


@pytest.fixture
def receiver():
    with OtlpReceiver() as receiver:
        yield receiver


def exporting(endpoint: str):
    """Settings that send log records, and nothing else."""
    return {"telemetry": {
        "traces_exporter": ["none"], "metrics_exporter": ["none"], "logs_exporter": ["otlp"],
        "endpoint": endpoint, "shutdown_timeout_s": 0.5,
    }}  # fmt: skip


def test_a_record_has_what_the_line_has(telemetry, records):
    """Severity, body, time, ids and fields; the trace is the record's own, not an attribute."""
    token = attach(with_correlation_id("corr_1"))
    with glam_sdk.span("work") as span:
        get_logger("orders").warning("placed", order={"id": 7, "token": "x"}, none=None)
    detach(token)
    (record,) = records()
    assert (record.body, record.severity_text, record.severity_number.value) == (
        *("placed", "WARNING"),
        13,
    )
    assert record.trace_id == span.get_span_context().trace_id
    assert record.span_id == span.get_span_context().span_id
    assert record.timestamp > 1_700_000_000 * 10**9
    assert dict(record.attributes) == {
        "correlation_id": "corr_1",
        "order": {"id": 7, "token": "REDACTED:token"},
        "none": None,
    }


def test_an_exception_has_the_attributes_of_the_conventions(telemetry, records):
    """Type, message and stack trace are where every tool looks for them."""
    logging.getLogger("x").error("failed", exc_info=ValueError("no"))
    attributes = records()[0].attributes
    assert attributes["exception.type"] == "ValueError"
    assert attributes["exception.message"] == "no"
    assert "ValueError: no" in attributes["exception.stacktrace"]


def test_nothing_is_emitted_while_the_exporter_works(telemetry, records):
    """Its own lines are written, but not sent: sending them would make more of them."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    get_logger("x").error("from within")
    logging.getLogger("opentelemetry.exporter").error("from within")
    detach(token)
    assert records() == []
    assert len(telemetry.logs("from within")) == 2


def test_what_is_said_of_a_record_is_no_record(telemetry, records):
    """The SDK warns of each value it cuts, and would cut the warning's, without an end."""

    class Talkative(LogRecordProcessor):
        def on_emit(self, log_record):
            logging.getLogger("opentelemetry.sdk").warning("cut %s", log_record.log_record.body)

        def shutdown(self):
            """Hold nothing."""

        def force_flush(self, timeout_millis=30_000):
            return True

    pipeline().provider.add_log_record_processor(Talkative())
    get_logger("x").info("long", a="x" * 100)
    assert [record.body for record in records()] == ["long"]
    assert len(telemetry.logs("cut long")) == 1


def test_a_failing_provider_costs_nothing_but_the_record(telemetry, records, monkeypatch):
    """The line is written, the caller goes on, and the fault is told."""

    class Broken(LoggerProvider):
        def get_logger(self, *_args, **_kwargs):
            raise RuntimeError("broken")

    pipeline().provider = Broken(shutdown_on_exit=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTEST_VERSION")
    get_logger("x").info("kept", a=1)
    assert telemetry.logs("kept")[0]["a"] == 1


def test_more_fields_than_a_record_may_have_are_left_out(telemetry, records):
    """The line has them all; the SDK does not have to warn."""
    get_logger("x").info("many", **{f"f{n}": n for n in range(200)})
    assert len(records()[0].attributes) == 120
    assert telemetry.logs("many")[0]["f199"] == 199


def test_lines_arrive_at_a_collector(receiver, monkeypatch):
    """With an endpoint every line is sent too, decoded here by opentelemetry-proto."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    with capture_telemetry("orders", overrides=exporting(receiver.endpoint)):
        with glam_sdk.span("work") as span:
            logging.getLogger("x").warning("placed", extra={"order_id": 7, "items": [1, {"a": 2}]})
        glam_sdk.shutdown()
    (log,) = [log for log in receiver.logs if log.body == "placed"]
    assert (log.service, log.severity) == ("orders", "WARNING")
    assert log.trace_id == f"{span.get_span_context().trace_id:032x}"
    assert log.attributes == {"order_id": 7, "items": [1, {"a": 2}]}


def test_without_an_endpoint_nothing_is_built(telemetry):
    """No provider, no queue, no thread."""
    assert pipeline().provider is None


def test_a_dead_collector_does_not_feed_itself(monkeypatch):
    """Its failures are written a bounded number of times and never become records."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with capture_telemetry(overrides=exporting(endpoint)) as telemetry:
        emitted = []
        provider = pipeline().provider
        provider.add_log_record_processor(SimpleLogRecordProcessor(_Keeping(emitted)))
        get_logger("x").info("one")
        wait_until(lambda: len(telemetry.logs()) > 1)
        provider.force_flush(200)
        own = [entry for entry in telemetry.logs() if entry["logger"].startswith("opentelemetry")]
    assert own
    assert len(own) < 10
    assert emitted == ["one"]


class _Keeping(InMemoryLogRecordExporter):
    def __init__(self, bodies):
        super().__init__()
        self._bodies = bodies

    def export(self, batch):
        self._bodies.extend(data.log_record.body for data in batch)
        return super().export(batch)
