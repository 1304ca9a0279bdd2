"""Remember the newest exemplar of each bucket of each series.

A collection empties the SDK's reservoirs; without this memory the first of two scrapes would take
an exemplar away from the second, and from the push.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    MetricsData,
)

_SeriesKey = tuple[str, int]
_Series = tuple[Mapping[str, Any] | None, dict[int, Exemplar]]
_ZERO: Final = -10_000
"""Below the bucket of any positive number."""


def bucket_of(point: object, value: float) -> int:
    """Return which bucket a value is in; a counter has one, a power of two has two."""
    if isinstance(point, HistogramDataPoint):
        return bisect_left(point.explicit_bounds, value)
    if isinstance(point, ExponentialHistogramDataPoint):
        return math.ceil(2 * math.log2(value)) if value > 0 else _ZERO
    return 0


class ExemplarMemory:
    """Keep the newest exemplar of each bucket; of a counter, the newest one."""

    def __init__(self) -> None:
        self._newest: dict[_SeriesKey, _Series] = {}

    def merge(self, data: MetricsData, *, newer_than_ns: int) -> MetricsData:
        """Take over the exemplars in the data and return it with the remembered ones.

        Args:
            data: What was collected just now.
            newer_than_ns: Exemplars up to this moment (Unix time) are left out of the answer.
        """
        resources = []
        for resource in data.resource_metrics:
            scopes = []
            for scope in resource.scope_metrics:
                metrics = [self._metric(metric, newer_than_ns) for metric in scope.metrics]
                scopes.append(replace(scope, metrics=metrics))
            resources.append(replace(resource, scope_metrics=scopes))
        return MetricsData(resource_metrics=resources)

    def _metric(self, metric: Metric, newer_than_ns: int) -> Metric:
        before: Iterable[Any] = metric.data.data_points
        points: list[Any] = []
        changed = False
        for point in before:
            # The SDK gives a series' own mapping at each collection: its identity is the series'.
            key = (metric.name, id(point.attributes))
            fresh = point.exemplars
            series = self._newest.get(key)
            if not fresh and series is None:
                points.append(point)
                continue
            if series is None:
                # Held here, the mapping's id cannot become another's.
                series = self._newest[key] = (point.attributes, {})
            known = series[1]
            for exemplar in fresh or ():
                bucket = bucket_of(point, exemplar.value)
                if bucket not in known or exemplar.time_unix_nano >= known[bucket].time_unix_nano:
                    known[bucket] = exemplar
            kept = [e for e in known.values() if e.time_unix_nano > newer_than_ns]
            points.append(replace(point, exemplars=kept))
            changed = True
        if not changed:
            return metric
        data: Any = metric.data  # the four kinds share the field, their base class does not
        return replace(metric, data=replace(data, data_points=points))
