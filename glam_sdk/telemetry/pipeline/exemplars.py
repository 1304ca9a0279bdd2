"""Remember the newest exemplar of each bucket of each series.

A collection empties the SDK's reservoirs; without this memory the first of two scrapes would take
an exemplar away from the second, and from the push.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, MetricsData

_SeriesKey = tuple[str, int]
_Series = tuple[Mapping[str, Any] | None, dict[int, Exemplar]]


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
            bounds = point.explicit_bounds if isinstance(point, HistogramDataPoint) else ()
            known = series[1]
            for exemplar in fresh or ():
                bucket = bisect_left(bounds, exemplar.value)
                if bucket not in known or exemplar.time_unix_nano >= known[bucket].time_unix_nano:
                    known[bucket] = exemplar
            kept = [e for e in known.values() if e.time_unix_nano > newer_than_ns]
            points.append(replace(point, exemplars=kept))
            changed = True
        if not changed:
            return metric
        data: Any = metric.data  # the four kinds share the field, their base class does not
        return replace(metric, data=replace(data, data_points=points))
