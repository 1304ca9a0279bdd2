"""The request's unit of work."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.api import UnitOfWorkDep
from glam_sdk.testing import capture_telemetry


class Base(DeclarativeBase):
    metadata = MetaData()


class Thing(Base):
    __tablename__ = "things"
    name: Mapped[str] = mapped_column(String(50), primary_key=True)


@pytest.fixture
def service(tmp_path):
    """A service with an SQLite file."""
    database = {"url": f"sqlite+aiosqlite:///{tmp_path}/t.sqlite3"}
    with capture_telemetry(overrides={"database": database}) as telemetry:
        telemetry.service.use_database(Base.metadata)
        yield telemetry.service


@pytest.fixture
def things(service):
    """An application that stores things."""
    app = service.install(FastAPI())

    @app.post("/things/{name}", status_code=201)
    async def add(name: str, uow: UnitOfWorkDep) -> None:
        uow.session.add(Thing(name=name))

    @app.post("/refused/{name}")
    async def refused(name: str, uow: UnitOfWorkDep) -> None:
        uow.session.add(Thing(name=name))
        raise HTTPException(409)

    @app.get("/things/{name}")
    async def found(name: str, uow: UnitOfWorkDep) -> bool:
        return await uow.session.get(Thing, name) is not None

    return app


def test_it_commits_when_the_handler_succeeds_and_rolls_back_when_not(things, serve):
    """One transaction a request."""
    with serve(things) as client:
        assert client.post("/things/a").status_code == 201
        assert client.post("/refused/b").status_code == 409
        assert client.get("/things/a").json() is True
        assert client.get("/things/b").json() is False


def test_a_commit_that_fails_is_the_answer(things, serve):
    """The commit comes before the response: a client never reads a success that is not stored."""
    with serve(things) as client:
        assert client.post("/things/a").status_code == 201
        again = client.post("/things/a")
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "CONFLICT"


def test_it_is_closed_when_the_body_is_streamed(service, things, serve):
    """A stream does not hold the transaction open."""
    seen = []

    @things.get("/stream")
    async def stream(uow: UnitOfWorkDep) -> StreamingResponse:
        uow.session.add(Thing(name="streamed"))

        async def chunks():
            async with service.unit_of_work() as other:
                seen.append(await other.session.get(Thing, "streamed") is not None)
            yield b"x"

        return StreamingResponse(chunks())

    with serve(things) as client:
        assert client.get("/stream").text == "x"
    assert seen == [True]


def test_without_a_service_it_says_what_to_do(serve):
    """An application that nothing was installed into cannot have one."""
    app = FastAPI()
    told = []

    @app.exception_handler(Exception)
    async def tell(request, exc):
        told.append(str(exc))
        return Response(status_code=500)

    @app.get("/")
    async def handler(uow: UnitOfWorkDep) -> None: ...

    with serve(app) as client:
        assert client.get("/").status_code == 500
    assert "service.install(app)" in told[0]


def test_without_a_database_it_says_what_to_do(app, serve, telemetry):
    """The message names the call that is missing."""

    @app.get("/")
    async def handler(uow: UnitOfWorkDep) -> None: ...

    with serve(app) as client:
        assert client.get("/").status_code == 500
    (line,) = telemetry.logs("http.request")
    assert "use_database()" in line["exception"]
