"""Follow one request: its span, its ids, how it went, and what is told of it.

Flow: step 1. One object a request; it ends exactly once, when the last byte is sent.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter, time_ns
from typing import Any, Final

from fastapi.exceptions import RequestValidationError, ResponseValidationError
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from glam_sdk.api.attributes import Kind, Outcome, outcome_of, shown_path
from glam_sdk.api.routes import route_template
from glam_sdk.errors import GlamBaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import tracing
from glam_sdk.telemetry.log_context import HOLDER_KEY
from glam_sdk.telemetry.log_encoding import exception_message

SCOPE_KEY: Final = "glam.exchange"
Scope = MutableMapping[str, Any]
Fields = Mapping[str, Any]

# They say how a request ends, and are no fault of their own; a 422 also quotes the caller's values.
_ANSWERS: Final = (HTTPException, RequestValidationError, WebSocketException)
_FAREWELLS: Final = (ClientDisconnect, WebSocketDisconnect, CancelledError, OSError)
# What Starlette wraps an exception in that has a handler, once the response has begun.
_ANSWERED_ALREADY: Final = ("Caught handled exception, but response already started.",)
# Closed in order, going away, and closed without a code (RFC 6455, section 7.4).
_ORDERLY_CLOSE: Final = frozenset({1000, 1001, 1005})


@dataclass(slots=True, eq=False)
class Exchange:
    """Hold what is known of a request while it is handled."""

    scope: Scope
    app: Any
    """The application that was asked first; a mounted one replaces it in the scope."""
    path: str
    root_path: str
    kind: Kind
    context: Context
    span: Span
    is_websocket: bool
    """Whether this is a WebSocket connection rather than a request."""
    is_joined: bool
    """Whether the span is another instrumentation's, which names and ends it."""
    is_excluded: bool
    headers: list[tuple[bytes, bytes]]
    """What every response carries: request, correlation and trace id, and the service's name."""
    count_active: Callable[[float], None] | None = None
    """Adds to the number of active requests like this one; None where others count it, or none."""
    started: float = field(default_factory=perf_counter)
    status: int | None = None
    code: str | None = None
    """The error code in the answer."""
    error: BaseException | None = None
    is_complete: bool = False
    """Whether the answer was sent to its end."""
    is_broken: bool = False
    """Whether an exception went through all of the application."""
    is_abandoned: bool = False
    """Whether the caller left before the end."""
    is_finished: bool = False
    went_well: bool = False
    """Whether there is nothing to tell of it but that it was answered."""
    duration_s: float = 0.0
    ended_ns: int | None = None
    fields: Fields | None = None
    """Of the request's log line, as they were when it ended."""
    tell_span: tracing.Tell | None = None
    """Puts the outcome on a span that has stopped, and hands it over."""
    client: Sequence[Any] | None = None
    """As the scope had it at the end: middleware may know a caller behind a proxy."""
    route: str | None = None
    """Template of the one that matched, such as ``/orders/{order_id}``."""

    # What every request asks is no property: that costs a call through C.

    def has_failed(self) -> bool:
        """Whether it did not end as it should, other than by refusing the request."""
        if self.is_broken or self.is_abandoned:
            return True
        if self.is_websocket:
            return False
        return self.status is None or self.status >= 500 or not self.is_complete

    @property
    def was_left(self) -> bool:
        """Whether the caller's leaving, and nothing else, is what went wrong."""
        return self.is_abandoned and (self.error is None or isinstance(self.error, _FAREWELLS))

    def remember(self, exc: BaseException) -> None:
        """Keep the exception that decides the answer."""
        if not self.is_finished and not is_orderly_close(exc):
            self.error = exc

    def fail(self, exc: BaseException) -> None:
        """Note that an exception went through all of the application."""
        if is_orderly_close(exc):
            return
        self.is_broken = True
        if exc.args == _ANSWERED_ALREADY and exc.__cause__ is not None:
            exc = exc.__cause__
        self.error = exc
        if isinstance(exc, ClientDisconnect | WebSocketDisconnect):
            self.is_abandoned = True

    @property
    def shown_error(self) -> BaseException | None:
        """The exception as it may be written down."""
        error = self.error
        return _without_values(error) if isinstance(error, ResponseValidationError) else error

    def stop_clock(self) -> None:
        """Take the duration, once."""
        if self.ended_ns is None:
            self.duration_s = perf_counter() - self.started
            self.ended_ns = time_ns()

    def ended_s(self) -> float:
        """When it ended, in seconds since the Unix epoch."""
        return (self.ended_ns or 0) / 1e9

    def duration_ms(self) -> float:
        """How long it took, as log lines say it."""
        # round() goes by way of text, int() by way of a whole number that is divided again.
        return (self.duration_s * 1e6 + 0.5) // 1.0 / 1000.0

    def keep(self) -> None:
        """Keep what the application may change from here on, and what still runs for it."""
        holder: Any = self.context[HOLDER_KEY]
        self.fields = holder.copy()
        self.client = self.scope.get("client")
        route = _attributes(self.span).get(conv.HTTP_ROUTE) if self.is_joined else None
        self.route = route or route_template(self.scope, self)
        is_plain = self.error is None and self.code is None and not self.is_joined
        self.went_well = is_plain and not self.has_failed()

    def line_context(self) -> Context:
        """Return the context of the log line."""
        if self.fields is None:
            return self.context
        return Context({**self.context, HOLDER_KEY: self.fields})

    def error_type(self) -> str:
        """Return ``error.type``: a declared error code or exception class, else the status code."""
        if self.was_left:
            return "client_disconnected"
        error = self.error
        if isinstance(error, GlamBaseError):
            return type(error).code  # an instance's own code may have any number of values
        if error is not None and not isinstance(error, _ANSWERS):
            return tracing.error_type(error)
        return str(self.status) if self.is_complete else "incomplete_response"

    def ending(self) -> Outcome:
        """Return how it ended."""
        error_type = None if self.went_well or not self.has_failed() else self.error_type()
        return outcome_of(self.kind, self.route, self.status, error_type)

    def complete_span(self) -> None:
        """Put the outcome on the span."""
        span = self.span
        if not span.is_recording():
            return
        outcome = self.ending()
        if self.is_joined:
            known = _attributes(span)
            added = [pair for pair in outcome.attributes.items() if pair[0] not in known]
            span.set_attributes(dict(added))
        else:
            if outcome.span_name is not None:
                span.update_name(outcome.span_name)
            span.set_attributes(outcome.added)
        if (code := self.shown_code()) is not None:
            span.set_attribute(conv.GLAM_ERROR_CODE, code)
        if outcome.has_failed:
            self._record_failure(span)
        elif self.error is not None and not isinstance(self.error, _ANSWERS):
            kind = type(self.error)
            handled = {
                conv.EXCEPTION_TYPE: f"{kind.__module__}.{kind.__qualname__}",
                conv.EXCEPTION_MESSAGE: exception_message(self.error),
            }
            span.add_event("exception", handled)

    def _record_failure(self, span: Span) -> None:
        # The description stays empty: the status code says it (OpenTelemetry HTTP spans).
        span.set_status(Status(StatusCode.ERROR))
        known = getattr(span, "events", ()) if self.is_joined else ()
        error = self.shown_error
        if isinstance(error, Exception) and all(e.name != "exception" for e in known):
            tracing.record_exception(span, error)

    def shown_code(self) -> str | None:
        """Return the error code of the answer, or of what broke it off."""
        if self.code is None and isinstance(self.error, GlamBaseError):
            return self.error.code
        return self.code

    def log_fields(self, outcome: Outcome) -> dict[str, Any]:
        """Return the fields of the access-log line."""
        found, client = outcome.attributes, self.client
        fields: dict[str, Any] = {
            conv.HTTP_REQUEST_METHOD: self.kind.method,
            conv.URL_PATH: shown_path(self.path),
            conv.HTTP_ROUTE: found.get(conv.HTTP_ROUTE),
            conv.HTTP_RESPONSE_STATUS_CODE: found.get(conv.HTTP_RESPONSE_STATUS_CODE),
            "duration_ms": self.duration_ms(),
            conv.CLIENT_ADDRESS: client[0] if client else None,
            conv.ERROR_TYPE: found.get(conv.ERROR_TYPE),
            conv.GLAM_ERROR_CODE: self.shown_code(),
        }
        return {name: value for name, value in fields.items() if value is not None}


def is_orderly_close(exc: BaseException) -> bool:
    """Tell whether an exception only says that a WebSocket was closed as it should be."""
    return isinstance(exc, WebSocketDisconnect) and exc.code in _ORDERLY_CLOSE


def current_exchange(scope: Mapping[str, Any]) -> Exchange | None:
    """Return the exchange the middleware put into a scope."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else None


def _attributes(span: Span) -> Mapping[str, Any]:
    """Return the attributes of another instrumentation's span, where it can be asked."""
    return getattr(span, "attributes", None) or {}


def _without_values(exc: ResponseValidationError) -> ResponseValidationError:
    """Return the error without what the handler returned, which no log line should repeat."""
    errors = [{key: error[key] for key in ("type", "loc", "msg")} for error in exc.errors()]
    return ResponseValidationError(errors).with_traceback(exc.__traceback__)
