"""Answer a Prometheus scrape: collect, add what other workers have measured, render."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from glam_sdk.telemetry.pipeline import forking, workers
from glam_sdk.telemetry.pipeline.limits import Limits
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.own_registry import OwnRegistry
from glam_sdk.telemetry.pipeline.prometheus import Renderer
from glam_sdk.telemetry.pipeline.prometheus_accept import choose_format
from glam_sdk.telemetry.pipeline.set_times import remember_set_times, with_set_times
from glam_sdk.telemetry.pipeline.snapshot import Snapshot
from glam_sdk.telemetry.pipeline.worker_sum import total

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup


class Scraper:
    """Answer the scrapes of one process, for all workers of its group.

    Args:
        resource: Who measures.
        reader: None where metrics are switched off.
        provider: Ours, emptied in a forked process; None where it is somebody else's.
        keeps_identity: Whether the instance id was given and stays as it is in a fork.
    """

    def __init__(
        self,
        resource: Resource,
        reader: ScrapeAndPushReader | None = None,
        *,
        provider: MeterProvider | None = None,
        keeps_identity: bool = False,
    ) -> None:
        self._resource = resource
        self._reader = reader
        self._provider = provider
        self._keeps_identity = keeps_identity
        self._limits = reader.limits if reader is not None else Limits()
        self._renderer = Renderer()
        self._group: WorkerGroup | None = None
        self._registry = reader.registry if reader is not None else OwnRegistry()
        self._joining = threading.Lock()
        forking.call_in_child(self._after_fork)

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return body and content type; blocking."""
        form = choose_format(accept)
        group = self._group
        if group is None:
            data = self._reader.snapshot() if self._reader is not None else None
            body = self._renderer.render(data, self._registry.collect(), self._resource, form)
            return body, form.content_type
        summed = total(group.collect(), self._limits)
        data = _as_data(summed, self._resource)
        target = workers.group_target(self._resource, group.directory)
        # With labels of its own: what others have answered comes as new mappings each time.
        renderer = Renderer(warned=self._renderer.warned)
        return renderer.render(data, summed.registry, target, form), form.content_type

    def join_workers(self, service: str, explicit: Path | None) -> None:
        """Join the other workers of the service, if it has several; blocking."""
        with self._joining:
            if self._group is not None:
                return
            directory = workers.group_directory(service, explicit)
            if directory is None:
                return
            from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup

            remember_set_times()
            group = WorkerGroup(directory, self._snapshot, self._limits)
            group.join()
            self._group = group

    def leave_workers(self) -> None:
        """Leave the counts of this process to the others."""
        with self._joining:
            group, self._group = self._group, None
            if group is not None:
                group.leave()

    def _snapshot(self) -> Snapshot:
        data = self._reader.snapshot() if self._reader is not None else None
        return Snapshot.of(data, with_set_times(self._registry.collect()))

    def _after_fork(self) -> None:
        self._joining = threading.Lock()
        group, self._group = self._group, None
        if group is not None:
            group.abandon()
        forking.renew_identity(self._resource, keeps_instance_id=self._keeps_identity)
        if self._provider is not None and self._reader is not None:
            forking.forget_measurements(self._provider, self._reader)


def _as_data(snapshot: Snapshot, resource: Resource) -> MetricsData:
    scopes: dict[str, ScopeMetrics] = {}
    for scoped in snapshot.metrics:
        scope = scopes.setdefault(
            scoped.scope, ScopeMetrics(InstrumentationScope(scoped.scope), [], "")
        )
        scope.metrics.append(scoped.metric)  # type: ignore[attr-defined]  # a list, made above
    return MetricsData([ResourceMetrics(resource, list(scopes.values()), "")])
