"""What a handler can ask for about its request."""

from __future__ import annotations

import threading

from fastapi import WebSocket

import glam_sdk
from glam_sdk.api import ClientIpDep, CorrelationIdDep, RequestContextDep, RequestIdDep


def test_the_dependencies_tell_the_ids_of_the_request(app, serve):
    """Contract 1: RequestContextDep, RequestIdDep, CorrelationIdDep, ClientIpDep."""

    @app.get("/who")
    async def who(
        request: RequestContextDep, rid: RequestIdDep, cid: CorrelationIdDep, ip: ClientIpDep
    ) -> dict[str, str | None]:
        return {
            "request_id": request.request_id,
            "trace_id": request.trace_id,
            "correlation_id": request.correlation_id,
            "method": request.method,
            "path": request.path,
            "rid": rid,
            "cid": cid,
            "ip": ip,
        }

    with serve(app) as client:
        answer = client.get("/who", headers={"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"})
    assert answer.json() == {
        "request_id": "r-1",
        "trace_id": answer.headers["x-trace-id"],
        "correlation_id": "c-1",
        "method": "GET",
        "path": "/who",
        "rid": "r-1",
        "cid": "c-1",
        "ip": "127.0.0.1",
    }


def test_the_dependencies_ask_the_client_for_nothing(app):
    """They add no parameter and no body to the operation."""

    @app.get("/who")
    async def who(
        request: RequestContextDep, rid: RequestIdDep, cid: CorrelationIdDep, ip: ClientIpDep
    ) -> None: ...

    operation = app.openapi()["paths"]["/who"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation


def test_a_sync_handler_sees_the_ids_in_its_thread(app, serve):
    """A handler that FastAPI runs in a thread has the same context."""

    @app.get("/sync")
    def sync(request: RequestContextDep) -> list[object]:
        in_thread = threading.current_thread() is not threading.main_thread()
        return [in_thread, glam_sdk.request_id() == request.request_id, glam_sdk.trace_id()]

    with serve(app) as client:
        answer = client.get("/sync")
    assert answer.json() == [True, True, answer.headers["x-trace-id"]]


async def test_the_dependencies_serve_websockets_too(app, websocket):
    """A WebSocket handler can ask for its context as well."""
    seen = []

    @app.websocket("/ws")
    async def talk(socket: WebSocket, request: RequestContextDep) -> None:
        seen.append((request.method, request.path, bool(request.trace_id)))
        await socket.accept()
        await socket.close()

    await websocket(app, path="/ws")
    assert seen == [("GET", "/ws", True)]
