"""Measure on a series that was looked up once.

The SDK's way costs a checked copy of the attributes, their hash and a look-up for each
measurement. A bound series skips all three; limits and views are as they are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.metrics import TraceBasedExemplarFilter
from opentelemetry.trace import TraceFlags

from glam_sdk.context import SPAN_KEY
from glam_sdk.telemetry.pipeline.bound_series import IsWanted, Source, recorder
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceMeterProvider
from glam_sdk.telemetry.series import Record


class _Measurement:
    """Carry what an aggregation and its exemplar reservoir read."""

    __slots__ = ("attributes", "context", "time_unix_nano", "value")

    attributes: Mapping[str, Any]
    context: Context
    time_unix_nano: int
    value: float


class GlamMeterProvider(SharedResourceMeterProvider):
    """Be the SDK's provider with bound instruments."""

    def glam_bind(self, instrument: Any, attributes: Mapping[str, Any]) -> Record | None:
        """Return a function that measures on one series, or None where the SDK's way is needed.

        The series is there from now on: ask for it when there is something to measure.

        Args:
            instrument: Made by a meter of this provider.
            attributes: The series.
        """
        consumer: Any = self._measurement_consumer
        if vars(instrument).get("_measurement_consumer") is not consumer:
            return None
        is_wanted = self._exemplar_rule()
        seen: Any = None
        measure: Record | None = None

        def look_up() -> Record | None:
            nonlocal seen, measure
            readers = consumer._reader_storages  # noqa: SLF001 - replaced, never changed in place
            if readers is not seen:
                found = _aggregation(readers, instrument, attributes)
                source = Source(consumer, readers, anew)
                measure = found and (
                    recorder(found, attributes, is_wanted, source)
                    or _slowly(found, attributes, is_wanted, source)
                )
                seen = readers
            return measure

        def anew(value: float, context: Context | None = None) -> None:
            found = look_up()
            if found is None:
                _plainly(instrument, value, attributes, context)
            else:
                found(value, context)

        return look_up() or anew

    def _exemplar_rule(self) -> IsWanted:
        wanted = self._sdk_config.exemplar_filter
        if isinstance(wanted, TraceBasedExemplarFilter):
            return _is_sampled
        return lambda value, attributes, context: wanted.should_sample(
            value, time_ns(), attributes, context
        )


def _is_sampled(_value: float, _attributes: Mapping[str, Any], context: Context) -> bool:
    # Whoever measures outside a sampled trace asks this each time: so without a call in between.
    span: Any = context.get(SPAN_KEY)
    return span is not None and bool(span.get_span_context().trace_flags & TraceFlags.SAMPLED)


def _slowly(
    aggregation: Any, attributes: Mapping[str, Any], is_wanted: IsWanted, source: Source
) -> Record:
    """Return what measures by an aggregation's own method."""
    consumer, readers, anew = source

    def record(value: float, context: Context | None = None) -> None:
        if consumer._reader_storages is not readers:  # noqa: SLF001 - as in bound_series
            anew(value, context)
            return
        if context is None:
            context = get_current()
        measurement = _Measurement()
        measurement.value = value
        measurement.attributes = attributes
        measurement.context = context
        measurement.time_unix_nano = time_ns()
        aggregation.aggregate(measurement, is_wanted(value, attributes, context))

    return record


def _plainly(
    instrument: Any, value: float, attributes: Mapping[str, Any], context: Context | None
) -> None:
    for method in ("add", "record", "set"):
        if hasattr(instrument, method):
            getattr(instrument, method)(value, attributes, context)
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
