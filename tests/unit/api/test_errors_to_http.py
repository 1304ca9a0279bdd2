"""Every row of the contract's "Errors to HTTP", and what lies between the rows."""

from __future__ import annotations

import asyncio
import math

import pytest
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.routing import Route

from glam_sdk.errors import (
    CircuitOpenError,
    ConflictError,
    DomainError,
    ForbiddenError,
    GlamBaseError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ServiceUnavailableError,
    UnauthorizedError,
    UpstreamServiceError,
    ValidationError,
)


@pytest.fixture
def answer_to(app, serve):
    """Return how the service answers when a handler raises."""

    def ask(error, **request):
        @app.get("/fails")
        async def fails() -> None:
            raise error

        with serve(app) as client:
            return client.get("/fails", **request)

    return ask


@pytest.mark.parametrize(
    "error",
    [
        GlamBaseError("It broke."),
        DomainError("No."),
        ValidationError("Price must be positive.", field="price", value=-1),
        NotFoundError("There is no order o-1.", resource="order", resource_id="o-1"),
        ConflictError("The order is closed.", current_state="closed"),
        UnauthorizedError(),
        ForbiddenError(required_permission="orders:write"),
        ServiceUnavailableError("Down for a moment.", service="billing"),
        RequestTimeoutError("Too slow.", timeout_seconds=2.5, operation="charge"),
        UpstreamServiceError("Billing failed.", upstream_service="billing", upstream_status=500),
        CircuitOpenError("Not asked.", service_name="billing"),
        NotFoundError("Gone.", code="ORDER_GONE", status=410, details={"since": "2026"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_our_errors_answer_with_what_they_state(answer_to, error):
    """A GlamBaseError becomes its status, code, message and details."""
    answer = answer_to(error)
    assert answer.status_code == error.status
    assert answer.json()["error"] == error.to_dict()
    assert answer.json()["meta"]["trace_id"] == answer.headers["x-trace-id"]


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(30, "30"), (0.2, "1"), (-5, "0"), (math.nan, None), (math.inf, None), (None, None)],
)
def test_a_rate_limit_says_when_to_come_back(answer_to, retry_after, header):
    """``retry_after`` becomes the header, in whole seconds; nonsense becomes nothing."""
    answer = answer_to(RateLimitedError(retry_after=retry_after))
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == header


@pytest.mark.parametrize(
    ("auth_type", "header"),
    [(None, "Bearer"), ("Basic", "Basic"), ("a\r\nX-Evil: 1", "Bearer"), ("ключ", "Bearer")],
)
def test_an_unauthorised_caller_learns_the_scheme(answer_to, auth_type, header):
    """401 has ``WWW-Authenticate``; what is no scheme never reaches a header."""
    answer = answer_to(UnauthorizedError(auth_type=auth_type))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == header
    assert "x-evil" not in answer.headers


class Line(BaseModel):
    price: int = Field(gt=0)


class Order(BaseModel):
    lines: list[Line]


def test_an_invalid_request_names_the_fields_and_not_their_values(app, serve):
    """422 VALIDATION_ERROR with ``details.validation_errors``; no value is echoed."""

    @app.post("/orders/{number}")
    async def place(number: int, order: Order, size: int = Query(ge=1)) -> None: ...

    with serve(app) as client:
        answer = client.post("/orders/one?size=0", json={"lines": [{"price": -4711}]})
        empty = client.post(
            "/orders/1?size=1", content=b"{", headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("VALIDATION_ERROR", "Request validation failed")
    found = error["details"]["validation_errors"]
    assert [e["field"] for e in found] == ["path.number", "query.size", "body.lines.0.price"]
    assert [e["type"] for e in found] == ["int_parsing", "greater_than_equal", "greater_than"]
    assert all(set(e) == {"field", "message", "type"} for e in found)
    assert "4711" not in answer.text
    assert empty.json()["error"]["details"]["validation_errors"][0]["type"] == "json_invalid"


def test_an_http_exception_keeps_status_message_and_headers(answer_to):
    """HTTPException(status) → that status, ``HTTP_<status>``; its headers are kept."""
    answer = answer_to(HTTPException(418, "Short and stout", headers={"X-Pot": "tea"}))
    assert answer.status_code == 418
    assert answer.json()["error"] == {"code": "HTTP_418", "message": "Short and stout"}
    assert answer.headers["x-pot"] == "tea"


def test_an_http_exception_may_have_any_detail(answer_to):
    """A detail that is no text goes to ``details``."""
    answer = answer_to(HTTPException(409, {"have": 1, "want": 2}))
    assert answer.json()["error"]["details"] == {"detail": {"have": 1, "want": 2}}


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(answer_to, status):
    """HTTP forbids a body there."""
    answer = answer_to(HTTPException(status))
    assert answer.status_code == status
    assert answer.content == b""
    assert "x-trace-id" in answer.headers


def test_unknown_routes_and_methods_have_the_envelope(app, serve):
    """404 and 405 of the router are envelopes too; 405 keeps ``Allow``."""

    @app.get("/orders")
    async def orders() -> None: ...

    with serve(app) as client:
        unknown, wrong = client.get("/nowhere"), client.delete("/orders")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "HTTP_404")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "HTTP_405")
    assert "GET" in wrong.headers["allow"]


def test_anything_else_is_an_internal_error_without_internals(answer_to):
    """500 INTERNAL_ERROR; the body tells nothing of the exception."""
    answer = answer_to(ZeroDivisionError("secret-dsn"))
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "code": "INTERNAL_ERROR",
        "message": "An unexpected error occurred",
    }
    assert "secret" not in answer.text
    assert "x-trace-id" in answer.headers


def test_a_dependency_may_raise_before_and_after_the_handler(app, serve):
    """Errors of dependencies, also those with yield, are answered like a handler's."""

    async def before() -> None:
        raise ForbiddenError

    async def after():
        yield
        raise ConflictError("The version changed.")

    @app.get("/before", dependencies=[Depends(before)])
    async def one() -> None: ...

    @app.get("/after", dependencies=[Depends(after, scope="function")])
    async def two() -> None: ...

    with serve(app) as client:
        assert client.get("/before").json()["error"]["code"] == "FORBIDDEN"
        assert client.get("/after").json()["error"]["code"] == "CONFLICT"


def test_a_middleware_may_raise(app, serve):
    """An exception in middleware is a 500 with envelope and ids."""

    class Broken:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                raise ValueError("in middleware")
            await self.app(scope, receive, send)

    app.add_middleware(Broken)
    with serve(app) as client:
        answer = client.get("/")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "x-trace-id" in answer.headers


@pytest.mark.parametrize(
    ("errors", "status", "code"),
    [
        ([NotFoundError("No a.")], 404, "NOT_FOUND"),
        ([HTTPException(403)], 403, "HTTP_403"),
        ([NotFoundError("No a."), ConflictError("Busy.")], 409, "CONFLICT"),
        ([NotFoundError("No a."), ServiceUnavailableError("Down.")], 503, "SERVICE_UNAVAILABLE"),
        ([NotFoundError("No a."), ValueError("bug")], 500, "INTERNAL_ERROR"),
        ([ValueError("bug")], 500, "INTERNAL_ERROR"),
        ([ExceptionGroup("inner", [NotFoundError("No a.")])], 404, "NOT_FOUND"),
    ],
)
def test_an_exception_group_answers_with_its_gravest(answer_to, errors, status, code):
    """A task group's error is the error of its tasks; a bug among them is a 500."""
    answer = answer_to(ExceptionGroup("tasks", errors))
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_a_task_group_in_a_handler_answers_with_its_error(app, serve):
    """What a handler's task raises reaches the caller."""

    async def missing() -> None:
        raise NotFoundError("There is no b.")

    @app.get("/both")
    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(missing())
            tasks.create_task(asyncio.sleep(60))

    with serve(app) as client:
        assert client.get("/both").status_code == 404


def test_mounted_applications_answer_with_envelopes_too(app, serve):
    """404, 422, our errors and bugs inside a mounted application look the same, ids included."""
    inner, innermost = FastAPI(), FastAPI()

    @inner.get("/number/{n}")
    async def number(n: int) -> int:
        raise NotFoundError("There is no such number.") if n else ValueError("bug")

    @innermost.get("/fails")
    async def fails() -> None:
        raise ConflictError("Busy.")

    def plain(request):
        raise HTTPException(402)

    inner.mount("/deep", innermost)
    inner.mount("/plain", Starlette(routes=[Route("/x", plain)]))
    app.mount("/inner", inner)
    expected = {
        "/inner/nowhere": "HTTP_404",
        "/inner/number/x": "VALIDATION_ERROR",
        "/inner/number/1": "NOT_FOUND",
        "/inner/number/0": "INTERNAL_ERROR",
        "/inner/deep/fails": "CONFLICT",
        "/inner/plain/x": "HTTP_402",
    }
    with serve(app) as client:
        answers = {path: client.get(path) for path in expected}
    assert {path: a.json()["error"]["code"] for path, a in answers.items()} == expected
    assert all("x-trace-id" in answer.headers for answer in answers.values())


def test_a_service_keeps_its_own_handlers(app, serve):
    """A handler the service has for a class is used, sync or async, before or after install."""

    def teapot(request, exc):
        return JSONResponse({"pot": str(exc)}, status_code=418)

    async def own(request, exc):
        return JSONResponse({"own": exc.code}, status_code=exc.status)

    app.add_exception_handler(ZeroDivisionError, teapot)
    app.add_exception_handler(ConflictError, own)

    @app.get("/{which}")
    async def fails(which: str) -> None:
        raise ZeroDivisionError("tea") if which == "tea" else ConflictError("Busy.")

    with serve(app) as client:
        tea, busy = client.get("/tea"), client.get("/busy")
    assert (tea.status_code, tea.json()) == (418, {"pot": "tea"})
    assert (busy.status_code, busy.json()) == (409, {"own": "CONFLICT"})
    assert "x-trace-id" in tea.headers
