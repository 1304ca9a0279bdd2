"""Measure one declared metric, by labels given each time or once, without ever raising."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Generic, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import Meter
from opentelemetry.metrics import _internal as otel
from opentelemetry.metrics._internal import _ProxyMeterProvider

from glam_sdk._internal.guard import guarded
from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import early
from glam_sdk.telemetry.metric_names import (
    Declaration,
    MisuseError,
    WorkerRule,
    bounds_of,
    declare,
    refuse,
)

Attributes = Mapping[str, Any]
Record = Callable[[float], None]
_SCOPE: Final = "glam_sdk.user"
_NUMBERS: Final = frozenset({int, float})
LARGEST: Final = sys.float_info.max
_MAX_KNOWN: Final = 2000
_I = TypeVar("_I", bound="Instrument")


class Instrument:
    """Hold one declared metric and find the OpenTelemetry instrument behind it."""

    kind: ClassVar[str]
    _least: ClassVar[float] = -LARGEST

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        description: str = "",
        buckets: Sequence[float] | None = None,
        workers: WorkerRule | None = None,
    ) -> None:
        self.name = name
        self._provider: Any = None
        self._target: Any = None
        self._known: dict[Any, Record] = {}
        self._known_for: Any = None
        bounds = None if buckets is None else bounds_of(buckets)
        given = Declaration(name, self.kind, unit, description, workers, bounds)
        # A name means what was declared first; OpenTelemetry would make a second stream of it.
        self._declared, self._problem = declare(given)
        self.unit = self._declared.unit
        self.description = self._declared.description

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
        try:
            if attributes:
                labels = {**attributes, **labels} if labels else attributes
            if self._problem is None:
                found = value if value.__class__ in _NUMBERS else _as_float(value)
                if self._least <= found <= LARGEST:
                    self._series(labels)(found)
                    return
            refuse(self.name, self._problem or self._no_value(value))
        except Exception as exc:  # the guard decides, and costs nothing when all is well
            with guarded(f"metrics.{self.name}"):
                self._explain(exc, value, attributes)
                raise

    def _no_value(self, value: object) -> str:
        if isinstance(value, int | float) and value < 0 and self._least == 0:
            return f"{value!r} was given to the {self.kind} {self.name!r}, which cannot fall."
        shown = repr(value) if not isinstance(value, int) else "A number larger than any float"
        return f"{shown} was given to the {self.kind} {self.name!r}, which takes finite numbers."

    def _explain(self, exc: Exception, value: object, attributes: object) -> None:
        """Raise what says more than the exception, where the author's values are the cause."""
        if isinstance(exc, MisuseError):
            return
        if attributes and not isinstance(attributes, Mapping):
            raise MisuseError(self._no_labels(attributes)) from exc
        if isinstance(value, str) or not hasattr(value, "__float__"):
            raise MisuseError(self._no_value(value)) from exc

    def _no_labels(self, attributes: object) -> str:
        return f"{attributes!r} are no labels of {self.name!r}. Use a mapping or keywords."

    def _fixed(self, attributes: Attributes | None, labels: Attributes) -> Attributes | None:
        """Return both together; None when they are none, and nothing is to be measured."""
        try:
            return {**(attributes or {}), **labels}
        except TypeError:
            refuse(self.name, self._no_labels(attributes))
            return None

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
            return self._recorder(dict(labels))
        if found is None:
            found = self._recorder(dict(labels))
            if len(self._known) < _MAX_KNOWN:
                self._known[key] = found
        return found

    def _recorder(self, attributes: Attributes) -> Record:
        """Return a function that measures with these attributes as fast as the provider can."""
        if isinstance(metrics.get_meter_provider(), _ProxyMeterProvider):
            return lambda value: early.keep(partial(self._measure, value, attributes, {}))
        target = self._current()
        bind = getattr(self._provider, "glam_bind", None)
        found: Record | None = bind(target, attributes) if bind is not None else None
        if found is not None:
            return found
        method = getattr(target, self._call())
        return lambda value: method(value, attributes)


def _as_float(value: Any) -> float:
    """Return what a Decimal, a Fraction, True or one of numpy's numbers is; a text is none."""
    if isinstance(value, str):
        raise TypeError
    return float(value)


class Bound(Generic[_I]):
    """Measure with attributes that were given once: for hot paths."""

    __slots__ = ("_attributes", "_instrument", "_is_void", "_least", "_provider", "_record")

    def __init__(self, instrument: _I, attributes: Attributes | None) -> None:
        self._instrument = instrument
        self._attributes: Attributes = attributes if attributes is not None else {}
        self._is_void = attributes is None
        self._least = instrument._least  # noqa: SLF001 - one module
        self._provider: Any = None
        self._record: Record | None = None

    def _measure(self, value: float) -> None:
        try:
            if value.__class__ in _NUMBERS and self._least <= value <= LARGEST:
                # As metrics.get_meter_provider(), which costs as much as the check of the value;
                # None where nothing has been set up, and where nothing is bound yet.
                provider, record = otel._METER_PROVIDER, self._record  # noqa: SLF001
                if provider is not self._provider:
                    record = self._bound_to(provider)
                if record is not None:
                    record(value)
                    return
            if not self._is_void:
                self._instrument._measure(value, self._attributes, {})  # noqa: SLF001
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded(f"metrics.{self._instrument.name}"):
                raise

    def _bound_to(self, provider: Any) -> Record | None:
        instrument = self._instrument
        if self._is_void or instrument._problem is not None:  # noqa: SLF001
            return None
        self._record = instrument._recorder(self._attributes)  # noqa: SLF001
        self._provider = provider
        return self._record
