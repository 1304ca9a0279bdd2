"""Bridge ``prometheus_client``: what is in its default registry goes out by OTLP too.

Names stay as they are on the scrape (``jobs_total``), so that a backend shows one name for both
ways. Types are kept: counters become monotonic sums that start when the counter was created,
histograms keep their buckets and exemplars, a summary becomes its two sums.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import prometheus_client
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Sample

from glam_sdk.telemetry.pipeline.registry_plain import plain

_log = logging.getLogger("glam_sdk.telemetry")
_LOADED_NS: Final = time.time_ns()
_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1", "celsius": "Cel", "meters": "m"}
_SCOPE: Final = InstrumentationScope("prometheus_client")
_reported: set[str] = set()
_Labels = frozenset[tuple[str, str]]


def collect_registry() -> list[RegistryMetric]:
    """Return all families of the default registry; a collector that raises is left out."""
    registry = prometheus_client.REGISTRY
    found: dict[str, RegistryMetric] = {}
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - collect() fails as a whole
        try:
            for metric in collector.collect():
                found.setdefault(metric.name, plain(metric))
        except Exception:  # noqa: BLE001 - one collector must not cost the whole scrape
            name = type(collector).__name__
            if name not in _reported:
                _reported.add(name)
                _log.exception("metrics.collector_failed", extra={"collector": name})
    return list(found.values())


def _report(name: str, event: str) -> None:
    if name not in _reported:
        _reported.add(name)
        _log.warning(event, extra={"metric": name}, exc_info=True)


def bridge(
    metrics: Iterable[RegistryMetric], *, now_ns: int, taken: set[str], since_ns: int = 0
) -> ScopeMetrics:
    """Return registry families as OpenTelemetry metrics of the scope ``prometheus_client``.

    Args:
        metrics: What is registered.
        now_ns: Time of the collection.
        taken: Names that OpenTelemetry instruments have; families of these names are left out.
        since_ns: When the process was forked; what does not say when it was created starts then.
    """
    converted: list[Metric] = []
    for family in metrics:
        try:
            found = list(_convert(family, now_ns, since_ns or _LOADED_NS))
        except (TypeError, ValueError, KeyError, OverflowError):
            _report(family.name, "metrics.not_exportable")
            continue
        converted += [metric for metric in found if metric.name not in taken]
    return ScopeMetrics(scope=_SCOPE, metrics=converted, schema_url="")


def _convert(family: RegistryMetric, now_ns: int, since_ns: int) -> Iterator[Metric]:
    created = defaultdict(lambda: since_ns)
    for sample in family.samples:
        if sample.name.endswith("_created"):
            created[label_key(sample.labels)] = int(sample.value * 1e9)
    if family.type in {"histogram", "gaugehistogram"}:
        points = list(_histogram_points(family, created, now_ns))
        if points:
            yield _metric(family, family.name, Histogram(points, _CUMULATIVE))
        return
    by_name: dict[str, list[Sample]] = {}
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            by_name.setdefault(sample.name, []).append(sample)
    for name, samples in by_name.items():
        is_sum = name.removeprefix(family.name) in {"_total", "_sum", "_count"}
        is_counter = family.type in {"counter", "summary"} and is_sum
        numbers = [_number(sample, created, now_ns, is_counter=is_counter) for sample in samples]
        data = Sum(numbers, _CUMULATIVE, is_monotonic=True) if is_counter else Gauge(numbers)
        yield _metric(family, name, data)


_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def _metric(family: RegistryMetric, name: str, data: Any) -> Metric:
    unit = _UNITS.get(family.unit, family.unit)
    return Metric(name=name, description=family.documentation, unit=unit, data=data)


def _number(
    sample: Sample, created: Mapping[_Labels, int], now_ns: int, *, is_counter: bool
) -> NumberDataPoint:
    start = created[label_key(sample.labels)] if is_counter else now_ns
    return NumberDataPoint(
        attributes=dict(sample.labels),
        start_time_unix_nano=start,
        time_unix_nano=now_ns,
        value=sample.value,
        exemplars=_exemplars([sample], now_ns),
    )


def _histogram_points(
    family: RegistryMetric, created: Mapping[_Labels, int], now_ns: int
) -> Iterator[HistogramDataPoint]:
    series: dict[_Labels, list[Sample]] = {}
    totals: dict[_Labels, float] = {}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            labels = {k: v for k, v in sample.labels.items() if k != "le"}
            series.setdefault(label_key(labels), []).append(sample)
        elif sample.name.endswith("sum"):
            totals[label_key(sample.labels)] = sample.value
    for key, buckets in series.items():
        buckets.sort(key=lambda sample: float(sample.labels["le"]))
        cumulative = [int(sample.value) for sample in buckets]
        counts = [max(0, b - a) for a, b in zip([0, *cumulative], cumulative, strict=False)]
        bounds = [float(sample.labels["le"]) for sample in buckets]
        yield HistogramDataPoint(
            attributes=dict(key),
            start_time_unix_nano=created[key],
            time_unix_nano=now_ns,
            count=cumulative[-1],
            sum=totals.get(key, 0.0),
            bucket_counts=counts if math.isinf(bounds[-1]) else [*counts, 0],
            explicit_bounds=[bound for bound in bounds if not math.isinf(bound)],
            min=None,  # type: ignore[arg-type]  # not known; the exporter leaves it out
            max=None,  # type: ignore[arg-type]
            exemplars=_exemplars(buckets, now_ns),
        )


def _exemplars(samples: Iterable[Sample], now_ns: int) -> list[Exemplar]:
    found = []
    for sample in samples:
        given = sample.exemplar
        if given is None:
            continue
        rest = {k: v for k, v in given.labels.items() if k not in {"trace_id", "span_id"}}
        found.append(
            Exemplar(
                rest,
                given.value,
                int(float(given.timestamp) * 1e9) if given.timestamp else now_ns,
                _hex(given.labels.get("span_id")),
                _hex(given.labels.get("trace_id")),
            )
        )
    return found


def _hex(text: str | None) -> int | None:
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def label_key(labels: Mapping[str, str]) -> _Labels:
    """Return labels as a key that is equal for equal series."""
    return frozenset(labels.items())
