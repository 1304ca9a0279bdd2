"""When a request ends: streams, files, background tasks, callers that leave, cancellation."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
from fastapi import BackgroundTasks, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from opentelemetry.trace import StatusCode

import glam_sdk


def duration_ms(telemetry):
    (line,) = telemetry.logs("http.request")
    (span,) = telemetry.spans
    span_ms = (span.end_time - span.start_time) / 1e6
    assert abs(span_ms - line["duration_ms"]) < 100
    return line["duration_ms"]


def test_the_duration_covers_the_stream(app, serve, telemetry):
    """A request ends with its last byte, not with its headers."""

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            for _ in range(3):
                yield b"x"
                await asyncio.sleep(0.05)

        return StreamingResponse(chunks())

    with serve(app) as client:
        assert client.get("/stream").text == "xxx"
    assert duration_ms(telemetry) >= 150


def test_server_sent_events_are_one_request(app, serve, telemetry):
    """Events are streamed under the request's context, and one span covers all of them."""

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def feed():
            for n in range(3):
                with glam_sdk.span("event"):
                    yield f"data: {n} {glam_sdk.trace_id()}\n\n"

        return StreamingResponse(feed(), media_type="text/event-stream")

    with serve(app) as client:
        answer = client.get("/events")
    assert answer.text.count(answer.headers["x-trace-id"]) == 3
    assert (
        telemetry.tree()
        == "GET /events SERVER\n  event INTERNAL\n  event INTERNAL\n  event INTERNAL"
    )


@pytest.mark.parametrize("status", [200, 500])
def test_a_background_task_is_not_in_the_duration(app, serve, telemetry, status):
    """The request is over when it is answered; the task still has its context."""
    seen = []

    async def slow():
        await asyncio.sleep(0.3)
        seen.append((glam_sdk.trace_id(), time.perf_counter()))

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> Response:
        tasks.add_task(slow)
        return Response(status_code=status, background=tasks)

    with serve(app) as client:
        begun = time.perf_counter()
        answer = client.get("/later")
    ((trace_id, ended),) = seen
    # However long a busy machine takes for the request itself.
    assert duration_ms(telemetry) < (ended - begun) * 1000 - 250
    assert trace_id == answer.headers["x-trace-id"]


def test_a_file_is_served_with_ids_and_its_route(app, serve, telemetry, tmp_path):
    """FileResponse, also a range of it and its HEAD."""
    (tmp_path / "f.txt").write_text("0123456789")

    @app.api_route("/file", methods=["GET", "HEAD"])
    async def file() -> FileResponse:
        return FileResponse(tmp_path / "f.txt")

    with serve(app) as client:
        whole = client.get("/file")
        part = client.get("/file", headers={"Range": "bytes=2-4"})
        head = client.head("/file")
    assert (whole.text, part.text, head.text) == ("0123456789", "234", "")
    assert part.status_code == 206
    assert all("x-trace-id" in answer.headers for answer in (whole, part, head))
    assert [s.name for s in telemetry.spans] == ["GET /file", "GET /file", "HEAD /file"]


async def test_a_file_sent_by_the_server_ends_the_request(app, asgi, telemetry, tmp_path):
    """``http.response.pathsend`` is the last message."""
    (tmp_path / "f.txt").write_text("x")

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(tmp_path / "f.txt")

    sent, _ = await asgi(app, path="/file", extensions={"http.response.pathsend": {}})
    assert [message["type"] for message in sent] == [
        "http.response.start",
        "http.response.pathsend",
    ]
    assert telemetry.spans[0].status.status_code is StatusCode.UNSET


async def test_trailers_end_the_request(app, asgi, telemetry):
    """With trailers announced, the body is not the end yet."""

    class Trailing(Response):
        async def __call__(self, scope, receive, send):
            start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
            await send(start)
            await send({"type": "http.response.body", "body": b"x"})
            assert telemetry.spans == ()
            await send({"type": "http.response.trailers", "headers": []})
            assert len(telemetry.spans) == 1

    @app.get("/")
    async def trailing() -> Response:
        return Trailing()

    _, raised = await asgi(app)
    assert raised is None


def test_a_caller_that_leaves_in_the_middle_is_marked(app, serve, telemetry):
    """Span and line say ``client_disconnected``; nobody's fault, so a warning and no traceback."""
    left = []

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            try:
                while True:
                    yield b"x" * 1000
                    await asyncio.sleep(0.01)
            finally:
                left.append(True)

        return StreamingResponse(chunks())

    with serve(app) as client:
        url = httpx.URL(str(client.base_url))
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: t\r\n\r\n")
            connection.recv(2000)
    assert left == [True]
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "client_disconnected"
    assert span.attributes["http.response.status_code"] == 200
    assert span.status.status_code is StatusCode.ERROR
    (line,) = telemetry.logs("http.request")
    assert (line["level"], line["error.type"]) == ("warning", "client_disconnected")
    assert not [e for e in telemetry.logs() if "exception" in e]


def test_a_caller_that_leaves_while_sending_is_no_server_error(app, serve, telemetry):
    """A body that breaks off is the caller's doing: no 5xx, no traceback."""

    @app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    with serve(app) as client:
        url = httpx.URL(str(client.base_url))
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            connection.sendall(
                b"POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc"
            )
    (span,) = telemetry.spans
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["error.type"] == "client_disconnected"
    (line,) = telemetry.logs("http.request")
    assert line["level"] == "warning"
    assert not [e for e in telemetry.logs() if "exception" in e]


async def test_a_server_that_cannot_send_means_the_caller_left(app, asgi, telemetry):
    """Servers that raise ``OSError`` from send (ASGI 2.4) are understood too."""

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            yield b"a"
            yield b"b"

        return StreamingResponse(chunks())

    inner = app

    async def cut(scope, receive, send):
        async def broken(message):
            if message["type"] == "http.response.body":
                raise OSError("gone")
            await send(message)

        await inner(scope, receive, broken)

    _, raised = await asgi(cut, path="/stream")
    assert raised is not None
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "client_disconnected"
    (line,) = telemetry.logs("http.request")
    assert line["level"] == "warning"


async def test_an_answer_that_is_never_finished_is_a_failure(app, asgi, telemetry):
    """An application that stops in the middle, or says nothing, did not do its work."""

    class Half(Response):
        async def __call__(self, scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    class Silent(Response):
        async def __call__(self, scope, receive, send): ...

    @app.get("/{which}")
    async def answer(which: str) -> Response:
        return Half() if which == "half" else Silent()

    await asgi(app, path="/half")
    await asgi(app, path="/silent")
    assert [s.attributes["error.type"] for s in telemetry.spans] == ["incomplete_response"] * 2


async def test_a_cancelled_request_is_marked_and_ends_everything(app, asgi, telemetry):
    """Cancellation goes through, the span ends with it, and nothing stays active."""
    reached = asyncio.Event()

    @app.get("/wait")
    async def wait() -> None:
        reached.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(asgi(app, path="/wait"))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = telemetry.spans
    assert "CancelledError" in span.attributes["error.type"]
    assert [e.name for e in span.events] == []
    assert 'http_server_active_requests{http_request_method="GET",url_scheme="http"} 0' in (
        telemetry.scrape()
    )


async def test_concurrent_requests_keep_their_ids(app, asgi, telemetry):
    """What one request attaches is never seen by another."""
    gate = asyncio.Barrier(20)
    seen = {}

    @app.get("/{n}")
    async def handler(n: str) -> None:
        await gate.wait()
        seen[n] = (glam_sdk.request_id(), glam_sdk.correlation_id())
        await gate.wait()

    async def ask(n):
        headers = [(b"x-request-id", b"r-%d" % n), (b"x-correlation-id", b"c-%d" % n)]
        await asgi(app, path=f"/{n}", headers=headers)

    async with asyncio.TaskGroup() as tasks:
        for n in range(20):
            tasks.create_task(ask(n))
    assert seen == {str(n): (f"r-{n}", f"c-{n}") for n in range(20)}
    assert glam_sdk.request_id() is None
