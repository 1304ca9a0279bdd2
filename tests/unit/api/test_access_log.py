"""One line a request: its level, its fields, when it may be left out."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI

from glam_sdk.errors import NotFoundError, ServiceUnavailableError


def build(telemetry):
    app = telemetry.service.install(FastAPI())

    @app.get("/ok")
    async def ok() -> None: ...

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(0.06)

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("No.")

    @app.get("/down")
    async def down() -> None:
        raise ServiceUnavailableError("Down.")

    return app


def test_the_line_has_the_fields_of_the_request(serve, telemetry):
    """Names are those of the span's attributes; the query, which may hold secrets, is not there."""
    with serve(build(telemetry)) as client:
        answer = client.get("/missing?token=geheim", headers={"X-Request-ID": "r-1"})
    (line,) = telemetry.logs("http.request")
    assert line["duration_ms"] > 0
    expected = {
        "logger": "glam_sdk.access",
        "level": "warning",
        "http.request.method": "GET",
        "http.route": "/missing",
        "url.path": "/missing",
        "http.response.status_code": 404,
        "client.address": "127.0.0.1",
        "glam.error.code": "NOT_FOUND",
        "request_id": "r-1",
        "correlation_id": answer.headers["x-correlation-id"],
        "trace_id": answer.headers["x-trace-id"],
        "service": "test",
    }
    assert {name: line[name] for name in expected} == expected
    assert "geheim" not in str(line)


def test_the_level_follows_the_status(serve, telemetry):
    """Below 400 info, below 500 warning, else error."""
    with serve(build(telemetry)) as client:
        for path in ("/ok", "/missing", "/nowhere", "/down"):
            client.get(path)
    levels = [line["level"] for line in telemetry.logs("http.request")]
    assert levels == ["info", "warning", "warning", "error"]


def test_the_server_writes_no_access_log_of_its_own(serve, telemetry):
    """Uvicorn's line would be a second one for the same request."""
    with serve(build(telemetry)) as client:
        client.get("/ok")
    assert [e["message"] for e in telemetry.logs() if "/ok" in str(e)] == ["http.request"]


@pytest.mark.parametrize("setting", [{"access_log": "off"}, {"access_log": "sampled"}])
def test_only_fast_successes_are_left_out(telemetry_with, serve, setting):
    """``off`` and ``sampled`` never drop errors, refusals or slow requests."""
    # Each limit leaves no doubt, however busy the machine: nothing is slow, then this one is.
    for slow_request_s, asked, wanted in (
        (60.0, ["/ok", "/ok", "/slow", "/missing", "/down"], ["/missing", "/down"]),
        (0.05, ["/slow"], ["/slow"]),
    ):
        quiet = {**setting, "access_log_sample_ratio": 0.0, "slow_request_s": slow_request_s}
        with telemetry_with(**quiet) as telemetry:
            with serve(build(telemetry)) as client:
                for path in asked:
                    client.get(path)
            logged = [line["url.path"] for line in telemetry.logs("http.request")]
            assert logged == wanted
            assert len(telemetry.spans) == len(asked)


def test_a_sample_of_all_is_all(telemetry_with, serve):
    """With a ratio of 1 every request keeps its line."""
    with telemetry_with(access_log="sampled", access_log_sample_ratio=1.0) as telemetry:
        with serve(build(telemetry)) as client:
            for _ in range(20):
                client.get("/ok")
        assert len(telemetry.logs("http.request")) == 20


async def test_the_line_is_written_under_the_requests_context(asgi, telemetry):
    """A span that a middleware leaves open is not the line's span."""
    from opentelemetry import context, trace

    app = telemetry.service.install(FastAPI())

    class Leaky:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            span = trace.get_tracer("leak").start_span("leak")
            context.attach(trace.set_span_in_context(span))
            await self.app(scope, receive, send)

    app.add_middleware(Leaky)
    token = context.attach(context.Context())
    try:
        await asgi(app)
    finally:
        context.attach(context.Context())
        del token
    (line,) = telemetry.logs("http.request")
    (span,) = telemetry.spans
    assert line["span_id"] == f"{span.context.span_id:016x}"
