"""Write the sample lines of one data point."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from glam_sdk.telemetry.pipeline.merging import downscale
from glam_sdk.telemetry.pipeline.prometheus_accept import Format
from glam_sdk.telemetry.prometheus_names import is_legacy
from glam_sdk.telemetry.prometheus_names import labels as render_labels

_CLASSIC_SCALE: Final = 1
"""Finest scale of exponential buckets shown as classic ones: two for each power of two."""


@dataclass(frozen=True, slots=True)
class SampleWriter:
    """Write lines in one format; exemplars only where the format has them."""

    form: Format
    _heads: dict[str, tuple[str, str]] = field(default_factory=dict)

    def line(self, name: str, labels: str, value: float, exemplar: Exemplar | None = None) -> str:
        """Return ``name{labels} value`` and, in OpenMetrics, its exemplar."""
        known = self._heads.get(name)
        if known is None:
            known = self._heads[name] = self._head(name)
        bare, opened = known
        head = f"{opened}{labels}}}" if labels else bare
        if exemplar is None or not self.form.openmetrics:
            return f"{head} {number(value)}\n"
        return f"{head} {number(value)}{_exemplar(exemplar)}\n"

    def _head(self, name: str) -> tuple[str, str]:
        if self.form.utf8 and not is_legacy(name):
            return f'{{"{name}"}}', f'{{"{name}",'
        return name, f"{name}{{"

    def name(self, name: str) -> str:
        """Return a name for ``# HELP`` and ``# TYPE``."""
        return f'"{name}"' if self.form.utf8 and not is_legacy(name) else name


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


def samples(writer: SampleWriter, name: str, kind: str, labels: str, point: Any) -> str:
    """Write every line of one series."""
    if isinstance(point, NumberDataPoint):
        suffix = "_total" if kind == "counter" else ""
        newest = _newest(point.exemplars) if suffix and point.exemplars else None
        return writer.line(name + suffix, labels, point.value, newest)
    return histogram_samples(writer, name, labels, point)


def histogram_samples(
    writer: SampleWriter,
    name: str,
    labels: str,
    point: HistogramDataPoint | ExponentialHistogramDataPoint,
) -> str:
    """Write buckets, sum and count; an exponential histogram becomes classic buckets."""
    counts: Sequence[int]
    if isinstance(point, HistogramDataPoint):
        bounds, counts = tuple(point.explicit_bounds), point.bucket_counts
    else:
        bounds, counts = classic_buckets(point)
    newest = newest_by_bucket(bounds, point.exemplars) if point.exemplars else {}
    lines, total = [], 0
    bucket, prefix = f"{name}_bucket", f"{labels}," if labels else ""
    for index, bound in enumerate(_bounds_text(bounds)):
        total += counts[index]
        lines.append(writer.line(bucket, prefix + bound, total, newest.get(index)))
    if writer.form.openmetrics and bounds and bounds[0] < 0:
        return "".join(lines)  # the format forbids a sum, and a count alone, of negative buckets
    lines.append(writer.line(f"{name}_sum", labels, point.sum))
    lines.append(writer.line(f"{name}_count", labels, point.count))
    return "".join(lines)


@lru_cache(maxsize=512)
def _bounds_text(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f'le="{number(bound)}"' for bound in (*map(float, bounds), math.inf))


def _newest(exemplars: Iterable[Exemplar]) -> Exemplar:
    return max(exemplars, key=lambda exemplar: exemplar.time_unix_nano)


def newest_by_bucket(bounds: Sequence[float], exemplars: Sequence[Exemplar]) -> dict[int, Exemplar]:
    """Return the newest exemplar of each bucket by its index."""
    newest: dict[int, Exemplar] = {}
    for exemplar in exemplars:
        index = bisect_left(bounds, exemplar.value)
        if index not in newest or exemplar.time_unix_nano > newest[index].time_unix_nano:
            newest[index] = exemplar
    return newest


def classic_buckets(point: ExponentialHistogramDataPoint) -> tuple[tuple[float, ...], list[int]]:
    """Return upper bounds and counts; the bucket i of scale s ends at ``2 ** ((i + 1) / 2**s)``.

    The bounds of a coarse scale are also bounds of each finer one: they stay where they are when
    the SDK widens the histogram, as a ``rate`` over buckets needs.
    """
    scale = min(point.scale, _CLASSIC_SCALE)
    positive = downscale(point.positive, point.scale - scale)
    negative = downscale(point.negative, point.scale - scale)
    if not any(negative.bucket_counts):  # the SDK keeps an empty bucket there
        negative = Buckets(0, ())
    bounds: list[float] = []
    counts: list[int] = []
    for index in range(len(negative.bucket_counts) - 1, -1, -1):
        bounds.append(-_power(negative.offset + index, scale))
        counts.append(negative.bucket_counts[index])
    bounds.append(0.0)
    counts.append(point.zero_count)
    for index, count in enumerate(positive.bucket_counts):
        bounds.append(_power(positive.offset + index + 1, scale))
        counts.append(count)
    while bounds and math.isinf(bounds[-1]):  # the last bucket is +Inf's anyway
        bounds.pop()
    return tuple(bounds), [*counts[: len(bounds)], sum(counts[len(bounds) :])]


def _power(index: int, scale: int) -> float:
    try:
        return float(math.pow(2.0, math.ldexp(index, -scale)))
    except OverflowError:
        return math.inf
