"""Measure what a measurement and a scrape cost, beside prometheus_client and the plain SDK.

``python -m benchmarks.metrics`` prints the tables. Each figure is the CPU time of one thread, the
best of several rounds in which the peers take turns, because a busy machine only ever adds.
``opentelemetry-exporter-prometheus`` is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import prometheus_client
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry.conventions import HTTP_DURATION_BUCKETS
from glam_sdk.telemetry.instruments import Counter, Histogram
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader, build_meter_provider
from glam_sdk.telemetry.pipeline.scrape import Scraper

Call = Callable[[], object]
_LABELS: Final = {"method": "GET", "route": "/orders/{id}", "status": "200"}
_CALLS: Final = 5000
_ROUNDS: Final = 15
_SERIES: Final = 2000


@dataclass(frozen=True, slots=True)
class Peer:
    """Name two calls: one on a counter, one on a histogram."""

    name: str
    count: Call
    record: Call


def peers() -> list[Peer]:
    """Return everybody who measures."""
    return [
        *_prometheus(),
        _sdk("OTel SDK, one reader", 1),
        _sdk("OTel SDK, two readers", 2),
        *_ours(),
    ]


def _prometheus() -> Iterator[Peer]:
    registry = prometheus_client.CollectorRegistry()
    names = list(_LABELS)
    counter = prometheus_client.Counter("c", "C.", names, registry=registry)
    histogram = prometheus_client.Histogram(
        "h", "H.", names, buckets=HTTP_DURATION_BUCKETS, registry=registry
    )
    values = tuple(_LABELS.values())
    yield Peer(
        "prometheus_client, labels()",
        lambda: counter.labels(*values).inc(),
        lambda: histogram.labels(*values).observe(0.03),
    )
    one, other = counter.labels(*values), histogram.labels(*values)
    yield Peer("prometheus_client, child kept", one.inc, lambda: other.observe(0.03))


def _sdk(name: str, readers: int) -> Peer:
    provider = MeterProvider(
        [InMemoryMetricReader() for _ in range(readers)], shutdown_on_exit=False
    )
    meter = provider.get_meter("bench")
    counter = meter.create_counter("c")
    histogram = meter.create_histogram(
        "h", explicit_bucket_boundaries_advisory=HTTP_DURATION_BUCKETS
    )
    return Peer(name, lambda: counter.add(1, _LABELS), lambda: histogram.record(0.03, _LABELS))


def _ours() -> Iterator[Peer]:
    resource = Resource({})
    reader = ScrapeAndPushReader(None, interval_s=3600, resource=resource)
    metrics.set_meter_provider(build_meter_provider(reader, resource))
    counter, histogram = Counter("bench.c"), Histogram("bench.h", buckets=HTTP_DURATION_BUCKETS)
    yield Peer(
        "glam_sdk, unbound",
        lambda: counter.add(1, _LABELS),
        lambda: histogram.record(0.03, _LABELS),
    )
    one, other = counter.bind(_LABELS), histogram.bind(_LABELS)
    yield Peer("glam_sdk, bound", one.add, lambda: other.record(0.03))


def microseconds(call: Call) -> float:
    """Return the CPU microseconds of one call."""
    started = time.thread_time_ns()
    for _ in range(_CALLS):
        call()
    return (time.thread_time_ns() - started) / _CALLS / 1000


@contextmanager
def sampled_span() -> Iterator[None]:
    """Run a block inside a span that is sampled."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    with tracer.start_as_current_span("bench"):
        yield


def measurements() -> str:
    """Return the table of single measurements."""
    found = peers()
    best: dict[tuple[str, str], float] = {}
    for _ in range(_ROUNDS):
        for spans in ("without", "with"):
            with sampled_span() if spans == "with" else nullcontext():
                for peer in found:
                    for what, call in (("count", peer.count), ("record", peer.record)):
                        key = (peer.name, f"{what} {spans}")
                        best[key] = min(best.get(key, 1e9), microseconds(call))
    lines = [
        "| µs, three labels | counter | histogram | counter in a span | histogram in a span |",
        "|---|---|---|---|---|",
    ]
    columns = ("count without", "record without", "count with", "record with")
    for peer in found:
        cells = " | ".join(f"{best[peer.name, column]:.2f}" for column in columns)
        lines.append(f"| {peer.name} | {cells} |")
    return "\n".join(lines)


def scrapes() -> str:
    """Return the table of a scrape of many histogram series."""
    found = list(_scrapers())
    best: dict[str, tuple[float, int]] = {}
    for _ in range(7):
        for name, call in found:
            started = time.thread_time_ns()
            size = len(call())
            taken = (time.thread_time_ns() - started) / 1e6
            best[name] = min(best.get(name, (1e9, size)), (taken, size))
    lines = [f"| scrape of {_SERIES} histogram series, 14 buckets | ms | MB |", "|---|---|---|"]
    lines += [f"| {name} | {ms:.0f} | {size / 1e6:.1f} |" for name, (ms, size) in best.items()]
    return "\n".join(lines)


def _scrapers() -> Iterator[tuple[str, Callable[[], bytes]]]:
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "h", "H.", ["n"], buckets=HTTP_DURATION_BUCKETS, registry=registry
    )
    resource = Resource({})
    reader = ScrapeAndPushReader(None, interval_s=3600, resource=resource)
    readers: list[Any] = [reader]
    name = "opentelemetry.exporter.prometheus"
    if importlib.util.find_spec(name) is not None:
        readers.append(importlib.import_module(name).PrometheusMetricReader())
    provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    ours = provider.get_meter("bench").create_histogram(
        "h", unit="s", explicit_bucket_boundaries_advisory=HTTP_DURATION_BUCKETS
    )
    with sampled_span():
        for number in range(_SERIES):
            theirs.labels(str(number)).observe(0.03)
            ours.record(0.03, {"n": str(number)})
    yield "prometheus_client", lambda: prometheus_client.generate_latest(registry)
    if len(readers) > 1:
        # It registers itself in the default registry, which our scrape would show too.
        collector = readers[1]._collector  # noqa: SLF001
        prometheus_client.REGISTRY.unregister(collector)
        alone = prometheus_client.CollectorRegistry()
        alone.register(collector)
        yield "opentelemetry-exporter-prometheus", lambda: prometheus_client.generate_latest(alone)
    scraper = Scraper(resource, reader)
    yield "glam_sdk, text 0.0.4", lambda: scraper.scrape("")[0]
    wanted = "application/openmetrics-text"
    yield "glam_sdk, OpenMetrics with exemplars", lambda: scraper.scrape(wanted)[0]


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}\n")
    print(measurements(), end="\n\n")
    print(scrapes())
