"""Prove what the database area tells OpenTelemetry and the log."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import MetaData, create_engine, func, insert, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings
from glam_sdk.context import with_request_id
from glam_sdk.database import Database, DatabaseTelemetry
from glam_sdk.errors import DatabaseError, NotFoundError
from glam_sdk.testing import CapturedTelemetry
from glam_sdk.testing.postgres import PostgresServer
from tests.conftest import new_tracers

BOTH = ("transaction", "operation")


class Model(DeclarativeBase):
    metadata = MetaData()


class Thing(Model):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def parents(seen: Any) -> dict[str, str | None]:
    """Return the name of each span's parent."""
    names = {s.context.span_id: s.name for s in seen.spans()}
    return {s.name: names.get(s.parent.span_id) if s.parent else None for s in seen.spans()}


async def test_operations_and_transactions_are_spans_around_the_statements(
    url: str, open_database: Any
) -> None:
    """The tree reads from the use case down to the SQL."""
    seen = await open_database(url, Model.metadata)
    with seen.tracer.start_as_current_span("POST /things"):
        async with seen.db.unit_of_work() as uow:
            await uow.repository(Thing).save(Thing(id=1, name="a"))
    assert parents(seen) == {
        "INSERT things": "Thing.save",
        "Thing.save": "transaction",
        "transaction": "POST /things",
        "POST /things": None,
    }
    (transaction,) = seen.spans("transaction")
    assert transaction.kind is SpanKind.INTERNAL
    assert transaction.attributes["glam.db.transaction.outcome"] == "committed"
    assert transaction.attributes["glam.db.transaction.read_only"] is False
    (operation,) = seen.spans("Thing.save")
    assert operation.attributes == {"db.collection.name": "things"}


async def test_internal_spans_are_a_setting(url: str, open_database: Any) -> None:
    """None of them costs nothing; without an open span there are none either."""
    seen = await open_database(url, Model.metadata, internal_spans=())
    with seen.tracer.start_as_current_span("request"):
        async with seen.db.unit_of_work() as uow:
            await uow.repository(Thing).count()
    assert seen.names() == ["SELECT things", "request"]
    alone = await open_database(url, Model.metadata, internal_spans=BOTH)
    async with alone.db.unit_of_work() as uow:
        await uow.repository(Thing).count()
    assert alone.names() == ["SELECT things"]


async def test_a_failed_transaction_says_why_and_a_missing_row_is_no_failure(
    url: str, open_database: Any
) -> None:
    """What the caller did wrong leaves the spans unmarked; what broke marks them."""
    seen = await open_database(url, Model.metadata, internal_spans=BOTH)
    with seen.tracer.start_as_current_span("request"):
        with pytest.raises(NotFoundError):
            async with seen.db.unit_of_work() as uow:
                await uow.repository(Thing).get(404)
        with pytest.raises(DatabaseError):
            async with seen.db.unit_of_work() as uow:
                await uow.session.execute(text("SELECT * FROM nowhere"))
    missing, broken = seen.spans("transaction")
    assert missing.attributes["error.type"] == "NOT_FOUND"
    assert missing.status.status_code is StatusCode.UNSET
    assert missing.attributes["glam.db.transaction.outcome"] == "rolled_back"
    assert broken.attributes["error.type"] == "DATABASE_ERROR"
    assert broken.status.status_code is StatusCode.ERROR


async def test_a_stream_is_one_operation_with_its_statement(url: str, open_database: Any) -> None:
    """The span lasts until the last chunk was read."""
    seen = await open_database(url, Model.metadata)
    with seen.tracer.start_as_current_span("request"):
        async with seen.db.unit_of_work() as uow:
            await uow.repository(Thing).insert_many({"name": str(n)} for n in range(5))
            async for _ in uow.repository(Thing).stream(chunk_size=2):
                assert "Thing.stream" not in seen.names()
    assert seen.names() == [
        "INSERT things", "Thing.insert_many", "SELECT things", "Thing.stream", "transaction",
        "request",
    ]  # fmt: skip


async def test_a_batch_says_how_many_operations_it_holds(url: str, open_database: Any) -> None:
    """Rows sent at once, with RETURNING (several statements of many rows) or without; never 1."""
    seen = await open_database(url, Model.metadata)
    rows = [{"id": n, "name": "x"} for n in range(25)]

    async def sizes(statement: Any, values: Any, **options: Any) -> list[object]:
        seen.exporter.clear()
        async with seen.db.unit_of_work() as uow:
            await uow.session.execute(statement, values, execution_options=options)
            await uow.session.rollback()
        assert {s.attributes["db.query.summary"] for s in seen.spans()} == {"INSERT things"}
        return [s.attributes.get("db.operation.batch.size") for s in seen.spans()]

    returning = insert(Thing).returning(Thing.id)
    assert await sizes(insert(Thing), rows) == [25]
    assert await sizes(insert(Thing), rows[:1]) == [None]
    assert await sizes(returning, rows) == [25]
    assert await sizes(returning, rows, insertmanyvalues_page_size=12) == [12, 12, None]
    assert await sizes(returning, rows[:1]) == [None]
    one = insert(Thing).values(rows)
    assert await sizes(one, None) == [None], "one statement of many rows is one operation"


def test_a_batch_with_named_parameters_is_counted_as_well(tmp_path: Path) -> None:
    """Drivers get the rows as a tuple or by name."""
    exporter = InMemorySpanExporter()
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    engine = create_engine(f"sqlite:///{tmp_path / 'named.sqlite3'}", paramstyle="named")
    DatabaseTelemetry(tracer=tracers.get_tracer("t")).observe(engine)
    with engine.begin() as connection:
        Model.metadata.create_all(connection)
        rows = [{"id": n, "name": "x"} for n in range(7)]
        connection.execute(insert(Thing).returning(Thing.id), rows)
    engine.dispose()
    span = exporter.get_finished_spans()[-1]
    assert (span.attributes or {})["db.operation.batch.size"] == 7


async def test_a_cancelled_statement_is_measured_as_such(
    postgres: PostgresServer, open_database: Any
) -> None:
    """Its spans end with the request's, say why, and are no failure of the database."""
    seen = await open_database(postgres.url)
    inside = asyncio.Event()

    async def work() -> None:
        with seen.tracer.start_as_current_span("request"):
            async with seen.db.unit_of_work() as uow:
                await uow.session.execute(text("SELECT 1"))
                inside.set()
                await uow.session.execute(text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.names() == ["SELECT", "SELECT", "transaction", "request"]
    _, cancelled, transaction, _ = seen.spans()
    for span in (cancelled, transaction):
        assert "CancelledError" in span.attributes["error.type"]
    assert transaction.attributes["glam.db.transaction.outcome"] == "rolled_back"
    points = seen.metric("db.client.operation.duration")
    assert {p.attributes.get("error.type"): p.count for p in points} == {
        None: 1,
        cancelled.attributes["error.type"]: 1,
    }


async def test_the_pool_is_measured(url: str, open_database: Any) -> None:
    """How many connections are used and idle, how many there may be, who waits, and how long."""
    seen = await open_database(url, pool_size=2, max_overflow=1)

    def used() -> dict[str, int]:
        points = seen.metric("db.client.connection.count")
        return {p.attributes["db.client.connection.state"]: p.value for p in points}

    async with seen.db.unit_of_work() as uow:
        await uow.session.execute(text("SELECT 1"))
        assert used() == {"used": 1, "idle": 0}
    assert used() == {"used": 0, "idle": 1}
    (largest,) = seen.metric("db.client.connection.max")
    assert largest.value == 3
    assert largest.attributes["db.client.connection.pool.name"].startswith("tests/")
    (idle,) = seen.metric("db.client.connection.idle.max")
    (pending,) = seen.metric("db.client.connection.pending_requests")
    (wait,) = seen.metric("db.client.connection.wait_time")
    assert (idle.value, pending.value) == (2, 0)
    assert wait.count >= 2


async def test_the_scrape_has_a_series_for_each_kind_of_statement(
    tmp_path: Path, telemetry: CapturedTelemetry
) -> None:
    """In the service's own pipeline: duration by operation and table, failures apart, waiting."""
    settings = DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{tmp_path / 's.sqlite3'}"))
    db = Database(settings, service_name="tests", metadata=Model.metadata)
    await db.start()
    for n in range(3):
        async with db.unit_of_work() as uow:
            await uow.repository(Thing).save(Thing(id=n, name="a"))
    with pytest.raises(DatabaseError):
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("SELECT * FROM nowhere"))
    await db.stop()

    def counts(name: str) -> list[tuple[dict[str, str], float]]:
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(telemetry.scrape())
            for sample in family.samples
            if sample.name == f"{name}_count"
        ]

    found = {
        (labels.get("db_operation_name"), labels.get("db_collection_name")): (
            value,
            "error_type" in labels,
        )
        for labels, value in counts("db_client_operation_duration_seconds")
    }
    assert found["INSERT", "things"] == (3, False)
    assert found["SELECT", "nowhere"] == (1, True)
    ((_, waits),) = counts("db_client_connection_wait_time_seconds")
    assert waits >= 4


async def test_who_waits_for_a_connection_is_counted(
    postgres: PostgresServer, open_database: Any
) -> None:
    """While it waits, and for how long afterwards."""
    seen = await open_database(postgres.url, pool_size=1, max_overflow=0)

    async def second() -> None:
        async with seen.db.unit_of_work() as other:
            await other.session.execute(text("SELECT 2"))

    async with seen.db.unit_of_work() as uow:
        await uow.session.execute(text("SELECT 1"))
        waiting = asyncio.create_task(second())
        async with asyncio.timeout(30):
            while seen.metric("db.client.connection.pending_requests")[0].value == 0:  # noqa: ASYNC110 - a metric sets no event
                await asyncio.sleep(0)
    await waiting
    assert seen.metric("db.client.connection.pending_requests")[0].value == 0


async def test_a_slow_statement_is_a_log_line_with_its_span(
    postgres: PostgresServer, open_database: Any, telemetry: CapturedTelemetry
) -> None:
    """The line has the sanitised text and leads to the span; fast ones leave none."""
    seen = await open_database(postgres.url, slow_query_s=1)
    async with seen.db.unit_of_work() as uow:
        await uow.session.execute(text("SELECT 'secret', pg_sleep(1.1)"))
        await uow.session.execute(text("SELECT 1"))
    (line,) = telemetry.logs("database.slow_query")
    assert line["duration_ms"] >= 1100
    assert line["query"] == "SELECT ?, pg_sleep(?)"
    slow, fast = seen.spans()
    assert line["trace_id"] == f"{slow.context.trace_id:032x}"
    assert line["span_id"] == f"{slow.context.span_id:016x}"
    assert slow.attributes["glam.db.slow_query"] is True
    assert "glam.db.slow_query" not in fast.attributes


async def test_asking_the_same_again_and_again_is_hinted_at_once(
    url: str, open_database: Any, telemetry: CapturedTelemetry
) -> None:
    """N+1 queries: one log line a request, and the span says which; across its transactions."""
    seen = await open_database(url, Model.metadata, repeated_query_limit=3, internal_spans=())

    async def ask(times: int) -> None:
        async with seen.db.unit_of_work(read_only=True) as uow:
            for n in range(times):
                await uow.session.execute(select(Thing).where(Thing.id == n))
            await uow.session.execute(text("SELECT 1"))

    with seen.tracer.start_as_current_span("many"):
        token = attach(with_request_id("req_1"))
        await ask(3)
        assert telemetry.logs("database.repeated_query") == []
        await ask(4)
        detach(token)
    (line,) = telemetry.logs("database.repeated_query")
    (request,) = seen.spans("many")
    assert line["summary"] == "SELECT things"
    assert line["trace_id"] == f"{request.context.trace_id:032x}"
    assert request.attributes["glam.db.repeated_query"] == "SELECT things"
    counts = [s.attributes.get("glam.db.repeated_query.count") for s in seen.spans("SELECT things")]
    assert counts == [None, None, None, 4, 5, 6, 7]
    with seen.tracer.start_as_current_span("another"):
        token = attach(with_request_id("req_2"))
        await ask(3)
        detach(token)
    assert len(telemetry.logs("database.repeated_query")) == 1


def test_a_synchronous_engine_is_observed_the_same_way(tmp_path: Path) -> None:
    """Scripts and libraries that don't await have spans too."""
    exporter = InMemorySpanExporter()
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    engine = create_engine(f"sqlite:///{tmp_path / 'sync.sqlite3'}")
    DatabaseTelemetry(tracer=tracers.get_tracer("t")).observe(engine)
    with engine.begin() as connection:
        Model.metadata.create_all(connection)
        connection.execute(insert(Thing), [{"name": "a"}, {"name": "b"}])
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
    engine.dispose()
    names = [s.name for s in exporter.get_finished_spans()]
    assert names[-2:] == ["INSERT things", "SELECT nowhere"]
    assert exporter.get_finished_spans()[-1].status.status_code is StatusCode.ERROR


# Beside OpenTelemetry's own instrumentations. Each of their releases pins one version of the
# conventions, and none pins the one our SDK needs, so no installer puts them beside it: ``make
# install`` puts them, without their dependencies, into a folder of their own.

INSTALLED = Path(sys.prefix) / "contrib"
CONTRIB = {"asyncpg": "AsyncPGInstrumentor", "sqlalchemy": "SQLAlchemyInstrumentor"}


@pytest.fixture
def instrumentors(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    if not INSTALLED.is_dir():
        pytest.skip(f"{INSTALLED} is not there: `make install` fills it.")
    monkeypatch.syspath_prepend(str(INSTALLED))
    modules = {n: importlib.import_module(f"opentelemetry.instrumentation.{n}") for n in CONTRIB}
    made = {n: getattr(modules[n], CONTRIB[n])() for n in CONTRIB}
    yield made
    for one in made.values():
        if one.is_instrumented_by_opentelemetry:
            one.uninstrument()
    for name in [
        n for n in sys.modules if n.startswith(tuple(m.__name__ for m in modules.values()))
    ]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("asyncpg",), ()),
        (("sqlalchemy",), ()),
        ((), ("sqlalchemy",)),
        (("asyncpg", "sqlalchemy"), ()),
        (("asyncpg",), ("sqlalchemy",)),
    ],
)
async def test_beside_contrib_a_statement_is_still_one_span(
    before: tuple[str, ...],
    after: tuple[str, ...],
    instrumentors: dict[str, Any],
    postgres: PostgresServer,
    open_database: Any,
) -> None:
    """Whoever came first makes it, whatever else is installed, and it has no literals."""
    exporter = InMemorySpanExporter()
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    options = {"tracer_provider": tracers, "skip_dep_check": True}
    for name in before:
        instrumentors[name].instrument(**options)
    seen = await open_database(postgres.url, Model.metadata, internal_spans=())
    for name in after:
        instrumentors[name].instrument(engine=seen.db.engine.sync_engine, **options)
    seen.exporter.clear()
    exporter.clear()
    async with seen.db.unit_of_work() as uow:
        await uow.session.execute(text("SELECT 'literal'"))
        await uow.session.execute(select(func.now()))
        await uow.session.execute(insert(Thing), [{"id": n, "name": "literal"} for n in (1, 2)])
        async for _ in uow.repository(Thing).stream(chunk_size=1):
            pass
        await uow.session.rollback()
    spans: list[ReadableSpan] = [*seen.spans(), *exporter.get_finished_spans()]
    # Theirs has spans for a connection's beginning, its ping and its transactions as well.
    rest = ("connect", ";", "BEGIN", "ROLLBACK")
    statements = [s for s in spans if not s.name.startswith(rest)]
    told = sorted(str(s.attributes.get("db.query.summary", s.name)) for s in statements)
    assert told == ["INSERT things", "SELECT", "SELECT", "SELECT things"]
    assert all("literal" not in s.to_json() for s in statements)
