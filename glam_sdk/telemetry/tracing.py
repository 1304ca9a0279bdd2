"""Open spans and record errors on them, against the OpenTelemetry API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Token
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.current_context import attach, detach
from glam_sdk._internal.guard import guarded, report
from glam_sdk._internal.version import __version__
from glam_sdk.errors import GlamBaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.log_encoding import exception_message, traceback_text

__all__ = [
    "LaterAttributes",
    "Link",
    "OwnAttributes",
    "SharedAttributes",
    "Span",
    "SpanKind",
    "begun",
    "error_type",
    "get_tracer",
    "later",
    "record_error",
    "span",
    "stop",
]

_RECORDED_IN: Final = "__glam_recorded_in__"


class SharedAttributes(dict[str, AttributeValue]):
    """Hold attributes that many spans begin or end with; nobody changes them.

    They need no check: names are not empty and values are texts or numbers, of exactly these types.

    Attributes:
        written: What an exporter made of them, kept here because it is the same for every span.
    """

    __slots__ = ("written",)

    def __init__(self, attributes: Mapping[str, AttributeValue] = MappingProxyType({})) -> None:
        super().__init__(attributes)
        self.written: bytes | None = None


NOTHING: Final = SharedAttributes()
"""For a span that begins, or ends, with nothing that others have."""


def method_of_ours(thing: object, name: str) -> Any:
    """Return a method that only our tracers and spans have; None for all others.

    What wraps one of ours, and passes on what it does not know, is one of the others: its own
    methods have to be called.
    """
    found = getattr(thing, name, None)
    return found if found is not None and found.__self__ is thing else None


OwnAttributes = dict[str, AttributeValue]
"""Attributes of one span beside shared ones: under other names, as plain, and given away."""

BegunAttributes = tuple[SharedAttributes, OwnAttributes]
"""Those that a span begins with."""


class LaterAttributes(partial[BegunAttributes]):
    """Say how the attributes of one span are made, for a tracer that needs them only if sampled."""

    __slots__ = ()


def begun(tracer: Tracer, shared: SharedAttributes, own: OwnAttributes) -> Any:
    """Return the attributes of a span to be started, in two parts for a tracer that can take them.

    Args:
        tracer: Starts the span.
        shared: With other spans.
        own: Of this one.
    """
    can_wait = method_of_ours(tracer, "glam_can_wait")
    return (shared, own) if can_wait is not None and can_wait() else {**shared, **own}


def later(tracer: Tracer, make: Callable[..., BegunAttributes], *about: object) -> Any:
    """Return the attributes of a span to be started, or how to make them where a tracer can wait.

    Args:
        tracer: Starts the span.
        make: Returns the attributes.
        *about: Given to it.
    """
    can_wait = method_of_ours(tracer, "glam_can_wait")
    if can_wait is not None and can_wait():
        return LaterAttributes(make, *about)
    shared, own = make(*about)
    return {**shared, **own}


class StartChild(Protocol):
    """Starts a span of a name and kind below a valid parent, or none, without a context for it."""

    def __call__(
        self,
        name: str,
        kind: SpanKind,
        parent: trace.SpanContext | None,
        begun: BegunAttributes | Callable[..., BegunAttributes],
        about: tuple[Any, ...] | None = None,
        /,
    ) -> Span | None:
        """Return the span; None where somebody wants to see the context it starts in.

        Args:
            name: Of the span.
            kind: OpenTelemetry span kind.
            parent: Its ids.
            begun: The attributes; or what makes them, where the span is recorded, of `about`.
            about: What they are made of.
        """


def child_starter(tracer: Tracer) -> StartChild | None:
    """Return what starts spans without a context, which costs as much as the span; if there is."""
    found: StartChild | None = method_of_ours(tracer, "glam_child")
    return found


Tell = Callable[[str | None, SharedAttributes], None]
"""Gives a span that has stopped its last name, where it has another one, and more attributes."""


def stop(span: Span, end_time: int | None) -> Tell | None:
    """Stop a span's recording, and leave for later what is told of it.

    Args:
        span: One that was not joined.
        end_time: In nanoseconds since the Unix epoch.

    Returns:
        What tells the rest and hands the span over. None where somebody sees the span end, so that
        it has to be whole then.
    """
    stops = getattr(span, "glam_stop", None)  # as in method_of_ours, without a call
    tell: Tell | None = None
    if stops is not None and stops.__self__ is span:
        tell = stops(end_time)
    return _tell_nobody if tell is None and not span.is_recording() else tell


def _tell_nobody(_name: str | None, _attributes: SharedAttributes) -> None:
    return


def get_tracer(scope: str) -> Tracer:
    """Return the tracer of one area; it follows the global provider, also one set later.

    Args:
        scope: Instrumentation scope, such as ``glam_sdk.database``.
    """
    return trace.get_tracer(scope, __version__, schema_url=conv.SCHEMA_URL)


def error_type(exc: BaseException) -> str:
    """Return ``error.type`` for an exception: our error's code, else the class's full name."""
    if isinstance(exc, GlamBaseError):
        return type(exc).code  # an instance may have any; this becomes a metric label
    cls = type(exc)
    name = cls.__qualname__
    return name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}"


def record_exception(span: Span, exc: BaseException) -> None:
    """Add the event ``exception``, its texts bounded and without the passwords of URLs."""
    shown = {
        conv.EXCEPTION_MESSAGE: exception_message(exc),
        conv.EXCEPTION_STACKTRACE: traceback_text(exc),
    }
    span.record_exception(exc, attributes=shown)


def record_error(span: Span, exc: BaseException) -> None:
    """Mark a span as failed by an exception: event ``exception``, ``error.type`` and status."""
    with guarded("tracing.record_error"):
        if span.is_recording():
            record_exception(span, exc)
            _mark_failed(span, exc)


def _mark_failed(span: Span, exc: BaseException) -> None:
    span.set_attribute(conv.ERROR_TYPE, error_type(exc))
    span.set_status(Status(StatusCode.ERROR, type(exc).__name__))


def _record_once(span: Span, exc: Exception) -> None:
    """Record an exception on the innermost span it passes; those around it only fail."""
    with guarded("tracing.record_once"):
        trace_id = span.get_span_context().trace_id
        if getattr(exc, _RECORDED_IN, None) == trace_id:
            _mark_failed(span, exc)
            return
        record_error(span, exc)
        with suppress(AttributeError):  # an exception with slots is recorded on each span
            setattr(exc, _RECORDED_IN, trace_id)


class span:  # noqa: N801 - reads as a statement: `with span(tracer, "name"):`
    """Run a block under a new current span and end it however the block ends.

    An exception marks the span as failed, is recorded on the innermost of such spans, and is raised
    again; a cancellation marks it as failed too, without the event.

    Args:
        tracer: From :func:`get_tracer`.
        name: Low-cardinality span name.
        kind: OpenTelemetry span kind.
        attributes: Set at the start, so that a sampler sees them.
        parent: Context that holds the parent; the current context by default.
        links: Related spans that are not the parent.
    """

    __slots__ = ("_arguments", "_span", "_token", "_tracer")
    _span: Span
    _token: Token[Context]

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        parent: Context | None = None,
        links: tuple[Link, ...] = (),
    ) -> None:
        self._tracer = tracer
        self._arguments = (name, parent, kind, attributes, links or None)

    def __enter__(self) -> Span:
        current = self._span = self._tracer.start_span(*self._arguments)
        self._token = attach(set_span_in_context(current))
        return current

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        detach(self._token)
        current = self._span
        try:
            if isinstance(exc, Exception):
                _record_once(current, exc)
            # The others are an end that was asked for.
            elif exc is not None and not isinstance(exc, GeneratorExit | SystemExit):
                with guarded("tracing.span"):
                    _mark_failed(current, exc)
        finally:
            try:
                current.end()
            except Exception as failure:  # noqa: BLE001 - somebody's processor must not break the block
                report("tracing.end", failure)
