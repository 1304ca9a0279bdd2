"""Observe each request an httpx client sends, redirects and retries one by one."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import httpx
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from glam_sdk import context
from glam_sdk._internal.guard import guarded
from glam_sdk._internal.redact import redact_url
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry import metrics, propagation, tracing


class TelemetryTransport(httpx.AsyncBaseTransport):
    """Wrap a transport: CLIENT span, W3C and correlation headers, duration metric.

    Args:
        inner: The transport that sends.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._tracer = tracing.get_tracer("glam_sdk.client")
        self._duration = metrics.duration_histogram(
            metrics.get_meter("glam_sdk.client"),
            conv.HTTP_CLIENT_REQUEST_DURATION,
            description="Duration of HTTP client requests.",
            buckets=conv.HTTP_DURATION_BUCKETS,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the span ends when the response's headers are there."""
        shared = _shared_attributes(request)
        started = perf_counter()
        with self._tracer.start_as_current_span(
            request.method,
            kind=SpanKind.CLIENT,
            attributes={**shared, conv.URL_FULL: redact_url(str(request.url))},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            with guarded("client.inject"):
                _add_headers(request)
            try:
                response = await self._inner.handle_async_request(request)
            except BaseException as exc:
                tracing.record_error(span, exc)
                shared[conv.ERROR_TYPE] = tracing.error_type(exc)
                raise
            else:
                _note_response(span, shared, response)
                return response
            finally:
                with guarded("client.metrics"):
                    self._duration.record(perf_counter() - started, shared)

    async def aclose(self) -> None:
        """Close the transport that sends."""
        await self._inner.aclose()


def _shared_attributes(request: httpx.Request) -> dict[str, Any]:
    """Return what span and metric have in common."""
    url = request.url
    return {
        conv.HTTP_REQUEST_METHOD: request.method,
        conv.SERVER_ADDRESS: url.host,
        conv.SERVER_PORT: url.port or (443 if url.scheme == "https" else 80),
    }


def _add_headers(request: httpx.Request) -> None:
    for name, value in propagation.inject().items():
        request.headers[name] = value
    correlation_id = context.correlation_id()
    if correlation_id is not None:
        request.headers.setdefault("X-Correlation-ID", correlation_id)


def _note_response(span: Span, shared: dict[str, Any], response: httpx.Response) -> None:
    shared[conv.HTTP_RESPONSE_STATUS_CODE] = response.status_code
    span.set_attribute(conv.HTTP_RESPONSE_STATUS_CODE, response.status_code)
    if response.status_code >= 400:
        shared[conv.ERROR_TYPE] = str(response.status_code)
        span.set_attribute(conv.ERROR_TYPE, str(response.status_code))
        span.set_status(Status(StatusCode.ERROR))
