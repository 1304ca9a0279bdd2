"""Give a service's author spans of their own: a block or a decorated function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar, cast, overload

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from glam_sdk.telemetry import tracing

_P = ParamSpec("_P")
_R = TypeVar("_R")
_SCOPE = "glam_sdk.user"


def span(name: str, **attributes: AttributeValue) -> AbstractContextManager[Span]:
    """Open an INTERNAL span around a block: ``with glam_sdk.span("price.quote", items=3):``.

    An exception marks the span as failed and goes on. Dots in attribute names are written by
    unpacking: ``**{"order.id": order_id}``.
    """
    return tracing.span(tracing.get_tracer(_SCOPE), name, attributes=attributes)


@overload
def instrument(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def instrument(
    *, name: str | None = None, **attributes: AttributeValue
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def instrument(
    function: Callable[_P, _R] | None = None,
    /,
    *,
    name: str | None = None,
    **attributes: AttributeValue,
) -> Callable[_P, _R] | Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Run each call of a function, sync or async, under a span.

    Args:
        function: Given when used without parentheses.
        name: Span name; the function's qualified name by default.
        **attributes: Set on every span.

    Raises:
        TypeError: For a generator function, whose body runs when nobody is in the span any more.
    """

    def decorate(inner: Callable[_P, _R]) -> Callable[_P, _R]:
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise TypeError(
                f"@instrument cannot span the generator {inner.__qualname__}. "
                "Open a span inside it: with glam_sdk.span(...)."
            )
        label = name or inner.__qualname__
        if inspect.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def traced_async(*args: _P.args, **kwargs: _P.kwargs) -> object:
                with span(label, **attributes):
                    return await inner(*args, **kwargs)

            return cast("Callable[_P, _R]", traced_async)

        @functools.wraps(inner)
        def traced(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with span(label, **attributes):
                return inner(*args, **kwargs)

        return traced

    return decorate(function) if function is not None else decorate
