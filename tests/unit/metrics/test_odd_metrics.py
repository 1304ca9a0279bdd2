"""One odd metric costs itself at most: no scrape in any format, and no push."""

from __future__ import annotations

from collections.abc import Iterator

import prometheus_client
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Exemplar

from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup
from glam_sdk.testing import OtlpReceiver

from .conftest import OPENMETRICS, Measured, measure

UTF8 = "text/plain; version=1.0.0; escaping=allow-utf-8"
PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
FORMATS = ["", UTF8, OPENMETRICS, PROTOBUF]


class Odd:
    """Show one family, as a service's own collector may."""

    def __init__(self, family: RegistryMetric) -> None:
        self.family = family

    def collect(self) -> list[RegistryMetric]:
        return [self.family]

    def describe(self) -> list[RegistryMetric]:
        return []


def family(kind: str = "gauge", text: str = "Odd.", **sample: object) -> RegistryMetric:
    """Return a family ``odd`` with one sound sample and one that may not be."""
    found = RegistryMetric("odd", text, kind)
    name = {"counter": "odd_total", "histogram": "odd_bucket"}.get(kind, "odd")
    sound = {"labels": {"n": "sound", "le": "1"} if kind == "histogram" else {"n": "sound"}}
    found.add_sample(name, **{**sound, "value": 1.0})
    found.add_sample(name, **{"labels": {"n": "odd"}, "value": 1.0, **sample})
    return found


ODD = {
    "surrogate-in-label": family(labels={"n": "a\udc80"}),
    "surrogate-in-help": family(text="a\udc80"),
    "number-as-label": family(labels={"n": 5}),
    "none-as-label": family(labels={"n": None}),
    "none-as-value": family(value=None),
    "text-as-value": family(value="x"),
    "huge-integer": family(value=2**2000),
    "not-a-number-in-bucket": family("histogram", labels={"le": "2"}, value=float("nan")),
    "falling-buckets": family("histogram", labels={"n": "sound", "le": "2"}, value=0.0),
    "bucket-without-bound": family("histogram"),
    "bucket-of-no-number": family("histogram", labels={"le": "wide"}),
    "negative-bucket": family("histogram", labels={"le": "+Inf"}, value=-5),
    "exemplar-on-gauge": family(exemplar=Exemplar({"trace_id": "a"}, 1.0, 1.0)),
    "exemplar-of-no-number": family("counter", exemplar=Exemplar({"a": "b"}, None, 1.0)),
    "label-name": family(labels={"a b.c": "x", "n": "odd"}),
    "no-labels": family(labels=None),
}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    """Run one receiver for all tests; each looks at the last push."""
    with OtlpReceiver() as running:
        yield running


@pytest.fixture
def pushed(monkeypatch, receiver: OtlpReceiver) -> Iterator[tuple[Measured, OtlpReceiver]]:
    """Give a provider that pushes to the receiver."""
    exporter = OTLPMetricExporter(endpoint=f"{receiver.endpoint}/v1/metrics")
    measured = measure(monkeypatch, exporter=exporter)
    yield measured, receiver
    measured.provider.shutdown()


def sound(measured: Measured, accept: str) -> None:
    """Assert that a scrape shows what has nothing odd about it."""
    body, _ = measured.scraper.scrape(accept)
    assert b"fine_total" in body or b"fine" in body
    assert b"jobs" in body
    body.decode("utf-8", "strict" if accept != PROTOBUF else "replace")
    if accept != PROTOBUF and b"odd_bucket" not in body:  # those are wrong, and readable
        measured.text(accept)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_family_of_prometheus_client_costs_no_scrape_and_no_push(
    name, pushed, tmp_path
) -> None:
    """In every format, alone and as one of several workers, the others are there."""
    measured, receiver = pushed
    prometheus_client.REGISTRY.register(Odd(ODD[name]))
    prometheus_client.Counter("fine", "Fine.", registry=prometheus_client.REGISTRY).inc()
    measured.meter().create_counter("jobs").add(1)
    for accept in FORMATS:
        sound(measured, accept)
    assert measured.reader.force_flush()
    names = {
        metric.name
        for resource in receiver.metrics[-1].resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {"fine_total", "jobs"} <= names
    other = WorkerGroup(tmp_path, measured.scraper._snapshot)
    other.join()
    measured.scraper.join_workers("", tmp_path)
    try:
        for accept in FORMATS:
            sound(measured, accept)
    finally:
        measured.scraper.leave_workers()
        other.leave()


def test_only_the_odd_sample_is_lost_or_made_plain(measured: Measured) -> None:
    """A lone surrogate becomes a question mark; what has no value is left out."""
    prometheus_client.REGISTRY.register(Odd(ODD["surrogate-in-label"]))
    text = measured.text()
    assert 'odd{n="sound"} 1.0\n' in text
    assert 'odd{n="a?"} 1.0\n' in text


def test_a_surrogate_in_our_own_metric_costs_no_push(pushed) -> None:
    """Attributes are made plain; what has an odd description leaves without the others' loss."""
    measured, receiver = pushed
    measured.meter().create_counter("odd", description="a\udc80").add(1, {"n": "a\udc80"})
    measured.meter().create_counter("jobs").add(1)
    prometheus_client.Counter("fine", "Fine.", registry=prometheus_client.REGISTRY).inc()
    for accept in FORMATS:
        sound(measured, accept)
    assert measured.reader.force_flush()
    (scope,) = [
        scope
        for resource in receiver.metrics[-1].resource_metrics
        for scope in resource.scope_metrics
        if scope.scope.name == "test"
    ]
    assert "jobs" in {metric.name for metric in scope.metrics}


def test_a_metric_that_cannot_be_encoded_is_left_out_of_the_push_with_one_warning(
    pushed, caplog
) -> None:
    """Whatever the reason is, everything else leaves."""
    measured, receiver = pushed
    measured.meter().create_counter("jobs").add(1)
    collect = measured.reader.limits.apply

    def with_odd_metric(data):
        found = collect(data)
        odd = Metric("odd", "a\udc80", "", Gauge([NumberDataPoint({}, 0, 1, 1)]))
        found.resource_metrics[0].scope_metrics[0].metrics.append(odd)
        return found

    measured.reader.limits.apply = with_odd_metric
    for _ in range(2):
        assert measured.reader.force_flush()
    names = [
        metric.name
        for resource in receiver.metrics[-1].resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert "jobs" in names
    assert "odd" not in names
    said = [r for r in caplog.records if r.message == "metrics.not_exportable"]
    assert [r.metric for r in said] == ["odd"]
