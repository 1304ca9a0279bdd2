"""Build the logger provider that sends log records by OTLP.

Our own lines are encoded where they are logged, unless ``telemetry.span_pipeline`` says ``sdk`` or
the exporter wants the SDK's records.
"""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from glam_sdk.config import Settings
from glam_sdk.telemetry.pipeline.exporters import log_exporters
from glam_sdk.telemetry.pipeline.lean import EncodedExporter
from glam_sdk.telemetry.pipeline.lean.export import longest_export_s
from glam_sdk.telemetry.pipeline.lean.log_records import (
    EncodedLogProcessor,
    LeanLoggerProvider,
)
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceLoggerProvider
from glam_sdk.telemetry.pipeline.watch import ExportWatch


def build_logger_provider(
    settings: Settings, resource: Resource, meter_provider: MeterProvider, watch: ExportWatch
) -> LoggerProvider | None:
    """Return a provider that exports in batches, or None where log records are not exported."""
    exporters = log_exporters(settings)
    if not exporters:
        return None
    is_lean = settings.telemetry.span_pipeline == "lean"
    make = LeanLoggerProvider if is_lean else SharedResourceLoggerProvider
    provider = make(resource=resource, shutdown_on_exit=False, meter_provider=meter_provider)
    encodes = is_lean and settings.telemetry.protocol_for("logs") == "http/protobuf"
    for exporter in exporters:
        if encodes and not isinstance(exporter, ConsoleLogRecordExporter):
            encoded = EncodedExporter(
                exporter,
                lambda: provider.resource,
                longest_s=longest_export_s(BatchLogRecordProcessor),
            )
            watched = watch.over("logs", encoded)
            provider.add_log_record_processor(
                EncodedLogProcessor(watched, record=watch.new_queue("logs"))
            )
        else:
            processor = BatchLogRecordProcessor(watch.over("logs", exporter))
            provider.add_log_record_processor(watch.over_queue("logs", processor))
    return provider
