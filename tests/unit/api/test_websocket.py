"""WebSockets: one span, ids at the handshake, an orderly end is no error."""

from __future__ import annotations

import pytest
from fastapi import Depends, Response, WebSocket, WebSocketDisconnect, WebSocketException
from opentelemetry.trace import SpanKind, StatusCode

import glam_sdk

LEAVE = {"type": "websocket.disconnect", "code": 1000}


@pytest.fixture
def chat(app):
    """An application with WebSocket endpoints."""

    @app.websocket("/chat/{room}")
    async def talk(socket: WebSocket, room: str) -> None:
        await socket.accept()
        while True:
            await socket.send_text(f"{await socket.receive_text()} {glam_sdk.trace_id()}")

    @app.websocket("/careful")
    async def careful(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await socket.receive_text()
        except WebSocketDisconnect:
            return

    @app.websocket("/bug")
    async def bug(socket: WebSocket) -> None:
        await socket.accept()
        raise ValueError("bug")

    async def forbid() -> None:
        raise WebSocketException(1008, "not you")

    @app.websocket("/forbidden", dependencies=[Depends(forbid)])
    async def forbidden(socket: WebSocket) -> None: ...

    return app


async def test_a_connection_is_one_server_span_with_ids_at_its_handshake(
    chat, websocket, telemetry
):
    """The ids are on ``websocket.accept``; messages run under the span; one line says it ended."""
    hello = {"type": "websocket.receive", "text": "hello"}
    sent, _ = await websocket(chat, hello, LEAVE, path="/chat/7")
    accept, message = sent[:2]
    headers = dict(accept["headers"])
    assert set(headers) == {b"x-request-id", b"x-correlation-id", b"x-trace-id", b"x-service-name"}
    assert message["text"] == f"hello {headers[b'x-trace-id'].decode()}"
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("GET /chat/{room}", SpanKind.SERVER)
    assert span.attributes["network.protocol.name"] == "websocket"
    assert span.attributes["http.response.status_code"] == 101
    (line,) = telemetry.logs("websocket.closed")
    assert (line["level"], line["http.route"]) == ("info", "/chat/{room}")


@pytest.mark.parametrize("code", [1000, 1001, 1005])
async def test_an_orderly_close_is_no_error(chat, websocket, telemetry, code):
    """A handler that lets the disconnect pass, as most do, has not failed."""
    await websocket(chat, {**LEAVE, "code": code}, path="/chat/7")
    (span,) = telemetry.spans
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert telemetry.logs("websocket.closed")[0]["level"] == "info"


async def test_a_broken_connection_is_marked(chat, websocket, telemetry):
    """Code 1006 means that the caller vanished."""
    await websocket(chat, {**LEAVE, "code": 1006}, path="/chat/7")
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "client_disconnected"
    (line,) = telemetry.logs("websocket.closed")
    assert (line["level"], "exception" in line) == ("warning", False)


async def test_a_handler_may_care_for_the_end_itself(chat, websocket, telemetry):
    """A disconnect that the handler handles is an orderly end."""
    await websocket(chat, LEAVE, path="/careful")
    assert telemetry.spans[0].status.status_code is StatusCode.UNSET


async def test_a_bug_in_a_handler_is_recorded_and_logged_once(chat, websocket, telemetry):
    """As for a request."""
    await websocket(chat, path="/bug")
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]
    (line,) = [e for e in telemetry.logs() if "exception" in e]
    assert (line["message"], line["level"]) == ("websocket.closed", "error")


@pytest.mark.parametrize("path", ["/forbidden", "/nowhere"])
async def test_a_refused_connection_is_a_403_and_no_failure(chat, websocket, telemetry, path):
    """A close before the handshake is what a server answers with 403."""
    sent, raised = await websocket(chat, path=path)
    assert raised is None
    assert [message["type"] for message in sent] == ["websocket.close"]
    (span,) = telemetry.spans
    assert span.attributes["http.response.status_code"] == 403
    assert span.status.status_code is StatusCode.UNSET
    (line,) = telemetry.logs("websocket.closed")
    assert (line["level"], line["http.response.status_code"]) == ("warning", 403)


async def test_a_refusal_with_a_response_has_the_ids(app, websocket, telemetry):
    """Where an application answers the handshake itself, the headers are on it."""

    @app.websocket("/denied")
    async def denied(socket: WebSocket) -> None:
        await socket.send_denial_response(Response("no", status_code=401))

    sent, _ = await websocket(app, path="/denied")
    assert sent[0]["status"] == 401
    assert b"x-trace-id" in dict(sent[0]["headers"])
    assert telemetry.logs("websocket.closed")[0]["level"] == "warning"


async def test_connections_are_not_measured_as_requests(chat, websocket, telemetry):
    """A connection of hours would spoil the durations of requests."""
    await websocket(chat, LEAVE, path="/chat/7")
    scrape = telemetry.scrape()
    assert "http_server_request_duration_seconds_count{" not in scrape
    assert "http_server_active_requests{" not in scrape
