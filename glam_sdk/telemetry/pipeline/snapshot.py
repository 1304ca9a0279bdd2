"""Be everything a process has measured at one moment, and travel between worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Exemplar as RegistryExemplar
from prometheus_client.samples import Sample, Timestamp

from glam_sdk.telemetry.pipeline.set_times import SetPoint

CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MAX_INT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ScopedMetric:
    """Hold one metric and the name of its instrumentation scope."""

    scope: str
    metric: Metric


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Hold what instruments and ``prometheus_client`` have measured."""

    metrics: Sequence[ScopedMetric] = ()
    registry: Sequence[RegistryMetric] = field(default_factory=list)

    @classmethod
    def of(cls, data: MetricsData | None, registry: Sequence[RegistryMetric]) -> Snapshot:
        """Return the snapshot of one collection."""
        resources = data.resource_metrics if data is not None else ()
        found = [
            ScopedMetric(scope.scope.name, metric)
            for resource in resources
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return cls(found, registry)

    def encode(self) -> bytes:
        """Return the snapshot as JSON."""
        content = {
            "m": [_metric(each.scope, each.metric) for each in self.metrics],
            "r": [_family(family) for family in self.registry],
        }
        try:
            return orjson.dumps(content, option=_OPTIONS, default=str)
        except TypeError:  # one odd label or number must not cost the whole scrape
            return orjson.dumps(_encodable(content), option=_OPTIONS, default=str)

    @classmethod
    def decode(cls, body: bytes) -> Snapshot:
        """Return the snapshot that was encoded.

        Raises:
            ValueError: The bytes are no snapshot, such as a file that was written in part.
        """
        try:
            content = orjson.loads(body)
            return cls(
                [_read_metric(*entry) for entry in content["m"]],
                [_read_family(*entry) for entry in content["r"]],
            )
        except (KeyError, TypeError, IndexError, ValueError) as exc:
            raise ValueError("These bytes are no snapshot of metrics.") from exc


def _encodable(value: Any) -> Any:
    """Return what JSON can carry: no lone surrogates, no integers beyond 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and abs(value) > _MAX_INT:
        return float(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    return value


def _metric(scope: str, metric: Metric) -> list[Any]:
    data: Any = metric.data
    kind = type(data).__name__
    if isinstance(data, Sum) and not data.is_monotonic:
        kind = "UpDown"
    points = [_point(point) for point in data.data_points]
    return [scope, metric.name, metric.description, metric.unit, kind, points]


def _point(point: Any) -> list[Any]:
    head = [
        list((point.attributes or {}).items()),
        point.start_time_unix_nano,
        point.time_unix_nano,
        [_exemplar(exemplar) for exemplar in point.exemplars or ()],
    ]
    if isinstance(point, NumberDataPoint):
        set_at = [point.set_unix_nano] if isinstance(point, SetPoint) else []
        return [*head, _out(point.value), *set_at]
    totals = [point.count, _out(point.sum), _out(point.min), _out(point.max)]
    if isinstance(point, HistogramDataPoint):
        return [*head, *totals, list(point.bucket_counts), list(point.explicit_bounds)]
    buckets = [[b.offset, list(b.bucket_counts)] for b in (point.positive, point.negative)]
    return [*head, *totals, point.scale, point.zero_count, *buckets]


def _exemplar(exemplar: Exemplar) -> list[Any]:
    return [
        _out(exemplar.value),
        exemplar.time_unix_nano,
        f"{exemplar.span_id or 0:x}",
        f"{exemplar.trace_id or 0:x}",
    ]


def _out(value: float | None) -> float | str | None:
    """Write what JSON has no number for as text."""
    return value if value is None or math.isfinite(value) else repr(value)


def _in(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _read_metric(
    scope: str, name: str, description: str, unit: str, kind: str, entries: list[Any]
) -> ScopedMetric:
    points = [_read_point(kind, *entry) for entry in entries]
    data: Any
    if kind == "Gauge":
        data = Gauge(points)
    elif kind == "Histogram":
        data = Histogram(points, CUMULATIVE)
    elif kind == "ExponentialHistogram":
        data = ExponentialHistogram(points, CUMULATIVE)
    else:
        data = Sum(points, CUMULATIVE, is_monotonic=kind == "Sum")
    return ScopedMetric(scope, Metric(name, description, unit, data))


def _read_point(
    kind: str, pairs: list[Any], start: int, end: int, exemplars: list[Any], *rest: Any
) -> Any:
    shared: dict[str, Any] = {
        "attributes": {
            key: tuple(value) if isinstance(value, list) else value for key, value in pairs
        },
        "start_time_unix_nano": start,
        "time_unix_nano": end,
        "exemplars": [
            Exemplar({}, _in(value), at, int(span_id, 16) or None, int(trace_id, 16) or None)
            for value, at, span_id, trace_id in exemplars
        ],
    }
    if kind in {"Gauge", "Sum", "UpDown"}:
        value, *set_at = rest
        if set_at:
            return SetPoint(value=_in(value), set_unix_nano=set_at[0], **shared)
        return NumberDataPoint(value=_in(value), **shared)
    count, total, low, high, *rest_ = rest
    shared.update(count=count, sum=_in(total), min=_in(low), max=_in(high))
    if kind == "Histogram":
        return HistogramDataPoint(bucket_counts=rest_[0], explicit_bounds=rest_[1], **shared)
    scale, zero_count, positive, negative = rest_
    return ExponentialHistogramDataPoint(
        scale=scale,
        zero_count=zero_count,
        positive=Buckets(*positive),
        negative=Buckets(*negative),
        flags=0,
        **shared,
    )


def _family(family: RegistryMetric) -> list[Any]:
    samples = [
        [s.name, s.labels, _out(s.value), _registry_exemplar(s.exemplar), _moment(s.timestamp)]
        for s in family.samples
    ]
    return [family.name, family.documentation, family.type, family.unit, samples]


def _moment(timestamp: Any) -> float | None:
    return None if timestamp is None else float(timestamp)


def _registry_exemplar(exemplar: RegistryExemplar | None) -> list[Any] | None:
    if exemplar is None:
        return None
    return [exemplar.labels, _out(exemplar.value), _moment(exemplar.timestamp)]


def _read_family(name: str, text: str, kind: str, unit: str, samples: list[Any]) -> RegistryMetric:
    # The unit is in the name already; given again it would be checked against it again.
    family = RegistryMetric(name, text, kind, unit)
    family.samples = [_read_sample(*entry) for entry in samples]
    return family


def _read_sample(
    name: str, labels: dict[str, str], value: Any, exemplar: Any, at: float | None = None
) -> Sample:
    return Sample(name, labels, _in(value), at, _read_registry_exemplar(exemplar))


def _read_registry_exemplar(entry: list[Any] | None) -> RegistryExemplar | None:
    if entry is None:
        return None
    labels, value, at = entry
    # What prometheus_client writes for a float is not what its parser reads back exactly.
    moment = None if at is None else Timestamp(int(at), int((at % 1) * 1e9))
    return RegistryExemplar(labels, _in(value), moment)


def attribute_key(attributes: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return attributes as a key that is equal for equal series."""
    return tuple(sorted((key, repr(value)) for key, value in (attributes or {}).items()))


def points_of(metric: Metric) -> Iterator[Any]:
    """Yield the data points of a metric, whatever its kind."""
    data: Any = metric.data
    yield from data.data_points
