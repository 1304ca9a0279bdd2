"""Configure all three signals at once and hold what has to be stopped again."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk._internal import afterwards
from glam_sdk.config import Settings
from glam_sdk.lifecycle import Check
from glam_sdk.telemetry import early, log_setup, logs, stdlib_logging
from glam_sdk.telemetry.pipeline.event_loop import LoopWatch
from glam_sdk.telemetry.pipeline.exporters import metric_exporter
from glam_sdk.telemetry.pipeline.logs import build_logger_provider
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader, build_meter_provider
from glam_sdk.telemetry.pipeline.own_metrics import observe_all
from glam_sdk.telemetry.pipeline.resource import build_resource
from glam_sdk.telemetry.pipeline.scrape import Scraper
from glam_sdk.telemetry.pipeline.shutdown import run_within
from glam_sdk.telemetry.pipeline.traces import build_tracer_provider
from glam_sdk.telemetry.pipeline.watch import ExportWatch

_log = logging.getLogger("glam_sdk.telemetry")


@dataclass(slots=True)
class Pipeline:
    """Hold the providers of one service; None where a signal is switched off or somebody else's."""

    settings: Settings
    resource: Resource
    reader: ScrapeAndPushReader | None = None
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None
    watch: ExportWatch = field(default_factory=ExportWatch)
    loop_watch: LoopWatch | None = None
    """Measures how late the event loop is, between the service's start and stop."""
    _scraper: Scraper | None = None
    _stopped: bool = False

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """Render all metrics for Prometheus; blocking, so call it off the event loop.

        Args:
            accept: The scraper's ``Accept`` header; it chooses OpenMetrics or the text format.

        Returns:
            The body and its content type.
        """
        return self._scraping().scrape(accept)

    def join_workers(self) -> None:
        """Answer scrapes for all worker processes of the service from now on; blocking."""
        settings = self.settings
        try:
            self._scraping().join_workers(settings.service.name, settings.telemetry.workers_dir)
        except OSError:
            _log.warning("metrics.workers_not_joined", exc_info=True)

    def leave_workers(self) -> None:
        """Leave what this process has counted to the other workers; blocking."""
        afterwards.settle()
        self._scraping().leave_workers()

    def _scraping(self) -> Scraper:
        if self._scraper is None:
            given = self.settings.service.instance_id or (
                "service.instance.id" in self.settings.telemetry.resource_attributes
            )
            self._scraper = Scraper(
                self.resource,
                self.reader,
                provider=self.meter_provider,
                keeps_identity=bool(given),
            )
        return self._scraper

    async def check(self) -> Check:
        """Look whether exports succeed; a dead collector degrades a service, it never stops it."""
        failing = self.watch.failing()
        detail = f"Exports of {', '.join(failing)} fail." if failing else ""
        data = {**self.watch.details(), **log_setup.details()}
        if self.reader is not None:
            data["metrics_overflowed"] = len(self.reader.limits.overflowed)
        return Check(healthy=not failing, detail=detail, critical=False, data=data)

    def take_over(self, settings: Settings) -> None:
        """Log by these settings from now on; providers and resource stay as they were built."""
        self.settings = settings
        name = settings.telemetry.otel_service_name or settings.service.name
        log_setup.configure_logging(settings, service=name, provider=self.logger_provider)

    def adopt_logging(self) -> None:
        """Take over handlers that were set since, such as those of a web server."""
        stdlib_logging.adopt()

    def flush(self, timeout_s: float) -> list[str]:
        """Export what is waiting; returns the signals that were not done in time."""
        return self._run({n: p.force_flush for n, p in self._providers().items()}, timeout_s)

    def shutdown(self, timeout_s: float) -> list[str]:
        """Export what is waiting and stop; returns the signals that were not done in time."""
        if self._stopped:
            return []
        self._stopped = True
        self.leave_workers()
        late = self._run({n: p.shutdown for n, p in self._providers().items()}, timeout_s)
        logs.pipeline().provider = None
        return late

    def _run(self, work: dict[str, Callable[[], object]], timeout_s: float) -> list[str]:
        # First, because spans and log records come of it; and these lines are log records too.
        afterwards.settle()
        logs.pipeline().write_repeats(all_of_them=True)
        work["lines"] = lambda: log_setup.flush(timeout_s)
        return run_within(work, timeout_s)

    def _providers(self) -> dict[str, TracerProvider | MeterProvider | LoggerProvider]:
        found = {
            "traces": self.tracer_provider,
            "metrics": self.meter_provider,
            "logs": self.logger_provider,
        }
        return {name: provider for name, provider in found.items() if provider is not None}


def configure(settings: Settings) -> Pipeline:
    """Build the providers, make them the global ones and point all logging at our chain.

    A provider that somebody made global before us stays; we then use it and do not stop it.

    Raises:
        ValueError: OpenTelemetry's SDK refuses one of its variables.
    """
    pipeline = Pipeline(settings=settings, resource=build_resource(settings))
    pipeline.take_over(settings)  # first, so that what the SDK says while it is built goes our way
    if not settings.telemetry.disabled:
        # It reads OTEL_PROPAGATORS when it is imported, and raises on a name it cannot find.
        importlib.import_module("opentelemetry.propagate")
        _build_providers(pipeline)
        logs.pipeline().provider = pipeline.logger_provider
    else:
        early.close()
    pipeline._scraping()  # noqa: SLF001 - from now on a fork begins anew
    return pipeline


def _build_providers(pipeline: Pipeline) -> None:
    settings, resource = pipeline.settings, pipeline.resource
    exporter = metric_exporter(settings)
    if exporter is not None:
        exporter = pipeline.watch.over("metrics", exporter)
    reader = ScrapeAndPushReader(
        exporter,
        interval_s=settings.telemetry.metric_export_interval_s,
        resource=resource,
        series_limit=settings.telemetry.metric_series_limit,
        label_length=settings.telemetry.metric_label_length,
    )
    pipeline.reader = reader
    current_meters = metrics.get_meter_provider()
    if isinstance(current_meters, MeterProvider):
        current_meters.add_metric_reader(reader)
        meters = current_meters
    else:
        meters = pipeline.meter_provider = build_meter_provider(reader, resource)
        metrics.set_meter_provider(meters)
    early.replay()
    runtime = settings.telemetry.runtime_metrics
    pipeline.loop_watch = observe_all(meters, reader, pipeline.watch, runtime=runtime)
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        pipeline.tracer_provider = build_tracer_provider(settings, resource, meters, pipeline.watch)
        trace.set_tracer_provider(pipeline.tracer_provider)
    if not isinstance(_logs.get_logger_provider(), LoggerProvider):
        pipeline.logger_provider = build_logger_provider(settings, resource, meters, pipeline.watch)
        if pipeline.logger_provider is not None:
            _logs.set_logger_provider(pipeline.logger_provider)
