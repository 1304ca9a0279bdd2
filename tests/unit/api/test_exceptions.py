"""An exception is recorded once and logged once, whoever handles it."""

from __future__ import annotations

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.trace import StatusCode

from glam_sdk.errors import ConflictError, NotFoundError, ServiceUnavailableError


def tracebacks(telemetry):
    """Every log line, ours and the server's, that has a traceback."""
    return [line for line in telemetry.logs() if "exception" in line]


def exception_events(telemetry):
    return [e for span in telemetry.spans for e in span.events if e.name == "exception"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_bug_is_recorded_once_and_logged_once(app, serve, telemetry, loop, http):
    """One span event, one line with the traceback; the server's own line is the same exception."""

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError("bug-4711")

    with serve(app, loop=loop, http=http) as client:
        answer = client.get("/bug")
    (event,) = exception_events(telemetry)
    assert event.attributes["exception.type"] == "ValueError"
    assert "bug-4711" in event.attributes["exception.stacktrace"]
    (line,) = tracebacks(telemetry)
    assert (line["message"], line["level"]) == ("http.request", "error")
    assert line["trace_id"] == answer.headers["x-trace-id"]
    assert line["error.type"] == "ValueError"
    assert "bug-4711" in line["exception"]
    assert not [e for e in telemetry.logs() if e["level"] == "error" and e != line]


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailableError("Down."),
        HTTPException(500, "broken"),
        ExceptionGroup("g", [ValueError("x")]),
    ],
    ids=["ours", "http", "group"],
)
def test_an_answered_failure_is_recorded_once_and_logged_once(app, serve, telemetry, error):
    """A handled exception that means 5xx has its traceback in span and log as well."""

    @app.get("/fails")
    async def fails() -> None:
        raise error

    with serve(app) as client:
        assert client.get("/fails").status_code >= 500
    assert len(exception_events(telemetry)) == 1
    assert [line["message"] for line in tracebacks(telemetry)] == ["http.request"]


def test_a_failure_handled_by_the_service_itself_is_recorded_too(app, serve, telemetry):
    """Also where the service's own handler answers, and we never see the exception pass."""

    @app.exception_handler(ZeroDivisionError)
    async def own(request, exc):
        return JSONResponse({}, status_code=503)

    @app.exception_handler(KeyError)
    def refuse(request, exc):
        return JSONResponse({}, status_code=400)

    @app.get("/{which}")
    async def fails(which: str) -> None:
        raise ZeroDivisionError if which == "zero" else KeyError(which)

    with serve(app) as client:
        assert client.get("/zero").status_code == 503
        assert client.get("/key").status_code == 400
    failed, refused = telemetry.spans
    assert failed.attributes["error.type"] == "ZeroDivisionError"
    assert "exception.stacktrace" in failed.events[0].attributes
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.events[0].attributes["exception.type"] == "builtins.KeyError"
    assert len(tracebacks(telemetry)) == 1


def test_a_refusal_is_an_event_without_a_traceback(app, serve, telemetry):
    """A 4xx of ours is told in the trace, and its line is a warning."""

    @app.get("/orders/1")
    async def order() -> None:
        raise NotFoundError("There is no order 1.")

    with serve(app) as client:
        client.get("/orders/1")
    (event,) = exception_events(telemetry)
    assert event.attributes["exception.message"] == "There is no order 1."
    assert "exception.stacktrace" not in event.attributes
    (line,) = telemetry.logs("http.request")
    assert (line["level"], line["glam.error.code"]) == ("warning", "NOT_FOUND")
    assert tracebacks(telemetry) == []


def test_what_a_refusal_says_is_bounded_and_tells_no_password(app, serve, telemetry):
    """As with every other exception that a span has."""

    @app.get("/orders/1")
    async def order() -> None:
        raise NotFoundError("postgres://me:s3cret@db/orders " + "x" * 100_000)

    with serve(app) as client:
        client.get("/orders/1")
    (event,) = exception_events(telemetry)
    assert "s3cret" not in event.attributes["exception.message"]
    assert len(event.attributes["exception.message"]) < 50_000


@pytest.mark.parametrize("where", ["dependency", "teardown", "middleware", "threaded"])
def test_it_does_not_matter_where_a_bug_is(app, serve, telemetry, where):
    """Dependencies, their ends, middleware and sync handlers: one event, one line."""

    async def dependency():
        if where == "dependency":
            raise ValueError("bug")
        yield
        if where == "teardown":
            raise ValueError("bug")

    class Middleware:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if where == "middleware" and scope["type"] == "http":
                raise ValueError("bug")
            await self.app(scope, receive, send)

    app.add_middleware(Middleware)

    @app.get("/", dependencies=[Depends(dependency, scope="function")])
    def handler() -> None:
        if where == "threaded":
            raise ValueError("bug")

    with serve(app) as client:
        assert client.get("/").status_code == 500
    assert len(exception_events(telemetry)) == 1
    assert len(tracebacks(telemetry)) == 1


def test_a_bug_in_a_mounted_application_is_told_once(app, serve, telemetry):
    """Its exception passes two error pages, and is one event and one line."""
    inner = FastAPI()

    @inner.get("/bug")
    async def bug() -> None:
        raise ValueError("bug")

    app.mount("/inner", inner)
    with serve(app) as client:
        assert client.get("/inner/bug").status_code == 500
    assert len(exception_events(telemetry)) == 1
    assert len(tracebacks(telemetry)) == 1


@pytest.mark.parametrize("error", [ValueError("bug"), ConflictError("Busy.")], ids=["bug", "ours"])
def test_a_failure_in_the_middle_of_a_stream_is_told_once(app, serve, telemetry, error):
    """The status was 200 already; span, metric and line say that it failed, and by what."""

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            yield b"a"
            raise error

        return StreamingResponse(chunks())

    with serve(app) as client, pytest.raises(Exception, match=r"peer closed|incomplete"):
        client.get("/stream")
    (span,) = telemetry.spans
    expected = "ValueError" if isinstance(error, ValueError) else "CONFLICT"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["error.type"] == expected
    assert span.status.status_code is StatusCode.ERROR
    assert len(exception_events(telemetry)) == 1
    (line,) = tracebacks(telemetry)
    assert (line["level"], line["error.type"]) == ("error", expected)


def test_a_failing_background_task_is_logged_once_with_the_requests_ids(app, serve, telemetry):
    """The answer was sent and measured; the failure has a line of its own, and only one."""

    def fail():
        raise ValueError("after")

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(fail)

    with serve(app) as client:
        answer = client.get("/later")
    assert answer.status_code == 200
    (line,) = tracebacks(telemetry)
    assert line["message"] == "http.background_failed"
    assert line["http.route"] == "/later"
    assert line["trace_id"] == answer.headers["x-trace-id"]
    (request,) = telemetry.logs("http.request")
    assert (request["level"], request["http.response.status_code"]) == ("info", 200)
    (span,) = telemetry.spans
    assert span.status.status_code is StatusCode.UNSET
    assert not [e for e in telemetry.logs() if "ended span" in e["message"]]


def test_a_debug_page_does_not_hide_the_exception(telemetry, serve):
    """With ``debug=True`` Starlette answers by itself; span and log know all the same."""
    app = telemetry.service.install(FastAPI(debug=True))

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError("bug")

    with serve(app) as client:
        assert client.get("/bug").status_code == 500
    assert len(exception_events(telemetry)) == 1
    assert len(tracebacks(telemetry)) == 1


async def test_an_exception_that_fails_to_show_itself_breaks_nothing(app, asgi, telemetry):
    """A failing ``__str__`` in an exception is no second failure."""

    class MuteError(ConflictError):
        code = "MUTE"

        def __str__(self):
            raise RuntimeError("no text")

    @app.get("/")
    async def fails() -> None:
        raise MuteError("x")

    sent, raised = await asgi(app)
    assert raised is None
    assert sent[0]["status"] == 409
    assert len(telemetry.spans) == 1
