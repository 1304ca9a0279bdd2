"""Measure what every service has: its process, its event loop and its telemetry."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.event_loop import LoopWatch
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.self_observability import observe_exports
from glam_sdk.telemetry.pipeline.watch import ExportWatch


def observe_all(
    provider: MeterProvider, reader: ScrapeAndPushReader, watch: ExportWatch, *, runtime: bool
) -> LoopWatch | None:
    """Create the instruments; returns what watches the event loop, for the service to start.

    Args:
        provider: Where they are created.
        reader: Knows which metrics have overflowed.
        watch: Knows about exports and queues.
        runtime: Whether process and event loop are measured.
    """
    observe_exports(provider, reader, watch)

    def overflowed(_: CallbackOptions) -> Iterable[Observation]:
        for name in tuple(reader.limits.overflowed):
            yield Observation(1, {conv.GLAM_METRIC_NAME: name})

    provider.get_meter(
        "glam_sdk.telemetry", __version__, conv.SCHEMA_URL
    ).create_observable_counter(
        conv.GLAM_METRICS_OVERFLOWED,
        callbacks=[overflowed],
        unit="{metric}",
        description="Metrics with more series than allowed.",
    )
    if not runtime:
        return None
    try:
        from glam_sdk.telemetry.pipeline.process import observe_process
    except ImportError:  # Windows has no getrusage
        return LoopWatch(provider)
    observe_process(provider)
    return LoopWatch(provider)
