"""Report on the telemetry itself, by the ``otel.sdk.*`` names of the semantic conventions.

The SDK's own internal metrics (``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED``) cost several
measurements for each span; here counts that are kept anyway are read when somebody scrapes. Where
that variable is set, the SDK's are used and these stay out of the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.environment_variables import OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED
from opentelemetry.sdk.environment_variables._internal import parse_boolean_environment_variable
from opentelemetry.sdk.metrics import MeterProvider

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.watch import ExportWatch

_EXPORTED: Final = {
    "traces": conv.OTEL_SDK_EXPORTER_SPAN_EXPORTED,
    "logs": conv.OTEL_SDK_EXPORTER_LOG_EXPORTED,
    "metrics": conv.OTEL_SDK_EXPORTER_POINT_EXPORTED,
}
_QUEUES: Final = {
    "traces": (
        conv.OTEL_SDK_PROCESSOR_SPAN_PROCESSED,
        conv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE,
        conv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY,
    ),
    "logs": (
        conv.OTEL_SDK_PROCESSOR_LOG_PROCESSED,
        conv.OTEL_SDK_PROCESSOR_LOG_QUEUE_SIZE,
        conv.OTEL_SDK_PROCESSOR_LOG_QUEUE_CAPACITY,
    ),
}
_UNITS: Final = {"traces": "{span}", "logs": "{log_record}", "metrics": "{data_point}"}
_PROCESSORS: Final = {"traces": "batching_span_processor", "logs": "batching_log_processor"}


def observe_exports(
    provider: MeterProvider, reader: ScrapeAndPushReader, watch: ExportWatch
) -> None:
    """Show collections, exports, queues and drops of all signals on the scrape and in the push."""
    if parse_boolean_environment_variable(OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED):
        return
    meter = provider.get_meter("glam_sdk.telemetry", __version__, conv.SCHEMA_URL)
    for signal in _EXPORTED:
        _observe_exporter(meter, watch, signal)
    for signal in _PROCESSORS:
        _observe_queue(meter, watch, signal)
    reader.on_collected = _collections(meter)
    duration = meter.create_histogram(
        conv.OTEL_SDK_EXPORTER_OPERATION_DURATION,
        unit="s",
        description="Duration of exports.",
        explicit_bucket_boundaries_advisory=conv.HTTP_DURATION_BUCKETS,
    )

    def observe(signal: str, seconds: float, error: str | None) -> None:
        attributes = _exporter(watch, signal)
        if error is not None:
            attributes[conv.ERROR_TYPE] = error
        duration.record(seconds, attributes)

    watch.observer = observe


def _collections(meter: Meter) -> Callable[[float], None]:
    duration = meter.create_histogram(
        conv.OTEL_SDK_COLLECTION_DURATION,
        unit="s",
        description="Duration of collecting all metrics, for a scrape or a push.",
        explicit_bucket_boundaries_advisory=conv.DB_DURATION_BUCKETS,
    )
    kind = "periodic_metric_reader"
    attributes = {conv.OTEL_COMPONENT_TYPE: kind, conv.OTEL_COMPONENT_NAME: f"{kind}/0"}
    return lambda seconds: duration.record(seconds, attributes)


def _exporter(watch: ExportWatch, signal: str) -> dict[str, str]:
    kind = watch.records[signal].component
    return {conv.OTEL_COMPONENT_TYPE: kind, conv.OTEL_COMPONENT_NAME: f"{kind}/0"}


def _observe_exporter(meter: Meter, watch: ExportWatch, signal: str) -> None:
    def exported(_: CallbackOptions) -> Iterable[Observation]:
        record = watch.records.get(signal)
        if record is None:
            return
        attributes = _exporter(watch, signal)
        yield Observation(record.items_exported, attributes)
        for error, count in record.items_failed.copy().items():
            yield Observation(count, {**attributes, conv.ERROR_TYPE: error})

    meter.create_observable_counter(
        _EXPORTED[signal],
        callbacks=[exported],
        unit=_UNITS[signal],
        description="What was exported; with error.type, what could not be.",
    )


def _observe_queue(meter: Meter, watch: ExportWatch, signal: str) -> None:
    def attributes(index: int) -> dict[str, str]:
        kind = _PROCESSORS[signal]
        return {conv.OTEL_COMPONENT_TYPE: kind, conv.OTEL_COMPONENT_NAME: f"{kind}/{index}"}

    def processed(_: CallbackOptions) -> Iterable[Observation]:
        for index, queue in enumerate(watch.queues.get(signal, ())):
            yield Observation(queue.processed, attributes(index))
            for reason, count in queue.dropped.copy().items():
                yield Observation(count, {**attributes(index), conv.ERROR_TYPE: reason})

    def size(_: CallbackOptions) -> Iterable[Observation]:
        for index, queue in enumerate(watch.queues.get(signal, ())):
            yield Observation(queue.size(), attributes(index))

    def capacity(_: CallbackOptions) -> Iterable[Observation]:
        for index, queue in enumerate(watch.queues.get(signal, ())):
            yield Observation(queue.capacity, attributes(index))

    processed_name, size_name, capacity_name = _QUEUES[signal]
    unit = _UNITS[signal]
    meter.create_observable_counter(
        processed_name,
        callbacks=[processed],
        unit=unit,
        description="What was handed to the exporter; with error.type, what was dropped.",
    )
    meter.create_observable_up_down_counter(
        size_name, callbacks=[size], unit=unit, description="What waits for export."
    )
    meter.create_observable_up_down_counter(
        capacity_name, callbacks=[capacity], unit=unit, description="What may wait."
    )
