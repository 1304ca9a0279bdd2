"""Make one snapshot of those of several worker processes.

Counters, histograms and up-down counters add up. A gauge follows its declared rule: ``sum``,
``max`` (the default), ``min``, ``last``, or ``worker`` for a series of each. Of a worker that has
ended, what only grows counts on, as does a gauge that shows what was set last; the rest is
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint, Sum

from glam_sdk.telemetry.catalogue import all_metrics
from glam_sdk.telemetry.metric_names import WorkerRule, worker_rules
from glam_sdk.telemetry.pipeline import merging
from glam_sdk.telemetry.pipeline.limits import OVERFLOW, Limits
from glam_sdk.telemetry.pipeline.set_times import without_set_times
from glam_sdk.telemetry.pipeline.snapshot import (
    ScopedMetric,
    Snapshot,
    attribute_key,
    points_of,
)
from glam_sdk.telemetry.pipeline.worker_registry import WORKER_LABEL, registry_total

_OVERFLOW_POINT: Final = {OVERFLOW: True}
_OVERFLOW_KEY: Final = attribute_key(_OVERFLOW_POINT)


@dataclass(frozen=True, slots=True)
class Source:
    """Hold what one worker has measured."""

    snapshot: Snapshot
    slot: int
    is_alive: bool = True
    counts: bool = True
    """Otherwise it only tells how old its series are."""


@dataclass(slots=True)
class _Gathered:
    """Hold every worker's points of one metric, by series."""

    first: ScopedMetric
    rule: WorkerRule
    series: dict[Any, list[tuple[int, Any]]] = field(default_factory=dict)
    ages: dict[Any, float] = field(default_factory=dict)
    """When each series began."""


def total(sources: Iterable[Source], limits: Limits | None = None) -> Snapshot:
    """Return the sum over all workers, live and ended; the same whoever asks.

    Args:
        sources: What each has measured, in any order.
        limits: How many series a metric may have, and who says that it has more. The oldest stay,
            so that none disappears when a worker ends.
    """
    summed = _total(sources, limits)
    return Snapshot(summed.metrics, without_set_times(summed.registry))


def retired(
    earlier: Snapshot,
    ended: Snapshot,
    limits: Limits | None = None,
    *,
    others: Iterable[Snapshot] = (),
) -> Snapshot:
    """Return what stays of workers that have ended; its size is bounded.

    Args:
        earlier: What stayed before.
        ended: What the worker that has ended had measured.
        limits: As for :func:`total`.
        others: What the other workers have: of too many series those are kept that a scrape shows.
    """
    sources = [Source(earlier, -2, is_alive=False), Source(ended, -1, is_alive=False)]
    sources += [Source(each, slot, counts=False) for slot, each in enumerate(others)]
    return _total(sources, limits)


def _total(sources: Iterable[Source], limits: Limits | None) -> Snapshot:
    limits = limits or Limits()
    ordered = sorted(sources, key=lambda source: source.slot)
    metrics = [_summed(each, limits) for each in _gathered(ordered)]
    return Snapshot(metrics, registry_total(ordered, limits))


def _gathered(sources: Sequence[Source]) -> Iterator[_Gathered]:
    rules = {name: spec.workers for name, spec in all_metrics().items()} | worker_rules()
    found: dict[tuple[str, str, str, str], _Gathered] = {}
    for source in sources:
        for scoped in source.snapshot.metrics:
            metric = scoped.metric
            rule: WorkerRule = "sum"
            if isinstance(metric.data, Gauge):
                rule = rules.get(metric.name.lower(), "max")
            if not source.is_alive and rule != "last" and not _grows(metric):
                continue
            kind = type(metric.data).__name__
            into = found.setdefault(
                (scoped.scope, metric.name, metric.unit or "", kind), _Gathered(scoped, rule)
            )
            for point in points_of(metric):
                key = attribute_key(point.attributes)
                start = point.start_time_unix_nano or 0
                into.ages[key] = min(start, into.ages.get(key, start))
                if source.counts:
                    into.series.setdefault(key, []).append((source.slot, point))
    yield from (each for each in found.values() if each.series)


def _grows(metric: Metric) -> bool:
    data = metric.data
    return data.is_monotonic if isinstance(data, Sum) else not isinstance(data, Gauge)


def _summed(gathered: _Gathered, limits: Limits) -> ScopedMetric:
    metric = gathered.first.metric
    points = [
        point for group in _within(gathered, limits) for point in _combined(group, gathered.rule)
    ]
    data: Any = metric.data
    changed = replace(metric, data=replace(data, data_points=points))
    return ScopedMetric(gathered.first.scope, changed)


def _within(gathered: _Gathered, limits: Limits) -> list[list[tuple[int, Any]]]:
    """Return the points of each series, all beyond the limit as one."""
    series = gathered.series
    beyond = limits.beyond(gathered.ages, _OVERFLOW_KEY) & series.keys()
    if not beyond:
        return list(series.values())
    name = gathered.first.metric.name
    limits.report(name, [group[0][1].attributes or {} for group in series.values()])
    over = series.setdefault(_OVERFLOW_KEY, [])
    for key in [key for key in series if key in beyond]:
        over += [
            (slot, replace(point, attributes=_OVERFLOW_POINT)) for slot, point in series.pop(key)
        ]
    return list(series.values())


def _combined(group: list[tuple[int, Any]], rule: WorkerRule) -> list[Any]:
    """Return one point of a series, or one for each worker where that is the rule."""
    found: dict[int, Any] = {}
    for slot, point in group:
        key = slot if rule == "worker" else 0
        if rule == "worker":
            own = {**(point.attributes or {}), WORKER_LABEL: str(slot)}
            point = replace(point, attributes=own)  # noqa: PLW2901
        known = found.get(key)
        found[key] = point if known is None else _one(known, point, rule)
    return list(found.values())


def _one(known: Any, point: Any, rule: WorkerRule) -> Any:
    try:
        if rule == "sum":
            added = merging.add(known, point)
            return known if added is None else added
        if rule == "last" or not isinstance(point, NumberDataPoint):
            return merging.newest(known, point)
        is_better = point.value < known.value if rule == "min" else point.value > known.value
    except (TypeError, ValueError, AttributeError):  # one odd value costs its series, no other
        return known
    return point if is_better else known
