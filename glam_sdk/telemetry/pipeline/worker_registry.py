"""Make one of the ``prometheus_client`` families of several worker processes.

Counters, histograms and summaries add up; a gauge follows its ``multiprocess_mode``, live or not.
Of a worker that has ended, what only grows counts on, and ``mostrecent`` values stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import prometheus_client
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Sample

from glam_sdk.telemetry.metric_names import WorkerRule
from glam_sdk.telemetry.pipeline.limits import Limits
from glam_sdk.telemetry.pipeline.snapshot import Snapshot

WORKER_LABEL: Final = "worker"
_OVERFLOW: Final = {"otel_metric_overflow": "true"}
_OVERFLOW_KEY: Final = tuple(_OVERFLOW.items())
_OF_ONE_SERIES: Final = frozenset({"le", "quantile"})
_GROWING: Final = frozenset({"counter", "histogram", "summary"})
_RULES: Final[Mapping[str, WorkerRule]] = {
    "process_virtual_memory_bytes": "sum",
    "process_resident_memory_bytes": "sum",
    "process_open_fds": "sum",
    "process_start_time_seconds": "min",
}
_MODES: Final[Mapping[str, WorkerRule]] = {
    "all": "worker",
    "min": "min",
    "max": "max",
    "sum": "sum",
    "mostrecent": "last",
}

_Samples = list[tuple[int, Sample]]


class Families(Protocol):
    """Hold what one worker has; :class:`.worker_sum.Source` does."""

    @property
    def snapshot(self) -> Snapshot:
        """Hold the families."""

    @property
    def slot(self) -> int:
        """Be the number of the worker."""

    @property
    def is_alive(self) -> bool:
        """Tell whether the worker lives."""

    @property
    def counts(self) -> bool:
        """Tell whether it is part of the sum, or only says how old its series are."""


@dataclass(slots=True)
class _Gathered:
    first: RegistryMetric
    rule: WorkerRule
    series: dict[Any, _Samples] = field(default_factory=dict)
    ages: dict[Any, float] = field(default_factory=dict)
    """When each series began, where its family says so."""


def registry_total(sources: Iterable[Families], limits: Limits) -> list[RegistryMetric]:
    """Return the families of all workers as those of one process.

    Args:
        sources: In the order of their slots.
        limits: How many series a family may have; the oldest stay, where it says when they began.
    """
    found: dict[str, _Gathered] = {}
    for source in sources:
        for family in source.snapshot.registry:
            rule, outlives = _rule(family)
            if not source.is_alive and not outlives:
                continue
            into = found.setdefault(family.name, _Gathered(family, rule))
            if into.first.type != family.type:
                continue
            for sample in family.samples:
                key = _series_key(sample)
                into.ages.setdefault(key, math.inf)
                if sample.name.endswith("_created"):
                    into.ages[key] = min(sample.value, into.ages[key])
                if source.counts:
                    into.series.setdefault(key, []).append((source.slot, sample))
    return [_summed(each, limits) for each in found.values() if each.series]


def _rule(family: RegistryMetric) -> tuple[WorkerRule, bool]:
    """Return how workers become one, and whether what has ended is part of it."""
    if family.type in _GROWING:
        return "sum", True
    known = _RULES.get(family.name)
    if known is not None:
        return known, False
    collectors = prometheus_client.REGISTRY._names_to_collectors  # noqa: SLF001 - no public way
    mode = getattr(collectors.get(family.name), "_multiprocess_mode", "max")
    return _MODES.get(mode.removeprefix("live"), "max"), mode == "mostrecent"


def _series_key(sample: Sample) -> Any:
    return tuple(sorted(pair for pair in sample.labels.items() if pair[0] not in _OF_ONE_SERIES))


def _summed(gathered: _Gathered, limits: Limits) -> RegistryMetric:
    first = gathered.first
    family = RegistryMetric(first.name, first.documentation, first.type, first.unit)
    for group in _within(gathered, limits):  # the lines of one series together: OpenMetrics
        family.samples += _combined(group, gathered.rule)
    return family


def _within(gathered: _Gathered, limits: Limits) -> list[_Samples]:
    """Return the samples of each series, all beyond the limit as one."""
    series = gathered.series
    beyond = limits.beyond(gathered.ages, _OVERFLOW_KEY) & series.keys()
    if not beyond:
        return list(series.values())
    limits.report(gathered.first.name, [group[0][1].labels for group in series.values()])
    over = series.setdefault(_OVERFLOW_KEY, [])
    for key in [key for key in series if key in beyond]:
        over += [
            (slot, sample._replace(labels={**_OVERFLOW, **_own(sample.labels)}))
            for slot, sample in series.pop(key)
        ]
    return list(series.values())


def _own(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key in _OF_ONE_SERIES}


def _combined(group: _Samples, rule: WorkerRule) -> list[Sample]:
    found: dict[Any, Sample] = {}
    for slot, sample in group:
        each = slot if rule == "worker" else 0
        if rule == "worker":
            labels = {**sample.labels, WORKER_LABEL: str(slot)}
            sample = sample._replace(labels=labels)  # noqa: PLW2901
        key = (sample.name, sample.labels.get("le"), sample.labels.get("quantile"), each)
        known = found.get(key)
        found[key] = sample if known is None else _one(known, sample, rule)
    return list(found.values())


def _one(known: Sample, sample: Sample, rule: WorkerRule) -> Sample:
    try:
        return _chosen(known, sample, rule)
    except (TypeError, ValueError):  # one odd value costs its series, no other
        return known


def _chosen(known: Sample, sample: Sample, rule: WorkerRule) -> Sample:
    if known.name.endswith("_created"):
        return known if known.value <= sample.value else sample
    if rule == "sum":
        exemplar = max(known.exemplar, sample.exemplar, key=_exemplar_time)
        return known._replace(value=known.value + sample.value, exemplar=exemplar)
    if rule == "last":
        return sample if _time(sample) > _time(known) else known
    is_better = sample.value < known.value if rule == "min" else sample.value > known.value
    return sample if is_better else known


def _time(sample: Sample) -> float:
    return -1.0 if sample.timestamp is None else float(sample.timestamp)


def _exemplar_time(exemplar: Any) -> float:
    if exemplar is None:
        return -1.0
    return 0.0 if exemplar.timestamp is None else float(exemplar.timestamp)
