"""Read every instrument once, for the Prometheus scrape and the OTLP push alike.

Two readers would make each measurement cost twice. The newest exemplar of each bucket is
remembered: a scrape shows it again, and a push sends those that are newer than the push before.
What ``prometheus_client`` has registered is pushed as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics.export import (
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.resources import Resource

from glam_sdk.telemetry.pipeline.binding import GlamMeterProvider
from glam_sdk.telemetry.pipeline.exemplars import ExemplarMemory
from glam_sdk.telemetry.pipeline.forking import call_in_child
from glam_sdk.telemetry.pipeline.limits import Limits
from glam_sdk.telemetry.pipeline.not_exportable import Encodable
from glam_sdk.telemetry.pipeline.otlp_numbers import carried
from glam_sdk.telemetry.pipeline.own_registry import OwnRegistry
from glam_sdk.telemetry.pipeline.registry import bridge
from glam_sdk.telemetry.pipeline.set_times import TimedLastValue

_log = logging.getLogger("glam_sdk.telemetry")
_INSTRUMENTS: Final = (
    Counter,
    UpDownCounter,
    Histogram,
    Gauge,
    ObservableCounter,
    ObservableUpDownCounter,
    ObservableGauge,
)


class ScrapeAndPushReader(MetricReader):
    """Give snapshots to a scrape, and push on an interval where there is an exporter.

    Args:
        exporter: Where metrics are pushed, or None for scrapes only.
        interval_s: Seconds between two pushes.
        resource: Where nothing but ``prometheus_client`` measures, its metrics are pushed as of
            this resource.
        series_limit: Series that one metric may have.
        label_length: Characters that are kept of a label's value.
    """

    def __init__(
        self,
        exporter: MetricExporter | None,
        *,
        interval_s: float,
        resource: Resource | None = None,
        series_limit: int = 2000,
        label_length: int = 256,
    ) -> None:
        super().__init__(
            # OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION is the exporter's to read.
            preferred_aggregation={
                Gauge: TimedLastValue(),
                **(getattr(exporter, "_preferred_aggregation", None) or {}),
            },
            cardinality_limits=dict.fromkeys(_INSTRUMENTS, series_limit),
        )
        self._resource = resource
        self.limits = Limits(series=series_limit, label_length=label_length)
        self.on_collected: Callable[[float], None] = lambda _seconds: None
        """Called with the seconds of each collection, once it is over."""
        self.registry = OwnRegistry()
        self._exporter = exporter
        self._interval_s = interval_s
        self._exemplars = ExemplarMemory()
        self._encodable = Encodable()
        self._pushed_until_ns = 0
        self._collected: MetricsData | None = None
        self._is_shut_down = False
        self._start()
        call_in_child(self._start)

    def _start(self) -> None:
        """Make locks and the push thread; again in a forked child, which has neither."""
        self._collecting = threading.Lock()
        self._exporting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if self._exporter is not None and not self._is_shut_down:
            self._thread = threading.Thread(
                target=self._push_for_ever, name="glam-metrics-push", daemon=True
            )
            self._thread.start()

    def snapshot(self) -> MetricsData:
        """Collect now and return cumulative data with the newest exemplars of each bucket."""
        with self._collecting:
            return self._exemplars.merge(self._collect_now(), newer_than_ns=0)

    def _collect_now(self) -> MetricsData:
        self._collected = None
        started = time.perf_counter()
        self.collect()
        self.on_collected(time.perf_counter() - started)
        data: MetricsData | None = self._collected  # filled by _receive_metrics
        self._collected = None
        if data is None:
            return MetricsData(resource_metrics=[])
        return self.limits.apply(carried(data))

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the SDK's signature
        **_: Any,
    ) -> None:
        self._collected = metrics_data

    def _push(self, timeout_s: float) -> bool:
        if self._exporter is None:
            return True
        try:
            return self._push_now(timeout_s)
        except Exception:  # noqa: BLE001 - the push thread must live on
            _log.exception("metrics.push_failed")
            return False

    def _push_now(self, timeout_s: float) -> bool:
        with self._exporting:
            with self._collecting:
                collected_at = time.time_ns()
                data = self._exemplars.merge(
                    self._collect_now(), newer_than_ns=self._pushed_until_ns
                )
            data = self._encodable.known(self._with_registry(data, collected_at))
            if not data.resource_metrics:
                return True
            result = self._export(data, timeout_s)
            if result is MetricExportResult.SUCCESS:
                self._pushed_until_ns = collected_at
            return result is MetricExportResult.SUCCESS

    def _export(self, data: MetricsData, timeout_s: float) -> MetricExportResult:
        exporter: Any = self._exporter
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        result = MetricExportResult.FAILURE
        try:
            try:
                result = exporter.export(data, timeout_millis=timeout_s * 1000)
            except Exception:  # noqa: BLE001 - of the exporters some raise where others answer
                _log.exception("metrics.push_failed")
            if result is not MetricExportResult.SUCCESS:
                left = self._encodable.searched(data)
                if left is not None:
                    result = exporter.export(left, timeout_millis=timeout_s * 1000)
        finally:
            detach(token)
        return result

    def _with_registry(self, data: MetricsData, now_ns: int) -> MetricsData:
        """Add what ``prometheus_client`` has registered."""
        taken = {metric.name for metric in iterate_metrics(data)}
        found, since_ns = self.registry.collect(), self.registry.since_ns
        scope = bridge(found, now_ns=now_ns, taken=taken, since_ns=since_ns)
        if not scope.metrics:
            return data
        if not data.resource_metrics:
            if self._resource is None:
                return data
            alone = ResourceMetrics(self._resource, [scope], self._resource.schema_url)
            return MetricsData(resource_metrics=[alone])
        first, *rest = data.resource_metrics
        more = replace(first, scope_metrics=[*first.scope_metrics, scope])
        return MetricsData(resource_metrics=[more, *rest])

    def _push_for_ever(self) -> None:
        stopping = self._stopping
        while not stopping.wait(self._interval_s):
            self._push(self._interval_s)
        self._push(self._interval_s)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Push what was measured up to now."""
        return self._push(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Push a last time and end the thread, within the time given."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        deadline = time.monotonic() + timeout_millis / 1000
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._exporter is not None:
            self._exporter.shutdown(timeout_millis=max(0, (deadline - time.monotonic()) * 1000))


def build_meter_provider(reader: ScrapeAndPushReader, resource: Resource) -> MeterProvider:
    """Return a provider with the one reader."""
    return GlamMeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)


def iterate_metrics(data: MetricsData) -> Iterator[Metric]:
    """Yield every metric of a collection, whatever its scope."""
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics
