"""OpenTelemetry's own instrumentations of clients we do not know, on either of our pipelines.

They speak to the API only, so their spans are ours: ids, parent, attributes, events and status.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from glam_sdk.testing import CapturedTelemetry, capture_telemetry
from glam_sdk.testing.postgres import PostgresServer

INSTALLED = Path(sys.prefix) / "contrib"
"""Where ``make install`` puts them; see test_database_telemetry.py."""
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


class PlainRedis:
    """Answer the few commands below as Redis does, in its protocol (RESP 2), on a real socket.

    It stands in for the server, which no package brings for every Python; the client and its
    instrumentation are real.
    """

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while header := await reader.readline():
                command, *words = [await self._word(reader) for _ in range(int(header[1:]))]
                writer.write(self._answer(command.upper(), words))
                await writer.drain()
        finally:
            writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:length]

    def _answer(self, command: bytes, words: list[bytes]) -> bytes:
        if command == b"INCRBY":
            self._counts[words[0]] = self._counts.get(words[0], 0) + int(words[1])
            return b":%d\r\n" % self._counts[words[0]]
        if command == b"GET":
            text = b"%d" % self._counts[words[0]]
            return b"$%d\r\n%s\r\n" % (len(text), text)
        return WRONG_TYPE if command == b"LPUSH" else b"+OK\r\n"


@pytest.fixture
async def redis_port() -> AsyncIterator[int]:
    server = await asyncio.start_server(PlainRedis().serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture(params=["lean", "sdk"])
def telemetry(request: pytest.FixtureRequest) -> Iterator[CapturedTelemetry]:
    """Run each test on either pipeline."""
    overrides = {"telemetry": {"span_pipeline": request.param, "traces_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=overrides) as captured:
        yield captured


@pytest.fixture
def contrib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the instrumentations be imported for one test."""
    if not INSTALLED.is_dir():
        pytest.skip(f"{INSTALLED} is not there: `make install` fills it.")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(INSTALLED))
    yield
    ours = ("redis", "opentelemetry.instrumentation.redis", "opentelemetry.instrumentation.asyncpg")
    for name in set(sys.modules) - before:
        if name.startswith(ours):
            del sys.modules[name]


@pytest.fixture
def instrumentor(request: pytest.FixtureRequest, contrib: None, telemetry: Any) -> Iterator[None]:
    """Switch one instrumentation on, as its documentation says: no provider is given."""
    module, name = request.param
    made = getattr(importlib.import_module(f"opentelemetry.instrumentation.{module}"), name)()
    made.instrument(skip_dep_check=True)
    yield
    made.uninstrument()


def told(span: ReadableSpan, *names: str) -> object:
    """Return an attribute by its old or new name: a process keeps to what it read first."""
    attributes = span.attributes or {}
    return next(attributes[name] for name in names if name in attributes)


async def ask(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        return await client.get(path)


@pytest.mark.parametrize("instrumentor", [("redis", "RedisInstrumentor")], indirect=True)
async def test_redis_spans_stand_under_the_request(
    telemetry: CapturedTelemetry, instrumentor: None, redis_port: int
) -> None:
    """Commands and pipelines are CLIENT spans of the request, with their server and no values."""
    from redis.asyncio import Redis

    app = telemetry.service.install(FastAPI())

    @app.get("/visits/{page}")
    async def visits(page: str) -> int:
        async with Redis(host="127.0.0.1", port=redis_port, protocol=2) as redis:
            await redis.incr(page)
            both = redis.pipeline(transaction=False).incr(page).get(page)
            return int((await both.execute())[1])

    answer = await ask(app, "/visits/secret-page")
    assert answer.json() == 2
    assert telemetry.tree() == ("GET /visits/{page} SERVER\n  INCRBY CLIENT\n  INCRBY GET CLIENT")
    server = telemetry.span("GET /visits/{page}")
    command = telemetry.span("INCRBY")
    assert command.context.trace_id == server.context.trace_id
    assert command.instrumentation_scope.name == "opentelemetry.instrumentation.redis"
    assert command.kind is SpanKind.CLIENT
    assert told(command, "db.system.name", "db.system") == "redis"
    assert told(command, "server.address", "net.peer.name") == "127.0.0.1"
    assert told(command, "server.port", "net.peer.port") == redis_port
    assert "secret" not in command.to_json()


@pytest.mark.parametrize("instrumentor", [("redis", "RedisInstrumentor")], indirect=True)
async def test_a_refused_redis_command_is_an_error_with_its_exception(
    telemetry: CapturedTelemetry, instrumentor: None, redis_port: int
) -> None:
    """What the instrumentation leaves to the provider is done: status, message, event."""
    from redis.asyncio import Redis
    from redis.exceptions import ResponseError

    async with Redis(host="127.0.0.1", port=redis_port, protocol=2) as redis:
        with pytest.raises(ResponseError, match="wrong kind of value"):
            await redis.lpush("page", "x")
    span = telemetry.span("LPUSH")
    assert span.status.status_code is StatusCode.ERROR
    assert "wrong kind of value" in str(span.status.description)
    (event,) = span.events
    assert event.name == "exception"
    assert str((event.attributes or {})["exception.type"]).endswith("ResponseError")


@pytest.mark.parametrize("instrumentor", [("asyncpg", "AsyncPGInstrumentor")], indirect=True)
async def test_asyncpg_spans_stand_under_the_request(
    telemetry: CapturedTelemetry, instrumentor: None, postgres: PostgresServer
) -> None:
    """A driver used beside SQLAlchemy is in the trace too, its failures as well."""
    import asyncpg

    app = telemetry.service.install(FastAPI())

    @app.get("/direct")
    async def direct() -> int:
        connection = await asyncpg.connect(postgres.url.replace("+asyncpg", ""))
        try:
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("DELETE FROM nowhere")
            return int(await connection.fetchval("SELECT $1::int", 7))
        finally:
            await connection.close()

    assert (await ask(app, "/direct")).json() == 7
    assert telemetry.tree() == ("GET /direct SERVER\n  DELETE CLIENT ERROR\n  SELECT CLIENT")
    assert told(telemetry.span("SELECT"), "db.system.name", "db.system") == "postgresql"
