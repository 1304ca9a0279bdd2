"""In a server a request is told of at the end of the event loop's turn, with the times it had."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from http import HTTPStatus

import pytest
from fastapi import BackgroundTasks, Depends, Request
from fastapi.responses import JSONResponse
from opentelemetry import trace
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from glam_sdk._internal.afterwards import serving
from glam_sdk.api.middleware import TelemetryMiddleware
from glam_sdk.config import HttpSettings
from glam_sdk.errors import NotFoundError
from glam_sdk.telemetry import logs
from glam_sdk.telemetry.log_context import clear_request_context, set_request_context
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider
from glam_sdk.telemetry.pipeline.lean.log_records import EncodedLogProcessor, LeanLoggerProvider


@pytest.fixture
def exporter(telemetry):
    """Spans as they are exported, without waiting for what was put off."""
    return telemetry._exporter


@pytest.fixture
def app(app):
    @app.get("/orders/{order_id}")
    async def order(order_id: str) -> str:
        return order_id

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("No.")

    @app.get("/mine")
    async def mine() -> None:
        set_request_context(user_id="u-1")

    return app


@pytest.fixture
def ask(app):
    """Send a request without leaving the event loop's turn."""

    async def asked(path):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message): ...

        scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http"}
        scope |= {"path": path, "query_string": b"", "headers": [], "client": ("127.0.0.1", 1)}
        await app(scope, receive, send)

    return asked


async def test_all_of_a_turn_is_told_at_its_end(ask, telemetry, exporter):
    """But for the spans, which end with the answer: what still runs cannot change them."""
    with serving():
        await ask("/orders/1")
        await ask("/mine")
        assert [span.name for span in exporter.get_finished_spans()] == [
            "GET /orders/{order_id}",
            "GET /mine",
        ]
        assert not telemetry.lines
        answered = time.time()
        time.sleep(0.02)  # noqa: ASYNC251 - the loop is held up between the answer and its telling
        await asyncio.sleep(0)
        assert len(telemetry.lines) == 2
        first, second = telemetry.logs("http.request")
    assert [first["url.path"], second["url.path"]] == ["/orders/1", "/mine"]
    for line, span in zip((first, second), exporter.get_finished_spans(), strict=True):
        assert datetime.fromisoformat(line["timestamp"]).timestamp() <= answered
        assert line["span_id"] == f"{span.context.span_id:016x}"
    assert 'http_route="/orders/{order_id}"' in telemetry.scrape()


async def test_what_runs_after_the_answer_changes_nothing_of_it(app, ask, telemetry, exporter):
    """A dependency that cleans up, and a background task, still have the request's context."""

    async def who():
        set_request_context(user_id="u-1")
        yield
        clear_request_context()

    async def afterwards() -> None:
        set_request_context(user_id="job")
        trace.get_current_span().set_attribute("late", True)

    @app.get("/cleaned", dependencies=[Depends(who)])
    async def cleaned(tasks: BackgroundTasks) -> None:
        tasks.add_task(afterwards)

    with serving():
        await ask("/cleaned")
    assert [line["user_id"] for line in telemetry.logs("http.request")] == ["u-1"]
    assert "late" not in exporter.get_finished_spans()[0].attributes


@pytest.mark.parametrize("status", [400, 500])
async def test_the_line_of_a_refusal_has_the_time_of_its_answer(app, ask, telemetry, status):
    @app.get("/refused")
    async def refused() -> JSONResponse:
        return JSONResponse({}, status)

    with serving():
        await ask("/refused")
        answered = time.time()
        time.sleep(0.02)  # noqa: ASYNC251 - as above
        assert len(telemetry.lines) == (status == 500), "what failed is told at once"
    (line,) = telemetry.logs("http.request")
    assert datetime.fromisoformat(line["timestamp"]).timestamp() <= answered


@pytest.mark.parametrize("client", [None, (None, 0), ("", 0), ["::1", 1]])
async def test_a_caller_may_have_an_odd_address(app, asgi, telemetry, client):
    await asgi(app, path="/orders/1", client=client)
    (line,) = telemetry.logs("http.request")
    assert line["http.route"] == "/orders/{order_id}"
    assert line.get("client.address") == (client[0] if client else None)
    assert telemetry.span("GET /orders/{order_id}")


async def test_a_shutdown_tells_first_what_was_put_off(ask, telemetry):
    """It holds the loop up here: its turn comes too late."""
    lines = telemetry.lines
    with serving():
        await ask("/orders/1")
        assert not lines
        telemetry.service.shutdown()
        assert "/orders/1" in str(lines)


async def test_an_error_is_told_at_once(ask, telemetry, exporter):
    with serving():
        await ask("/missing")
        assert [span.name for span in exporter.get_finished_spans()] == ["GET /missing"]
        assert len(telemetry.lines) == 1


async def test_it_is_put_off_while_the_application_lives(app, ask, telemetry, exporter):
    """From the end of its start to that of its stop: a test without a server waits for nothing."""
    await ask("/orders/0")
    assert len(exporter.get_finished_spans()) == 1
    given, said = asyncio.Queue(), asyncio.Queue()
    given.put_nowait({"type": "lifespan.startup"})
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.create_task(app(scope, given.get, said.put))
    assert (await said.get())["type"] == "lifespan.startup.complete"
    telemetry.clear()
    await ask("/orders/2")
    assert "/orders/2" not in str(telemetry.lines)
    given.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert "/orders/2" in str(telemetry.lines)
    await ask("/orders/3")
    assert "/orders/3" in str(telemetry.lines)


@pytest.fixture
def exported(telemetry, kept):
    """Spans that nobody sees but our exporter, as in production."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, LeanTracerProvider):
        pytest.skip("is about our own spans")
    handover = provider._active_span_processor
    seen, handover.readers = handover.readers, ()
    provider.add_span_processor(processor := EncodedSpanProcessor(exporter := kept(Span)))

    def spans():
        processor.force_flush()
        return exporter.messages

    yield spans
    handover.readers = seen
    processor.shutdown()


def _told(span):
    return span.name, span.kind, {pair.key: str(pair.value) for pair in span.attributes}


async def test_a_span_that_nobody_sees_end_is_told_later_and_the_same(ask, exported):
    await ask("/orders/1")
    with serving():
        await ask("/orders/1")
    at_once, later = exported()
    assert _told(later) == _told(at_once)
    assert "http.route" in _told(later)[2]
    assert later.start_time_unix_nano < later.end_time_unix_nano


@pytest.mark.parametrize("trust", ["internal", "edge"])
async def test_a_span_that_nobody_sees_start_knows_its_caller(exported, asgi, trust):
    """As its parent, or at the edge by a link, which has to be made with the span."""

    async def answer(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    settings = HttpSettings(trust_incoming=trust)
    observed = TelemetryMiddleware(answer, settings=settings, service_name="t")
    caller = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await asgi(observed, headers=[(b"traceparent", caller)])
    (span,) = exported()
    (linked,) = span.links or [Span.Link()]
    found = {"internal": span.parent_span_id, "edge": linked.span_id}
    assert found.pop(trust) == bytes.fromhex("00f067aa0ba902b7")
    assert not any(found.values())


async def test_what_runs_after_the_answer_changes_no_span_that_is_told_later(
    app, ask, exported, emptying
):
    """It has ended with the answer, and the application may do with its scope what it likes."""
    ended = []

    async def afterwards(request: Request) -> None:
        span = trace.get_current_span()
        ended.append(not span.is_recording())
        span.set_attribute("late", True)
        span.update_name("late")

    @app.get("/task/{n}")
    async def task(n: int, tasks: BackgroundTasks, request: Request) -> None:
        tasks.add_task(afterwards, request)

    app.add_middleware(emptying)
    with serving():
        await ask("/task/1")
    (span,) = exported()
    assert ended == [True]
    assert span.name == "GET /task/{n}"
    assert "late" not in _told(span)[2]


async def test_a_line_survives_a_scope_that_is_emptied(app, ask, telemetry, emptying):
    app.add_middleware(emptying)
    with serving():
        await ask("/orders/1")
    (line,) = telemetry.logs("http.request")
    assert (line["url.path"], line["client.address"]) == ("/orders/1", "127.0.0.1")
    assert line["http.route"] == "/orders/{order_id}"


async def test_a_burst_is_told_whole(ask, telemetry, exported):
    """More requests end in one turn than may wait."""
    with serving():
        for number in range(300):
            await ask(f"/orders/{number}")
    assert len(exported()) == 300
    assert len(telemetry.logs("http.request")) == 300
    assert "http_server_active_requests{" in telemetry.scrape()
    active = [e for e in telemetry.scrape().splitlines() if e.startswith("http_server_active")]
    assert {line.rpartition(" ")[2] for line in active} == {"0"}


async def test_the_line_has_the_caller_that_middleware_found(app, asgi, telemetry):
    """As behind a proxy, whose header says who called."""

    class Behind:
        def __init__(self, inner):
            self._inner = inner

        async def __call__(self, scope, receive, send):
            scope["client"] = ("203.0.113.9", 0)
            await self._inner(scope, receive, send)

    app.add_middleware(Behind)
    await asgi(app, path="/orders/1")
    (line,) = telemetry.logs("http.request")
    assert line["client.address"] == "203.0.113.9"


@pytest.mark.parametrize("status", [HTTPStatus.CREATED, 201])
async def test_a_status_is_a_number_whatever_its_class(app, ask, telemetry, exported, status):
    """Of ``http.HTTPStatus`` for example; one after the other, whichever comes first."""

    @app.get("/made")
    async def made() -> JSONResponse:
        return JSONResponse({}, status)

    for _ in range(2):
        await ask("/made")
        span = exported()[-1]
        found = {pair.key: pair.value for pair in span.attributes}["http.response.status_code"]
        assert found.int_value == 201
        assert telemetry.logs("http.request")[-1]["http.response.status_code"] == 201


async def test_a_processor_that_comes_in_between_sees_the_span(ask, exported, exporter):
    """It was not there when the request ended, and is when the span is handed over."""
    provider = trace.get_tracer_provider()
    with serving():
        await ask("/orders/1")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /orders/{order_id}"]
    assert len(exported()) == 1


ODD = ["/orders/%22", '/orders/a"b\\', "/orders/ä", "/orders/http://u:p@h", "/orders/" + "x" * 2000]


@pytest.mark.parametrize("path", ["/orders/1", "/mine", "/nowhere", *ODD])
async def test_the_line_is_the_same_with_and_without_a_template(app, asgi, telemetry, path):
    """A second processor makes the line go the whole way."""
    await asgi(app, path="/orders/first")
    telemetry.clear()
    await asgi(app, path=path)

    def pass_on(_logger, _method, event):
        return event

    processors = logs._processors
    processors.insert(0, pass_on)
    try:
        await asgi(app, path=path)
    finally:
        processors.remove(pass_on)
    quick, whole = telemetry.logs("http.request")
    differing = {"timestamp", "trace_id", "span_id", "request_id", "correlation_id", "duration_ms"}
    assert list(quick) == list(whole)
    assert {k: v for k, v in quick.items() if k not in differing} == {
        k: v for k, v in whole.items() if k not in differing
    }
    assert quick["span_id"] == f"{telemetry.spans[0].context.span_id:016x}"


async def test_a_usual_line_comes_from_a_template(app, asgi, telemetry, monkeypatch):
    """Else the comparison above proves nothing."""
    await asgi(app, path="/orders/first")
    monkeypatch.setattr(type(logs.pipeline()), "line", None)  # the whole way is closed
    await asgi(app, path="/orders/second")
    assert telemetry.logs("http.request")[-1]["url.path"] == "/orders/second"


async def test_a_request_that_nobody_samples_keeps_its_line(app, asgi, telemetry):
    headers = [(b"host", b"test"), (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00")]
    await asgi(app, path="/orders/1", headers=headers)
    (line,) = telemetry.logs("http.request")
    assert line["trace_id"] == "a" * 32
    assert line["trace_flags"] == "00"
    assert not trace.get_current_span().is_recording()


class _Kept:
    """Be the exporter of log records and keep what it is given."""

    def __init__(self):
        self.records = []

    def export(self, batch):
        self.records += [LogRecord.FromString(body) for _, body in batch]

    def shutdown(self):
        return


async def test_an_exported_line_is_the_same_with_and_without_a_template(
    app, asgi, telemetry, monkeypatch
):
    """The same fields in the same order, each under the ids of its own request."""
    kept, chain = _Kept(), logs.pipeline()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor := EncodedLogProcessor(kept))
    monkeypatch.setattr(chain, "provider", provider)
    await asgi(app, path="/orders/first")
    telemetry.clear()
    with monkeypatch.context() as closed:
        closed.setattr(type(chain), "log", None)  # every way but the template's
        await asgi(app, path="/orders/second")
    monkeypatch.setattr(logs.BoundLogger, "usual_chain", lambda *_: None)
    await asgi(app, path="/orders/second")
    processor.shutdown()
    _, quick, whole = kept.records
    lines = telemetry.logs("http.request")
    for record, line in zip((quick, whole), lines, strict=True):
        assert record.span_id.hex() == line["span_id"]
        given = {each.key: each.value.string_value for each in record.attributes}
        assert given["url.path"] == "/orders/second"
        assert (given["request_id"], given["correlation_id"]) == (
            line["request_id"],
            line["correlation_id"],
        )
        for own in record.attributes:
            if own.key in ("request_id", "correlation_id", "duration_ms"):
                own.ClearField("value")
    assert list(quick.attributes) == list(whole.attributes)
    assert (quick.body, quick.severity_text) == (whole.body, whole.severity_text)
    assert quick.flags == whole.flags


async def test_an_exported_line_that_others_want_too_is_exported_once(
    app, asgi, telemetry, monkeypatch
):
    """Another processor of log records wants the SDK's: the line goes the whole way."""
    exporter = InMemoryLogRecordExporter()
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(logs.pipeline(), "provider", provider)
    for path in ("/orders/1", "/orders/2"):
        await asgi(app, path=path)
    found = [each.log_record.attributes["url.path"] for each in exporter.get_finished_logs()]
    assert found == ["/orders/1", "/orders/2"]
    assert len(telemetry.logs("http.request")) == 2
