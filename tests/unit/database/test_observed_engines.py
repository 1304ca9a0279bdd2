"""Each statement an engine sends is observed, once, whoever else listens or puts comments in."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
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

from glam_sdk.database import DatabaseTelemetry
from glam_sdk.database.pool import PoolWatch

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
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        DatabaseTelemetry(tracer=tracers.get_tracer("t")).observe(engine)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def attributes(self, key: str) -> list[Any]:
        return [(span.attributes or {}).get(key) for span in self.spans()]


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    engine = create_engine(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    TABLES.create_all(engine)
    engine.dispose()
    yield Seen(engine)
    engine.dispose()


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
