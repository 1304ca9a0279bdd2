"""Choose the exporter of each signal as the OpenTelemetry specification says.

The exporters read most of their variables themselves (headers, timeout, compression,
certificates); here is decided whether there is one, by which protocol, and where it sends.
The gRPC exporter, which costs 70 ms and 15 MB, is imported only when chosen.
"""

from __future__ import annotations

import importlib
import logging
import re
from typing import Any, Final, Literal

from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, LogRecordExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE as _TEMPORALITY,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
)
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from glam_sdk.config import Settings, TelemetrySettings
from glam_sdk.telemetry.pipeline.http_transport import transport_to

Signal = Literal["traces", "metrics", "logs"]
_log = logging.getLogger("glam_sdk.telemetry")
_DEFAULT_ENDPOINT: Final = "http://localhost:4318/v1/"
_UNLIMITED_S: Final = 3600.0
_PACKAGE: Final = "opentelemetry.exporter.otlp.proto"
_OTLP: Final = {
    ("traces", "http/protobuf"): f"{_PACKAGE}.http.trace_exporter:OTLPSpanExporter",
    ("traces", "grpc"): f"{_PACKAGE}.grpc.trace_exporter:OTLPSpanExporter",
    ("metrics", "http/protobuf"): f"{_PACKAGE}.http.metric_exporter:OTLPMetricExporter",
    ("metrics", "grpc"): f"{_PACKAGE}.grpc.metric_exporter:OTLPMetricExporter",
    ("logs", "http/protobuf"): f"{_PACKAGE}.http._log_exporter:OTLPLogExporter",
    ("logs", "grpc"): f"{_PACKAGE}.grpc._log_exporter:OTLPLogExporter",
}


def wants_otlp(settings: TelemetrySettings, signal: Signal) -> bool:
    """Tell whether a signal leaves by OTLP.

    It does where an endpoint is configured, or where ``OTEL_<SIGNAL>_EXPORTER`` names ``otlp``
    itself (then to the specification's default endpoint on localhost).
    """
    chosen = f"{signal}_exporter"
    if "otlp" not in settings.exporters_for(signal):
        return False
    return settings.endpoint_for(signal) is not None or chosen in settings.model_fields_set


def _otlp(settings: TelemetrySettings, signal: Signal) -> Any:
    """Make the OTLP exporter of a signal for its protocol and address."""
    module, _, name = _OTLP[signal, settings.protocol_for(signal)].partition(":")
    make = getattr(importlib.import_module(module), name)
    endpoint = settings.endpoint_for(signal)
    if settings.protocol_for(signal) == "grpc":
        if endpoint is not None:
            # gRPC has no credentials there; it looks them up as part of the name, and logs them.
            endpoint = re.sub(r"(^|//)[^/]*@", r"\1", endpoint)
        exporter = make(endpoint=endpoint)
    else:
        endpoint = endpoint or _DEFAULT_ENDPOINT + signal
        exporter = make(endpoint=endpoint, _transport=transport_to(endpoint, signal))
    _limit(exporter, _UNLIMITED_S)
    return exporter


def span_exporters(settings: Settings) -> list[SpanExporter]:
    """Make the exporters of spans."""
    exporters = list[SpanExporter]()
    if wants_otlp(settings.telemetry, "traces"):
        exporters.append(_otlp(settings.telemetry, "traces"))
    if "console" in settings.telemetry.traces_exporter:
        exporters.append(ConsoleSpanExporter())
    return exporters


def metric_exporter(settings: Settings) -> MetricExporter | None:
    """Make the exporter of metrics, if they are pushed at all; what it sends is cumulative."""
    if wants_otlp(settings.telemetry, "metrics"):
        exporter: MetricExporter = _otlp(settings.telemetry, "metrics")
        _limit(exporter, settings.telemetry.metric_export_timeout_s)
        if AggregationTemporality.DELTA in (exporter._preferred_temporality or {}).values():  # noqa: SLF001
            _log.warning("metrics.temporality_not_honoured", extra={"variable": _TEMPORALITY})
        return exporter
    return ConsoleMetricExporter() if "console" in settings.telemetry.metrics_exporter else None


def _limit(exporter: Any, timeout_s: float) -> None:
    """Let an export take so long at most; ``OTEL_EXPORTER_OTLP_TIMEOUT`` may say less.

    There a zero means no limit; taken as it stands, no export would have the time to succeed.
    """
    for holder in (exporter, getattr(exporter, "_client", None)):  # of gRPC, of HTTP
        own = getattr(holder, "_timeout", None)
        if holder is not None and isinstance(own, int | float):
            holder._timeout = min(own or timeout_s, timeout_s)  # noqa: SLF001 - it reads its variables itself


def log_exporters(settings: Settings) -> list[LogRecordExporter]:
    """Make the exporters of log records."""
    exporters = list[LogRecordExporter]()
    if wants_otlp(settings.telemetry, "logs"):
        exporters.append(_otlp(settings.telemetry, "logs"))
    if "console" in settings.telemetry.logs_exporter:
        exporters.append(ConsoleLogRecordExporter())
    return exporters
