"""What no error handler of the framework sees is answered, recorded and logged like any failure."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Depends, WebSocket
from pydantic import BaseModel

from glam_sdk.api import PaginationDep
from glam_sdk.errors import ConflictError, DatabaseError, GlamBaseError
from glam_sdk.telemetry.logs import set_request_context


class Price(BaseModel):
    """What an endpoint promises."""

    price: int


class Quit(BaseException):
    """No ``Exception``."""


async def await_a_cancelled_task() -> None:
    """Raise ``CancelledError`` although this request was not cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def raise_a_group() -> None:
    """Raise a group that holds a ``BaseException``."""
    raise BaseExceptionGroup("both", [ValueError("one"), Quit()])


@pytest.mark.parametrize("failure", [await_a_cancelled_task, raise_a_group])
def test_what_escapes_is_an_ordinary_500(app, serve, telemetry, failure):
    """Envelope and ids for the client; one exception event; one line with the traceback."""

    @app.get("/broken")
    async def broken() -> None:
        await failure()

    with serve(app) as client:
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL_ERROR"
    assert answer.headers["x-trace-id"] == answer.json()["meta"]["trace_id"]
    assert [e.name for e in telemetry.span("GET /broken").events] == ["exception"]
    with_traceback = [line for line in telemetry.logs() if "exception" in line]
    assert [line["message"] for line in with_traceback] == ["http.request"]
    assert failure.__name__ in with_traceback[0]["exception"]


@pytest.mark.parametrize(
    ("error", "close_code"), [(ConflictError("taken"), 1008), (DatabaseError("gone"), 1011)]
)
async def test_an_error_of_ours_closes_an_open_websocket(
    app, websocket, telemetry, error, close_code
):
    """After the handshake there is no HTTP answer: the close code and reason tell."""

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        raise error

    sent, raised = await websocket(app, path="/live")
    assert raised is None
    assert [m["type"] for m in sent] == ["websocket.accept", "websocket.close"]
    assert (sent[1]["code"], sent[1]["reason"]) == (close_code, error.code)
    (line,) = telemetry.logs("websocket.closed")
    assert line["http.response.status_code"] == 101
    assert (line["level"] == "error") == (close_code == 1011)


def test_a_wrong_response_is_logged_without_its_values(app, serve, telemetry):
    """What a handler returned may be secret; where it was wrong is enough to find the bug."""

    @app.get("/price")
    async def price() -> Price:
        return {"price": "hunter2"}  # type: ignore[return-value]

    with serve(app) as client:
        assert client.get("/price").status_code == 500
    assert b"hunter2" not in b"".join(telemetry.lines)
    assert "hunter2" not in str(telemetry.span("GET /price").events[0].attributes)
    assert "price" in telemetry.logs("http.request")[0]["exception"]


@pytest.mark.parametrize("is_async", [True, False])
def test_request_fields_of_a_dependency_are_on_every_line_of_the_request(
    app, serve, telemetry, is_async
):
    """Also those a sync dependency sets in its thread, also on the line of a failed request."""

    async def identify_async() -> None:
        set_request_context(user_id="u-1")

    def identify() -> None:
        set_request_context(user_id="u-1")

    @app.get("/mine", dependencies=[Depends(identify_async if is_async else identify)])
    async def mine() -> None:
        raise RuntimeError("no")

    @app.get("/other")
    async def other() -> None: ...

    with serve(app) as client:
        client.get("/mine")
        client.get("/other")
    first, second = telemetry.logs("http.request")
    assert first["user_id"] == "u-1"
    assert "user_id" not in second


def test_a_page_beyond_any_database_is_refused(app, serve):
    """The offset of an accepted page fits 64 bits."""

    @app.get("/list")
    async def listed(page: PaginationDep) -> int:
        return page.offset

    with serve(app) as client:
        assert client.get("/list", params={"page": "1" + "0" * 30}).status_code == 422
        offset = client.get("/list", params={"page": 9_000_000_000_000_000, "limit": 1000}).json()
    assert offset < 2**63


@pytest.mark.parametrize("status", [99, 204, 399, 600])
def test_an_error_takes_the_status_of_an_error(status):
    """Any other would break the connection."""
    with pytest.raises(ValueError, match="400 to 599"):
        GlamBaseError("x", status=status)


def test_text_that_is_a_number_of_seconds_becomes_retry_after(app, serve):
    """``retry_after`` may have come from another service's header."""

    @app.get("/busy")
    async def busy() -> None:
        raise GlamBaseError("busy", status=503, details={"retry_after": "12"})

    with serve(app) as client:
        assert client.get("/busy").headers["retry-after"] == "12"
