"""Choose the exporter of each signal as the OpenTelemetry specification says.

The exporters read most of their variables themselves (headers, timeout, compression,
certificates); here is decided whether there is one, by which protocol, and where it sends.
The gRPC exporter, which costs 70 ms and 15 MB, is imported only when chosen.
"""

from __future__ import annotations

from typing import Literal

from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, LogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from glam_sdk.config import Settings, TelemetrySettings

Signal = Literal["traces", "metrics", "logs"]


def wants_otlp(settings: TelemetrySettings, signal: Signal) -> bool:
    """Tell whether a signal leaves by OTLP.

    It does where an endpoint is configured, or where ``OTEL_<SIGNAL>_EXPORTER`` names ``otlp``
    itself (then to the specification's default endpoint on localhost).
    """
    chosen = f"{signal}_exporter"
    if "otlp" not in settings.exporters_for(signal):
        return False
    return settings.endpoint_for(signal) is not None or chosen in settings.model_fields_set


def span_exporters(settings: Settings) -> list[SpanExporter]:
    """Make the exporters of spans."""
    chosen, exporters = settings.telemetry, list[SpanExporter]()
    if wants_otlp(chosen, "traces"):
        endpoint = chosen.endpoint_for("traces")
        if chosen.protocol_for("traces") == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
                OTLPSpanExporter as GrpcSpanExporter,
            )

            exporters.append(GrpcSpanExporter(endpoint=endpoint))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporters.append(OTLPSpanExporter(endpoint=endpoint))
    if "console" in chosen.traces_exporter:
        exporters.append(ConsoleSpanExporter())
    return exporters


def metric_exporter(settings: Settings) -> MetricExporter | None:
    """Make the exporter of metrics, if they are pushed at all."""
    chosen = settings.telemetry
    if wants_otlp(chosen, "metrics"):
        endpoint = chosen.endpoint_for("metrics")
        if chosen.protocol_for("metrics") == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
                OTLPMetricExporter as GrpcMetricExporter,
            )

            return GrpcMetricExporter(endpoint=endpoint)
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(endpoint=endpoint)
    return ConsoleMetricExporter() if "console" in chosen.metrics_exporter else None


def log_exporters(settings: Settings) -> list[LogRecordExporter]:
    """Make the exporters of log records."""
    chosen, exporters = settings.telemetry, list[LogRecordExporter]()
    if wants_otlp(chosen, "logs"):
        endpoint = chosen.endpoint_for("logs")
        if chosen.protocol_for("logs") == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
                OTLPLogExporter as GrpcLogExporter,
            )

            exporters.append(GrpcLogExporter(endpoint=endpoint))
        else:
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

            exporters.append(OTLPLogExporter(endpoint=endpoint))
    if "console" in chosen.logs_exporter:
        exporters.append(ConsoleLogRecordExporter())
    return exporters
