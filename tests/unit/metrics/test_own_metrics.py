"""Every service shows its process, its event loop, its telemetry's health and its limits."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import time

import pytest
from opentelemetry import trace

from glam_sdk.telemetry.metrics import counter, gauge, histogram
from glam_sdk.telemetry.pipeline.watch import QueueRecord
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
            exporter = 'otel_component_name="traces_exporter/0",otel_component_type="exporter"'
            queue = (
                'otel_component_name="batching_span_processor/0",'
                'otel_component_type="batching_span_processor"'
            )
            assert value(text, f"otel_sdk_exporter_span_exported_total{{{exporter}}}") == 1
            assert value(text, f"otel_sdk_exporter_operation_duration_seconds_count{{{exporter}}}")
            assert value(text, f"otel_sdk_processor_span_processed_total{{{queue}}}") == 1
            assert value(text, f"otel_sdk_processor_span_queue_size{{{queue}}}") == 0
            assert value(text, f"otel_sdk_processor_span_queue_capacity{{{queue}}}") == 2048
            assert pipeline.watch.details()["traces_queued"] == 0
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
