"""Write the sample lines of one data point."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from glam_sdk.telemetry.pipeline.prometheus_names import labels as render_labels


@dataclass(frozen=True, slots=True)
class SampleWriter:
    """Write one line; exemplars only where the format has them."""

    exemplars: bool

    def line(self, name: str, labels: str, value: float, exemplar: Exemplar | None = None) -> str:
        """Return ``name{labels} value`` and, in OpenMetrics, its exemplar."""
        head = f"{name}{{{labels}}}" if labels else name
        tail = _exemplar(exemplar) if exemplar is not None and self.exemplars else ""
        return f"{head} {number(value)}{tail}\n"


def number(value: float) -> str:
    """Return a number as Go's parser and both exposition formats read it."""
    if isinstance(value, int):
        return str(value)
    if value != value:  # noqa: PLR0124 - NaN is the one number that is not itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _exemplar(exemplar: Exemplar) -> str:
    shown: dict[str, Any] = {}
    if exemplar.trace_id and exemplar.span_id:
        shown = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    seconds = exemplar.time_unix_nano / 1e9
    return f" # {{{render_labels(shown)}}} {number(float(exemplar.value))} {seconds:.3f}"


def number_samples(writer: SampleWriter, name: str, labels: str, point: NumberDataPoint) -> str:
    """Write a counter's or gauge's sample; a counter carries its newest exemplar."""
    newest: Exemplar | None = None
    if name.endswith("_total") and point.exemplars:
        newest = max(point.exemplars, key=lambda e: e.time_unix_nano)
    return writer.line(name, labels, point.value, newest)


def histogram_samples(
    writer: SampleWriter,
    name: str,
    labels: str,
    point: HistogramDataPoint | ExponentialHistogramDataPoint,
) -> str:
    """Write buckets, sum and count; an exponential histogram becomes classic buckets."""
    if isinstance(point, HistogramDataPoint):
        bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    else:
        bounds, counts = _classic_buckets(point)
    newest = _newest_by_bucket(bounds, point.exemplars or ())
    lines, total, comma = [], 0, "," if labels else ""
    for index, bound in enumerate([*map(float, bounds), float("inf")]):
        total += counts[index] if index < len(counts) else 0
        le = f'{labels}{comma}le="{number(bound)}"'
        lines.append(writer.line(f"{name}_bucket", le, total, newest.get(index)))
    lines.append(writer.line(f"{name}_sum", labels, point.sum))
    lines.append(writer.line(f"{name}_count", labels, point.count))
    return "".join(lines)


def _newest_by_bucket(
    bounds: Sequence[float], exemplars: Sequence[Exemplar]
) -> dict[int, Exemplar]:
    newest: dict[int, Exemplar] = {}
    for exemplar in exemplars:
        index = bisect_left(bounds, exemplar.value)
        if index not in newest or exemplar.time_unix_nano > newest[index].time_unix_nano:
            newest[index] = exemplar
    return newest


def _classic_buckets(point: ExponentialHistogramDataPoint) -> tuple[list[float], list[int]]:
    """Return upper bounds and counts; the bucket i of scale s ends at ``2 ** ((i + 1) / 2**s)``."""
    base = 2.0 ** (2.0**-point.scale)
    bounds: list[float] = []
    counts: list[int] = []
    negative = list(point.negative.bucket_counts)
    for index in range(len(negative) - 1, -1, -1):
        bounds.append(-(base ** (point.negative.offset + index)))
        counts.append(negative[index])
    bounds.append(0.0)
    counts.append(point.zero_count)
    for index, count in enumerate(point.positive.bucket_counts):
        bounds.append(base ** (point.positive.offset + index + 1))
        counts.append(count)
    return bounds, counts
