"""Build the tracer provider: batching export, sampler and limits by ``OTEL_*`` variables."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)

from glam_sdk.config import Settings
from glam_sdk.telemetry.pipeline.exporters import span_exporters
from glam_sdk.telemetry.pipeline.watch import ExportWatch


def build_tracer_provider(
    settings: Settings, resource: Resource, meter_provider: MeterProvider, watch: ExportWatch
) -> TracerProvider:
    """Return a provider that exports in batches; without an exporter spans still make ids."""
    provider = TracerProvider(
        resource=resource, shutdown_on_exit=False, meter_provider=meter_provider
    )
    for exporter in span_exporters(settings):
        if isinstance(exporter, ConsoleSpanExporter):
            provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            processor = BatchSpanProcessor(watch.over("traces", exporter))
            provider.add_span_processor(watch.over_queue("traces", processor))
    return provider
