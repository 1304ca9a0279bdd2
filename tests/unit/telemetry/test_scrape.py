"""Prove that no measurement, however hostile, makes a scrape unreadable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import glam_sdk
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.prometheus import render

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KINDS = ["counter", "updown", "gauge", "histogram", "negative bounds", "exponential"]
NAMES = st.from_regex(
    r"[a-z][a-z_./\-]{0,6}(_total|_count|_sum|_bucket|_created|_info)?", fullmatch=True
)
UNITS = st.sampled_from(["", "s", "By", "1", "{thing}", "m/s", "%", "bytes", "weird unit"])
KEYS = st.sampled_from(
    ["le", "quantile", "__name__", "service.name", "a-b", "a.b", "1st", "ключ", "", 'q"', "x\ny"]
) | st.text(max_size=6)
VALUES = st.text(st.characters(), max_size=8) | st.booleans() | st.integers() | st.floats()
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
MEASUREMENTS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from("ab"), NAMES, UNITS, ATTRIBUTES, NUMBERS),
    max_size=8,
)


def provider_with_reader():
    reader = ScrapeAndPushReader(None, interval_s=60)
    views = [
        View(instrument_name="exponential*", aggregation=ExponentialBucketHistogramAggregation())
    ]
    provider = MeterProvider(
        [reader], Resource({"service.name": "test"}), views=views, shutdown_on_exit=False
    )
    return provider, reader


def measure(meter, kind, name, unit, attributes, value):
    if kind == "counter":
        meter.create_counter(name, unit).add(abs(value), attributes)
    elif kind == "updown":
        meter.create_up_down_counter(name, unit).add(value, attributes)
    elif kind == "gauge":
        meter.create_gauge(name, unit).set(value, attributes)
    elif kind == "negative bounds":
        bounds = [-10.0, 0.0, 5.0]
        meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds).record(
            value, attributes
        )
    else:
        name = f"exponential{name}" if kind == "exponential" else name
        meter.create_histogram(name, unit).record(abs(value), attributes)


def scrapes(reader, registry) -> tuple[str, str]:
    """Render both formats beside a registry; read them with prometheus_client's parsers."""
    data = reader.snapshot()
    resource = Resource({"service.name": "test", "odd key": 'a"\n\\'})
    before, prometheus_client.REGISTRY = prometheus_client.REGISTRY, registry
    try:
        text = render(data, resource, "")[0].decode()
        openmetrics = render(data, resource, OPENMETRICS)[0].decode()
    finally:
        prometheus_client.REGISTRY = before
    assert list(parse_text(text))
    assert list(parse_openmetrics(openmetrics))
    for body in (text, openmetrics):
        types = Counter(line.split()[2] for line in body.split("\n") if line.startswith("# TYPE"))
        assert [name for name, count in types.items() if count > 1] == []
        series = Counter(
            line.rpartition(" ")[0]
            for line in body.split("\n")
            if line and not line.startswith("#")
        )
        assert [line for line, count in series.items() if count > 1] == []
    return text, openmetrics


@settings(max_examples=200)
@given(MEASUREMENTS, st.sets(NAMES, max_size=3))
def test_whatever_is_measured_both_formats_can_be_read(measurements, registered):
    """All kinds, names that collide, hostile labels, and a registry that has the same names."""
    provider, reader = provider_with_reader()
    for kind, scope, *what in measurements:
        measure(provider.get_meter(scope), kind, *what)
    registry = CollectorRegistry()
    for number, name in enumerate(sorted(registered)):
        made = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Summary)
        clean = "".join(c if c.isalnum() else "_" for c in name)
        try:
            made[number % 3](clean, "help", registry=registry)
        except ValueError:
            continue  # prometheus_client itself refuses the name
    scrapes(reader, registry)
    provider.shutdown()


@pytest.mark.parametrize("value", [0.0, 1.5, 1e308, 5e-324, 2.0**-1022])
def test_an_exponential_histogram_takes_any_number(value):
    """Its buckets stay finite and in order at the ends of what a float can be."""
    provider, reader = provider_with_reader()
    histogram = provider.get_meter("a").create_histogram("exponential")
    for factor in (1.0, 0.5, 0.1):
        histogram.record(value * factor)
    text, _ = scrapes(reader, CollectorRegistry())
    assert 'exponential_bucket{le="+Inf"} 3' in text


def test_our_label_for_buckets_is_not_the_authors():
    """An attribute ``le`` does not make a bucket with two bounds."""
    provider, reader = provider_with_reader()
    histogram = provider.get_meter("a").create_histogram(
        "h", explicit_bucket_boundaries_advisory=[1]
    )
    histogram.record(0.5, {"le": "mine"})
    text, _ = scrapes(reader, CollectorRegistry())
    (family,) = [f for f in parse_text(text) if f.name == "h"]
    bounds = [s.labels["le"] for s in family.samples if s.name == "h_bucket"]
    assert bounds == ["1.0", "+Inf"]
    assert "mine" in text


def test_a_running_service_can_be_scraped_again_and_again(telemetry):
    """Values add up over scrapes; exemplars lead to the trace each time, in OpenMetrics alone."""
    counter = metrics.get_meter("a").create_counter("orders.placed", unit="{order}")
    with glam_sdk.span("work") as span:
        counter.add(1, {"shop": "a"})
    for _ in range(3):
        assert 'orders_placed_total{shop="a"} 1' in telemetry.scrape()
        openmetrics = telemetry.scrape(openmetrics=True)
        assert f'trace_id="{span.get_span_context().trace_id:032x}"' in openmetrics
        assert openmetrics.endswith("# EOF\n")
    assert "trace_id" not in telemetry.scrape().partition("target_info")[0]
    counter.add(1, {"shop": "a"})
    assert 'orders_placed_total{shop="a"} 2' in telemetry.scrape()


def test_without_metrics_the_registry_is_still_scraped():
    """``OTEL_SDK_DISABLED`` switches our metrics off, not a service's own."""
    body, _ = render(None, Resource({"service.name": "test"}), "")
    assert b"python_info" in body


def test_a_service_is_scraped_from_a_fresh_process():
    """The whole way, without a test's fixtures: init, measure, scrape."""
    code = (
        "import glam_sdk, json\nfrom opentelemetry import metrics\n"
        "service = glam_sdk.init('orders')\n"
        "metrics.get_meter('a').create_histogram('h', unit='s').record(0.2)\n"
        "print(json.dumps(service.scrape()[0].decode()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    body = json.loads(done.stdout.splitlines()[-1])
    assert {f.name for f in parse_text(body)} >= {"h_seconds", "target_info", "python_info"}
