"""Observe every request once: ids, SERVER span, metrics and access log in one pure ASGI pass.

Flow: step 1, around everything else in the application, also around its error pages.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from glam_sdk._internal.guard import guarded
from glam_sdk.api.access_log import AccessLog
from glam_sdk.api.attributes import known_method, request_attributes, span_method
from glam_sdk.api.exchange import SCOPE_KEY, Exchange, is_server_span, response_headers
from glam_sdk.api.exclusions import excluded_paths, path_matcher
from glam_sdk.api.incoming import incoming_context, read_headers
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import metrics, tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS_IN: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)


class Instruments:
    """Hold the request metrics of the OpenTelemetry HTTP conventions."""

    def __init__(self) -> None:
        meter = metrics.get_meter("glam_sdk.api")
        self.duration = metrics.duration_histogram(
            meter,
            conv.HTTP_SERVER_REQUEST_DURATION,
            description="Duration of HTTP server requests.",
            buckets=conv.HTTP_DURATION_BUCKETS,
        )
        self.active = meter.create_up_down_counter(
            conv.HTTP_SERVER_ACTIVE_REQUESTS,
            unit="{request}",
            description="Number of active HTTP server requests.",
        )


class TelemetryMiddleware:
    """Wrap an ASGI application.

    Args:
        app: The application, its own middleware included.
        settings: Exclusions, trust and access log.
        service_name: Sent back as ``X-Service-Name``.
        runtime: Put into the scope as ``glam.runtime`` for the dependencies of ``glam_sdk.api``.
    """

    def __init__(
        self, app: ASGIApp, *, settings: HttpSettings, service_name: str, runtime: object = None
    ) -> None:
        self.app = app
        self._settings = settings
        self._service_name = service_name
        self._runtime = runtime
        self._tracer = tracing.get_tracer("glam_sdk.api")
        self._instruments = Instruments()
        self._access_log = AccessLog(settings)
        self._is_excluded = path_matcher(excluded_paths(settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] not in ("http", "websocket") or SCOPE_KEY in scope:
            await self.app(scope, receive, send)
            return
        exchange = self._open(scope)
        scope[SCOPE_KEY], scope["glam.runtime"] = exchange, self._runtime
        token = attach(exchange.context)
        try:
            await self.app(scope, self._watch(exchange, receive), self._answer(exchange, send))
        except Exception as exc:
            self._failed(exchange, exc)
            raise
        except BaseException as exc:  # cancelled, or the process is told to end
            exchange.error = exchange.error or exc
            raise
        finally:
            self._finish(exchange)
            detach(token)

    def _open(self, scope: Scope) -> Exchange:
        incoming = read_headers(scope["headers"])
        current = get_current()
        context, links = incoming_context(incoming, self._settings, current)
        # A WebSocket begins with a GET (RFC 6455); ASGI gives it no method.
        sent_method = scope.get("method", "GET")
        method = known_method(sent_method)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        excluded = self._is_excluded(path)
        joined = trace.get_current_span(current)
        owns_span = not is_server_span(joined)
        span = joined
        if owns_span:
            span = _unsampled_span()
            if not excluded:
                attributes = request_attributes(scope, incoming, method)
                span = self._start(method, attributes, context, links)
            if not span.get_span_context().is_valid:
                span = _unsampled_span()  # telemetry is off; the ids are promised all the same
        context = trace.set_span_in_context(span, context)
        exchange = Exchange(
            scope=scope,
            method=span_method(method),
            context=context,
            span=span,
            owns_span=owns_span,
            excluded=excluded,
            original={
                "app": scope.get("app"),
                "path": scope["path"],
                "root_path": scope.get("root_path", ""),
                "method": sent_method,
            },
            headers=response_headers(context, self._service_name),
            metric_attributes={
                conv.HTTP_REQUEST_METHOD: method,
                conv.URL_SCHEME: scope.get("scheme", "http"),
            },
        )
        self._count_active(exchange, 1)
        return exchange

    def _start(
        self, method: str, attributes: dict[str, Any], context: Context, links: Sequence[Link]
    ) -> Span:
        with guarded("api.start_span"):
            return self._tracer.start_span(
                span_method(method),
                context=context,
                kind=SpanKind.SERVER,
                attributes=attributes,
                links=links,
            )
        return trace.INVALID_SPAN

    def _count_active(self, exchange: Exchange, change: int) -> None:
        if not exchange.excluded and not exchange.is_websocket:
            with guarded("api.metrics"):
                self._instruments.active.add(change, exchange.metric_attributes)

    def _watch(self, exchange: Exchange, receive: Receive) -> Receive:
        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not exchange.finished:
                exchange.disconnected = True
            return message

        return watched

    def _answer(self, exchange: Exchange, send: Send) -> Send:
        trailers = False

        async def answering(message: Message) -> None:
            nonlocal trailers
            kind = message["type"]
            if kind in _HEADERS_IN:
                exchange.status = message.get("status", 101)
                trailers = bool(message.get("trailers", False))
                message = _with_headers(message, exchange.headers)
            await send(message)
            if exchange.finished or exchange.is_websocket:
                return
            if kind == "http.response.body":
                is_last = not message.get("more_body", False) and not trailers
            else:
                is_last = kind == "http.response.pathsend" or (
                    kind == "http.response.trailers" and not message.get("more_trailers", False)
                )
            # An error page whose exception is still on its way up waits for it.
            if is_last and (exchange.error is not None or (exchange.status or 0) < 500):
                self._finish(exchange)

        return answering

    def _failed(self, exchange: Exchange, exc: Exception) -> None:
        if not exchange.finished:
            exchange.error = exc
        elif exc is not exchange.error:
            self._access_log.late_failure(exchange, exc)

    def _finish(self, exchange: Exchange) -> None:
        if exchange.finished:
            return
        self._count_active(exchange, -1)
        shared = exchange.end()
        if not exchange.excluded and not exchange.is_websocket:
            with guarded("api.metrics"):
                self._instruments.duration.record(
                    exchange.duration_s, shared, context=exchange.context
                )
        with guarded("api.access_log"), _current(exchange.context):
            self._access_log.write(exchange, shared)
        if exchange.owns_span:
            with guarded("api.end_span"):
                exchange.span.end()


@contextmanager
def _current(context: Context) -> Iterator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def _unsampled_span() -> Span:
    """Return a span that is never exported but gives the request, and its log lines, an id."""
    return NonRecordingSpan(
        SpanContext(
            trace_id=secrets.randbits(128) or 1,
            span_id=secrets.randbits(64) or 1,
            is_remote=False,
            trace_flags=_NOT_SAMPLED,
        )
    )


def _with_headers(message: Message, added: list[tuple[bytes, bytes]]) -> Message:
    ours = {name for name, _ in added}
    kept = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() not in ours]
    return {**message, "headers": [*kept, *added]}
