"""Ids on every response, and where they come from."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import StreamingResponse

import glam_sdk
from glam_sdk.errors import NotFoundError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def shop(app):
    """An application with an endpoint for each kind of answer."""
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.test"])

    @app.get("/ok/{n}")
    async def ok(n: int) -> int:
        return n

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("Nothing here.")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError("bug")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            yield b"a"
            yield b"b"

        return StreamingResponse(chunks())

    return app


def test_every_response_has_the_four_headers(shop, serve):
    """Contract 1: request, correlation and trace id and the service's name, whatever happened."""
    with serve(shop) as client:
        answers = [
            client.get("/ok/1"),
            client.head("/ok/1"),
            client.get("/ok/x"),
            client.get("/ok/1/"),
            client.get("/nowhere"),
            client.post("/ok/1"),
            client.get("/missing"),
            client.get("/teapot"),
            client.get("/bug"),
            client.get("/stream"),
            client.get("/health/live"),
            client.get("/metrics"),
            client.get("/docs"),
            client.options("/ok/1"),
            client.options(
                "/ok/1",
                headers={"Origin": "https://shop.test", "Access-Control-Request-Method": "GET"},
            ),
        ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 405, 422, 307, 404, 405, 404, 418, 500, 200, 200, 200, 200, 405, 200]
    for answer in answers:
        assert re.fullmatch(r"req_[0-9a-f]{12}", answer.headers["x-request-id"])
        assert re.fullmatch(r"corr_[0-9a-f]{12}", answer.headers["x-correlation-id"])
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"])
        assert answer.headers["x-service-name"] == "test"
        assert answer.headers.get_list("x-trace-id") == [answer.headers["x-trace-id"]]
    assert len({answer.headers["x-trace-id"] for answer in answers}) == len(answers)


def test_an_application_cannot_send_the_headers_twice(app, serve):
    """A header of the same name that the application sets is replaced by ours."""

    @app.get("/own")
    async def own() -> StreamingResponse:
        headers = {"X-Request-ID": "mine", "X-Other": "kept"}
        return StreamingResponse(iter([b"x"]), headers=headers)

    with serve(app) as client:
        answer = client.get("/own", headers={"X-Request-ID": "theirs"})
    assert answer.headers.get_list("x-request-id") == ["theirs"]
    assert answer.headers["x-other"] == "kept"


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
@pytest.mark.parametrize("theirs", [[b"X-Trace-ID"], [b"x-Request-id"], []])
@pytest.mark.parametrize(
    "name_type",
    [bytes, bytearray, memoryview, lambda name: memoryview(bytearray(name))],
    ids=["bytes", "bytearray", "memoryview", "writable memoryview"],
)
async def test_headers_of_any_spelling_are_replaced_and_the_message_stays_its_senders(
    app, asgi, kind, theirs, name_type
):
    """An ASGI application may write names as it likes, and send the same message again.

    Servers also take names that are not of the type which ASGI asks for.
    """
    given = [(name_type(name), b"theirs") for name in (b"", b"x-more", *theirs, b"last")]
    kept = kind(given)
    start = {"type": "http.response.start", "status": 200, "headers": kept}

    async def raw(scope, receive, send):
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    app.mount("/raw", raw)
    sent, _ = await asgi(app, {"type": "http.request"}, path="/raw/")
    names = [name for name, _ in sent[0]["headers"]]
    ours = [b"x-request-id", b"x-correlation-id", b"x-trace-id", b"x-service-name"]
    assert names == [b"", b"x-more", b"last", *ours]
    assert start == {"type": "http.response.start", "status": 200, "headers": kept}
    assert kind is not list or kept == given


async def test_names_of_several_types_may_stand_side_by_side(app, asgi):
    """What a server makes of each of them is the server's to decide."""
    given = [(bytearray(b"one"), b"1"), ("X-Trace-ID", b"2"), ("x-two", b"3")]

    async def raw(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": given})
        await send({"type": "http.response.body", "body": b""})

    app.mount("/raw", raw)
    sent, _ = await asgi(app, {"type": "http.request"}, path="/raw/")
    assert sent[0]["headers"][:2] == [given[0], given[2]]


@pytest.mark.parametrize(
    ("sent", "request_id", "correlation_id"),
    [
        ({"X-Request-ID": "r-1"}, "r-1", None),
        ({"X-Correlation-ID": "c-1"}, None, "c-1"),
        ({"X-Correlation-ID": "c-1", "baggage": "correlation_id=c-2"}, None, "c-1"),
        ({"baggage": "correlation_id=c-2,other=1"}, None, "c-2"),
        ({"X-Correlation-ID": "not valid", "baggage": "correlation_id=c-2"}, None, "c-2"),
        ({"X-Request-ID": "a" * 128}, "a" * 128, None),
        ({"X-Request-ID": "a" * 129}, None, None),
        ({"X-Request-ID": "-starts-wrong"}, None, None),
        ({"X-Correlation-ID": "x;y"}, None, None),
        ({"baggage": "correlation_id=%0A"}, None, None),
    ],
)
def test_ids_are_taken_over_when_valid(app, serve, sent, request_id, correlation_id):
    """Contract 1: header if valid, else baggage (correlation id), else generated."""
    with serve(app) as client:
        answer = client.get("/nowhere", headers=sent)
    pattern = re.escape(request_id) if request_id else r"req_[0-9a-f]{12}"
    assert re.fullmatch(pattern, answer.headers["x-request-id"])
    pattern = re.escape(correlation_id) if correlation_id else r"corr_[0-9a-f]{12}"
    assert re.fullmatch(pattern, answer.headers["x-correlation-id"])


def test_two_ids_of_one_name_are_no_id(app, serve):
    """A repeated header is one list (RFC 9110), and a list is no id."""
    with serve(app) as client:
        headers = httpx.Headers([("X-Request-ID", "a"), ("X-Request-ID", "b")])
        answer = client.get("/nowhere", headers=headers)
    assert answer.headers["x-request-id"].startswith("req_")


def test_the_ids_are_in_the_handler_and_travel_on(app, serve):
    """Inside the handler they are current; the correlation id is baggage of outgoing calls."""

    @app.get("/ids")
    async def ids() -> dict[str, str | None]:
        from glam_sdk.telemetry.propagation import inject

        return {
            "request": glam_sdk.request_id(),
            "correlation": glam_sdk.correlation_id(),
            "trace": glam_sdk.trace_id(),
            **inject(),
        }

    with serve(app) as client:
        sent = {"traceparent": PARENT, "tracestate": "v=1", "X-Correlation-ID": "c-1"}
        answer = client.get("/ids", headers=sent)
    body = answer.json()
    assert body["trace"] == answer.headers["x-trace-id"] == TRACE
    assert body["traceparent"].startswith(f"00-{TRACE}-")
    assert body["tracestate"] == "v=1"
    assert body["correlation"] == "c-1"
    assert body["baggage"] == "correlation_id=c-1"
    assert body["request"] == answer.headers["x-request-id"]


def test_an_excluded_request_keeps_the_callers_trace_id(app, serve):
    """Health checks are not traced, yet their answer and log lines name the caller's trace."""
    with serve(app) as client:
        answer = client.get("/health", headers={"traceparent": PARENT})
    assert answer.headers["x-trace-id"] == answer.json()["meta"]["trace_id"] == TRACE
