"""Each statement an engine sends is observed, once, whoever else listens or puts comments in."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time_ns
from typing import Any
from weakref import ref

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from pydantic import SecretStr
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, DatabaseTelemetry
from glam_sdk.database.pool import PoolWatch
from glam_sdk.database.unit_of_work import TransactionOptions
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider

TABLES = MetaData()
THINGS = Table("things", TABLES, Column("id", Integer, primary_key=True), Column("name", String))
NUMBERED = Table(
    "numbered",
    TABLES,
    Column("id", Integer, primary_key=True, default=select(literal_column("7")).scalar_subquery()),
    Column("name", String),
    implicit_returning=False,  # the key must be known before the row is written
)


class Seen:
    """Have a processor that sees spans start and end."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        self.engine = engine
        self.tracer = self._provider().get_tracer("t")
        DatabaseTelemetry(tracer=self.tracer).observe(engine, **settings)

    def _provider(self) -> TracerProvider:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        return tracers

    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def attributes(self, key: str) -> list[Any]:
        return [(span.attributes or {}).get(key) for span in self.spans()]


class Told(Seen):
    """Have an exporter only, so that quick statements are told of when they are over."""

    def _provider(self) -> TracerProvider:
        self.sent: list[tuple[bytes, bytes]] = []
        self._lean = LeanTracerProvider(shutdown_on_exit=False)
        self._lean.add_span_processor(EncodedSpanProcessor(self))
        return self._lean

    def export(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        self.sent += batch

    def shutdown(self) -> None:
        """Hold nothing."""

    def messages(self) -> list[Any]:
        self._lean.force_flush()
        return [SpanMessage.FromString(body) for _, body in self.sent]

    def spans(self) -> Sequence[ReadableSpan]:
        return [ReadableSpan(one.name, attributes=told(one)) for one in self.messages()]

    def close(self) -> None:
        self._lean.shutdown()


def told(message: Any) -> dict[str, Any]:
    """Return the attributes of a span as it was sent."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in message.attributes
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    TABLES.create_all(engine)
    engine.dispose()
    yield engine
    engine.dispose()


@pytest.fixture(params=[Seen, Told])
def seen(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Seen]:
    made: Seen = request.param(engine)
    yield made
    if isinstance(made, Told):
        made.close()


@pytest.mark.parametrize("kind", [Seen, Told])
def test_a_span_has_the_times_of_its_statement_and_its_parent(
    engine: Engine, kind: type[Seen]
) -> None:
    """Whether it was there meanwhile or is told of when the statement is over."""
    seen = kind(engine)
    with seen.tracer.start_as_current_span("request") as request:
        before = time_ns()
        with engine.connect() as connection:
            connection.execute(select(THINGS))
        after = time_ns()
    parent = request.get_span_context()
    if isinstance(seen, Told):
        one = seen.messages()[0]
        trace_id, parent_id = (int.from_bytes(each) for each in (one.trace_id, one.parent_span_id))
        times, kind_of = (one.start_time_unix_nano, one.end_time_unix_nano), one.kind
        assert kind_of == SpanKind.CLIENT.value + 1
        seen.close()
    else:
        span = seen.spans()[0]
        assert span.context is not None
        assert span.parent is not None
        trace_id, parent_id = span.context.trace_id, span.parent.span_id
        times = (span.start_time or 0, span.end_time or 0)
        assert span.kind is SpanKind.CLIENT
    assert (trace_id, parent_id) == (parent.trace_id, parent.span_id)
    assert before <= times[0] <= times[1]
    assert times[1] <= after + 1_000_000  # two clocks


def test_a_statement_that_fails_or_is_slow_is_told_in_full(engine: Engine) -> None:
    """Its span begins where the statement did, though nothing was there meanwhile."""
    told_of = Told(engine, slow_query_s=1e-9)
    before = time_ns()
    with engine.connect() as connection:
        connection.execute(select(THINGS))
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
    slow, failed = told_of.messages()
    assert told(slow)["glam.db.slow_query"] is True
    assert told(slow)["db.query.text"].startswith("SELECT things.id")
    assert told(failed)["error.type"] == "sqlite3.OperationalError"
    assert failed.status.message == "OperationalError"
    assert slow.status.message == ""
    for one in (slow, failed):
        assert before <= one.start_time_unix_nano <= one.end_time_unix_nano
    told_of.close()


def test_a_statement_of_a_trace_that_is_not_sampled_is_not_told(engine: Engine) -> None:
    """What is decided for the request holds for its statements."""
    told_of = Told(engine)
    ids = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    with trace.use_span(NonRecordingSpan(ids)), engine.connect() as connection:
        connection.execute(select(THINGS))
    assert told_of.messages() == []
    told_of.close()


def test_what_sqlalchemy_asks_of_a_new_server_is_not_observed(tmp_path: Path) -> None:
    """A service's first statement is its own, not its driver's look at versions and settings."""
    engine = create_engine(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    seen = Seen(engine)
    asked = engine.dialect.initialize

    def initialize(connection: Any) -> None:
        asked(connection)
        connection.exec_driver_sql("SELECT sqlite_version()")

    engine.dialect.initialize = initialize  # type: ignore[method-assign]  # as PostgreSQL's asks
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM sqlite_master"))
    engine.dispose()
    assert seen.names() == ["SELECT sqlite_master"]


def test_a_default_that_is_asked_for_first_is_a_statement_of_its_own(seen: Seen) -> None:
    """It is known by its own text, not by that of the statement that needs it."""
    with seen.engine.begin() as connection:
        connection.execute(insert(NUMBERED), {"name": "one"})
    assert seen.names() == ["SELECT", "INSERT numbered"]
    assert seen.attributes("db.operation.batch.size") == [None, None]


def test_an_engine_observed_twice_has_one_span_for_a_statement(seen: Seen) -> None:
    """The newer observer takes the place of the older."""
    newer = Seen(seen.engine)
    with seen.engine.connect() as connection:
        connection.execute(select(THINGS))
    assert (len(seen.names()), len(newer.names())) == (0, 1)


def test_all_who_watch_a_pool_know_what_was_executed_last(seen: Seen) -> None:
    """An engine of ours has a watch from its start, also where somebody observes it once more."""
    telemetry = DatabaseTelemetry()
    watches = [PoolWatch(telemetry.pools, name) for name in ("older", "newer")]
    for watch in watches:
        telemetry.observe(seen.engine, pool=watch)
    with seen.engine.connect() as connection:
        connection.execute(select(THINGS))
        for watch in watches:
            assert ", last SELECT things" in str(watch.exhausted(1.0).__notes__)


@pytest.mark.parametrize("how", [{}, {"read_only": True}, {"isolation": "SERIALIZABLE"}])
def test_no_unit_of_work_has_listeners_at_its_engine(how: dict[str, Any]) -> None:
    """SQLAlchemy sets what an engine's options ask of PostgreSQL by one, a session's by none."""
    url = SecretStr("postgresql://somebody@127.0.0.1:1/orders")
    database = Database(DatabaseSettings(url=url))
    session = database.open_session(TransactionOptions(**how)).sync_session
    assert not session.get_bind()._has_events
    session.close()


async def test_a_pool_of_ours_knows_its_holders_without_listeners(tmp_path: Path) -> None:
    """Listeners of a pool cost each connection that is taken; what was detached is held no more."""
    watch = PoolWatch(DatabaseTelemetry().pools, "ours")
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite3'}", poolclass=watch.pool_class()
    )
    watch.watch(engine.sync_engine)
    dispatch = engine.sync_engine.pool.dispatch
    assert not dispatch.checkout
    assert not dispatch.checkin

    def held() -> str:
        return str(watch.exhausted(1.0).__notes__)

    async with engine.connect():
        assert "Task-" in held()
        async with engine.connect() as connection:
            assert held().count("Task-") == 2
            await connection.get_raw_connection()
            await connection.run_sync(lambda inner: inner.detach())
            assert held().count("Task-") == 1
    assert "Task-" not in held()
    await engine.dispose()


async def test_a_connection_in_use_keeps_no_task(seen: Seen) -> None:
    """A task keeps its result or error, which may keep the connection itself."""
    held: list[Connection] = []

    async def take() -> None:
        held.append(seen.engine.connect())

    task = asyncio.create_task(take())
    await task
    gone = ref(task)
    del task
    await asyncio.sleep(0)  # the loop has just woken us by it
    gc.collect()
    assert gone() is None
    held[0].close()


def test_a_batch_says_how_many_rows_it_is_for(seen: Seen) -> None:
    """Sent as many statements or joined into one."""
    rows = [{"name": name} for name in "abc"]
    with seen.engine.begin() as connection:
        connection.execute(insert(THINGS), rows)
        connection.execute(insert(THINGS).returning(THINGS.c.id), rows).all()
        connection.execute(insert(THINGS), rows[0])
    assert seen.names() == ["INSERT things"] * 3
    assert seen.attributes("db.operation.batch.size") == [3, 3, None]


def test_a_comment_put_behind_a_statement_leaves_it_the_same_statement(seen: Seen) -> None:
    """Somebody's listener may add another one each time, such as a trace's ids."""

    def comment(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> Any:
        return f"{sql} /* {len(seen.spans())} */", parameters

    event.listen(seen.engine, "before_cursor_execute", comment, retval=True)
    with seen.engine.connect() as connection:
        for _ in range(2):
            connection.execute(select(func.count()).select_from(THINGS))
    first, second = seen.attributes("db.query.text")
    assert first == second
    assert "/*" not in first


def test_no_listener_of_ours_sits_at_the_engine(seen: Seen) -> None:
    """SQLAlchemy makes dispatchers for each connection of an engine that has any."""
    assert not seen.engine._has_events
    with seen.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert seen.names() == ["SELECT"]


def test_listeners_of_the_services_own_are_heard(seen: Seen) -> None:
    """Before a statement is sent; one that does so itself leaves nothing to observe."""
    heard: list[str] = []

    def hear(cursor: Any, sql: str, _parameters: object, _context: object) -> bool:
        heard.append(sql)
        if "two" in sql:
            cursor.execute("SELECT 2")
        return "two" in sql

    event.listen(seen.engine, "do_execute", hear)
    with seen.engine.connect() as connection:
        assert connection.execute(text("SELECT 'one'")).scalar() == "one"
        assert connection.execute(text("SELECT 'two'")).scalar() == 2
    assert heard == ["SELECT 'one'", "SELECT 'two'"]
    assert seen.names() == ["SELECT"]
