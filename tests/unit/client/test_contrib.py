"""Rules of living with ``opentelemetry-instrumentation-httpx`` in the same process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glam_sdk.client import http_client

contrib = pytest.importorskip("opentelemetry.instrumentation.httpx")


@pytest.fixture
def instrumentor() -> Iterator[object]:
    found = contrib.HTTPXClientInstrumentor()
    yield found
    if found.is_instrumented_by_opentelemetry:
        found.uninstrument()


@pytest.mark.parametrize("first", ["instrument", "client"])
async def test_instrumenting_every_client_adds_no_second_span(
    telemetry, upstream, instrumentor, first
):
    """Its span would be around the bare sending, inside ours; the wire carries ours."""
    if first == "instrument":
        instrumentor.instrument()
    client = http_client(upstream.url)
    if first == "client":
        instrumentor.instrument()
    async with client:
        await client.get("/")
    assert telemetry.tree() == "GET CLIENT"
    span = telemetry.span("GET")
    assert span.instrumentation_scope.name == "glam_sdk.client"
    assert f"{span.context.span_id:016x}" in upstream.received[0].headers["traceparent"]


async def test_a_client_it_instruments_keeps_its_span_and_gets_no_second(
    telemetry, upstream, instrumentor, waits
):
    """Its span is around all attempts, so ours stand aside; the headers are there."""
    upstream.plays(503)
    async with http_client(upstream.url) as client:
        instrumentor.instrument_client(client)
        await client.get("/")
    assert telemetry.tree() == "GET CLIENT"
    span = telemetry.span("GET")
    assert "httpx" in span.instrumentation_scope.name
    assert len(upstream.received) == 2
    for received in upstream.received:
        assert f"{span.context.span_id:016x}" in received.headers["traceparent"]


async def test_its_transport_around_the_sending_adds_no_second_span(telemetry, upstream):
    """Handed to us as the transport, it is asked to stand aside."""
    import httpx

    inner = contrib.AsyncOpenTelemetryTransport(httpx.AsyncHTTPTransport())
    async with http_client(upstream.url, transport=inner) as client:
        await client.get("/")
    assert telemetry.tree() == "GET CLIENT"
    assert telemetry.span("GET").instrumentation_scope.name == "glam_sdk.client"
