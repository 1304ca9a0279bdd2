"""Keep the number of series bounded, and say so when it is reached.

The SDK counts what is beyond the limit in one series with ``otel.metric.overflow``. That is easily
overlooked, so the first time one warning names the metric and the label that has too many values,
and ``glam.metrics.overflowed`` counts it. Values of labels are cut to a length; series that become
equal by it are added up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Gauge, Metric, MetricsData

from glam_sdk.telemetry.pipeline import merging
from glam_sdk.telemetry.pipeline.registry_plain import plain_text
from glam_sdk.telemetry.pipeline.snapshot import attribute_key

OVERFLOW: Final = "otel.metric.overflow"
_log = logging.getLogger("glam_sdk.telemetry")


class Limits:
    """Look at each collection; made once for each reader.

    Args:
        series: What the SDK allows one process, and several workers are allowed together.
        label_length: Characters of a label's value.
    """

    def __init__(self, *, series: int = 2000, label_length: int = 256) -> None:
        self.overflowed: dict[str, str] = {}
        """Metric → the label with most values."""
        self.series = series
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
                    self.report(metric.name, [each.attributes or {} for each in points])
            if known[1] is not attributes:
                points[index] = replace(point, attributes=known[1])
                is_cut = True
        if not is_cut:
            return metric
        return replace(metric, data=replace(data, data_points=_joined(data, points)))

    def _within(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        shown = {key: self._cut_text(value) for key, value in attributes.items()}
        return attributes if shown == attributes else shown

    def _cut_text(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = plain_text(value)
        return text if len(text) <= self._length else f"{text[: self._length - 1]}…"

    def beyond(self, ages: Mapping[Any, float], overflow: Any) -> set[Any]:
        """Return the series that are too many: the youngest.

        Args:
            ages: When each series began, by its key.
            overflow: Key of the series for what is beyond; it comes on top of the limit.
        """
        if len(ages) <= self.series:
            return set()
        by_age = sorted((age, key) for key, age in ages.items() if key != overflow)
        return {key for _, key in by_age[self.series :]}

    def report(self, name: str, series: Iterable[Mapping[str, Any]]) -> None:
        """Say that a metric has too many series, the first time.

        Args:
            name: The metric.
            series: The labels of each.
        """
        if name in self.overflowed:
            return
        values: dict[str, set[str]] = {}
        for labels in series:
            for key, value in labels.items():
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
                "limit": self.series,
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
