"""Gather the metrics of all OpenTelemetry scopes into Prometheus families, without duplicates.

A family is one name and one type. Scopes that share both are merged: counters and histograms add
up, of a gauge the newest value stays. What cannot be merged is refused with one warning, because
Prometheus throws away a whole scrape that says a name twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint, Sum
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.openmetrics import exposition as openmetrics

from glam_sdk.telemetry import prometheus_names as names
from glam_sdk.telemetry.pipeline import merging

_log = logging.getLogger("glam_sdk.telemetry")


@dataclass(slots=True)
class Family:
    """Hold all series of one Prometheus name."""

    kind: str
    help: str
    unit: str
    is_additive: bool
    series: dict[str, Any] = field(default_factory=dict)
    """Rendered labels → data point."""


@dataclass(slots=True)
class Warned:
    """Remember what was warned of already, so that not every scrape says it again."""

    seen: set[tuple[str, str]] = field(default_factory=set)

    def once(self, event: str, metric: str, *, exc_info: bool = False, **details: str) -> None:
        """Log a warning for a metric, the first time."""
        if (event, metric) not in self.seen:
            self.seen.add((event, metric))
            _log.warning(event, extra={"metric": metric, **details}, exc_info=exc_info)


class Families:
    """Build the families of one scrape.

    Args:
        utf8: Whether names keep their dots.
        warned: Shared by all scrapes of a process.
        labels: Renders attributes; shared by all scrapes as well.
    """

    def __init__(self, *, utf8: bool, warned: Warned, labels: names.LabelCache) -> None:
        self.by_name: dict[str, Family] = {}
        self._utf8 = utf8
        self._warned = warned
        self._labels = labels
        self._claimed: dict[str, str] = {"target": "target", "target_info": "target"}

    def add_all(self, metrics: Iterable[Metric]) -> None:
        """Put every metric into its family."""
        for metric in metrics:
            self._add(metric)

    def others(self, registry: Iterable[RegistryMetric]) -> Iterator[RegistryMetric]:
        """Yield the ``prometheus_client`` families whose names are free."""
        for metric in registry:
            if self._claim(metric.name if self._utf8 else escaped(metric.name), metric.type):
                yield metric
            else:
                self._warned.once("metrics.name_collision", metric.name, kept="opentelemetry")

    def _add(self, metric: Metric) -> None:
        kind, is_additive = _kind(metric)
        name, unit = names.metric_name(metric.name, metric.unit or "", kind, utf8=self._utf8)
        family = self.by_name.get(name)
        if family is None:
            if not self._claim(name, kind):
                self._warned.once("metrics.name_collision", metric.name, dropped_type=kind)
                return
            # promtool asks for a help text of every metric.
            text = metric.description or f"Metric {metric.name}."
            family = self.by_name[name] = Family(kind, text, unit, is_additive)
        elif (family.kind, family.is_additive) != (kind, is_additive):
            self._warned.once(
                "metrics.name_collision", metric.name, kept_type=family.kind, dropped_type=kind
            )
            return
        series, render = family.series, self._labels.render
        points: Iterable[Any] = metric.data.data_points
        for point in points:
            labels = render(point.attributes or {}, utf8=self._utf8)
            if labels in series:
                self._merge(metric, family, labels, point)
            else:
                series[labels] = point

    def _merge(self, metric: Metric, family: Family, labels: str, point: Any) -> None:
        known = family.series[labels]
        if not family.is_additive and isinstance(point, NumberDataPoint):
            family.series[labels] = merging.newest(known, point)
            return
        total = merging.add(known, point)
        if total is None:
            self._warned.once("metrics.buckets_differ", metric.name)
        else:
            family.series[labels] = total

    def _claim(self, name: str, kind: str) -> bool:
        """Reserve every sample name of a family; False when one belongs to another."""
        wanted = names.sample_names(name, kind)
        if any(self._claimed.get(sample, name) != name for sample in wanted):
            return False
        if name in self._claimed:
            return False
        self._claimed.update(dict.fromkeys(wanted, name))
        return True


def escaped(name: str) -> str:
    """Return a metric's name of ``prometheus_client`` as its own writers do without UTF-8."""
    return openmetrics.escape_metric_name(name, openmetrics.UNDERSCORES)


def _kind(metric: Metric) -> tuple[str, bool]:
    """Return the Prometheus type, and whether two values of a series may be added."""
    data = metric.data
    if isinstance(data, Sum):
        return ("counter" if data.is_monotonic else "gauge"), True
    if isinstance(data, Gauge):
        return "gauge", False
    return "histogram", True
