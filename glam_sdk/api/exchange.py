"""Follow one request: its span, its ids, how it went, and what is told of it.

Flow: step 1. One object a request; it ends exactly once, when the last byte is sent.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from time import perf_counter, time_ns
from typing import Any, Final, cast

from fastapi.exceptions import RequestValidationError, ResponseValidationError
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from glam_sdk.api.attributes import shown_path
from glam_sdk.api.routes import Arrival, route_template
from glam_sdk.errors import GlamBaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import tracing
from glam_sdk.telemetry.http_methods import span_method
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


def _count_nowhere(_: float) -> None:
    return


@dataclass(slots=True, eq=False)
class Exchange:
    """Hold what is known of a request while it is handled."""

    scope: Scope
    arrival: Arrival
    context: Context
    span: Span
    is_joined: bool
    """Whether the span is another instrumentation's, which names and ends it."""
    is_excluded: bool
    is_measured: bool
    """Whether the request counts in our metrics; else it is excluded or counted elsewhere."""
    request_id: str
    correlation_id: str
    measured: Mapping[str, Any]
    """Attributes that span and metrics share."""
    count_active: Callable[[float], None] = _count_nowhere
    """Adds to the number of active requests like this one."""
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
    duration_s: float = 0.0
    ended_ns: int | None = None

    @property
    def is_websocket(self) -> bool:
        """Whether this is a WebSocket connection rather than a request."""
        return bool(self.scope["type"] == "websocket")

    @property
    def method(self) -> str:
        """The method as span and log show it."""
        return span_method(self.measured[conv.HTTP_REQUEST_METHOD])

    @property
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

    def keep_fields(self) -> None:
        """Keep the fields of the log line as they are, whatever still runs for this request."""
        context = self.context
        self.context = Context({**context, HOLDER_KEY: {**cast("Fields", context[HOLDER_KEY])}})

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

    def outcome(self) -> dict[str, Any]:
        """Return the attributes that metrics and span share, now that all is known."""
        shared = dict(self.measured)
        route = (_attributes(self.span) if self.is_joined else {}).get(conv.HTTP_ROUTE)
        route = route or route_template(self.scope, self.arrival)
        if route is not None:
            shared[conv.HTTP_ROUTE] = route
        if self.status is not None:
            shared[conv.HTTP_RESPONSE_STATUS_CODE] = self.status
        if self.has_failed:
            shared[conv.ERROR_TYPE] = self.error_type()
        return shared

    def complete_span(self, shared: Mapping[str, Any]) -> None:
        """Put the outcome on the span."""
        span = self.span
        if not span.is_recording():
            return
        # What was measured from the start is on our span since then.
        known = _attributes(span) if self.is_joined else self.measured
        if not self.is_joined and conv.HTTP_ROUTE in shared:
            span.update_name(f"{self.method} {shared[conv.HTTP_ROUTE]}")
        for key, value in shared.items():
            if key not in known:
                span.set_attribute(key, value)
        if (code := self.shown_code()) is not None:
            span.set_attribute(conv.GLAM_ERROR_CODE, code)
        if conv.ERROR_TYPE in shared:
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

    def log_fields(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the access-log line."""
        scope = self.scope
        fields: dict[str, Any] = {
            conv.HTTP_REQUEST_METHOD: self.method,
            conv.URL_PATH: shown_path(scope),
        }
        if (route := shared.get(conv.HTTP_ROUTE)) is not None:
            fields[conv.HTTP_ROUTE] = route
        if self.status is not None:
            fields[conv.HTTP_RESPONSE_STATUS_CODE] = self.status
        fields["duration_ms"] = round(self.duration_s * 1000, 3)
        client = scope.get("client")
        if client:
            fields[conv.CLIENT_ADDRESS] = client[0]
        if conv.ERROR_TYPE in shared:
            fields[conv.ERROR_TYPE] = shared[conv.ERROR_TYPE]
        if (code := self.shown_code()) is not None:
            fields[conv.GLAM_ERROR_CODE] = code
        return fields


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
