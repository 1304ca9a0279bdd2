"""Add data points of one series: of two scopes with one name, or of several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from glam_sdk.telemetry.pipeline.exemplars import bucket_of
from glam_sdk.telemetry.pipeline.set_times import set_time

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


def add(one: Point, other: Point) -> Point | None:
    """Return the sum of two cumulative points, or None where they cannot be added."""
    if isinstance(one, NumberDataPoint) and isinstance(other, NumberDataPoint):
        return NumberDataPoint(value=one.value + other.value, **_shared(one, other))
    if isinstance(one, HistogramDataPoint) and isinstance(other, HistogramDataPoint):
        if tuple(one.explicit_bounds) != tuple(other.explicit_bounds):
            return None
        counts = [a + b for a, b in zip(one.bucket_counts, other.bucket_counts, strict=True)]
        return HistogramDataPoint(
            bucket_counts=counts,
            explicit_bounds=one.explicit_bounds,
            **_totals(one, other),
            **_shared(one, other),
        )
    if isinstance(one, ExponentialHistogramDataPoint) and isinstance(
        other, ExponentialHistogramDataPoint
    ):
        return _add_exponential(one, other)
    return None


def newest(one: NumberDataPoint, other: NumberDataPoint) -> NumberDataPoint:
    """Return the point that was set last."""
    return other if set_time(other) > set_time(one) else one


def _shared(one: Point, other: Point) -> dict[str, Any]:
    given: list[int | None] = [one.start_time_unix_nano, other.start_time_unix_nano]
    starts = [start for start in given if start is not None]  # the SDK gives a gauge's point none
    return {
        "attributes": one.attributes,
        "start_time_unix_nano": min(starts, default=None),
        "time_unix_nano": max(one.time_unix_nano, other.time_unix_nano),
        "exemplars": _newest_exemplars(one, other),
    }


def _newest_exemplars(one: Point, other: Point) -> list[Exemplar]:
    """Return the newest exemplar of each bucket."""
    newest: dict[int, Exemplar] = {}
    for exemplar in (*(one.exemplars or ()), *(other.exemplars or ())):
        bucket = bucket_of(one, exemplar.value)
        known = newest.get(bucket)
        if known is None or known.time_unix_nano < exemplar.time_unix_nano:
            newest[bucket] = exemplar
    return list(newest.values())


def _totals(
    one: HistogramDataPoint | ExponentialHistogramDataPoint,
    other: HistogramDataPoint | ExponentialHistogramDataPoint,
) -> dict[str, Any]:
    return {
        "count": one.count + other.count,
        "sum": one.sum + other.sum,
        "min": min(_known(one.min, other.min), default=None),
        "max": max(_known(one.max, other.max), default=None),
    }


def _known(*values: float | None) -> list[float]:
    """Leave out what a view does not record."""
    return [value for value in values if value is not None]


def _add_exponential(
    one: ExponentialHistogramDataPoint, other: ExponentialHistogramDataPoint
) -> ExponentialHistogramDataPoint:
    scale = min(one.scale, other.scale)
    return ExponentialHistogramDataPoint(
        scale=scale,
        zero_count=one.zero_count + other.zero_count,
        positive=_add_buckets(
            downscale(one.positive, one.scale - scale),
            downscale(other.positive, other.scale - scale),
        ),
        negative=_add_buckets(
            downscale(one.negative, one.scale - scale),
            downscale(other.negative, other.scale - scale),
        ),
        flags=0,
        **_totals(one, other),
        **_shared(one, other),
    )


def downscale(buckets: Buckets, by: int) -> Buckets:
    """Join each ``2 ** by`` neighbouring exponential buckets into one."""
    counts: Sequence[int] = buckets.bucket_counts
    if by <= 0 or not counts:
        return buckets
    first = buckets.offset >> by
    joined = [0] * (((buckets.offset + len(counts) - 1) >> by) - first + 1)
    for index, count in enumerate(counts, start=buckets.offset):
        joined[(index >> by) - first] += count
    return Buckets(offset=first, bucket_counts=joined)


def _add_buckets(one: Buckets, other: Buckets) -> Buckets:
    if not one.bucket_counts:
        return other
    if not other.bucket_counts:
        return one
    first = min(one.offset, other.offset)
    end = max(one.offset + len(one.bucket_counts), other.offset + len(other.bucket_counts))
    counts = [0] * (end - first)
    for buckets in (one, other):
        for index, count in enumerate(buckets.bucket_counts, start=buckets.offset - first):
            counts[index] += count
    return Buckets(offset=first, bucket_counts=counts)
