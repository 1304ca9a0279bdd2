"""Observe every request once: ids, SERVER span, metrics and access log in one pure ASGI pass.

Flow: step 1, around everything else in the application, also around its error pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
)

from glam_sdk import context as ids
from glam_sdk._internal.afterwards import Afterwards
from glam_sdk._internal.current_context import attach, detach, get_current
from glam_sdk._internal.guard import guarded, report
from glam_sdk._internal.ids import random_bits
from glam_sdk.api.access_log import AccessLog
from glam_sdk.api.attributes import Kind, kind_of, request_attributes
from glam_sdk.api.escaped import EscapedError, is_stray
from glam_sdk.api.exception_handlers import unexpected_answer
from glam_sdk.api.exchange import SCOPE_KEY, Exchange
from glam_sdk.api.exclusions import excluded_paths, path_matcher
from glam_sdk.api.incoming import Headers, Origin, origin_of, read_headers
from glam_sdk.api.instruments import Instruments
from glam_sdk.api.lifespan import Lifespan
from glam_sdk.api.wire import ASGIApp, Receive, Scope, Send, Wire
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import tracing
from glam_sdk.telemetry.log_context import with_request_fields
from glam_sdk.telemetry.stdlib_logging import mark_logged
from glam_sdk.telemetry.w3c import context_of

_SERVER: Final = SpanKind.SERVER
_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
# FastAPI's own telemetry, also that of mounted applications, stands aside where it finds this key.
_NATIVE_KEY: Final = "fastapi.telemetry"


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
        self._tell_later = Afterwards(self._tell)
        self._when_ended = self._finish  # made once: a bound method is an object
        self._lifespan = Lifespan(app)
        self._settings = settings
        self._service_header = (b"x-service-name", service_name.encode("latin-1", "replace"))
        self._runtime = runtime
        self._tracer = tracing.get_tracer("glam_sdk.api")
        self._start_child = tracing.child_starter(self._tracer)
        self._instruments = Instruments()
        self._access_log = AccessLog(settings)
        self._is_excluded = path_matcher(excluded_paths(settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] not in ("http", "websocket") or SCOPE_KEY in scope:
            await (self._lifespan if scope["type"] == "lifespan" else self.app)(
                scope, receive, send
            )
            return
        exchange = self._open(scope)
        exchange.connect(receive, send, self._when_ended)
        scope[SCOPE_KEY] = exchange
        scope["glam.runtime"] = self._runtime
        scope.setdefault(_NATIVE_KEY, None)
        token = attach(exchange.context)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as exc:
            self._fail(exchange, exc)
            raise
        except BaseException as exc:
            if not is_stray(exc) or exchange.status is not None or exchange.is_websocket:
                self._fail(exchange, exc)
                raise
            exchange.fail(EscapedError.of(exc))
            await unexpected_answer()(scope, receive, exchange.send)
        finally:
            if not exchange.is_finished:
                self._finish(exchange)
            detach(token)
            # Each holds the other: taken apart, they need no garbage collection.
            scope.pop(SCOPE_KEY, None)

    def _open(self, scope: Scope) -> Wire:
        path, root_path = scope["path"], scope.get("root_path", "")
        # A WebSocket begins with a GET (RFC 6455).
        kind = kind_of(scope.get("method", "GET"), scope.get("scheme", "http"))
        headers = read_headers(scope["headers"])
        current = get_current()
        if ids.REQUEST_ID_KEY in current:
            # A server may start a connection's next request inside the task of the one before
            # (uvicorn does, for pipelined ones). What that left behind is not ours to continue.
            current = Context()
        outer = trace.get_current_span(current) if current else INVALID_SPAN
        is_joined = outer is not INVALID_SPAN and is_server_span(outer)
        is_excluded = self._is_excluded(_below_root(path, root_path) if root_path else path)
        origin = origin_of(headers, self._settings, current)
        sender, _, base, request_id, correlation_id = origin
        carried = ids.with_ids(request_id, correlation_id, base)
        span = outer
        if not is_joined:
            started = None if is_excluded else self._start(scope, headers, kind, origin, carried)
            span = started or _unsampled_span(sender)
        # By position: names in a call of a class cost as much as making the object.
        exchange = Wire(
            scope,
            scope.get("app"),
            path,
            root_path,
            kind,
            with_request_fields(span, carried),
            span,
            scope["type"] == "websocket",
            is_joined,
            is_excluded,
            self._headers(span, request_id, correlation_id),
        )
        if not (is_excluded or exchange.is_websocket or (is_joined and _is_counted(outer))):
            self._instruments.opened(exchange)
        return exchange

    def _start(
        self,
        scope: Scope,
        headers: Headers,
        kind: Kind,
        origin: Origin,
        carried: Mapping[str, object],
    ) -> Span | None:
        """Open the SERVER span; None when telemetry is off."""
        tracer, start = self._tracer, self._start_child
        sender, links, _, _, _ = origin
        try:
            if start is not None and not links:
                about = (scope, headers, kind)
                child = start(kind.method, _SERVER, sender, request_attributes, about)
                if child is not None:
                    return child
            # Somebody sees how spans start, or there is a link.
            is_below = sender is not None and ids.SPAN_KEY not in carried
            span = tracer.start_span(
                kind.method,
                context_of(carried, sender) if is_below else Context(carried),
                _SERVER,
                tracing.later(tracer, request_attributes, scope, headers, kind),
                links,
            )
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the request
            report("api.start_span", exc)
            return None
        return span if span.get_span_context()[5] else None  # whether it is valid, by its place

    def _headers(
        self, span: Span, request_id: str, correlation_id: str
    ) -> list[tuple[bytes, bytes]]:
        trace_id = span.get_span_context()[0]  # by its place: the name costs a call
        return [
            (b"x-request-id", request_id.encode()),
            (b"x-correlation-id", correlation_id.encode()),
            (b"x-trace-id", b"%032x" % trace_id),
            self._service_header,
        ]

    def _fail(self, exchange: Exchange, exc: BaseException) -> None:
        if not exchange.is_finished:
            exchange.fail(exc)
        elif exc is not exchange.error and isinstance(exc, Exception):
            with guarded("api.access_log"):
                self._access_log.late_failure(exchange, exc)
        mark_logged(exc)  # its line is ours, or not worth one

    def _finish(self, exchange: Exchange) -> None:
        """Fix what is told of a request that has ended, and tell at once what went wrong."""
        if exchange.is_finished:
            return
        exchange.is_finished = True
        exchange.stop_clock()
        try:
            exchange.keep()
            if exchange.went_well:
                exchange.tell_span = tracing.stop(exchange.span, exchange.ended_ns)
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the request
            report("api.finish", exc)
        if exchange.tell_span is None:
            self._end_span(exchange)
        if exchange.went_well:
            self._tell_later(exchange)
        else:
            self._tell(exchange)

    def _end_span(self, exchange: Exchange) -> None:
        try:
            exchange.complete_span()
        except Exception as exc:  # noqa: BLE001 - as above
            report("api.finish", exc)
        finally:
            if not exchange.is_joined:
                with guarded("api.end_span"):
                    exchange.span.end(exchange.ended_ns)

    def _tell(self, exchange: Exchange) -> None:
        """Measure and log a request that has ended."""
        context = exchange.context
        # What the application attached in between must show in none of our signals.
        token = None if get_current() is context else attach(context)
        try:
            outcome = exchange.ending()
            self._instruments.closed(exchange, outcome)
            if not exchange.went_well:
                self._instruments.failed(exchange, outcome)
            try:
                if exchange.tell_span is not None:
                    exchange.tell_span(outcome.span_name, outcome.added)
            finally:
                self._access_log.write(exchange, outcome)
        except Exception as exc:  # noqa: BLE001 - as above
            report("api.tell", exc)
        finally:
            if token is not None:
                detach(token)


def is_server_span(span: Span) -> bool:
    """Tell whether a span is another instrumentation's, opened for this very request.

    It is an open SERVER span; or a local one that is not recorded, below which ours would not be
    recorded either.
    """
    if span.is_recording():
        return getattr(span, "kind", None) is SpanKind.SERVER
    found = span.get_span_context()
    return found.is_valid and not found.is_remote


def _below_root(path: str, root: str) -> str:
    """Return the path below the application's root."""
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path


def _is_counted(outer: Span) -> bool:
    """Tell whether the instrumentation that opened a span measures the request under our names.

    Those that follow the stable conventions do, and give the span this attribute at its start.
    """
    return conv.HTTP_REQUEST_METHOD in (getattr(outer, "attributes", None) or ())


def _unsampled_span(parent: SpanContext | None) -> Span:
    """Return a span that is never exported but gives the request, and its log lines, an id."""
    return NonRecordingSpan(
        SpanContext(
            trace_id=parent.trace_id if parent else random_bits(128),
            span_id=random_bits(64),
            is_remote=False,
            trace_flags=_NOT_SAMPLED,
        )
    )
