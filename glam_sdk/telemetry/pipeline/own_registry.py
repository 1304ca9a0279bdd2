"""Know what ``prometheus_client`` has counted in this process, not in the one it was forked from.

A fork copies its registry with all that it holds. Shown as it is, what a preloaded application has
counted would count once for each worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric as RegistryMetric
from prometheus_client.samples import Sample

from glam_sdk.telemetry.pipeline.forking import call_before_fork, call_in_child
from glam_sdk.telemetry.pipeline.registry import collect_registry, label_key


class OwnRegistry:
    """Collect the default registry for the scrape and the push of one process."""

    def __init__(self) -> None:
        self.since_ns = 0
        """When this process was forked; 0 where it was not, since this was made."""
        self._inherited: list[RegistryMetric] = []
        self._counted: list[RegistryMetric] = []
        call_before_fork(self._before_fork)
        call_in_child(self._after_fork)

    def collect(self) -> list[RegistryMetric]:
        """Return all families as far as they are of this process."""
        found = collect_registry()
        return without(found, self._inherited, self.since_ns / 1e9) if self._inherited else found

    def _before_fork(self) -> None:
        # In the parent, where no lock of a value can be held by a thread that is gone.
        self._counted = collect_registry()

    def _after_fork(self) -> None:
        self._inherited, self.since_ns = self._counted, time.time_ns()


def without(
    metrics: Iterable[RegistryMetric], inherited: Iterable[RegistryMetric], since_s: float = 0.0
) -> list[RegistryMetric]:
    """Return families without what was counted before this process was forked.

    Args:
        metrics: What the process has now.
        inherited: What it had at the fork.
        since_s: Unix time of the fork: nothing here was created before it.
    """
    known = {
        (sample.name, label_key(sample.labels)): sample.value
        for family in inherited
        if family.type in {"counter", "histogram", "summary"}
        and not family.name.startswith("process_")  # those are the process's own already
        for sample in family.samples
    }
    if not known:
        return list(metrics)

    def own(sample: Sample) -> float:
        before = known.get((sample.name, label_key(sample.labels)))
        if before is None:
            return sample.value
        if sample.name.endswith("_created"):
            return max(sample.value, since_s)
        return max(0.0, sample.value - before)

    found = []
    for family in metrics:
        copy = RegistryMetric(family.name, family.documentation, family.type, family.unit)
        copy.samples = [sample._replace(value=own(sample)) for sample in family.samples]
        found.append(copy)
    return found
