"""Every service shows its process, its event loop, its telemetry's health and its limits."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from opentelemetry import trace

from glam_sdk.telemetry.metrics import counter, gauge, histogram
from glam_sdk.telemetry.pipeline.export_errors import ExportError, describe
from glam_sdk.telemetry.pipeline.watch import QueueRecord, component_of
from glam_sdk.testing import OtlpReceiver, capture_telemetry

from .conftest import assert_promtool_accepts


def value(text: str, series: str) -> float:
    """Return one sample of a scrape."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"{series} is not in:\n{text}"
    return float(found[1])


def test_the_process_is_measured_by_semantic_conventions() -> None:
    """CPU, memory, descriptors, threads and garbage collection; cheap, and on by default."""
    with capture_telemetry("shop") as telemetry:
        gc.collect()
        text = telemetry.scrape()
        assert value(text, 'process_cpu_time_seconds_total{cpu_mode="user"}') > 0
        assert value(text, "process_memory_usage_bytes") > 10e6
        assert value(text, "process_unix_file_descriptor_count") >= 3
        assert value(text, "process_thread_count") >= 1
        assert value(text, "process_uptime_seconds") > 0
        assert value(text, 'cpython_gc_collections_total{cpython_gc_generation="2"}') >= 1
        assert_promtool_accepts(text)
        started = time.perf_counter()
        telemetry.scrape()
        assert time.perf_counter() - started < 1


def test_the_runtime_metrics_can_be_switched_off() -> None:
    """GLAM_TELEMETRY__RUNTIME_METRICS=false leaves a service's own."""
    off = {"telemetry": {"runtime_metrics": False, "metrics_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=off) as telemetry:
        assert "process_cpu_time" not in telemetry.scrape()


async def test_a_blocked_event_loop_is_seen() -> None:
    """The lag is what a callback that was due had to wait."""
    with capture_telemetry("shop") as telemetry:
        async with telemetry.service:
            watch = telemetry.service._pipeline.loop_watch
            watch._due -= 2  # as if the loop had been blocked for two seconds
            deadline = time.monotonic() + 10
            while "glam_event_loop_lag_seconds_count" not in telemetry.scrape():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        assert value(telemetry.scrape(), "glam_event_loop_lag_seconds_sum") >= 2


def test_exports_and_queues_are_on_the_scrape_and_in_the_health_report() -> None:
    """What was exported, how long it took, and what waits."""
    with OtlpReceiver() as receiver:
        overrides = {"telemetry": {"endpoint": receiver.endpoint, "traces_exporter": ["otlp"]}}
        with capture_telemetry("shop", overrides=overrides) as telemetry:
            with trace.get_tracer("test").start_as_current_span("work"):
                pass
            pipeline = telemetry.service._pipeline
            assert not pipeline.flush(10)
            text = telemetry.scrape()
            exporter = (
                'otel_component_name="otlp_http_span_exporter/0",'
                'otel_component_type="otlp_http_span_exporter"'
            )
            queue = (
                'otel_component_name="batching_span_processor/0",'
                'otel_component_type="batching_span_processor"'
            )
            assert value(text, f"otel_sdk_exporter_span_exported_total{{{exporter}}}") == 1
            assert value(text, f"otel_sdk_exporter_operation_duration_seconds_count{{{exporter}}}")
            reader = queue.replace("batching_span_processor", "periodic_metric_reader")
            collected = f"otel_sdk_metric_reader_collection_duration_seconds_count{{{reader}}}"
            assert value(text, collected) >= 1
            assert value(text, f"otel_sdk_processor_span_processed_total{{{queue}}}") == 1
            assert value(text, f"otel_sdk_processor_span_queue_size{{{queue}}}") == 0
            assert value(text, f"otel_sdk_processor_span_queue_capacity{{{queue}}}") == 2048
            details = pipeline.watch.details()
            assert (details["traces_queued"], details["traces_queue_capacity"]) == (0, 2048)
            assert 0 < details["traces_last_export_s"] <= details["traces_longest_export_s"] < 10
            assert "traces_last_error" not in details
            assert_promtool_accepts(text)


async def test_failed_exports_say_how_many_spans_were_lost() -> None:
    """A dead collector is in the metrics and in the report, with the number that it cost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    overrides = {
        "telemetry": {
            "traces_endpoint": f"http://127.0.0.1:{port}/v1/traces",
            "metrics_exporter": ["none"],
            "logs_exporter": ["none"],
            "shutdown_timeout_s": 0.5,
        }
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
        with capture_telemetry("shop", overrides=overrides) as telemetry:
            for _ in range(3):
                with trace.get_tracer("test").start_as_current_span("work"):
                    pass
            pipeline = telemetry.service._pipeline
            await asyncio.to_thread(pipeline.flush, 10)
            text = telemetry.scrape()
            lost = re.search(r"otel_sdk_exporter_span_exported_total\{error_type=.+\} 3\n", text)
            assert lost, text
            check = await pipeline.check()
            assert check.data["traces_failed"] == 1
            assert check.data["traces_last_error"] == "ConnectionRefusedError (Connection refused)"


@pytest.mark.parametrize("status", [401, 500])
async def test_a_refusing_collector_is_named_by_its_status_and_nothing_else(status: int) -> None:
    """Address and headers may hold credentials; neither is in the metrics or in the report."""
    with refusing_server(status) as port:
        address = f"http://user:s3cret@127.0.0.1:{port}/v1/traces?key=s3cret"
        off = {"metrics_exporter": ["none"], "logs_exporter": ["none"]}
        overrides = {"telemetry": {"traces_endpoint": address, **off}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret")
            with capture_telemetry("shop", overrides=overrides) as telemetry:
                with trace.get_tracer("test").start_as_current_span("work"):
                    pass
                await asyncio.to_thread(telemetry.service._pipeline.flush, 10)
                text = telemetry.scrape()
                check = await telemetry.service._pipeline.check()
    assert f'error_type="{status}"' in text
    assert check.data["traces_last_error"] == f"HTTP {status}"
    assert "s3cret" not in f"{text}{check}"


@contextmanager
def refusing_server(status: int) -> Iterator[int]:
    """Answer every request with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_each_reason_for_a_failed_export_has_a_name() -> None:
    """Statuses of HTTP and gRPC, exceptions, and what the system said beneath them."""
    refused = OSError("to host with s3cret failed")
    refused.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "s3cret")
    assert describe(refused).text == "OSError (Connection refused)"
    assert describe(ValueError("s3cret")) == ExportError("ValueError", "ValueError")
    assert describe(None, {"http.response.status_code": 503}) == ExportError("503", "HTTP 503")
    unavailable = describe(ValueError("x"), {"rpc.response.status_code": "UNAVAILABLE"})
    assert unavailable == ExportError("UNAVAILABLE", "UNAVAILABLE")
    assert describe(None) is None


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("signal", "kind"), [("trace", "span"), ("_log", "log")])
def test_exporters_are_named_by_the_semantic_conventions(protocol, signal, kind) -> None:
    """The type of a component is one of the list, or the name of its class."""
    module = importlib.import_module(
        f"opentelemetry.exporter.otlp.proto.{protocol}.{signal}_exporter"
    )
    exporter = getattr(module, f"OTLP{kind.title()}Exporter")(endpoint="http://127.0.0.1:1")
    assert component_of(exporter) == f"otlp_{protocol}_{kind}_exporter"
    assert component_of(SimpleNamespace(_inner=exporter)) == component_of(exporter)
    assert component_of(object()) == "builtins.object"
    exporter.shutdown()


def test_every_signal_is_on_the_scrape_although_nothing_was_lost() -> None:
    """Alerts on a rate need the zero that came before; lost log lines are among them."""
    with OtlpReceiver() as receiver:
        telemetry_settings = {"endpoint": receiver.endpoint}
        with capture_telemetry("shop", overrides={"telemetry": telemetry_settings}) as telemetry:
            text = telemetry.scrape()
            data = asyncio.run(telemetry.service._pipeline.check()).data
    for name in (
        "otel_sdk_exporter_span_exported_total",
        "otel_sdk_exporter_log_exported_total",
        "otel_sdk_exporter_metric_data_point_exported_total",
        "otel_sdk_processor_span_processed_total",
        "otel_sdk_processor_log_processed_total",
        "otel_sdk_processor_span_queue_size",
        "otel_sdk_processor_span_queue_capacity",
        "otel_sdk_processor_log_queue_size",
        "otel_sdk_processor_log_queue_capacity",
    ):
        assert f"\n{name}{{" in text, name
    assert 'glam_log_dropped_lines_total{glam_reason="stdout_lost"} 0\n' in text
    for name in ("log_lines_lost", "log_lines_queued", "log_lines_held_back", "metrics_overflowed"):
        assert data[name] == 0


def test_dropped_items_are_counted_by_their_reason() -> None:
    """A full queue and a late span are two reasons."""
    record = QueueRecord()
    record.drop_items(2)
    record.drop_items(1, "already_shutdown")
    assert record.dropped == {"queue_full": 2, "already_shutdown": 1}


def test_too_many_series_are_counted_as_overflow_with_one_warning(caplog) -> None:
    """The warning names the metric and the label; a metric of ours counts it."""
    overrides = {"telemetry": {"metric_series_limit": 10, "metrics_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        many = counter("limits.requests")
        for number in range(50):
            many.add(1, user=f"u{number}", kind="x")
        text = telemetry.scrape()
        telemetry.scrape()
        assert text.count("\nlimits_requests_total{") == 11
        assert value(text, 'limits_requests_total{otel_metric_overflow="true"}') == 40
        warnings = telemetry.logs("metrics.too_many_series")
        assert [(w["metric"], w["label"], w["limit"]) for w in warnings] == [
            ("limits.requests", "user", 10)
        ]
        series = 'glam_metrics_overflowed_total{glam_metric_name="limits.requests"}'
        assert value(telemetry.scrape(), series) == 1


def test_long_label_values_are_cut_and_added_up() -> None:
    """Two values that are equal after the cut are one series, in every kind of metric."""
    overrides = {"telemetry": {"metric_label_length": 16, "metrics_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        for end in ("a", "b"):
            counter("limits.cut").add(2, path="x" * 100 + end)
            histogram("limits.cut.size").record(1, path="x" * 100 + end)
            gauge("limits.cut.level").set(3, path="x" * 100 + end)
        for _ in range(2):
            text = telemetry.scrape()
            label = f'{{path="{"x" * 15}…"}}'
            assert value(text, f"limits_cut_total{label}") == 4
            assert value(text, f"limits_cut_size_count{label}") == 2
            assert value(text, f"limits_cut_level{label}") == 3
