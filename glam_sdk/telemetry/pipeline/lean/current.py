"""Make a new span the current one for a block, without a generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY

from glam_sdk._internal.current_context import attach, detach, get_current

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.tracer import LeanTracer

_F = TypeVar("_F", bound=Callable[..., Any])


class CurrentSpan:
    """Run a block, or each call of a function it decorates, under a span of its own.

    Args:
        tracer: Starts the span when the block begins.
        arguments: Positional arguments of its ``start_span``, whose last two tell what an exception
            does to the span.
        end_on_exit: Whether the span ends with the block.
    """

    __slots__ = ("_arguments", "_end_on_exit", "_span", "_token", "_tracer")

    def __init__(
        self, tracer: LeanTracer, arguments: tuple[Any, ...], *, end_on_exit: bool
    ) -> None:
        self._tracer = tracer
        self._arguments = arguments
        self._end_on_exit = end_on_exit
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        span = self._span = self._tracer.start_span(*self._arguments)
        self._token = attach(Context({**get_current(), _SPAN_KEY: span}))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        span, token = self._span, self._token
        if span is None or token is None:
            raise RuntimeError("The block of this span has not begun.")
        detach(token)
        try:
            # Other BaseExceptions, such as GeneratorExit, are not errors.
            if isinstance(exc, Exception) and span.is_recording():
                records, sets_status = self._arguments[-2:]
                if records:
                    span.record_exception(exc)
                if sets_status:
                    span.set_status(Status(StatusCode.ERROR, f"{type(exc).__name__}: {exc}"))
        finally:
            if self._end_on_exit:
                span.end()

    def __call__(self, function: _F) -> _F:
        """Decorate a function, sync or async."""
        tracer, arguments, end_on_exit = self._tracer, self._arguments, self._end_on_exit
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def traced_async(*args: Any, **kwargs: Any) -> Any:
                with CurrentSpan(tracer, arguments, end_on_exit=end_on_exit):
                    return await function(*args, **kwargs)

            return cast("_F", traced_async)

        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with CurrentSpan(tracer, arguments, end_on_exit=end_on_exit):
                return function(*args, **kwargs)

        return cast("_F", traced)
