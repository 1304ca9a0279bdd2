"""What is registered with prometheus_client is on the scrape once, and leaves by OTLP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.metrics.export import MetricExportResult

from glam_sdk.testing import OtlpReceiver

from .conftest import Measured, assert_promtool_accepts, measure


@pytest.fixture
def pushed(monkeypatch) -> Iterator[tuple[Measured, OtlpReceiver]]:
    """Give a provider that pushes to a receiver."""
    with OtlpReceiver() as receiver:
        exporter = OTLPMetricExporter(endpoint=f"{receiver.endpoint}/v1/metrics")
        measured = measure(monkeypatch, exporter=exporter)
        yield measured, receiver
        measured.provider.shutdown()


def sent(receiver: OtlpReceiver) -> dict[str, Metric]:
    """Return the metrics of the last push by name; each name is there once."""
    found: dict[str, Metric] = {}
    for resource in receiver.metrics[-1].resource_metrics:
        assert resource.resource.attributes
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name not in found
                found[metric.name] = metric
    return found


def test_each_type_of_prometheus_client_leaves_by_otlp(pushed) -> None:
    """Types, labels, buckets, units and start times are as they were measured."""
    measured, receiver = pushed
    registry = prometheus_client.REGISTRY
    before = time.time_ns()
    jobs = prometheus_client.Counter("jobs", "Jobs.", ["kind"], registry=registry)
    jobs.labels("a").inc(3)
    prometheus_client.Gauge("level", "Level.", registry=registry).set(2.5)
    size = prometheus_client.Histogram(
        "took", "How long.", unit="seconds", buckets=[1, 2], registry=registry
    )
    for value in (0.5, 1.5, 9):
        size.observe(value)
    prometheus_client.Summary("parts", "Parts.", registry=registry).observe(4)
    prometheus_client.Info("build", "Build.", registry=registry).info({"version": "1"})
    assert measured.reader.force_flush()
    got = sent(receiver)

    counter = got["jobs_total"].sum
    assert counter.is_monotonic
    assert (
        counter.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    assert counter.data_points[0].as_double == 3
    assert counter.data_points[0].attributes[0].value.string_value == "a"
    assert before - 10**9 < counter.data_points[0].start_time_unix_nano <= time.time_ns()
    assert got["level"].gauge.data_points[0].as_double == 2.5
    assert got["took_seconds"].unit == "s"
    point = got["took_seconds"].histogram.data_points[0]
    assert list(point.explicit_bounds) == [1, 2]
    assert list(point.bucket_counts) == [1, 1, 1]
    assert (point.count, point.sum) == (3, 11)
    assert not point.HasField("min")
    assert got["parts_count"].sum.data_points[0].as_double == 1
    assert got["parts_sum"].sum.data_points[0].as_double == 4
    assert got["build_info"].gauge.data_points[0].as_double == 1


def test_it_is_on_the_scrape_once_with_its_own_type(measured: Measured) -> None:
    """The bridge adds nothing to the scrape, where prometheus_client's families are already."""
    registry = prometheus_client.REGISTRY
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    prometheus_client.Summary("parts", "Parts.", registry=registry).observe(4)
    prometheus_client.Counter("jobs", "Jobs.", registry=registry).inc()
    measured.meter().create_counter("other.jobs", description="Jobs.").add(1)
    text = measured.text()
    for name in ("parts", "jobs_total", "process_cpu_seconds_total", "other_jobs_total"):
        assert text.count(f"# TYPE {name} ") == 1
    assert "# TYPE parts summary\n" in text
    assert measured.openmetrics().count("# TYPE jobs ") == 1
    assert_promtool_accepts(text)


def test_its_exemplars_leave_with_their_trace(pushed) -> None:
    """An exemplar set by hand has trace and span id at the other end."""
    measured, receiver = pushed
    trace_id, span_id = "ab" * 16, "cd" * 8
    prometheus_client.Counter("jobs", "Jobs.", registry=prometheus_client.REGISTRY).inc(
        1, exemplar={"trace_id": trace_id, "span_id": span_id}
    )
    assert trace_id in measured.openmetrics()
    wanted = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"
    assert trace_id.encode() in measured.scraper.scrape(f"{wanted};encoding=delimited")[0]
    assert measured.reader.force_flush()
    exemplar = sent(receiver)["jobs_total"].sum.data_points[0].exemplars[0]
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == (trace_id, span_id)


def test_instruments_exemplars_leave_by_otlp_although_a_scrape_came_first(pushed, tracer) -> None:
    """A scrape takes nothing from the push; a second push sends only what is new."""
    measured, receiver = pushed
    with tracer.start_as_current_span("work") as span:
        measured.meter().create_counter("c").add(1)
        measured.meter().create_histogram("h").record(1)
    measured.openmetrics()
    measured.openmetrics()
    assert measured.reader.force_flush()
    got = sent(receiver)
    trace_id = f"{span.get_span_context().trace_id:032x}"
    for point in (got["c"].sum.data_points[0], got["h"].histogram.data_points[0]):
        assert [e.trace_id.hex() for e in point.exemplars] == [trace_id]
    assert measured.reader.force_flush()
    assert not sent(receiver)["c"].sum.data_points[0].exemplars
    assert trace_id in measured.openmetrics()


class _AwayAtFirst(OTLPMetricExporter):
    """Fail as when nobody listens, the first time."""

    is_away = True

    def export(self, *args: Any, **kwargs: Any) -> MetricExportResult:
        if self.is_away:
            self.is_away = False
            return MetricExportResult.FAILURE
        return super().export(*args, **kwargs)


def test_an_exemplar_is_pushed_until_a_push_succeeds(monkeypatch, tracer) -> None:
    """A collector that is away for a while costs no metric its trace."""
    with OtlpReceiver() as receiver:
        exporter = _AwayAtFirst(endpoint=f"{receiver.endpoint}/v1/metrics")
        measured = measure(monkeypatch, exporter=exporter)
        with tracer.start_as_current_span("work"):
            measured.meter().create_counter("c").add(1)
        assert not measured.reader.force_flush()
        assert measured.reader.force_flush()
        assert len(sent(receiver)["c"].sum.data_points[0].exemplars) == 1
        measured.provider.shutdown()


def test_an_instrument_wins_over_a_family_of_its_name(pushed) -> None:
    """One name is pushed once."""
    measured, receiver = pushed
    measured.meter().create_counter("level").add(7)
    prometheus_client.Gauge("level", "Level.", registry=prometheus_client.REGISTRY).set(2)
    assert measured.reader.force_flush()
    assert sent(receiver)["level"].sum.data_points[0].as_int == 7
