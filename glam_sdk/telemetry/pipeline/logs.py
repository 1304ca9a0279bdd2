"""Build the logger provider that sends log records by OTLP."""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from glam_sdk.config import Settings
from glam_sdk.telemetry.pipeline.exporters import log_exporters
from glam_sdk.telemetry.pipeline.watch import ExportWatch


def build_logger_provider(
    settings: Settings, resource: Resource, meter_provider: MeterProvider, watch: ExportWatch
) -> LoggerProvider | None:
    """Return a provider that exports in batches, or None where log records are not exported."""
    exporters = log_exporters(settings)
    if not exporters:
        return None
    provider = LoggerProvider(
        resource=resource, shutdown_on_exit=False, meter_provider=meter_provider
    )
    for exporter in exporters:
        processor = BatchLogRecordProcessor(watch.over("logs", exporter))
        provider.add_log_record_processor(watch.over_queue("logs", processor))
    return provider
