"""Make one snapshot of those of several worker processes.

Counters, histograms and up-down counters add up. A gauge follows its declared rule: ``sum``,
``max`` (the default), ``min``, ``last``, or ``worker`` for a series of each. Of a worker that has
ended, what only grows counts on and the rest is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import prometheus_client
from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint, Sum
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Sample

from glam_sdk.telemetry.catalogue import all_metrics
from glam_sdk.telemetry.metric_names import WorkerRule, worker_rules
from glam_sdk.telemetry.pipeline import merging
from glam_sdk.telemetry.pipeline.snapshot import (
    ScopedMetric,
    Snapshot,
    attribute_key,
    points_of,
)

WORKER_LABEL: Final = "worker"
_MAX_SERIES: Final = 2000
_OVERFLOW: Final = {"otel.metric.overflow": True}
_GROWING: Final = frozenset({"counter", "histogram", "summary"})
_REGISTRY_RULES: Final[Mapping[str, WorkerRule]] = {
    "process_virtual_memory_bytes": "sum",
    "process_resident_memory_bytes": "sum",
    "process_open_fds": "sum",
    "process_start_time_seconds": "min",
}
_MODES: Final[Mapping[str, WorkerRule]] = {
    "all": "worker",
    "liveall": "worker",
    "min": "min",
    "livemin": "min",
    "max": "max",
    "livemax": "max",
    "sum": "sum",
    "livesum": "sum",
    "mostrecent": "last",
    "livemostrecent": "last",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Hold what one worker has measured."""

    snapshot: Snapshot
    slot: int
    is_alive: bool = True


@dataclass(slots=True)
class _Merged:
    first: ScopedMetric
    points: dict[Any, Any] = field(default_factory=dict)


def total(sources: Sequence[Source]) -> Snapshot:
    """Return the sum over all workers, live and ended."""
    rules = {name: spec.workers for name, spec in all_metrics().items()} | worker_rules()
    merged: dict[tuple[str, str, str, str], _Merged] = {}
    for source in sources:
        for scoped in source.snapshot.metrics:
            metric = scoped.metric
            if not source.is_alive and not _grows(metric):
                continue
            kind = type(metric.data).__name__
            key = (scoped.scope, metric.name, metric.unit or "", kind)
            into = merged.get(key)
            if into is None:
                into = merged[key] = _Merged(scoped)
            rule = rules.get(metric.name.lower(), "max")
            for point in points_of(metric):
                _add(into, point, rule if isinstance(metric.data, Gauge) else "sum", source.slot)
    return Snapshot([_rebuilt(each) for each in merged.values()], _registry(sources))


def retired(earlier: Snapshot, ended: Snapshot) -> Snapshot:
    """Return what stays of workers that have ended; its size is bounded."""
    return total([Source(earlier, -1, is_alive=False), Source(ended, -1, is_alive=False)])


def _grows(metric: Metric) -> bool:
    data = metric.data
    return data.is_monotonic if isinstance(data, Sum) else not isinstance(data, Gauge)


def _rebuilt(merged: _Merged) -> ScopedMetric:
    metric = merged.first.metric
    data: Any = metric.data
    changed = replace(metric, data=replace(data, data_points=list(merged.points.values())))
    return ScopedMetric(merged.first.scope, changed)


def _add(into: _Merged, point: Any, rule: WorkerRule, slot: int) -> None:
    if rule == "worker":
        point = replace(point, attributes={**(point.attributes or {}), WORKER_LABEL: str(slot)})
    key = attribute_key(point.attributes)
    known = into.points.get(key)
    if known is None and len(into.points) >= _MAX_SERIES and rule == "sum":
        point = replace(point, attributes=_OVERFLOW)
        key = attribute_key(_OVERFLOW)
        known = into.points.get(key)
    into.points[key] = point if known is None else _combined(known, point, rule)


def _combined(known: Any, point: Any, rule: WorkerRule) -> Any:
    if rule == "sum":
        added = merging.add(known, point)
        return known if added is None else added
    if not isinstance(point, NumberDataPoint) or rule == "last":
        return merging.newest(known, point)
    return _chosen(known, point, known.value, point.value, rule)


def _chosen(known: Any, other: Any, one: float, two: float, rule: WorkerRule) -> Any:
    is_larger = two > one
    return other if is_larger == (rule != "min") and one != two else known


def _registry(sources: Iterable[Source]) -> list[RegistryMetric]:
    families: dict[str, RegistryMetric] = {}
    samples: dict[str, dict[Any, Sample]] = {}
    for source in sources:
        for family in source.snapshot.registry:
            if not source.is_alive and family.type not in _GROWING:
                continue
            if family.name not in families:
                families[family.name] = RegistryMetric(
                    family.name, family.documentation, family.type, family.unit
                )
            if families[family.name].type != family.type:
                continue
            rule: WorkerRule = "sum" if family.type in _GROWING else _rule(family.name)
            into = samples.setdefault(family.name, {})
            for sample in family.samples:
                _add_sample(into, sample, rule, source.slot)
    for name, found in samples.items():
        families[name].samples = _grouped(found.values())
    return list(families.values())


def _grouped(samples: Iterable[Sample]) -> list[Sample]:
    """Keep the lines of one series together, as OpenMetrics asks."""
    series: dict[Any, list[Sample]] = {}
    for sample in samples:
        labels = {key: value for key, value in sample.labels.items() if key != "le"}
        series.setdefault(attribute_key(labels), []).append(sample)
    return [sample for group in series.values() for sample in group]


def _add_sample(into: dict[Any, Sample], sample: Sample, rule: WorkerRule, slot: int) -> None:
    if rule == "worker":
        sample = sample._replace(labels={**sample.labels, WORKER_LABEL: str(slot)})
    key = (sample.name, attribute_key(sample.labels))
    known = into.get(key)
    if known is None:
        into[key] = sample
    elif sample.name.endswith("_created"):
        into[key] = known._replace(value=min(known.value, sample.value))
    elif rule == "sum":
        exemplar = sample.exemplar or known.exemplar
        into[key] = known._replace(value=known.value + sample.value, exemplar=exemplar)
    else:
        into[key] = _chosen(known, sample, known.value, sample.value, rule)


def _rule(name: str) -> WorkerRule:
    """Return the rule of a ``prometheus_client`` gauge: its ``multiprocess_mode``."""
    known = _REGISTRY_RULES.get(name)
    if known is not None:
        return known
    collectors = prometheus_client.REGISTRY._names_to_collectors  # noqa: SLF001 - no public way
    mode = getattr(collectors.get(name), "_multiprocess_mode", "max")
    return _MODES.get(mode, "max")
