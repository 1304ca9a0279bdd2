"""Build the tracer provider: batching export, sampler and limits by ``OTEL_*`` variables.

Spans are recorded and encoded by our lean pipeline, or, where ``telemetry.span_pipeline`` says
``sdk``, by the plain SDK. A protocol or exporter that wants the SDK's spans gets them from both.
"""

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
from glam_sdk.telemetry.pipeline.lean import (
    EncodedExporter,
    EncodedSpanProcessor,
    LeanTracerProvider,
)
from glam_sdk.telemetry.pipeline.lean.export import longest_export_s
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceTracerProvider
from glam_sdk.telemetry.pipeline.watch import ExportWatch


def build_tracer_provider(
    settings: Settings, resource: Resource, meter_provider: MeterProvider, watch: ExportWatch
) -> TracerProvider:
    """Return a provider that exports in batches; without an exporter spans still make ids."""
    is_lean = settings.telemetry.span_pipeline == "lean"
    make = LeanTracerProvider if is_lean else SharedResourceTracerProvider
    provider = make(resource=resource, shutdown_on_exit=False, meter_provider=meter_provider)
    encodes = is_lean and settings.telemetry.protocol_for("traces") == "http/protobuf"
    for exporter in span_exporters(settings):
        if isinstance(exporter, ConsoleSpanExporter):
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            continue
        if encodes:
            encoded = EncodedExporter(
                exporter, lambda: provider.resource, longest_s=longest_export_s()
            )
            provider.add_span_processor(
                EncodedSpanProcessor(
                    watch.over("traces", encoded), record=watch.new_queue("traces")
                )
            )
        else:
            processor = BatchSpanProcessor(watch.over("traces", exporter))
            provider.add_span_processor(watch.over_queue("traces", processor))
    return provider
