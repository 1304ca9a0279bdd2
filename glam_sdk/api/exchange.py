"""Follow one request: its span, its ids, its metrics and its access-log line.

Flow: step 1. One object a request; it is finished exactly once, when the last byte is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from glam_sdk import context as ids
from glam_sdk._internal.guard import guarded
from glam_sdk.api.routes import route_template
from glam_sdk.errors import GlamBaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import tracing

SCOPE_KEY = "glam.exchange"
Scope = MutableMapping[str, Any]


@dataclass(slots=True)
class Exchange:
    """Hold what is known of a request while it is handled."""

    scope: Scope
    method: str
    context: Context
    span: Span
    owns_span: bool
    """Whether we opened the span; else it is another instrumentation's and stays open."""
    excluded: bool
    original: Mapping[str, Any]
    headers: list[tuple[bytes, bytes]]
    """What is added to the response."""
    metric_attributes: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=perf_counter)
    status: int | None = None
    error: BaseException | None = None
    disconnected: bool = False
    finished: bool = False
    duration_s: float = 0.0

    @property
    def is_websocket(self) -> bool:
        """Whether this is a WebSocket connection rather than a request."""
        return bool(self.scope["type"] == "websocket")

    @property
    def failed(self) -> bool:
        """Whether the service, not the caller, is to blame (OpenTelemetry HTTP server spans)."""
        if self.is_websocket:
            return self.error is not None
        return self.status is None or self.status >= 500 or self._is_broken_off

    @property
    def _is_broken_off(self) -> bool:
        return self.error is not None and not isinstance(self.error, GlamBaseError)

    def error_type(self) -> str:
        """Return ``error.type``: an error code or exception class, else the status code."""
        if self.error is not None:
            return tracing.error_type(self.error)
        if self.status is not None:
            return str(self.status)
        return "client_disconnected" if self.disconnected else "incomplete_response"

    def route(self) -> str | None:
        """Return the route template, once routing is done."""
        return route_template(self.scope, self.original)

    def end(self) -> dict[str, Any]:
        """Complete the span and return the attributes that metrics and span share."""
        self.finished = True
        self.duration_s = perf_counter() - self.started
        shared = dict(self.metric_attributes)
        route = self.route()
        if route is not None:
            shared[conv.HTTP_ROUTE] = route
        if self.status is not None:
            shared[conv.HTTP_RESPONSE_STATUS_CODE] = self.status
        if self.failed:
            shared[conv.ERROR_TYPE] = self.error_type()
        with guarded("api.exchange"):
            self._complete_span(shared, route)
        return shared

    def _complete_span(self, shared: Mapping[str, Any], route: str | None) -> None:
        span = self.span
        if not span.is_recording():
            return
        span.set_attributes(shared)
        if route is not None and self.owns_span:
            span.update_name(f"{self.method} {route}")
        if isinstance(self.error, GlamBaseError):
            span.set_attribute(conv.GLAM_ERROR_CODE, self.error.code)
        if self.failed:
            if self.error is not None:
                span.record_exception(self.error)
            # The description of a 5xx stays empty: the status code says it (HTTP conventions).
            span.set_status(Status(StatusCode.ERROR))
        elif isinstance(self.error, GlamBaseError):
            refused = {
                conv.EXCEPTION_TYPE: type(self.error).__qualname__,
                conv.EXCEPTION_MESSAGE: self.error.message,
            }
            span.add_event("exception", refused)

    def log_fields(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the access-log line."""
        fields = {
            conv.HTTP_REQUEST_METHOD: self.method,
            conv.URL_PATH: self.scope["path"],
            conv.HTTP_ROUTE: shared.get(conv.HTTP_ROUTE),
            conv.HTTP_RESPONSE_STATUS_CODE: self.status,
            "duration_ms": round(self.duration_s * 1000, 3),
        }
        client = self.scope.get("client")
        if client:
            fields[conv.CLIENT_ADDRESS] = client[0]
        if conv.ERROR_TYPE in shared:
            fields[conv.ERROR_TYPE] = shared[conv.ERROR_TYPE]
        if isinstance(self.error, GlamBaseError):
            fields[conv.GLAM_ERROR_CODE] = self.error.code
        return {key: value for key, value in fields.items() if value is not None}


def current_exchange(scope: Mapping[str, Any]) -> Exchange | None:
    """Return the exchange the middleware put into a scope."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else None


def response_headers(context: Context, service_name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers every response carries."""
    values = (
        (b"x-request-id", ids.request_id(context)),
        (b"x-correlation-id", ids.correlation_id(context)),
        (b"x-trace-id", ids.trace_id(context)),
        (b"x-service-name", service_name),
    )
    return [(name, value.encode("latin-1", "replace")) for name, value in values if value]


def is_server_span(span: Span) -> bool:
    """Tell whether a span is another instrumentation's open SERVER span."""
    return span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER
