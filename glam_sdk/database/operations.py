"""Run each repository operation under an INTERNAL span, with errors translated.

The span says what was asked for in the model's words; the statements' CLIENT spans are below it.
Without an open span there is nothing it would explain, so there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database.errors import translated
from glam_sdk.errors import DomainError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.tracing import error_type

TRACER: Final = "glam_operation_tracer"
"""Key in ``session.info`` of the tracer for operations; without one there are no spans."""


class _HasSession(Protocol):
    @property
    def session(self) -> AsyncSession: ...
    @property
    def model(self) -> type[Any]: ...


F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def operation(method: F) -> F:
    """Decorate a coroutine method of a repository; its signature stays."""
    name = method.__name__

    @wraps(method)
    async def run(self: _HasSession, *args: Any, **kwargs: Any) -> Any:
        span = open_operation(self, name)
        if span is None:
            with translated():
                return await method(self, *args, **kwargs)
        token = otel.attach(trace.set_span_in_context(span))
        try:
            with translated():
                return await method(self, *args, **kwargs)
        except BaseException as error:
            mark_failed(span, error)
            raise
        finally:
            otel.detach(token)
            span.end()

    return cast("F", run)


def open_operation(repository: _HasSession, name: str) -> Span | None:
    """Start the span of an operation, where one is wanted; whoever asked ends it."""
    tracer: Tracer | None = repository.session.sync_session.info.get(TRACER)
    if tracer is None or not trace.get_current_span().is_recording():
        return None
    model = repository.model
    return tracer.start_span(
        f"{model.__name__}.{name}",
        attributes={conv.DB_COLLECTION_NAME: getattr(model, "__tablename__", model.__name__)},
    )


def mark_failed(span: Span, error: BaseException) -> None:
    """Say on a span why it ended; what a caller did wrong is no failure of the operation."""
    span.set_attribute(conv.ERROR_TYPE, error_type(error))
    if not isinstance(error, DomainError):
        # Not the exception itself: it is recorded once, by whoever handles it.
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
