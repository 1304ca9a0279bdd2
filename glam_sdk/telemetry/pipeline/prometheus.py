"""Render metrics for Prometheus: text format 0.0.4, or OpenMetrics 1.0 with exemplars.

Names follow the OpenTelemetry specification "Prometheus and OpenMetrics Compatibility": dots become
underscores, the unit and ``_total`` are appended. What is registered with ``prometheus_client``
follows in the same answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import prometheus_client
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from glam_sdk.telemetry.pipeline import prometheus_names as names
from glam_sdk.telemetry.pipeline.metrics import iterate_metrics
from glam_sdk.telemetry.pipeline.prometheus_samples import (
    SampleWriter,
    histogram_samples,
    number_samples,
)

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_log = logging.getLogger("glam_sdk.telemetry")


@dataclass(slots=True)
class _Family:
    """All samples of one Prometheus name, whatever OpenTelemetry scopes they come from."""

    kind: str
    help: str
    unit: str
    lines: dict[str, str] = field(default_factory=dict)
    """Series → its line or lines, so that two scopes cannot write one series twice."""


def render(data: MetricsData | None, resource: Resource, accept: str) -> tuple[bytes, str]:
    """Return the scrape's body and content type.

    Args:
        data: A cumulative collection, or None where metrics are switched off.
        resource: Becomes ``target_info``.
        accept: The ``Accept`` header; OpenMetrics is written only for who asks for it.
    """
    openmetrics = "application/openmetrics-text" in accept
    writer = SampleWriter(exemplars=openmetrics)
    families = _families(iterate_metrics(data) if data else (), writer)
    parts = [_render_family(n, f, openmetrics=openmetrics) for n, f in families.items()]
    parts.append(_target_info(resource, openmetrics=openmetrics))
    taken = {f"{name}_total" if f.kind == "counter" else name for name, f in families.items()}
    registry = _RegistryView(taken | set(families) | {"target", "target_info"})
    if openmetrics:
        rest = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # annotated nowhere
        return "".join(parts).encode() + rest, OPENMETRICS_TYPE
    rest = generate_text(registry)
    return "".join(parts).encode() + rest, TEXT_TYPE


class _RegistryView:
    """Show prometheus_client's default registry without names that are taken already."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def collect(self) -> Iterator[RegistryMetric]:
        for metric in prometheus_client.REGISTRY.collect():
            if metric.name not in self._taken:
                yield metric


def _families(metrics: Iterable[Metric], writer: SampleWriter) -> dict[str, _Family]:
    families: dict[str, _Family] = {}
    for metric in metrics:
        kind = _kind(metric)
        name, unit = names.metric_name(metric.name, metric.unit or "", kind)
        family = families.get(name)
        if family is None:
            family = families[name] = _Family(kind, metric.description or "", unit)
        elif family.kind != kind:
            _log.warning(
                "metrics.name_collision",
                extra={"metric": metric.name, "kept_type": family.kind, "dropped_type": kind},
            )
            continue
        for labels, lines in _samples(name, kind, metric, writer):
            family.lines.setdefault(labels, lines)
    return families


def _kind(metric: Metric) -> str:
    data = metric.data
    if isinstance(data, Sum):
        return "counter" if data.is_monotonic else "gauge"
    if isinstance(data, Gauge):
        return "gauge"
    return "histogram"


def _samples(
    name: str, kind: str, metric: Metric, writer: SampleWriter
) -> Iterator[tuple[str, str]]:
    points: Iterable[Any] = metric.data.data_points
    for point in points:
        labels = names.labels(point.attributes or {})
        if kind == "histogram":
            yield labels, histogram_samples(writer, name, labels, point)
        else:
            suffix = "_total" if kind == "counter" else ""
            yield labels, number_samples(writer, name + suffix, labels, point)


def _render_family(name: str, family: _Family, *, openmetrics: bool) -> str:
    if not family.lines:
        return ""
    shown = f"{name}_total" if family.kind == "counter" and not openmetrics else name
    head = f"# HELP {shown} {names.escape_help(family.help, quotes=openmetrics)}\n"
    head += f"# TYPE {shown} {family.kind}\n"
    if openmetrics and family.unit:
        head += f"# UNIT {shown} {family.unit}\n"
    return head + "".join(family.lines.values())


def _target_info(resource: Resource, *, openmetrics: bool) -> str:
    labels = names.labels(resource.attributes)
    shown, kind = ("target", "info") if openmetrics else ("target_info", "gauge")
    head = f"# HELP {shown} Target metadata\n# TYPE {shown} {kind}\n"
    return f"{head}target_info{{{labels}}} 1\n"
