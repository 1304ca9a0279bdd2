"""Putting everything into an application: once, at any time, lifespan included."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request

from glam_sdk.api.app import install
from glam_sdk.errors import ConfigurationError, DatabaseError
from glam_sdk.lifecycle import Check


class Part:
    """A component that says what happens to it, and may refuse to start."""

    name = "part"

    def __init__(self, told, error=None):
        self._told = told
        self._error = error

    async def start(self):
        self._told.append("part started")
        if self._error is not None:
            raise self._error

    async def check(self):
        return Check(healthy=True)

    async def stop(self):
        self._told.append("part stopped")


def test_installing_twice_is_installing_once(app, serve, telemetry):
    """A second call returns the application as it is."""
    assert telemetry.service.install(app) is app
    with serve(app) as client:
        client.get("/nowhere")
    assert len(telemetry.spans) == 1
    assert len(telemetry.logs("http.request")) == 1


def test_an_application_belongs_to_one_service(app, telemetry):
    """A second service is refused, with the name of the first."""

    class Other:
        settings = telemetry.service.settings

    with pytest.raises(ConfigurationError, match="belongs to 'test'"):
        install(app, Other())


async def test_installing_after_the_first_request_works(asgi, telemetry):
    """The stack is built again: ids, spans, envelopes and endpoints are there from then on."""
    app = FastAPI()

    @app.get("/n/{n}")
    async def number(n: int) -> int:
        return n

    sent, _ = await asgi(app, path="/n/x")
    assert b"x-trace-id" not in dict(sent[0]["headers"])
    telemetry.clear()
    telemetry.service.install(app)
    sent, _ = await asgi(app, path="/n/x")
    assert b"x-trace-id" in dict(sent[0]["headers"])
    assert b'"VALIDATION_ERROR"' in sent[1]["body"]
    assert telemetry.tree() == "GET /n/{n} SERVER"
    sent, _ = await asgi(app, path="/health/live")
    assert sent[0]["status"] == 200


async def test_an_application_may_empty_its_scope(app, asgi, emptying):
    """What we keep there is not looked for once the application has returned."""
    app.add_middleware(emptying)
    sent, raised = await asgi(app, path="/health/live")
    assert (sent[0]["status"], raised) == (200, None)


def test_routes_and_middleware_may_come_before_and_after(telemetry, serve):
    """The order of a service's module does not matter."""

    class Mark:
        def __init__(self, app, mark):
            self.app, self.mark = app, mark

        async def __call__(self, scope, receive, send):
            async def marked(message):
                if message["type"] == "http.response.start":
                    message["headers"].append((b"x-mark", self.mark))
                await send(message)

            await self.app(scope, receive, marked)

    app = FastAPI()
    app.add_middleware(Mark, mark=b"before")

    @app.get("/before")
    async def before() -> None: ...

    telemetry.service.install(app)
    app.add_middleware(Mark, mark=b"after")

    @app.get("/after")
    async def after() -> None: ...

    with serve(app) as client:
        for path in ("/before", "/after"):
            assert client.get(path).headers["x-mark"] == "before, after"
    assert [span.name for span in telemetry.spans] == ["GET /before", "GET /after"]


def test_the_service_starts_before_the_application_and_stops_after_it(telemetry, serve):
    """Components run around the application's own lifespan, whose state is kept."""
    told = []

    @asynccontextmanager
    async def lifespan(app):
        told.append("application started")
        yield {"answer": 42}
        told.append("application stopped")

    app = telemetry.service.install(FastAPI(lifespan=lifespan))
    telemetry.service.add(Part(told))

    @app.get("/")
    async def answer(request: Request) -> int:
        return request.state.answer

    with serve(app) as client:
        assert client.get("/").json() == 42
    assert told == [
        "part started",
        "application started",
        "application stopped",
        "part stopped",
    ]


@pytest.mark.parametrize("native", [{}, {"telemetry": {"auto_configure": True}}], ids=str)
async def test_a_failed_start_is_one_sentence(asgi, telemetry, native):
    """An error of ours at start is its message for the server's log, without a traceback."""
    app = telemetry.service.install(FastAPI(**native))
    telemetry.service.add(Part([], DatabaseError("orders-db:5432 refused. Set ORDERS_DB_HOST.")))
    (failed,), _ = await asgi(app, {"type": "lifespan.startup"}, type="lifespan")
    assert failed["type"] == "lifespan.startup.failed"
    assert failed["message"].startswith("DATABASE_ERROR: orders-db:5432 refused. Set ORDERS_DB_")
    assert "Traceback" not in failed["message"]
    assert "\n" not in failed["message"]


async def test_a_bug_at_start_keeps_its_traceback(asgi, telemetry):
    """What nobody foresaw is told in full."""
    app = telemetry.service.install(FastAPI())
    telemetry.service.add(Part([], ZeroDivisionError("oops")))
    (failed,), _ = await asgi(app, {"type": "lifespan.startup"}, type="lifespan")
    assert failed["message"].startswith("Traceback")
    assert "ZeroDivisionError: oops" in failed["message"]
