"""Add a measurement to the aggregation of one series in as few steps as can be.

The SDK's aggregation stays what is collected; only its ``aggregate`` is done here, for the two
kinds that stand on a request's path. It offers every measurement of a sampled trace to a reservoir
that keeps the last one of each bucket; here a bucket's exemplar is renewed ten times a second at
most, so that under load it costs nothing.
"""
# The aggregations have no public door; the package is pinned to one minor version of the SDK.
# ruff: noqa: SLF001

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.metrics._internal.aggregation import (
    _ExplicitBucketHistogramAggregation,
    _SumAggregation,
)

from glam_sdk._internal.current_context import get_current
from glam_sdk.telemetry.series import Record

IsWanted = Callable[[float, Mapping[str, Any], Context], bool]
"""Tells whether a measurement may become an exemplar."""

_RENEWED_S: Final = 0.1


class Source(NamedTuple):
    """Say where an aggregation was found: it counts as long as the readers are the same."""

    consumer: Any
    readers: Any
    anew: Record
    """Measures where they are others, which does not happen while a service runs."""


def recorder(
    aggregation: Any, attributes: Mapping[str, Any], is_wanted: IsWanted, source: Source
) -> Record | None:
    """Return what adds to an aggregation, or None for a kind that is none of the two."""
    if type(aggregation) is _ExplicitBucketHistogramAggregation:
        return _histogram(aggregation, attributes, is_wanted, source)
    if type(aggregation) is _SumAggregation:
        return _sum(aggregation, attributes, is_wanted, source)
    return None


def _histogram(
    aggregation: Any, attributes: Mapping[str, Any], is_wanted: IsWanted, source: Source
) -> Record:
    consumer, readers, anew = source
    bounds = aggregation._boundaries
    size = len(bounds) + 1
    # By `with` alone: acquire() and release() cost half as much, and leave the lock held for good
    # where a signal's handler raises between the call and the `try`.
    lock, has_extremes = aggregation._lock, aggregation._record_min_max
    offer = aggregation._reservoir.offer
    due = [0.0] * size

    def record(value: float, context: Context | None = None) -> None:
        if consumer._reader_storages is not readers:
            return anew(value, context)
        index = bisect_left(bounds, value)
        with lock:
            counts = aggregation._value
            if counts is None:
                counts = aggregation._value = [0] * size
            counts[index] += 1
            aggregation._sum += value
            if has_extremes:
                if value < aggregation._min:  # noqa: PLR1730 - min() costs a call
                    aggregation._min = value
                if value > aggregation._max:  # noqa: PLR1730
                    aggregation._max = value
        now = monotonic()
        if now >= due[index]:
            found = get_current() if context is None else context
            if is_wanted(value, attributes, found):
                due[index] = now + _RENEWED_S
                offer(value, time_ns(), attributes, found)
        return None

    return record


def _sum(
    aggregation: Any, attributes: Mapping[str, Any], is_wanted: IsWanted, source: Source
) -> Record:
    consumer, readers, anew = source
    lock, offer = aggregation._lock, aggregation._reservoir.offer
    due = 0.0
    if not aggregation._instrument_is_monotonic:
        # What also falls shows a state; no format leads from one to a trace.
        def change(value: float, context: Context | None = None) -> None:
            if consumer._reader_storages is not readers:
                return anew(value, context)
            with lock:
                before = aggregation._value
                aggregation._value = (0 if before is None else before) + value
            return None

        return change

    def add(value: float, context: Context | None = None) -> None:
        nonlocal due
        if consumer._reader_storages is not readers:
            return anew(value, context)
        with lock:
            before = aggregation._value
            aggregation._value = (0 if before is None else before) + value
        now = monotonic()
        if now >= due:
            found = get_current() if context is None else context
            if is_wanted(value, attributes, found):
                due = now + _RENEWED_S
                offer(value, time_ns(), attributes, found)
        return None

    return add
