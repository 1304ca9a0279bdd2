"""Exactly one SERVER span a request, with the right parent and the right attributes."""

from __future__ import annotations

import gc

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

import glam_sdk
from glam_sdk.api.attributes import kind_of, request_attributes
from glam_sdk.api.exchange import Exchange
from glam_sdk.api.incoming import read_headers
from glam_sdk.errors import NotFoundError, ServiceUnavailableError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def servers(telemetry):
    return [span for span in telemetry.spans if span.kind is SpanKind.SERVER]


def test_one_server_span_continues_the_callers_trace(app, serve, telemetry):
    """W3C trace context is continued; what the handler opens is a child."""

    @app.get("/orders/{n}")
    async def order(n: int) -> None:
        with glam_sdk.span("work"):
            pass

    with serve(app) as client:
        client.get("/orders/1", headers={"traceparent": TRACEPARENT})
    assert telemetry.tree() == "GET /orders/{n} SERVER\n  work INTERNAL"
    (span,) = servers(telemetry)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT


def test_a_request_without_a_trace_begins_one(app, serve, telemetry):
    """Two requests are two traces."""
    with serve(app) as client:
        client.get("/a")
        client.get("/b")
    assert [span.parent for span in telemetry.spans] == [None, None]
    assert len({span.context.trace_id for span in telemetry.spans}) == 2


def test_the_attributes_are_those_of_the_stable_conventions(app, serve, telemetry):
    """OpenTelemetry HTTP server spans, stable names; secrets in the query are redacted."""

    @app.get("/orders/{n}")
    async def order(n: int) -> None: ...

    with serve(app) as client:
        client.get(
            "/orders/7?colour=red&token=t0p&sig=abc",
            headers={"Host": "shop.test:8080", "User-Agent": "probe/1", "Cookie": "s=1"},
        )
    (span,) = telemetry.spans
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/orders/{n}",
        "url.scheme": "http",
        "url.path": "/orders/7",
        "url.query": span.attributes["url.query"],
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "shop.test",
        "server.port": 8080,
        "user_agent.original": "probe/1",
    }
    query = span.attributes["url.query"]
    assert "colour=red" in query
    assert "t0p" not in query
    assert "abc" not in query


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("shop.test", "shop.test", None),
        ("[::1]:8000", "::1", 8000),
        ("[::1]", "::1", None),
        ("shop.test:99999", "shop.test", None),
        ("shop.test:000000000000000000000000080", "shop.test", None),
        ("shop.test:x", "shop.test", None),
        ("shop.test:²", "shop.test", None),
        ("a" * 4000, "a" * 512, None),
        ("", None, None),
    ],
)
async def test_any_host_header_gives_a_valid_address(app, asgi, telemetry, host, address, port):
    """A port that is none, or would not fit the wire format, is left out."""
    await asgi(app, headers=[(b"host", host.encode("latin-1"))])
    attributes = telemetry.spans[0].attributes
    assert attributes.get("server.address") == address
    assert attributes.get("server.port") == port


def test_made_up_methods_make_no_known_one_anew():
    """What is kept of requests that end alike goes by their kind."""
    before = kind_of("GET", "http")
    for number in range(200):
        assert kind_of(f"BREW{number}", "gopher") is kind_of("BREW", "http")
    assert kind_of("GET", "http") is before


async def test_an_unknown_method_is_one_name(app, asgi, telemetry):
    """A client cannot make series or span names by inventing methods."""
    for method in ("BREW", "X" * 500, "get"):
        await asgi(app, method=method)
    assert {span.name for span in telemetry.spans} == {"HTTP"}
    assert {span.attributes["http.request.method"] for span in telemetry.spans} == {"_OTHER"}
    originals = [span.attributes["http.request.method_original"] for span in telemetry.spans]
    assert originals == ["BREW", "X" * 64, "get"]
    assert {line["http.request.method"] for line in telemetry.logs("http.request")} == {"HTTP"}


async def test_what_a_caller_writes_is_bounded(app, asgi, telemetry):
    """Path, query and user agent are cut; the span and the log line stay small."""
    long = "x" * 50_000
    await asgi(
        app,
        path=f"/{long}",
        query_string=f"a={long}".encode(),
        headers=[(b"host", b"h"), (b"user-agent", long[:8000].encode())],
        scheme="gopher",
    )
    attributes = telemetry.spans[0].attributes
    assert all(len(str(value)) <= 2048 for value in attributes.values())
    assert attributes["url.scheme"] == "http"
    assert len(telemetry.lines[-1]) < 4096


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFoundError("No."), StatusCode.UNSET, "NOT_FOUND"),
        (ServiceUnavailableError("Down."), StatusCode.ERROR, "SERVICE_UNAVAILABLE"),
        (ValueError("bug"), StatusCode.ERROR, "INTERNAL_ERROR"),
    ],
)
def test_server_errors_mark_the_span_and_refusals_do_not(
    app, serve, telemetry, error, status, code
):
    """5xx mark the span as failed, 4xx do not; both carry the code."""

    @app.get("/fails")
    async def fails() -> None:
        raise error

    with serve(app) as client:
        client.get("/fails")
    (span,) = telemetry.spans
    assert span.status.status_code is status
    assert span.attributes["glam.error.code"] == code
    is_error = status is StatusCode.ERROR
    assert ("error.type" in span.attributes) is is_error


@pytest.mark.parametrize(
    ("path", "code"), [("/nowhere", "HTTP_404"), ("/orders/x", "VALIDATION_ERROR")]
)
def test_the_code_of_every_envelope_is_on_the_span(app, serve, telemetry, path, code):
    """Also of those that FastAPI itself refuses; they are no failures and no exceptions."""

    @app.get("/orders/{n}")
    async def order(n: int) -> None: ...

    with serve(app) as client:
        client.get(path)
    (span,) = telemetry.spans
    assert span.attributes["glam.error.code"] == code
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_a_failure_without_an_exception_is_named_by_its_status(app, serve, telemetry):
    """``error.type`` of an answered 5xx is the status code."""
    from fastapi import Response

    @app.get("/fails")
    async def fails() -> Response:
        return Response(status_code=502)

    with serve(app) as client:
        client.get("/fails")
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "502"
    assert span.status.status_code is StatusCode.ERROR


def test_a_handled_server_error_is_an_exception_of_the_span(app, serve, telemetry):
    """An HTTPException with 5xx is recorded; ``error.type`` is its status."""
    from fastapi import HTTPException

    @app.get("/fails")
    async def fails() -> None:
        raise HTTPException(503, "later")

    with serve(app) as client:
        client.get("/fails")
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "503"
    assert [event.name for event in span.events] == ["exception"]


async def test_an_own_code_on_an_instance_makes_no_series(app, asgi, telemetry):
    """``error.type`` and the error metric use the declared code; the span shows the real one."""

    @app.get("/")
    async def fails() -> None:
        raise ServiceUnavailableError("Down.", code="DOWN_4711")

    await asgi(app)
    (span,) = telemetry.spans
    assert span.attributes["glam.error.code"] == "DOWN_4711"
    assert span.attributes["error.type"] == "SERVICE_UNAVAILABLE"
    assert "DOWN_4711" not in telemetry.scrape()


def test_pipelined_requests_do_not_inherit_each_other(app, serve, telemetry):
    """A server may start a request inside the one before; trace and ids are its own."""
    import socket

    @app.get("/a")
    async def a() -> None: ...

    with serve(app) as client:
        url = httpx.URL(str(client.base_url))
        request = b"GET /a HTTP/1.1\r\nHost: t\r\n\r\n"
        last = b"GET /a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            connection.sendall(request + request + last)
            while connection.recv(65536):
                pass
    spans = telemetry.spans
    assert [span.parent for span in spans] == [None] * 3
    assert len({span.context.trace_id for span in spans}) == 3
    assert len({line["correlation_id"] for line in telemetry.logs("http.request")}) == 3


def test_telemetry_switched_off_still_gives_ids(monkeypatch, serve):
    """``OTEL_SDK_DISABLED``: no spans, no metrics; ids, envelopes and access log stay."""
    from glam_sdk.testing import capture_telemetry

    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with capture_telemetry() as telemetry:
        app = telemetry.service.install(FastAPI())
        with serve(app) as client:
            answer = client.get("/nowhere")
            continued = client.get("/nowhere", headers={"traceparent": TRACEPARENT})
        assert int(answer.headers["x-trace-id"], 16) > 0
        assert continued.headers["x-trace-id"] == TRACE
        assert len(telemetry.logs("http.request")) == 2
        assert telemetry.spans == ()


async def test_a_call_within_the_process_is_a_request_of_its_own(app, asgi, telemetry):
    """Under a client's span, as in tests without a socket, there is a SERVER span and a count."""
    attributes = {"http.request.method": "GET"}
    tracer = trace.get_tracer("client")
    with tracer.start_as_current_span("call", kind=SpanKind.CLIENT, attributes=attributes):
        await asgi(app)
    assert telemetry.tree() == "call CLIENT\n  GET SERVER"
    assert "http_server_request_duration_seconds_count{" in telemetry.scrape()


async def test_a_processor_sees_the_very_span_that_a_request_was_made_under(app, asgi, telemetry):
    """Where it is in this process, no stand-in with its ids takes its place."""
    seen = []

    class Parents(SpanProcessor):
        def on_start(self, span, parent_context=None):
            seen.append(trace.get_current_span(parent_context))

    tracer = trace.get_tracer("here")
    trace.get_tracer_provider().add_span_processor(Parents())
    with tracer.start_as_current_span("call") as outer:
        await asgi(app, path="/none")
    assert seen[-1] is outer


async def test_a_request_leaves_no_garbage(app, telemetry, asgi):
    """What it made is freed when it ends: collecting cycles would cost every later request."""

    @app.get("/ping")
    async def ping() -> dict[str, bool]:
        return {"ok": True}

    await asgi(app, path="/ping")
    gc.collect()
    before = _exchanges()
    gc.disable()
    try:
        await asgi(app, path="/ping")
        left = _exchanges() - before
    finally:
        gc.enable()
    assert left <= 0  # others may go meanwhile


def _exchanges() -> int:
    return sum(isinstance(found, Exchange) for found in gc.get_objects())


def test_a_client_without_an_address_has_none():
    """Some servers name a client of which they know nothing."""
    scope = {"type": "http", "path": "/", "method": "GET", "client": (None, 0)}
    attributes = request_attributes(scope, read_headers([]), kind_of("GET", "http"))
    assert "client.address" not in attributes
