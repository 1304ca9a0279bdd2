"""One line a request: its level, its fields, when it may be left out."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest
from fastapi import FastAPI
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from glam_sdk._internal.afterwards import serving
from glam_sdk.api.access_log import _is_plain_address
from glam_sdk.errors import NotFoundError, ServiceUnavailableError
from glam_sdk.telemetry import logs
from glam_sdk.telemetry.log_context import set_request_context
from glam_sdk.telemetry.log_repeats import RepeatLimiter
from glam_sdk.telemetry.pipeline.lean.log_records import EncodedLogProcessor, LeanLoggerProvider


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


@pytest.mark.parametrize("length", [65, 60_000])
async def test_no_long_address_is_kept(asgi, telemetry, length):
    """Behind a proxy it is whatever the caller wrote into a header; the line has it still."""
    _is_plain_address.cache_clear()
    await asgi(app := build(telemetry), client=("x" * length, 1), path="/ok")
    assert _is_plain_address.cache_info().currsize == 0
    (line,) = telemetry.logs("http.request")
    assert line["client.address"].startswith("x" * 65)
    await asgi(app, client=("2001:db8::1", 1), path="/ok")
    assert _is_plain_address.cache_info().currsize == 1


@pytest.fixture
def exported(telemetry, monkeypatch, kept):
    """Return the records of access lines, as they are exported in production."""
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(exporter := kept(LogRecord)))
    monkeypatch.setattr(logs.pipeline(), "provider", provider)

    def records():
        processor.force_flush()
        return [each for each in exporter.messages if each.body.string_value == "http.request"]

    yield records
    processor.shutdown()


@pytest.fixture
async def app(asgi, telemetry):
    """An application whose usual line has its template."""
    app = build(telemetry)
    for _ in range(2):
        await asgi(app, path="/ok")
    telemetry.clear()
    return app


@pytest.mark.parametrize("is_exported", [False, True])
async def test_the_fields_of_a_request_are_on_no_other_line(asgi, telemetry, request, is_exported):
    """What one of them says of its user must not become part of what all have in common."""
    records = request.getfixturevalue("exported") if is_exported else None
    app = build(telemetry)

    @app.get("/x/{number}")
    async def numbered(number: int) -> None:
        if number == 1:
            set_request_context(user_id="u-1")

    for number in (1, 2, 1, 2):
        await asgi(app, path=f"/x/{number}")
    lines = telemetry.logs("http.request")
    assert [line.get("user_id") for line in lines] == ["u-1", None] * 2
    if records is not None:
        users = [
            [pair.value.string_value for pair in record.attributes if pair.key == "user_id"]
            for record in records()
        ]
        assert users == [["u-1"], []] * 2


async def test_a_line_is_exported_with_its_own_time(app, asgi, telemetry, exported):
    """That of the answer, however late it is told."""
    with serving():
        await asgi(app, path="/ok")
        time.sleep(0.02)  # noqa: ASYNC251 - the loop is held up between the answer and its telling
    (line,) = telemetry.logs("http.request")
    (record,) = exported()[-1:]
    shown = datetime.fromisoformat(line["timestamp"]).timestamp()
    assert record.time_unix_nano == pytest.approx(shown * 1e9, abs=2_000, rel=0)


async def test_a_line_of_the_exporters_own_requests_is_not_exported(app, asgi, telemetry, exported):
    """It would make the next export, which would make the next line."""
    before = len(exported())
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        await asgi(app, path="/ok")
    finally:
        detach(token)
    assert len(telemetry.logs("http.request")) == 1
    assert len(exported()) == before


async def test_errors_held_back_are_told_before_the_next_line(app, asgi, telemetry, monkeypatch):
    """Their window is over: a line from a template must not pass them by."""
    now = [0.0]
    monkeypatch.setattr(logs.pipeline(), "repeats", RepeatLimiter(1, 10.0, clock=lambda: now[0]))
    for _ in range(3):
        logs.get_logger("orders").error("failed")
    await asgi(app, path="/ok")
    now[0] = 11.0
    await asgi(app, path="/ok")
    told = [(line["message"], line.get("repeated")) for line in telemetry.logs()]
    access = ("http.request", None)
    assert told == [("failed", None), access, ("failed", 2), access]


async def test_a_person_at_a_terminal_reads_no_json(app, asgi, telemetry, monkeypatch):
    """A line in its usual form is not for the console."""
    monkeypatch.setattr(logs.pipeline(), "console", True)
    await asgi(app, path="/ok")
    (line,) = telemetry.lines
    assert b"http.request" in line
    assert not line.startswith(b"{")
