"""The scrape is right in every format: names, types, units, exemplars, collisions."""

from __future__ import annotations

import gzip
import logging
import re

import httpx
import prometheus_client
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import Buckets
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from glam_sdk.api.metrics import create_metrics_router
from glam_sdk.telemetry import prometheus_names as names
from glam_sdk.telemetry.pipeline.merging import downscale
from glam_sdk.telemetry.pipeline.prometheus_accept import choose_format
from glam_sdk.telemetry.pipeline.prometheus_samples import number

from .conftest import Measured, assert_promtool_accepts, measure

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; version=0.0.4"),
        (PROMETHEUS_2, "application/openmetrics-text; version=1.0.0"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=1.0.0", "version=1.0.0; charset=utf-8; escaping=underscores"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", "escaping=allow-utf-8"),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=2.0.0", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;q=0", "text/plain; version=0.0.4"),
        (";;q=,=;q=x", "text/plain; version=0.0.4"),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, wanted: str) -> None:
    """Weights count, unknown versions are passed over, and text 0.0.4 is for everybody else."""
    assert wanted in choose_format(accept).content_type


@given(st.text())
def test_no_accept_header_breaks_the_scrape(accept: str) -> None:
    """Whatever a client sends, there is a format."""
    assert choose_format(accept).content_type


def test_names_carry_unit_and_total_and_promtool_finds_nothing_to_say(measured: Measured) -> None:
    """OpenTelemetry names become Prometheus ones by the specification's rules."""
    meter = measured.meter()
    meter.create_counter("jobs.done", unit="{job}", description="Jobs done.").add(2, {"a.b": "x"})
    meter.create_histogram("job.duration", unit="s", description="How long.").record(0.2)
    meter.create_gauge("disk.used", unit="1", description="Share.").set(0.5)
    meter.create_up_down_counter("queue.size", unit="By", description="Bytes.").add(7)
    text = measured.text()
    assert 'jobs_done_total{a_b="x"} 2\n' in text
    assert 'job_duration_seconds_bucket{le="+Inf"} 1\n' in text
    assert "disk_used_ratio 0.5\n" in text
    assert "queue_size_bytes 7\n" in text
    assert "# TYPE job_duration_seconds histogram\n" in text
    assert 'target_info{service_instance_id="one",service_name="shop"} 1\n' in text
    assert "otel_scope" not in text
    assert "# UNIT job_duration_seconds seconds\n" in measured.openmetrics()
    assert_promtool_accepts(text)


def test_the_text_format_1_0_keeps_dots_where_they_are_negotiated(measured: Measured) -> None:
    """Names and labels that need quotes get them, in samples as in comments."""
    meter = measured.meter()
    meter.create_counter("jobs.done").add(2, {"job.kind": "x", "ok": "y"})
    meter.create_histogram("plain", unit="s").record(1)
    prometheus_client.Counter("own", "Own.", registry=prometheus_client.REGISTRY).inc()
    text = measured.text("text/plain; version=1.0.0; escaping=allow-utf-8")
    assert '# TYPE "jobs.done_total" counter\n' in text
    assert '{"jobs.done_total","job.kind"="x",ok="y"} 2\n' in text
    assert 'plain_seconds_bucket{le="+Inf"} 1\n' in text
    assert "own_total 1.0\n" in text
    assert '"service.name"="shop"' in text


def test_exemplars_survive_scrapes_on_counters_and_on_every_bucket(measured, tracer) -> None:
    """Each scrape shows the newest exemplar of each bucket with its trace and span id."""
    histogram = measured.meter().create_histogram(
        "d", unit="s", explicit_bucket_boundaries_advisory=[1.0, 2.0]
    )
    counter = measured.meter().create_counter("c")
    ids = []
    for value in (0.5, 1.5, 9.0):
        with tracer.start_as_current_span("work") as span:
            histogram.record(value)
            counter.add(1)
            ids.append(f"{span.get_span_context().trace_id:032x}")
    for _ in range(3):
        text = measured.openmetrics()
        buckets = dict(
            re.findall(r'd_seconds_bucket\{le="(.+?)"\} \d+ # \{.*trace_id="(\w+)"', text)
        )
        assert buckets == {"1.0": ids[0], "2.0": ids[1], "+Inf": ids[2]}
        assert re.search(r'c_total 3 # \{span_id="\w{16}",trace_id="\w{32}"\} 1\.0 \d+\.\d+', text)
    assert " # {" not in measured.text()


def test_exponential_buckets_have_exemplars_each(monkeypatch, tracer) -> None:
    """Shown as classic buckets, from each a trace can be reached, also at the second scrape."""
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    measured = measure(monkeypatch, views=(view,))
    seconds = measured.meter().create_histogram("d", "s")
    traces = []
    for value in (100.0, 0.02, 0.7, 5.0, 0.01):
        with tracer.start_as_current_span("s") as span:
            seconds.record(value)
            traces.append(f"{span.get_span_context().trace_id:032x}")
    for _ in range(2):
        lines = [line for line in measured.openmetrics().splitlines() if " # {" in line]
        assert [trace for trace in traces if any(trace in line for line in lines)] == traces
        assert len(lines) == 5
    wanted = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"
    body, _ = measured.scraper.scrape(f"{wanted};encoding=delimited")
    places = [body.find(trace.encode()) for trace in traces]
    assert -1 not in places
    assert places == sorted(places)  # Prometheus refuses one that is older than the one before
    measured.provider.shutdown()


def test_a_measurement_without_a_sampled_span_leaves_no_exemplar(measured: Measured) -> None:
    """An exemplar that leads to no trace is none."""
    measured.meter().create_counter("c").add(1)
    assert " # {" not in measured.openmetrics()


def test_scopes_with_one_name_are_merged(measured: Measured) -> None:
    """Two libraries that count under one name give one family and one series: their sum."""
    for scope in ("one", "two"):
        meter = measured.meter(scope)
        meter.create_counter("calls").add(2, {"k": "v"})
        meter.create_histogram("d", unit="s").record(3)
    text = measured.text()
    assert text.count("# TYPE calls_total") == 1
    assert 'calls_total{k="v"} 4\n' in text
    assert "d_seconds_count 2\n" in text
    assert_promtool_accepts(text)


def test_what_cannot_be_merged_is_refused_with_one_warning(measured, caplog) -> None:
    """Another type, or a sample name that is taken, would cost the whole scrape."""
    caplog.set_level(logging.WARNING)
    measured.meter("one").create_counter("calls").add(1)
    measured.meter("two").create_histogram("calls.total").record(1)  # calls_total is taken
    measured.meter("one").create_histogram("size").record(1)
    measured.meter("two").create_gauge("size.count").set(5)  # size_count is taken
    prometheus_client.Gauge("size_sum", "x", registry=prometheus_client.REGISTRY).set(1)
    text = measured.text()
    measured.text()
    assert "size_count 1\n" in text
    assert "size_sum 1\n" in text
    collisions = [r for r in caplog.records if r.message == "metrics.name_collision"]
    assert sorted(r.metric for r in collisions) == ["calls.total", "size.count", "size_sum"]


def test_histograms_with_other_buckets_are_refused(measured, caplog) -> None:
    """Counts in different buckets have no sum; the first scope's stay."""
    for scope, bounds in (("one", [1.0]), ("two", [2.0])):
        measured.meter(scope).create_histogram(
            "d", explicit_bucket_boundaries_advisory=bounds
        ).record(1)
    assert "d_count 1\n" in measured.text()
    assert [r.metric for r in caplog.records if r.message == "metrics.buckets_differ"] == ["d"]


def test_an_exponential_histogram_becomes_classic_buckets(monkeypatch, tracer) -> None:
    """The text formats know no native histograms; the bounds stay where they are as it grows."""
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    measured = measure(monkeypatch, views=(view,))
    histogram = measured.meter().create_histogram("d", unit="s")
    for value in (0.0, 1.0, 1.1, 3.0):
        histogram.record(value)
    before = set(re.findall(r'le="([^"]+)"', measured.text()))
    with tracer.start_as_current_span("work"):
        histogram.record(4.0)
    text = measured.openmetrics()
    assert before <= set(re.findall(r'le="([^"]+)"', text)) | {"0.0"}
    family = next(f for f in parse_openmetrics(text) if f.name == "d_seconds")
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert buckets["0.0"] == 1
    assert buckets["4.0"] == buckets["+Inf"] == 5
    assert "trace_id" in text
    measured.provider.shutdown()


@given(
    offset=st.integers(-50, 50),
    counts=st.lists(st.integers(0, 9), max_size=40),
    by=st.integers(0, 5),
)
def test_downscaling_keeps_every_count(offset: int, counts: list[int], by: int) -> None:
    """Joined buckets hold what their parts held, where they held it."""
    joined = downscale(Buckets(offset, counts), by)
    assert sum(joined.bucket_counts) == sum(counts)
    if counts:
        assert joined.offset == offset >> by


@given(
    name=st.from_regex(r"[a-zA-Z][a-zA-Z0-9_./\-]{0,30}", fullmatch=True),
    unit=st.sampled_from(["", "s", "By", "1", "{x}", "By/s", "%"]),
    kind=st.sampled_from(["counter", "gauge", "histogram"]),
)
def test_every_instrument_name_becomes_a_valid_metric_name(name, unit, kind) -> None:
    """Whatever OpenTelemetry allows, Prometheus can read."""
    shown, _ = names.metric_name(name, unit, kind)
    assert names.is_legacy(shown)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4))
def test_every_label_is_readable_again(attributes) -> None:
    """Values survive the escapes; keys that become equal share a label."""
    line = f"m{{{names.labels(attributes)}}} 1\n" if attributes else "m 1\n"
    sample = next(iter(parse_text(f"# TYPE m gauge\n{line}"))).samples[0]
    assert sorted(";".join(sample.labels.values()).split(";")) == sorted(
        ";".join(str(v) for v in attributes.values()).split(";")
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (3, "3"),
        (0.5, "0.5"),
    ],
)
def test_numbers_of_every_kind_are_readable(value: float, written: str) -> None:
    """Infinity and NaN are written as Go reads them."""
    assert number(value) == written


def test_a_collector_that_raises_does_not_cost_the_scrape(measured, caplog) -> None:
    """The rest is there, and the log names the culprit once."""

    class Bad:
        def collect(self):
            raise RuntimeError("broken")

        def describe(self):
            return []

    prometheus_client.REGISTRY.register(Bad())
    prometheus_client.Counter("own", "Own.", registry=prometheus_client.REGISTRY).inc()
    assert "own_total 1.0" in measured.text()
    assert "own_total 1.0" in measured.text()
    assert len([r for r in caplog.records if r.message == "metrics.collector_failed"]) == 1


async def test_the_endpoint_zips_what_is_worth_it(measured: Measured) -> None:
    """With Accept-Encoding: gzip a long body is compressed; without, it is not."""
    app = FastAPI()
    app.include_router(create_metrics_router(measured.scraper.scrape, "/metrics"))
    for index in range(100):
        measured.meter().create_counter("jobs").add(1, {"n": str(index)})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

        async def ask(coding: str) -> httpx.Response:
            async with client.stream("GET", "/metrics", headers={"accept-encoding": coding}) as got:
                got.raw = b"".join([part async for part in got.aiter_raw()])
                return got

        plain, zipped = await ask("identity"), await ask("br, gzip;q=0.5")
        assert "content-encoding" not in plain.headers
        assert zipped.headers["content-encoding"] == "gzip"
        assert gzip.decompress(zipped.raw) == plain.raw
        assert "content-encoding" not in (await ask("gzip;q=0")).headers


@pytest.mark.parametrize(
    ("name", "unit", "kind", "legacy", "utf8"),
    [
        ("jobs.total", "", "counter", "jobs", "jobs"),
        ("job.seconds", "s", "counter", "job_seconds", "job_seconds"),
        ("job.time", "s", "histogram", "job_time_seconds", "job.time_seconds"),
        ("cpu.ratio", "1", "gauge", "cpu_ratio", "cpu_ratio"),
        ("calls", "1/s", "gauge", "calls_per_second", "calls_per_second"),
        ("calls", "{call}/mo", "gauge", "calls_per_month", "calls_per_month"),
        ("disk", "TiBy", "gauge", "disk_tebibytes", "disk_tebibytes"),
        ("disk", "MBy", "gauge", "disk_megabytes", "disk_megabytes"),
        ("total", "", "counter", "total", "total"),
    ],
)
def test_a_suffix_that_a_name_has_already_is_not_said_twice(name, unit, kind, legacy, utf8) -> None:
    """Neither a unit nor ``_total``, whatever the character before it is."""
    assert names.metric_name(name, unit, kind)[0] == legacy
    assert names.metric_name(name, unit, kind, utf8=True)[0] == utf8


def test_dotted_names_of_prometheus_client_are_escaped_where_nobody_takes_them(
    measured, caplog
) -> None:
    """Also by protobuf, and a name that is taken once it is escaped is refused."""
    registry = prometheus_client.REGISTRY
    prometheus_client.Gauge("own.level", "Own.", ["kind.of"], registry=registry).labels("a").set(1)
    prometheus_client.Gauge("taken.level", "Taken.", registry=registry).set(2)
    measured.meter().create_gauge("taken.level").set(3)
    wanted = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"
    body, _ = measured.scraper.scrape(f"{wanted};encoding=delimited")
    assert b"own_level" in body
    assert b"kind_of" in body
    assert b"own.level" not in body
    assert body.count(b"taken_level") == 1
    assert 'own_level{kind_of="a"} 1.0\n' in measured.text()
    assert measured.text().count("# TYPE taken_level ") == 1
    assert [r.metric for r in caplog.records if r.message == "metrics.name_collision"] == [
        "taken.level"
    ]
    utf8 = measured.text("text/plain; version=1.0.0; escaping=allow-utf-8")
    assert '{"own.level","kind.of"="a"} 1.0\n' in utf8
