"""Keep the number of series bounded, and say so when it is reached.

The SDK counts what is beyond the limit in one series with ``otel.metric.overflow``. That is easily
overlooked, so the first time one warning names the metric and the label that has too many values,
and ``glam.metrics.overflowed`` counts it. Values of labels are cut to a length; series that become
equal by it are added up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Gauge, Metric, MetricsData

from glam_sdk.telemetry.pipeline import merging
from glam_sdk.telemetry.pipeline.snapshot import attribute_key

OVERFLOW: Final = "otel.metric.overflow"
_log = logging.getLogger("glam_sdk.telemetry")


class Limits:
    """Look at each collection; made once for each reader.

    Args:
        series: What the SDK allows, for the warning's text.
        label_length: Characters of a label's value.
    """

    def __init__(self, *, series: int, label_length: int) -> None:
        self.overflowed: dict[str, str] = {}
        """Metric → the label with most values."""
        self._series = series
        self._length = label_length
        self._cut: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        """Identity of a series' mapping → the mapping and what is shown of it."""

    def apply(self, data: MetricsData) -> MetricsData:
        """Return the data within the limits."""
        resources = []
        for resource in data.resource_metrics:
            scopes = [
                replace(scope, metrics=[self._metric(metric) for metric in scope.metrics])
                for scope in resource.scope_metrics
            ]
            resources.append(replace(resource, scope_metrics=scopes))
        return MetricsData(resource_metrics=resources)

    def _metric(self, metric: Metric) -> Metric:
        data: Any = metric.data
        points, is_cut = list(data.data_points), False
        for index, point in enumerate(points):
            attributes = point.attributes
            if not attributes:
                continue
            known = self._cut.get(id(attributes))
            if known is None:
                known = self._cut[id(attributes)] = (attributes, self._within(attributes))
                if OVERFLOW in attributes:
                    self._warn(metric.name, points)
            if known[1] is not attributes:
                points[index] = replace(point, attributes=known[1])
                is_cut = True
        if not is_cut:
            return metric
        return replace(metric, data=replace(data, data_points=_joined(data, points)))

    def _within(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        longest = self._length
        if all(not isinstance(v, str) or len(v) <= longest for v in attributes.values()):
            return attributes
        return {
            key: f"{value[: longest - 1]}…"
            if isinstance(value, str) and len(value) > longest
            else value
            for key, value in attributes.items()
        }

    def _warn(self, name: str, points: list[Any]) -> None:
        if name in self.overflowed:
            return
        values: dict[str, set[str]] = {}
        for point in points:
            for key, value in (point.attributes or {}).items():
                values.setdefault(key, set()).add(str(value))
        values.pop(OVERFLOW, None)
        label = max(values, key=lambda key: len(values[key]), default="")
        self.overflowed[name] = label
        _log.warning(
            "metrics.too_many_series",
            extra={
                "metric": name,
                "label": label,
                "label_values": len(values.get(label, ())),
                "limit": self._series,
            },
        )


def _joined(data: Any, points: list[Any]) -> list[Any]:
    """Add up series that have become equal."""
    series: dict[Any, Any] = {}
    for point in points:
        key = attribute_key(point.attributes)
        known = series.get(key)
        if known is None:
            series[key] = point
        elif isinstance(data, Gauge):
            series[key] = merging.newest(known, point)
        else:
            series[key] = merging.add(known, point) or known
    return list(series.values())
