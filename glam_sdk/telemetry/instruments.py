"""Be the instruments a service's author declares; made at import time, before ``init`` or after."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry.metrics import Meter

from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.instrument import LARGEST, Attributes, Bound, Instrument
from glam_sdk.telemetry.metric_names import refuse

_F = TypeVar("_F", bound=Callable[..., Any])


class Timing:
    """Be the ``with`` statement around what is timed."""

    __slots__ = ("_histogram", "_labels", "_record", "_started")

    def __init__(
        self,
        histogram: Histogram,
        labels: Attributes | None,
        record: Callable[[float, Attributes], None],
    ) -> None:
        self._histogram = histogram
        self._labels = labels
        self._record = record
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        seconds, labels = time.perf_counter() - self._started, self._labels
        if labels is None:  # refused when it was made
            return
        if kind is None:
            self._record(seconds, labels)
        else:
            self._histogram.record(seconds, {**labels, conv.ERROR_TYPE: kind.__qualname__})

    def __call__(self, function: _F) -> _F:
        """Refuse to be a decorator, which would time only the making of a coroutine."""
        name = self._histogram.name
        refuse(name, f"A timer is for a block. Decorate functions with @measured({name!r}).")
        return function


class BoundAdder(Bound["Counter | UpDownCounter"]):
    """Add with fixed attributes."""

    __slots__ = ()

    def add(self, amount: float = 1) -> None:
        """Add an amount."""
        self._measure(amount)


class BoundRecorder(Bound["Histogram"]):
    """Record with fixed attributes."""

    __slots__ = ()

    def record(self, value: float) -> None:
        """Record a value."""
        self._measure(value)

    def time(self) -> Timing:
        """Record the seconds that a block takes; ``error.type`` is added when it raises."""
        shown = None if self._is_void else self._attributes
        return Timing(self._instrument, shown, lambda seconds, _: self._measure(seconds))


class BoundGauge(Bound["Gauge"]):
    """Set with fixed attributes."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Set the current value."""
        self._measure(value)


class Counter(Instrument):
    """Count what only grows."""

    kind = "counter"
    _least = 0.0

    def _create(self, meter: Meter) -> Any:
        return meter.create_counter(self.name, self.unit, self.description)

    def add(
        self, amount: float = 1, /, attributes: Attributes | None = None, **labels: Any
    ) -> None:
        """Add an amount; names with dots go into the mapping, others may be keywords."""
        self._measure(amount, attributes, labels)

    def bind(self, /, attributes: Attributes | None = None, **labels: Any) -> BoundAdder:
        """Return the same counter with its attributes fixed."""
        return BoundAdder(self, self._fixed(attributes, labels))


class UpDownCounter(Counter):
    """Count what grows and shrinks; several workers' values are added up."""

    kind = "up_down_counter"
    _least = -LARGEST

    def _create(self, meter: Meter) -> Any:
        return meter.create_up_down_counter(self.name, self.unit, self.description)


class Gauge(Instrument):
    """Show a value as it is now."""

    kind = "gauge"

    def _create(self, meter: Meter) -> Any:
        return meter.create_gauge(self.name, self.unit, self.description)

    def _call(self) -> str:
        return "set"

    def set(self, value: float, /, attributes: Attributes | None = None, **labels: Any) -> None:
        """Set the current value."""
        self._measure(value, attributes, labels)

    def bind(self, /, attributes: Attributes | None = None, **labels: Any) -> BoundGauge:
        """Return the same gauge with its attributes fixed."""
        return BoundGauge(self, self._fixed(attributes, labels))


class Histogram(Instrument):
    """Show how values are distributed."""

    kind = "histogram"
    _least = 0.0

    def _create(self, meter: Meter) -> Any:
        return meter.create_histogram(
            self.name,
            self.unit,
            self.description,
            explicit_bucket_boundaries_advisory=self._declared.buckets,
        )

    def _call(self) -> str:
        return "record"

    def record(self, value: float, /, attributes: Attributes | None = None, **labels: Any) -> None:
        """Record a value."""
        self._measure(value, attributes, labels)

    def bind(self, /, attributes: Attributes | None = None, **labels: Any) -> BoundRecorder:
        """Return the same histogram with its attributes fixed."""
        return BoundRecorder(self, self._fixed(attributes, labels))

    def time(self, /, attributes: Attributes | None = None, **labels: Any) -> Timing:
        """Record the seconds that a block takes; ``error.type`` is added when it raises."""
        shown = self._fixed(attributes, labels)
        return Timing(self, shown, self.record)
