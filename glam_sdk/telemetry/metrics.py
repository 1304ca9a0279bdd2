"""Get meters and instruments against the OpenTelemetry API."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import metrics
from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv

__all__ = ["Counter", "Histogram", "Meter", "UpDownCounter", "duration_histogram", "get_meter"]


def get_meter(scope: str) -> Meter:
    """Return the meter of one area; it follows the global provider, also one set later.

    Args:
        scope: Instrumentation scope, such as ``glam_sdk.database``.
    """
    return metrics.get_meter(scope, __version__, schema_url=conv.SCHEMA_URL)


def duration_histogram(
    meter: Meter, name: str, *, description: str, buckets: Sequence[float]
) -> Histogram:
    """Create a histogram of seconds with the buckets its convention advises."""
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=buckets
    )
