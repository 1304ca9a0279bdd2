"""Be the instruments a service's author declares; made at import time, before ``init`` or after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Generic, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import Meter

from glam_sdk._internal.guard import guarded
from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metric_names import Declaration, WorkerRule, declare, refuse

Attributes = Mapping[str, Any]
Record = Callable[[float], None]
_SCOPE: Final = "glam_sdk.user"
_GROWING: Final = frozenset({"counter", "histogram"})
_MAX_KNOWN: Final = 2000
_I = TypeVar("_I", bound="Instrument")


class Instrument:
    """Hold one declared metric and find the OpenTelemetry instrument behind it."""

    kind: ClassVar[str]

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        description: str = "",
        buckets: tuple[float, ...] | None = None,
        workers: WorkerRule | None = None,
    ) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self._buckets = buckets
        self._provider: Any = None
        self._target: Any = None
        self._known: dict[Any, Record] = {}
        self._known_for: Any = None
        self._problem = declare(Declaration(name, self.kind, unit, workers))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"

    def _create(self, meter: Meter) -> Any:
        raise NotImplementedError

    def _call(self) -> str:
        """Name the OpenTelemetry method that measures."""
        return "add"

    def _current(self) -> Any:
        """Return the instrument of the provider that is global now, which a test may replace."""
        provider = metrics.get_meter_provider()
        if provider is not self._provider:
            meter = metrics.get_meter(_SCOPE, __version__, schema_url=conv.SCHEMA_URL)
            self._target = self._create(meter)
            self._provider = provider
        return self._target

    def _measure(self, value: float, attributes: Attributes | None, labels: Attributes) -> None:
        if attributes:
            labels = {**attributes, **labels} if labels else attributes
        try:
            if self._problem is not None or (value < 0 and self.kind in _GROWING):
                self._is_sound(value)
            else:
                self._series(labels)(value)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded(f"metrics.{self.name}"):
                raise

    def _series(self, labels: Attributes) -> Record:
        """Return what measures on one series, looked up by its labels as they were given."""
        provider = metrics.get_meter_provider()
        if provider is not self._known_for:
            self._known, self._known_for = {}, provider
        try:
            # True, 1 and 1.0 are equal to Python, and three series to OpenTelemetry.
            key = (tuple(labels.items()), tuple(map(type, labels.values())))
            found = self._known.get(key)
        except TypeError:  # a list among the values
            return self._recorder(labels)
        if found is None:
            found = self._recorder(dict(labels))
            if len(self._known) < _MAX_KNOWN:
                self._known[key] = found
        return found

    def _is_sound(self, value: float) -> bool:
        problem = self._problem
        if problem is None and value < 0 and self.kind in _GROWING:
            problem = f"{value!r} was given to the {self.kind} {self.name!r}, which cannot fall."
        if problem is None:
            return True
        refuse(self.name, problem)
        return False

    def _recorder(self, attributes: Attributes) -> Record:
        """Return a function that measures with these attributes as fast as the provider can."""
        target = self._current()
        bind = getattr(self._provider, "glam_bind", None)
        found: Record | None = bind(target, attributes) if bind is not None else None
        if found is not None:
            return found
        method = getattr(target, self._call())
        return lambda value: method(value, attributes)


class Bound(Generic[_I]):
    """Measure with attributes that were given once: for hot paths."""

    __slots__ = ("_attributes", "_instrument", "_provider", "_record")

    def __init__(self, instrument: _I, attributes: Attributes) -> None:
        self._instrument = instrument
        self._attributes = dict(attributes)
        self._provider: Any = None
        self._record: Record | None = None

    def _measure(self, value: float) -> None:
        instrument = self._instrument
        try:
            if instrument._problem is not None or value < 0:  # noqa: SLF001 - one module
                instrument._measure(value, self._attributes, {})  # noqa: SLF001
                return
            provider = metrics.get_meter_provider()
            if provider is not self._provider or self._record is None:
                self._record = instrument._recorder(self._attributes)  # noqa: SLF001
                self._provider = provider
            self._record(value)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded(f"metrics.{instrument.name}"):
                raise


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


class BoundGauge(Bound["Gauge"]):
    """Set with fixed attributes."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Set the current value."""
        self._measure(value)


class Counter(Instrument):
    """Count what only grows."""

    kind = "counter"

    def _create(self, meter: Meter) -> Any:
        return meter.create_counter(self.name, self.unit, self.description)

    def add(
        self, amount: float = 1, attributes: Attributes | None = None, /, **labels: Any
    ) -> None:
        """Add an amount; names with dots go into the mapping, others may be keywords."""
        self._measure(amount, attributes, labels)

    def bind(self, attributes: Attributes | None = None, /, **labels: Any) -> BoundAdder:
        """Return the same counter with its attributes fixed."""
        return BoundAdder(self, {**(attributes or {}), **labels})


class UpDownCounter(Counter):
    """Count what grows and shrinks; several workers' values are added up."""

    kind = "up_down_counter"

    def _create(self, meter: Meter) -> Any:
        return meter.create_up_down_counter(self.name, self.unit, self.description)


class Gauge(Instrument):
    """Show a value as it is now."""

    kind = "gauge"

    def _create(self, meter: Meter) -> Any:
        return meter.create_gauge(self.name, self.unit, self.description)

    def _call(self) -> str:
        return "set"

    def set(self, value: float, attributes: Attributes | None = None, /, **labels: Any) -> None:
        """Set the current value."""
        self._measure(value, attributes, labels)

    def bind(self, attributes: Attributes | None = None, /, **labels: Any) -> BoundGauge:
        """Return the same gauge with its attributes fixed."""
        return BoundGauge(self, {**(attributes or {}), **labels})


class Histogram(Instrument):
    """Show how values are distributed."""

    kind = "histogram"

    def _create(self, meter: Meter) -> Any:
        return meter.create_histogram(
            self.name,
            self.unit,
            self.description,
            explicit_bucket_boundaries_advisory=self._buckets,
        )

    def _call(self) -> str:
        return "record"

    def record(self, value: float, attributes: Attributes | None = None, /, **labels: Any) -> None:
        """Record a value."""
        self._measure(value, attributes, labels)

    def bind(self, attributes: Attributes | None = None, /, **labels: Any) -> BoundRecorder:
        """Return the same histogram with its attributes fixed."""
        return BoundRecorder(self, {**(attributes or {}), **labels})

    @contextmanager
    def time(self, attributes: Attributes | None = None, /, **labels: Any) -> Iterator[None]:
        """Record the seconds that a block takes; ``error.type`` is added when it raises."""
        shown = {**(attributes or {}), **labels}
        started = time.perf_counter()
        try:
            yield
        except BaseException as exc:
            shown[conv.ERROR_TYPE] = type(exc).__qualname__
            raise
        finally:
            self._measure(time.perf_counter() - started, shown, {})
