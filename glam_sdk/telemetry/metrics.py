"""Get meters and instruments against the OpenTelemetry API.

The SDK's own areas take a meter; a service's author declares instruments by :func:`counter`,
:func:`histogram`, :func:`gauge` and :func:`up_down_counter`, wherever it suits: at import time,
before ``init`` or after.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry import metrics
from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import instruments
from glam_sdk.telemetry.metric_names import MisuseError, WorkerRule, refuse

__all__ = [
    "Counter",
    "Histogram",
    "Meter",
    "MisuseError",
    "UpDownCounter",
    "WorkerRule",
    "counter",
    "duration_histogram",
    "gauge",
    "get_meter",
    "histogram",
    "measured",
    "timer",
    "up_down_counter",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")


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


def counter(name: str, *, unit: str = "", description: str = "") -> instruments.Counter:
    """Declare a counter of something that only grows, such as ``orders.placed``.

    Args:
        name: By the OpenTelemetry rules: dotted, lower case; no unit and no ``_total`` in it.
        unit: UCUM unit, or what is counted in braces: ``{order}``.
        description: One sentence for whoever sees the metric.
    """
    return instruments.Counter(name, unit=unit, description=description)


def up_down_counter(
    name: str, *, unit: str = "", description: str = ""
) -> instruments.UpDownCounter:
    """Declare a counter that also falls, such as ``jobs.active``; workers are added up."""
    return instruments.UpDownCounter(name, unit=unit, description=description)


def gauge(
    name: str, *, unit: str = "", description: str = "", workers: WorkerRule = "max"
) -> instruments.Gauge:
    """Declare a value that is what it is now, such as ``cache.age``.

    Args:
        name: As for :func:`counter`.
        unit: As for :func:`counter`.
        description: As for :func:`counter`.
        workers: What a scrape shows of several worker processes: ``sum``, ``max``, ``min``,
            ``last`` (set most recently), or ``worker`` (one series each, with that label).
    """
    return instruments.Gauge(name, unit=unit, description=description, workers=workers)


def histogram(
    name: str,
    *,
    unit: str = "",
    description: str = "",
    buckets: Sequence[float] | None = None,
) -> instruments.Histogram:
    """Declare a distribution, such as ``invoice.render.duration`` in ``s``.

    Args:
        name: As for :func:`counter`.
        unit: As for :func:`counter`.
        description: As for :func:`counter`.
        buckets: Upper bounds; for seconds those of the semantic conventions by default. A name
            that is declared again without any has those of the first time.
    """
    return instruments.Histogram(name, unit=unit, description=description, buckets=buckets)


def timer(name: str, /, **labels: Any) -> AbstractContextManager[None]:
    """Record the seconds that a block takes in a histogram.

    Used as a ``with`` statement, in sync and async functions alike.

    Args:
        name: Of the histogram; its unit is ``s``.
        **labels: Its attributes; ``error.type`` is added when the block raises.
    """
    return _seconds(name).time(labels)


def measured(name: str, /, **labels: Any) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Record the seconds of each call of a function, sync or async.

    A generator is refused, because a call only makes it: use :func:`timer` inside.

    Args:
        name: Of the histogram; its unit is ``s``.
        **labels: Its attributes; ``error.type`` is added when a call raises.
    """
    if callable(name):  # used without parentheses
        refuse("measured", "@measured needs a name: @measured('price.quote.duration').")
        return cast("Callable[[Callable[_P, _R]], Callable[_P, _R]]", name)

    def decorate(inner: Callable[_P, _R]) -> Callable[_P, _R]:
        problem = _untimeable(inner)
        if problem is not None:
            refuse(name, problem)
            return inner
        seconds = _seconds(name).bind(labels)
        if inspect.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def timed_async(*args: _P.args, **kwargs: _P.kwargs) -> object:
                with seconds.time():
                    return await inner(*args, **kwargs)

            return cast("Callable[_P, _R]", timed_async)

        @functools.wraps(inner)
        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with seconds.time():
                return inner(*args, **kwargs)

        return timed

    return decorate


def _untimeable(inner: object) -> str | None:
    shown = getattr(inner, "__qualname__", repr(inner))
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        return f"@measured cannot time the generator {shown}. Use timer(...) inside it."
    if isinstance(inner, staticmethod | classmethod):
        return f"@measured must stand below @{type(inner).__name__} on {shown}."
    return None if callable(inner) else f"@measured cannot time {shown}, which is no function."


def _seconds(name: str) -> instruments.Histogram:
    try:
        return _known_seconds(name)
    except TypeError:  # it has no hash, so it is no text
        return histogram(name, unit="s")  # which refuses it


@functools.lru_cache(maxsize=1024)
def _known_seconds(name: str) -> instruments.Histogram:
    what = str(name).removesuffix(".duration")
    return histogram(name, unit="s", description=f"Duration of {what}.")
