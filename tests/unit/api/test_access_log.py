"""One line a request: its level, its fields, when it may be left out."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace

import orjson
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
    detach,
    set_value,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from glam_sdk._internal.afterwards import serving
from glam_sdk.api.access_log import _MAX_ADDRESSES, _MAX_TEMPLATES, AccessLog, _addresses
from glam_sdk.api.attributes import kind_of, outcome_of
from glam_sdk.api.exchange import Exchange
from glam_sdk.config import HttpSettings
from glam_sdk.context import with_ids
from glam_sdk.errors import NotFoundError, ServiceUnavailableError
from glam_sdk.telemetry import logs
from glam_sdk.telemetry.log_context import set_request_context, with_request_fields
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
    _addresses.clear()
    app = build(telemetry)
    for _ in range(2):  # the first line has no template yet
        await asgi(app, client=("x" * length, 1), path="/ok")
    assert not _addresses
    assert all(
        line["client.address"].startswith("x" * 65) for line in telemetry.logs("http.request")
    )
    await asgi(app, client=("2001:db8::1", 1), path="/ok")
    assert list(_addresses) == ["2001:db8::1"]
    for number in range(_MAX_ADDRESSES + 8):
        assert _addresses[f"host-{number}"] == b'"host-%d"' % number
    assert len(_addresses) <= _MAX_ADDRESSES


_OUTCOME = outcome_of(kind_of("GET", "http"), "/x/{id}", 200, None)
_SERVICE = "orders"
_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,20}", fullmatch=True)
_PATHS = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["/" * 1024, "/" * 1025, "/" * 3000, "/see/http://u:p@h/", '/"', "/\\", "/\n", "/ä", "/\ud800"]
)
_CLIENTS = st.sampled_from(
    [
        *[("127.0.0.1", 1), ["::1", 1], (), None, ("", 0), ("\ud800", 1), ('a"b', 1)],
        *[("ä" * 64, 1), ("x" * 65, 1), ("http://u:p@h", 1), (b"x", 1), (["x"], 1), (None, 1)],
    ]
)
_OWN = st.dictionaries(
    st.sampled_from(["user", "tenant", "url.path", "message", "password"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("http://u:p@h"),
    max_size=3,
)


def _exchange(path="/x/1", client=("127.0.0.1", 1), fields=None, span=None, both=("r", "c")):
    """Return a request that went well."""
    request_id, correlation_id = both
    span = NonRecordingSpan(span or SpanContext(1, 2, is_remote=False))
    exchange = Exchange(
        scope={},
        app=None,
        path=path,
        root_path="",
        kind=kind_of("GET", "http"),
        context=with_request_fields(span, with_ids(*both, Context())),
        span=span,
        is_websocket=False,
        is_joined=False,
        is_excluded=False,
        headers=[
            (b"x-request-id", request_id.encode()),
            (b"x-correlation-id", correlation_id.encode()),
            (b"x-trace-id", b"%032x" % span.get_span_context().trace_id),
            (b"x-service-name", b"x"),
        ],
    )
    exchange.status, exchange.route, exchange.went_well = 200, "/x/{id}", True
    exchange.fields, exchange.client, exchange.ended_ns = fields or {}, client, 1
    return exchange


@st.composite
def _requests(draw):
    numbers = draw(st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1)))
    flags = TraceFlags(draw(st.integers(0, 3)))
    exchange = _exchange(
        draw(_PATHS),
        draw(_CLIENTS),
        draw(_OWN),
        SpanContext(*numbers, is_remote=False, trace_flags=flags),
        draw(st.tuples(_IDS, _IDS)),
    )
    exchange.duration_s = draw(st.floats(0, 1e5))
    exchange.ended_ns = draw(st.integers(1, 4 * 10**18))
    return exchange


@contextmanager
def _written(service, *, is_exported):
    """Yield what is written and what is exported, in a service of a name of its own."""
    chain, lines, records = logs.pipeline(), [], []
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    processor = EncodedLogProcessor(SimpleNamespace(export=records.extend, shutdown=int))
    provider.add_log_record_processor(processor)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "service": service,
            "environment": "100 %",
            "console": False,
            "provider": provider if is_exported else None,
            "write": lines.append,
            "repeats": RepeatLimiter(0, 1.0),
        }.items():
            patched.setattr(chain, name, value)
        patched.setattr(logging.getLogger("glam_sdk.access"), "level", logging.INFO)
        logging.getLogger("glam_sdk.access").manager._clear_cache()
        yield lines, records
        processor.shutdown()
    logging.getLogger("glam_sdk.access").manager._clear_cache()


@given(_requests(), st.booleans())
def test_every_line_is_as_it_is_the_whole_way(exchange, is_exported):
    """Whatever the request is like, with a template and without, and what is exported too."""
    log = AccessLog(HttpSettings())
    with _written('100 % "orders"', is_exported=is_exported) as (lines, records):
        for _ in range(2):  # names of fields are looked at when they come for the first time
            log._write("info", exchange, _OUTCOME)
        log.write(_exchange(), _OUTCOME)
        assert list(log._templates) == [_OUTCOME]
        log.write(exchange, _OUTCOME)
    _, whole, _, filled = lines
    assert filled == whole
    assert len(records) == (4 if is_exported else 0)
    if is_exported:
        assert records[3] == records[1]


@pytest.fixture
def whole_ways(monkeypatch):
    """Count the lines that go the whole way."""
    ways, write = [], AccessLog._write
    monkeypatch.setattr(
        AccessLog, "_write", lambda log, *given: (ways.append(given), write(log, *given))
    )
    return ways


@pytest.mark.parametrize("is_exported", [False, True])
def test_a_usual_request_fills_the_template(whole_ways, is_exported):
    """Also one with fields of its own, and with what JSON has to escape; few others do not."""
    log = AccessLog(HttpSettings())
    usual = [
        _exchange(),
        _exchange('/"ä"', ["::1", 1]),
        _exchange(fields={"user": "u-1", "by": None}),
    ]
    others = [_exchange("/x/://"), _exchange(client=None), _exchange(fields={"url.path": "/"})]
    with _written("orders", is_exported=is_exported) as (lines, records):
        logs.pipeline().log("info", "x", "seen", {"user": "x", "by": "x"})
        for exchange in [_exchange(), *usual, *others]:
            log.write(exchange, _OUTCOME)
    assert [given[1] for given in whole_ways[1:]] == others
    assert len(lines) == 8
    assert len(records) == (8 if is_exported else 0)


def test_a_template_follows_the_service(whole_ways):
    """Its name may change between two lines; the next ones have the new one."""
    log = AccessLog(HttpSettings())
    for service in ("orders", "billing"):
        with _written(service, is_exported=False) as (lines, _):
            for _ in range(3):
                log.write(_exchange(), _OUTCOME)
        assert [orjson.loads(line)["service"] for line in lines] == [service] * 3
    assert len(whole_ways) == 2


@pytest.mark.parametrize(("setting", "expected"), [("on", 4), ("off", 2), ("sampled", 2)])
def test_what_is_left_out_does_not_depend_on_the_template(setting, expected, whole_ways):
    """A slow request has its line, an excluded one never, a fast one where all have."""
    log = AccessLog(HttpSettings(access_log=setting, access_log_sample_ratio=0.0))
    slow, excluded = _exchange(), _exchange()
    slow.duration_s, excluded.is_excluded = 2.0, True
    with _written("orders", is_exported=False) as (lines, _):
        for exchange in (slow, _exchange(), excluded, slow, _exchange()):
            log.write(exchange, _OUTCOME)
    assert (len(lines), len(whole_ways)) == (expected, 1)


def test_a_websocket_does_not_take_the_template_of_requests():
    """Even one that ended as a request did: its line has another name."""
    log, socket = AccessLog(HttpSettings()), _exchange()
    socket.is_websocket = True
    with _written("orders", is_exported=False) as (lines, _):
        for exchange in (_exchange(), socket):
            log.write(exchange, _OUTCOME)
    told = [orjson.loads(line)["message"] for line in lines]
    assert told == ["http.request", "websocket.closed"]


def test_what_is_exported_goes_to_the_provider_of_now():
    """A template outlives the provider for which it was made."""
    log = AccessLog(HttpSettings())
    for _ in range(2):
        with _written(_SERVICE, is_exported=True) as (_, records):
            for _ in range(3):
                log.write(_exchange(), _OUTCOME)
        assert len(records) == 3


def test_templates_have_a_bound_and_make_room():
    """However many routes come and go, those of now are among them."""
    log = AccessLog(HttpSettings())
    with _written("orders", is_exported=False):
        for number in range(_MAX_TEMPLATES + 1):
            outcome = outcome_of(kind_of("GET", "http"), f"/{number}", 200, None)
            log.write(_exchange(), outcome)
    assert list(log._templates) == [outcome]


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
