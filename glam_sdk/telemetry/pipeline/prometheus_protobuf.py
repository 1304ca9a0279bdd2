"""Render metrics as ``io.prometheus.client.MetricFamily`` messages, with native histograms.

Prometheus asks for this format where native histograms are switched on. The messages are few and
flat, so they are written by hand: field numbers are those of client_model's ``metrics.proto``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Sample

from glam_sdk.telemetry.pipeline.merging import downscale
from glam_sdk.telemetry.pipeline.prometheus_families import Families, Family, Warned, escaped
from glam_sdk.telemetry.pipeline.prometheus_samples import classic_buckets, newest_by_bucket
from glam_sdk.telemetry.prometheus_names import label_pairs

_TYPES: Final = {"counter": 0, "gauge": 1, "summary": 2, "untyped": 3, "histogram": 4}
_FINEST, _COARSEST = 8, -4
_ZERO_THRESHOLD: Final = 2.938735877055719e-39  # Prometheus' default, 2 ** -128


def render(
    families: Families, registry: Iterable[RegistryMetric], target: Resource, warned: Warned
) -> bytes:
    """Return the scrape's body; a family that cannot be written is left out with a warning."""
    parts: list[bytes] = []
    for name, family in families.by_name.items():
        try:
            parts.append(_family(name, family))
        except Exception:  # noqa: BLE001 - one family must not cost the others
            warned.once("metrics.not_shown", name, exc_info=True)
    info = _labels(label_pairs(target.attributes)) + _message(2, _double(1, 1.0))
    parts.append(_delimited("target_info", "Target metadata", "gauge", [info]))
    for other in families.others(registry):
        try:
            parts.append(b"".join(_registered(other)))
        except Exception:  # noqa: BLE001 - as above
            warned.once("metrics.not_shown", other.name, exc_info=True)
    return b"".join(parts)


def _family(name: str, family: Family) -> bytes:
    shown = f"{name}_total" if family.kind == "counter" else name
    write: Callable[[Any], bytes] = _histogram
    if family.kind != "histogram":
        write = _counter if family.kind == "counter" else _gauge
    metrics = [
        _labels(label_pairs(point.attributes or {})) + write(point)
        for point in family.series.values()
    ]
    return _delimited(shown, family.help, family.kind, metrics) if metrics else b""


def _delimited(name: str, text: str, kind: str, metrics: Iterable[bytes]) -> bytes:
    body = _string(1, name) + _string(2, text) + _uint(3, _TYPES[kind])
    body += b"".join(_message(4, metric) for metric in metrics)
    return _varint(len(body)) + body


def _gauge(point: NumberDataPoint) -> bytes:
    return _message(2, _double(1, point.value))


def _counter(point: NumberDataPoint) -> bytes:
    body = _double(1, point.value)
    if point.exemplars:
        body += _message(2, _exemplar(max(point.exemplars, key=lambda e: e.time_unix_nano)))
    return _message(3, body)


def _histogram(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> bytes:
    body = _uint(1, point.count) + _double(2, point.sum)
    if isinstance(point, ExponentialHistogramDataPoint) and point.scale >= _COARSEST:
        return _message(7, body + _native(point))
    if isinstance(point, HistogramDataPoint):
        bounds, counts = tuple(point.explicit_bounds), list(point.bucket_counts)
    else:
        bounds, counts = classic_buckets(point)
    newest = newest_by_bucket(bounds, point.exemplars or ())
    total = 0
    for index, bound in enumerate((*bounds, math.inf)):
        total += counts[index]
        bucket = _uint(1, total) + _double(2, bound)
        if index in newest:
            bucket += _message(3, _exemplar(newest[index]))
        body += _message(3, bucket)
    return _message(7, body)


def _native(point: ExponentialHistogramDataPoint) -> bytes:
    schema = min(point.scale, _FINEST)
    by = point.scale - schema
    body = _sint(5, schema) + _double(6, _ZERO_THRESHOLD) + _uint(7, point.zero_count)
    body += _spans(downscale(point.negative, by), span=9, delta=10)
    body += _spans(downscale(point.positive, by), span=12, delta=13)
    exemplars = sorted(point.exemplars or (), key=lambda e: e.time_unix_nano)  # or they are refused
    return body + b"".join(_message(16, _exemplar(e)) for e in exemplars)


def _spans(buckets: Buckets, *, span: int, delta: int) -> bytes:
    """Write one span over all buckets; Prometheus' index is of the upper bound, so one more."""
    counts: Sequence[int] = buckets.bucket_counts
    if not any(counts):
        return b"" if span == 9 else _message(span, _sint(1, 0) + _uint(2, 0))
    deltas = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    head = _message(span, _sint(1, buckets.offset + 1) + _uint(2, len(counts)))
    return head + b"".join(_sint(delta, each) for each in deltas)


def _exemplar(exemplar: Exemplar) -> bytes:
    pairs: dict[str, str] = {}
    if exemplar.trace_id and exemplar.span_id:
        pairs = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    seconds, nanos = divmod(exemplar.time_unix_nano, 10**9)
    at = _uint(1, seconds) + _uint(2, nanos)
    return _labels(pairs) + _double(2, float(exemplar.value)) + _message(3, at)


# prometheus_client ------------------------------------------------------------------------------


def _registered(family: RegistryMetric) -> Iterator[bytes]:
    """Write a family of the registry; what the format has no type for is told sample by sample."""
    if family.type in {"histogram", "summary"}:
        groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
        for sample in family.samples:
            own = {k: v for k, v in sample.labels.items() if k not in {"le", "quantile"}}
            groups.setdefault(tuple(own.items()), []).append(sample)
        write = _bucketed if family.type == "histogram" else _summary
        metrics = [_own_labels(dict(key)) + write(samples) for key, samples in groups.items()]
        yield _delimited(escaped(family.name), family.documentation, family.type, metrics)
        return
    by_name: dict[str, list[Sample]] = {}
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            by_name.setdefault(sample.name, []).append(sample)
    for name, samples in by_name.items():
        kind = {"counter": "counter", "unknown": "untyped"}.get(family.type, "gauge")
        field = {"counter": 3, "untyped": 5, "gauge": 2}[kind]
        metrics = [
            _own_labels(s.labels) + _message(field, _double(1, s.value) + _own_exemplar(2, s))
            for s in samples
        ]
        yield _delimited(escaped(name), family.documentation, kind, metrics)


def _own_labels(labels: Mapping[str, str]) -> bytes:
    return _labels(
        {openmetrics.escape_label_name(k, openmetrics.UNDERSCORES): v for k, v in labels.items()}
    )


def _own_exemplar(field: int, sample: Sample) -> bytes:
    given = sample.exemplar
    if given is None:
        return b""
    body = _labels(given.labels) + _double(2, given.value)
    if given.timestamp is not None:
        seconds, rest = divmod(float(given.timestamp), 1)
        body += _message(3, _uint(1, int(seconds)) + _uint(2, int(rest * 1e9)))
    return _message(field, body)


def _totals(samples: Iterable[Sample]) -> bytes:
    found = {sample.name.rpartition("_")[2]: sample.value for sample in samples}
    return _uint(1, int(found.get("count", 0))) + _double(2, found.get("sum", 0.0))


def _bucketed(samples: Sequence[Sample]) -> bytes:
    body = _totals(samples)
    for sample in samples:
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            bucket = _uint(1, int(sample.value)) + _double(2, bound)
            body += _message(3, bucket + _own_exemplar(3, sample))
    return _message(7, body)


def _summary(samples: Sequence[Sample]) -> bytes:
    body = _totals(samples)
    for sample in samples:
        if "quantile" in sample.labels:
            quantile = float(sample.labels["quantile"])
            body += _message(3, _double(1, quantile) + _double(2, sample.value))
    return _message(4, body)


# The wire ---------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _uint(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _sint(field: int, value: int) -> bytes:
    return _uint(field, value << 1 if value >= 0 else (-value << 1) - 1)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _string(field: int, text: str) -> bytes:
    return _message(field, text.encode(errors="replace"))


def _labels(pairs: Mapping[str, Any]) -> bytes:
    return b"".join(
        _message(1, _string(1, name) + _string(2, str(value))) for name, value in pairs.items()
    )
