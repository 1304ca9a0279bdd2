"""Observe each request an httpx client sends, redirects and retries one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import httpx
from opentelemetry import context as otel
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from glam_sdk import context
from glam_sdk._internal.guard import guarded
from glam_sdk.client.attributes import (
    Attributes,
    metric_attributes,
    response_attributes,
    span_attributes,
    span_name,
)
from glam_sdk.client.deadline import send_in_time
from glam_sdk.client.extensions import SENT, TRACED_OUTSIDE
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import metrics, propagation, tracing

_SCOPE: Final = "glam_sdk.client"
# The last is what opentelemetry-instrumentation sets beside its key, for older code.
_SUPPRESSION_KEYS: Final = (
    _SUPPRESS_INSTRUMENTATION_KEY,
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    "suppress_instrumentation",
)
_TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"


class TelemetryTransport(httpx.AsyncBaseTransport):
    """Wrap a transport: CLIENT span, W3C and correlation headers, duration metric.

    Span and duration end when the response's headers are there: a caller may never read the body,
    and the conventions ask for the early end where that is possible. What fails while the body is
    read belongs to the span around the call. Nothing is added, headers included, where
    instrumentation is suppressed; where ``opentelemetry-instrumentation-httpx`` instruments the
    client itself, its span is used; where it instruments the transport inside, ours is.

    Args:
        inner: The transport that sends.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._tracer = tracing.get_tracer(_SCOPE)
        self._duration = metrics.duration_histogram(
            metrics.get_meter(_SCOPE),
            conv.HTTP_CLIENT_REQUEST_DURATION,
            description="Duration of HTTP client requests.",
            buckets=conv.HTTP_DURATION_BUCKETS,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the span ends when the response's headers are there."""
        if any(otel.get_value(key) for key in _SUPPRESSION_KEYS):
            return await send_in_time(self._inner, request)
        if request.extensions.get(TRACED_OUTSIDE):
            _add_headers(request)
            return await send_in_time(self._inner, request)
        return await self._send_observed(request)

    async def _send_observed(self, request: httpx.Request) -> httpx.Response:
        labels = metric_attributes(request)
        attributes = {**labels, **span_attributes(request)}
        request.extensions[SENT] = request.extensions.get(SENT, 0) + 1
        started = perf_counter()
        try:
            with tracing.span(
                self._tracer, span_name(request), kind=SpanKind.CLIENT, attributes=attributes
            ) as span:
                _add_headers(request)
                with _only_our_span(self._inner):
                    response = await send_in_time(self._inner, request)
                _note_response(span, labels, response)
                return response
        except BaseException as exc:
            labels[conv.ERROR_TYPE] = tracing.error_type(exc)
            raise
        finally:
            with guarded("client.metrics"):
                self._duration.record(perf_counter() - started, labels)

    async def aclose(self) -> None:
        """Close the transport that sends."""
        await self._inner.aclose()


@contextmanager
def _only_our_span(inner: httpx.AsyncBaseTransport) -> Iterator[None]:
    """Keep instrumentation that wraps the inner transport from adding a second CLIENT span."""
    if not _is_instrumented(inner):
        yield
        return
    token = otel.attach(otel.set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        otel.detach(token)


def _is_instrumented(transport: httpx.AsyncBaseTransport) -> bool:
    if isinstance(transport, httpx.AsyncHTTPTransport):
        return hasattr(transport.handle_async_request, "__wrapped__")
    return type(transport).__module__.startswith("opentelemetry.instrumentation.")


def _add_headers(request: httpx.Request) -> None:
    """Say which span called, in place of whatever the request says so far; keep a caller's id."""
    with guarded("client.inject"):
        added = propagation.inject()
        if _TRACEPARENT in added and _TRACESTATE not in added:
            request.headers.pop(_TRACESTATE, None)
        for name, value in added.items():
            request.headers[name] = value
        correlation_id = context.correlation_id()
        if correlation_id is not None and context.is_valid_id(correlation_id):
            request.headers.setdefault("X-Correlation-ID", correlation_id)


def _note_response(span: Span, labels: Attributes, response: httpx.Response) -> None:
    with guarded("client.response"):
        found = response_attributes(response)
        labels.update(found)
        span.set_attributes(found)
        if conv.ERROR_TYPE in found:
            span.set_status(Status(StatusCode.ERROR))
