"""Give a service's author spans of their own: a block or a decorated function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast, overload

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.telemetry import tracing
from glam_sdk.telemetry.log_encoding import plain, safe_str

_P = ParamSpec("_P")
_R = TypeVar("_R")
_SCOPE = "glam_sdk.user"


def span(name: str, /, **attributes: object) -> AbstractContextManager[Span]:
    """Open an INTERNAL span around a block: ``with glam_sdk.span("price.quote", items=3):``.

    An exception marks the span as failed and goes on. Dots in attribute names are written by
    unpacking: ``**{"order.id": order_id}``.

    Args:
        name: Low-cardinality span name.
        **attributes: Values of other types than OpenTelemetry's become text, None is left out, and
            what a key says is secret is hidden.
    """
    shown = _attributes(attributes) if attributes else None
    return tracing.span(tracing.get_tracer(_SCOPE), name, attributes=shown)


def _attributes(given: Mapping[str, object]) -> dict[str, AttributeValue]:
    shown: dict[str, AttributeValue] = {}
    with guarded("spans.attributes"):
        for key, value in given.items():
            coerced = plain(value, key)
            if isinstance(coerced, list):
                shown[key] = _sequence(coerced)
            elif coerced is not None:
                shown[key] = coerced if not isinstance(coerced, dict) else safe_str(coerced)
    return shown


def _sequence(items: list[Any]) -> AttributeValue:
    kinds = {type(item) for item in items}
    if len(kinds) == 1 and kinds <= {str, int, float, bool}:
        return items
    return [safe_str(item) for item in items]  # OpenTelemetry has no mixed sequences


@overload
def instrument(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def instrument(
    *, name: str | None = None, **attributes: object
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def instrument(
    function: Callable[_P, _R] | None = None,
    /,
    *,
    name: str | None = None,
    **attributes: object,
) -> Callable[_P, _R] | Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Run each call of a function, sync or async, under a span.

    Args:
        function: Given when used without parentheses.
        name: Span name; the function's qualified name by default.
        **attributes: Set on every span.

    Raises:
        TypeError: For a generator function, whose body runs when nobody is in the span any more,
            and above ``@staticmethod`` or ``@classmethod``.
    """
    shown = _attributes(attributes)

    def decorate(inner: Callable[_P, _R]) -> Callable[_P, _R]:
        _refuse(inner)
        label = name or str(getattr(inner, "__qualname__", type(inner).__qualname__))
        if inspect.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def traced_async(*args: _P.args, **kwargs: _P.kwargs) -> object:
                with tracing.span(tracing.get_tracer(_SCOPE), label, attributes=shown):
                    return await inner(*args, **kwargs)

            return cast("Callable[_P, _R]", traced_async)

        @functools.wraps(inner)
        def traced(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with tracing.span(tracing.get_tracer(_SCOPE), label, attributes=shown):
                return inner(*args, **kwargs)

        return traced

    return decorate(function) if function is not None else decorate


def _refuse(inner: Callable[..., object]) -> None:
    shown = getattr(inner, "__qualname__", repr(inner))
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(
            f"@instrument cannot span the generator {shown}. "
            "Open a span inside it: with glam_sdk.span(...)."
        )
    if isinstance(inner, staticmethod | classmethod):
        raise TypeError(f"@instrument must stand below @{type(inner).__name__} on {shown}.")
