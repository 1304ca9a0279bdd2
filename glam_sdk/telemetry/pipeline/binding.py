"""Measure on a series that was looked up once.

The SDK's way costs a checked copy of the attributes, their hash and a look-up for each
measurement. A bound series skips all three; exemplars, limits and views are as they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import INVALID_SPAN, get_current_span


class _Measurement:
    """Carry what an aggregation and its exemplar reservoir read."""

    __slots__ = ("attributes", "context", "time_unix_nano", "value")

    attributes: Mapping[str, Any]
    context: Context
    time_unix_nano: int
    value: float


class GlamMeterProvider(MeterProvider):
    """Be the SDK's provider with bound instruments."""

    def glam_bind(
        self, instrument: Any, attributes: Mapping[str, Any]
    ) -> Callable[[float], None] | None:
        """Return a function that measures on one series, or None where the SDK's way is needed.

        Args:
            instrument: Made by a meter of this provider.
            attributes: The series.
        """
        consumer: Any = self._measurement_consumer
        bound: Any = None
        context_filter = self._sdk_config.exemplar_filter.should_sample
        is_trace_based = type(self._sdk_config.exemplar_filter).__name__.startswith("TraceBased")
        if vars(instrument).get("_measurement_consumer") is not consumer:
            return None

        def record(value: float) -> None:
            nonlocal bound
            storages = consumer._reader_storages  # noqa: SLF001 - replaced, never changed in place
            if bound is None or bound[0] is not storages:
                found = _aggregation(storages, instrument, attributes)
                if found is None:
                    _plainly(instrument, value, attributes)
                    return
                bound = (storages, found)
            context = get_current()
            is_sampled = is_trace_based and _is_sampled(context)
            if not is_trace_based:
                is_sampled = context_filter(value, time_ns(), attributes, context)
            measurement = _Measurement()
            measurement.value = value
            if is_sampled:
                measurement.attributes = attributes
                measurement.context = context
            if is_sampled or bound[1].__class__.__name__ == "_LastValueAggregation":
                measurement.time_unix_nano = time_ns()
            bound[1].aggregate(measurement, is_sampled)

        return record


def _is_sampled(context: Any) -> bool:
    span = get_current_span(context)
    return span is not INVALID_SPAN and span.get_span_context().trace_flags.sampled


def _plainly(instrument: Any, value: float, attributes: Mapping[str, Any]) -> None:
    for method in ("add", "record", "set"):
        if hasattr(instrument, method):
            getattr(instrument, method)(value, attributes)
            return


def _aggregation(storages: Any, instrument: Any, attributes: Mapping[str, Any]) -> Any:
    """Return the one aggregation of a series; None where a view or a second reader splits it."""
    from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
    from opentelemetry.sdk.metrics._internal.measurement import Measurement

    if len(storages) != 1 or not instrument._is_enabled():  # noqa: SLF001
        return None
    (storage,) = storages.values()
    matches = storage._get_or_init_view_instrument_match(instrument)  # noqa: SLF001
    if len(matches) != 1:
        return None
    match = matches[0]
    if match._view._attribute_keys is not None or match._reset_on_collect:  # noqa: SLF001
        return None
    # As the SDK does with each measurement: what is no attribute value is left out or made one.
    clean: Any = Measurement(0, 0, instrument, get_current(), dict(attributes)).attributes
    with match._lock:  # noqa: SLF001
        return match._get_or_create_aggregation(_hash_attributes(clean), dict(clean))  # noqa: SLF001
