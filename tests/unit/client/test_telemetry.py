"""Rules of what one request leaves behind: a span, a duration, headers on the wire."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from opentelemetry import context as otel
from opentelemetry.trace import StatusCode

import glam_sdk
from glam_sdk import context
from glam_sdk.client import TelemetryTransport, http_client
from glam_sdk.testing import free_port

from .conftest import DROP, HANG, Reply


async def test_a_request_is_one_client_span_named_by_its_method(telemetry, upstream):
    """Name, kind and attributes are those of the HTTP conventions."""
    async with http_client(upstream.url) as client:
        await client.get("/orders/17")
    assert telemetry.tree() == "GET CLIENT"
    assert dict(telemetry.span("GET").attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
        "url.full": f"{upstream.url}/orders/17",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }


async def test_a_template_names_the_span_and_labels_the_duration(telemetry, upstream):
    """The path with placeholders is low-cardinality, so it may go where the path may not."""
    async with http_client(upstream.url) as client:
        await client.get("/orders/17", extensions={"url.template": "/orders/{order_id}"})
    span = telemetry.span("GET /orders/{order_id}")
    assert span.attributes["url.template"] == "/orders/{order_id}"
    assert 'url_template="/orders/{order_id}"' in telemetry.scrape()


async def test_the_duration_has_the_labels_of_the_convention_and_no_path(telemetry, upstream):
    """A path or an id in a label would make a series for each order."""
    async with http_client(upstream.url) as client:
        await client.get("/orders/17")
    [line] = [
        line
        for line in telemetry.scrape().splitlines()
        if line.startswith("http_client_request_duration_seconds_count")
    ]
    assert line == (
        'http_client_request_duration_seconds_count{http_request_method="GET",'
        'http_response_status_code="200",network_protocol_version="1.1",'
        f'server_address="127.0.0.1",server_port="{upstream.port}"}} 1'
    )


async def test_secrets_in_the_url_stay_out_of_the_span(telemetry, upstream):
    """User, password and sensitive query values are redacted."""
    url = f"http://anna:hunter2@127.0.0.1:{upstream.port}/?token=abc&page=2"
    async with http_client() as client:
        await client.get(url)
    shown = telemetry.span("GET").attributes["url.full"]
    assert shown == (f"http://REDACTED:REDACTED@127.0.0.1:{upstream.port}/?token=REDACTED&page=2")


async def test_a_method_no_standard_names_makes_no_series(telemetry, upstream):
    """It is ``_OTHER``, the span is named HTTP, and the original is on the span alone."""
    async with http_client(upstream.url) as client:
        await client.request("BREW", "/pot")
    attributes = telemetry.span("HTTP").attributes
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"
    assert "BREW" not in telemetry.scrape()


@pytest.mark.parametrize("status", [404, 500])
async def test_an_error_answer_marks_the_span(telemetry, upstream, status):
    """To a client 4xx is an error as well; the type is the status, without a description."""
    upstream.plays(status)
    async with http_client(upstream.url) as client:
        await client.post("/")
    span = telemetry.span("POST")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes["error.type"] == str(status)
    assert f'error_type="{status}"' in telemetry.scrape()


@pytest.mark.parametrize(
    ("step", "error"), [(DROP, "httpx.RemoteProtocolError"), (None, "httpx.ConnectError")]
)
async def test_a_failed_connection_is_recorded_once(telemetry, upstream, step, error):
    """Span and metric name the same type; the span has the exception as its only event."""
    url = upstream.plays(step).url if step else f"http://127.0.0.1:{free_port()}"
    async with http_client(url) as client:
        with pytest.raises(httpx.TransportError):
            await client.post("/")
    span = telemetry.span("POST")
    assert span.attributes["error.type"] == error
    assert [event.name for event in span.events] == ["exception"]
    assert f'error_type="{error}"' in telemetry.scrape()


async def test_a_cancelled_request_ends_its_span_as_failed(telemetry, upstream):
    """A caller that gives up leaves a finished span and a duration behind."""
    upstream.plays(HANG)
    async with http_client(upstream.url) as client:
        call = asyncio.create_task(client.get("/"))
        await upstream.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert telemetry.span("GET").attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert 'error_type="asyncio.exceptions.CancelledError"' in telemetry.scrape()


async def test_the_span_ends_with_the_headers_of_a_streamed_answer(telemetry, upstream):
    """A body nobody reads to its end can't keep a span open."""
    async with (
        http_client(upstream.url) as client,
        client.stream("GET", "/") as response,
    ):
        assert telemetry.tree() == "GET CLIENT"
        assert await response.aread() == b"{}"


async def test_the_wire_carries_the_span_that_called(telemetry, upstream):
    """The next service's parent is the CLIENT span, in the caller's trace."""
    async with http_client(upstream.url) as client:
        with glam_sdk.span("checkout"):
            await client.get("/")
    span = telemetry.span("GET").context
    sent = upstream.received[0].headers["traceparent"]
    assert sent.startswith(f"00-{span.trace_id:032x}-{span.span_id:016x}-")
    assert telemetry.tree() == "checkout INTERNAL\n  GET CLIENT"


async def test_the_wire_carries_the_correlation_id_twice(telemetry, upstream):
    """As baggage for services of today, as ``X-Correlation-ID`` for older ones."""
    token = otel.attach(context.with_correlation_id("corr_0123456789ab"))
    try:
        async with http_client(upstream.url) as client:
            await client.get("/")
    finally:
        otel.detach(token)
    headers = upstream.received[0].headers
    assert headers["x-correlation-id"] == "corr_0123456789ab"
    assert headers["baggage"] == "correlation_id=corr_0123456789ab"


async def test_a_correlation_id_of_the_caller_is_kept(telemetry, upstream):
    """Who sets the header by hand means it."""
    token = otel.attach(context.with_correlation_id("corr_0123456789ab"))
    try:
        async with http_client(upstream.url) as client:
            await client.get("/", headers={"X-Correlation-ID": "mine"})
    finally:
        otel.detach(token)
    assert upstream.received[0].headers["x-correlation-id"] == "mine"


async def test_a_correlation_id_that_is_no_header_value_stays_at_home(telemetry, upstream):
    """Baggage can hold a line break; the request goes out all the same."""
    token = otel.attach(context.with_correlation_id("a\r\nX-Admin: yes"))
    try:
        async with http_client(upstream.url) as client:
            await client.get("/")
    finally:
        otel.detach(token)
    assert "x-correlation-id" not in upstream.received[0].headers
    assert "x-admin" not in upstream.received[0].headers


async def test_trace_headers_set_by_hand_are_replaced(telemetry, upstream):
    """A copied ``traceparent`` would tie the next service to a span that did not call it."""
    stale = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=stale"}
    async with http_client(upstream.url) as client:
        await client.get("/", headers=stale)
    headers = upstream.received[0].headers
    assert f"{telemetry.span('GET').context.span_id:016x}" in headers["traceparent"]
    assert "tracestate" not in headers


async def test_a_redirect_is_a_span_of_its_own_that_counts_as_sent_again(telemetry, upstream):
    """``http.request.resend_count`` counts whatever the reason is."""
    upstream.plays(Reply(302, headers={"location": "/there"}))
    async with http_client(upstream.url, follow_redirects=True) as client:
        await client.get("/here")
        await client.get("/again")
    counts = [span.attributes.get("http.request.resend_count") for span in telemetry.spans]
    assert counts == [None, 1, None]


async def test_the_same_request_sent_twice_by_the_caller_is_not_a_resend(telemetry, upstream):
    """Only what the client does by itself counts."""
    async with http_client(upstream.url) as client:
        request = client.build_request("GET", "/")
        await client.send(request)
        await client.send(request)
    assert all("http.request.resend_count" not in span.attributes for span in telemetry.spans)


@pytest.mark.parametrize(
    "key",
    [
        otel._SUPPRESS_INSTRUMENTATION_KEY,
        otel._SUPPRESS_HTTP_INSTRUMENTATION_KEY,
        "suppress_instrumentation",
    ],
)
async def test_nothing_is_added_where_instrumentation_is_suppressed(telemetry, upstream, key):
    """An exporter's own requests must not be traced, or they feed themselves."""
    token = otel.attach(otel.set_value(key, True))
    try:
        async with http_client(upstream.url) as client:
            await client.get("/")
    finally:
        otel.detach(token)
    assert telemetry.spans == ()
    assert "traceparent" not in upstream.received[0].headers
    assert "http_client_request_duration" not in telemetry.scrape()


async def test_a_client_of_ones_own_can_use_the_transport(telemetry, upstream):
    """``TelemetryTransport`` needs nothing of ``http_client``."""
    async with httpx.AsyncClient(transport=TelemetryTransport(httpx.AsyncHTTPTransport())) as own:
        await own.get(upstream.url)
    assert telemetry.tree() == "GET CLIENT"
