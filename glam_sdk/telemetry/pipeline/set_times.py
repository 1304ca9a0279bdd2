"""Know when a gauge was set, so that of several workers the last to set it is shown.

The SDK dates a gauge's point by the collection, and so must a push: a backend takes an old point
for a stale one. The time of the measurement travels beside it. ``prometheus_client`` takes the time
of a ``mostrecent`` gauge and throws it away unless it writes its own files; here it is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import prometheus_client
from opentelemetry.sdk.metrics._internal.aggregation import _LastValueAggregation
from opentelemetry.sdk.metrics.export import NumberDataPoint
from opentelemetry.sdk.metrics.view import LastValueAggregation
from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.values import MutexValue


@dataclass(frozen=True)
class SetPoint(NumberDataPoint):
    """Be a gauge's point that knows when its value was set."""

    set_unix_nano: int = 0


def set_time(point: NumberDataPoint) -> int:
    """Return when a value was set; where nobody knows, when it was collected."""
    return point.set_unix_nano if isinstance(point, SetPoint) else point.time_unix_nano


class TimedLastValue(LastValueAggregation):
    """Aggregate a gauge as the SDK does, and keep the time of the last measurement."""

    def _create_aggregation(
        self, instrument: Any, attributes: Any, reservoir_factory: Any, start_time_unix_nano: int
    ) -> Any:
        del start_time_unix_nano  # a gauge has none
        return _TimedLastValue(
            attributes,
            reservoir_builder=reservoir_factory(_LastValueAggregation),
            instrument_is_synchronous=hasattr(instrument, "set"),
        )


class _TimedLastValue(_LastValueAggregation):
    _set_ns = 0

    def aggregate(self, measurement: Any, should_sample_exemplar: bool = True) -> None:  # noqa: FBT001, FBT002 - the SDK's signature
        super().aggregate(measurement, should_sample_exemplar)
        self._set_ns = time.time_ns()

    def collect(self, *args: Any) -> Any:
        point: Any = super().collect(*args)
        return None if point is None else SetPoint(**vars(point), set_unix_nano=self._set_ns)


# prometheus_client ------------------------------------------------------------------------------


def remember_set_times() -> None:
    """Let ``prometheus_client`` keep the time it gives to each value of a ``mostrecent`` gauge."""
    original: Any = MutexValue.set
    if hasattr(original, "glam_keeps_time"):
        return

    def timed(self: Any, value: float, timestamp: float | None = None) -> None:
        original(self, value, timestamp)
        if timestamp is not None:
            self.glam_set_at = timestamp

    timed.glam_keeps_time = True  # type: ignore[attr-defined]
    MutexValue.set = timed  # type: ignore[method-assign]


def with_set_times(
    families: Iterable[RegistryMetric], registry: Any = None
) -> list[RegistryMetric]:
    """Return families; samples of ``mostrecent`` gauges have the time they were set as timestamp.

    Args:
        families: What was collected.
        registry: Where; the default registry if none is given.
    """
    known = (prometheus_client.REGISTRY if registry is None else registry)._names_to_collectors  # noqa: SLF001 - no public way
    found = []
    for family in families:
        collector = known.get(family.name)
        if family.type == "gauge" and getattr(collector, "_is_most_recent", False):
            times = dict(_children(collector))
            timed = RegistryMetric(family.name, family.documentation, family.type, family.unit)
            timed.samples = [
                sample._replace(timestamp=times.get(frozenset(sample.labels.items()), 0.0))
                for sample in family.samples
            ]
            found.append(timed)
        else:
            found.append(family)
    return found


def without_set_times(families: Iterable[RegistryMetric]) -> list[RegistryMetric]:
    """Return families without timestamps: Prometheus dates a sample by the scrape."""
    found = []
    for family in families:
        if any(sample.timestamp is not None for sample in family.samples):
            plain = RegistryMetric(family.name, family.documentation, family.type, family.unit)
            plain.samples = [sample._replace(timestamp=None) for sample in family.samples]
            found.append(plain)
        else:
            found.append(family)
    return found


def _children(gauge: Any) -> Iterator[tuple[frozenset[tuple[str, str]], float]]:
    """Yield the labels of each value and when it was set; 0 where it never was."""
    names = gauge._labelnames  # noqa: SLF001
    children = list(gauge._metrics.copy().items()) if names else [((), gauge)]  # noqa: SLF001
    for labels, child in children:
        at: float | None
        if "_child_samples" in vars(child):  # asked at each collection, so it is of now
            at = time.time()
        else:
            value: Any = child._value  # noqa: SLF001
            at = getattr(value, "glam_set_at", None) or getattr(value, "_timestamp", None)
        yield frozenset(zip(names, labels, strict=True)), at or 0.0
