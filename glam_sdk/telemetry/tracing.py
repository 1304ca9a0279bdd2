"""Open spans and record errors on them, against the OpenTelemetry API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv

__all__ = ["Link", "Span", "SpanKind", "error_type", "get_tracer", "record_error", "span"]


def get_tracer(scope: str) -> Tracer:
    """Return the tracer of one area; it follows the global provider, also one set later.

    Args:
        scope: Instrumentation scope, such as ``glam_sdk.database``.
    """
    return trace.get_tracer(scope, __version__, schema_url=conv.SCHEMA_URL)


def error_type(exc: BaseException) -> str:
    """Return ``error.type`` for an exception: our error code, else the class's full name."""
    code = getattr(exc, "code", None)
    if isinstance(code, str) and hasattr(exc, "status"):
        return code
    cls = type(exc)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def record_error(span: Span, exc: BaseException) -> None:
    """Mark a span as failed by an exception: event ``exception``, ``error.type`` and status."""
    with guarded("tracing.record_error"):
        if span.is_recording():
            span.record_exception(exc)
            span.set_attribute(conv.ERROR_TYPE, error_type(exc))
            span.set_status(Status(StatusCode.ERROR, type(exc).__name__))


@contextmanager
def span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    parent: Context | None = None,
    links: tuple[Link, ...] = (),
) -> Iterator[Span]:
    """Run a block under a new current span and end it however the block ends.

    An exception is recorded on the span and raised again; a cancellation marks the span as failed
    with ``error.type`` ``CancelledError``, without an exception event.

    Args:
        tracer: From :func:`get_tracer`.
        name: Low-cardinality span name.
        kind: OpenTelemetry span kind.
        attributes: Set at the start, so that a sampler sees them.
        parent: Context that holds the parent; the current context by default.
        links: Related spans that are not the parent.
    """
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        links=links or None,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as exc:
            record_error(current, exc)
            raise
        except BaseException as exc:
            current.set_attribute(conv.ERROR_TYPE, type(exc).__qualname__)
            current.set_status(Status(StatusCode.ERROR, type(exc).__name__))
            raise
