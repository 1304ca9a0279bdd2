"""Prove the database area on real SQLite and real PostgreSQL with one suite."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import (
    NAMING_CONVENTION,
    Database,
    SoftDeleteMixin,
    TimestampedMixin,
    UtcDateTime,
)
from glam_sdk.database.telemetry import DatabaseTelemetry
from glam_sdk.errors import (
    ConfigurationError,
    ConflictError,
    DatabaseError,
    NotFoundError,
    ValidationError,
)
from glam_sdk.testing.postgres import PostgresServer
from tests.conftest import new_tracers

OLD = datetime(2020, 1, 1, 12, tzinfo=UTC)


class Model(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class User(TimestampedMixin, Model):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(unique=True)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    age: Mapped[int | None]


class Note(SoftDeleteMixin, Model):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    text: Mapped[str]


class RecordingWriter:
    def __init__(self) -> None:
        self.written: list[object] = []

    def write(self, session: AsyncSession, event: object) -> None:
        self.written.append(event)


@dataclass
class Bench:
    """One database with everything it told OpenTelemetry."""

    db: Database
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    writer: RecordingWriter
    url: str

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]


def settings(url: str, **more: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": SecretStr(url), **more})


@pytest.fixture
async def bench(url: str) -> AsyncIterator[Bench]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    writer = RecordingWriter()
    db = Database(
        settings(url),
        service_name="tests",
        metadata=Model.metadata,
        event_writer=writer,
        telemetry=DatabaseTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t")),
    )
    await db.start()
    yield Bench(db, exporter, reader, writer, url)
    async with db.engine.begin() as connection:
        await connection.run_sync(Model.metadata.drop_all)
    await db.stop()
    meters.shutdown()
    tracers.shutdown()


async def ann(db: Database, **values: object) -> UUID:
    async with db.unit_of_work() as uow:
        return (await uow.repository(User).save(User(email="ann@example.com", **values))).id


# Unit of work


async def test_a_unit_of_work_commits_when_its_block_ends_well(bench: Bench) -> None:
    """Every write of the block is there afterwards, and the entity is still usable."""
    async with bench.db.unit_of_work() as uow:
        user = await uow.repository(User).save(User(email="ann@example.com"))
        await uow.repository(Note).save(Note(user_id=user.id, text="hello"))
    assert user.email == "ann@example.com"
    async with bench.db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(User).count() == 1
        assert await uow.repository(Note).count() == 1


async def test_a_unit_of_work_rolls_everything_back_on_an_error(bench: Bench) -> None:
    """No half of a use case is ever kept."""

    async def work() -> None:
        async with bench.db.unit_of_work() as uow:
            await uow.repository(User).save(User(email="ann@example.com"))
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    async with bench.db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(User).count() == 0


async def test_a_cancelled_unit_of_work_rolls_back_and_frees_its_connection(bench: Bench) -> None:
    """A client that goes away leaves neither a write nor a lock behind."""
    inside = asyncio.Event()

    async def work() -> None:
        async with bench.db.unit_of_work() as uow:
            await uow.repository(User).save(User(email="ann@example.com"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await ann(bench.db)


async def test_after_commit_runs_only_when_something_was_committed(bench: Bench) -> None:
    """What must not happen without the write waits for the write."""
    called: list[str] = []

    async def work() -> None:
        async with bench.db.unit_of_work() as uow:
            uow.after_commit(lambda: called.append("never"))
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    async with bench.db.unit_of_work() as uow:
        uow.after_commit(lambda: called.append("committed"))
        await uow.repository(User).save(User(email="ann@example.com"))
        assert called == []
    assert called == ["committed"]


async def test_emitting_hands_the_event_to_the_writer_and_wakes_after_the_commit(
    bench: Bench,
) -> None:
    """An outbox learns of new events once they are visible."""
    woken: list[int] = []
    bench.db.on_events_committed(lambda: woken.append(1))
    async with bench.db.unit_of_work() as uow:
        uow.emit("event")
        assert (bench.writer.written, woken) == (["event"], [])
    async with bench.db.unit_of_work() as uow:
        await uow.repository(User).count()
    assert woken == [1]


async def test_emitting_without_a_writer_says_what_is_missing(url: str) -> None:
    """An event must not vanish silently."""
    db = Database(settings(url))
    async with db.unit_of_work() as uow:
        with pytest.raises(RuntimeError, match="event_writer=OutboxWriter"):
            uow.emit("event")
    await db.stop()


async def test_a_read_only_unit_of_work_refuses_to_write(bench: Bench) -> None:
    """Both databases refuse entities, statements and events alike."""
    with pytest.raises(RuntimeError, match="read-only"):
        async with bench.db.unit_of_work(read_only=True) as uow:
            uow.session.add(User(email="ann@example.com"))
    with pytest.raises(RuntimeError, match="read-only"):
        async with bench.db.unit_of_work(read_only=True) as uow:
            await uow.session.execute(insert(User).values(email="ann@example.com"))
    async with bench.db.unit_of_work(read_only=True) as uow:
        with pytest.raises(RuntimeError, match="read-only"):
            uow.emit("event")
        assert await uow.repository(User).count() == 0


async def test_concurrent_read_then_write_units_of_work_all_succeed(bench: Bench) -> None:
    """On SQLite too: the write lock is waited for, not failed on."""
    user_id = await ann(bench.db, age=0)

    async def grow() -> None:
        async with bench.db.unit_of_work() as uow:
            found = await uow.session.get(User, user_id, with_for_update=True)
            assert found is not None
            assert found.age is not None
            found.age += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(grow())
    async with bench.db.unit_of_work(read_only=True) as uow:
        assert (await uow.repository(User).get(user_id)).age == 12


async def test_a_unit_of_work_is_entered_once_and_used_inside(bench: Bench) -> None:
    """A transaction that has ended cannot take another write by accident."""
    uow = bench.db.unit_of_work()
    with pytest.raises(RuntimeError, match="not open"):
        uow.repository(User)
    async with uow:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        uow.repository(User)
    with pytest.raises(RuntimeError, match="entered once"):
        await uow.__aenter__()


# Repository


async def test_update_returns_the_live_instance_and_moves_updated_at(bench: Bench) -> None:
    """A detached copy, its old timestamp included, does not freeze the row."""
    user_id = await ann(bench.db, updated_at=OLD)
    async with bench.db.unit_of_work() as uow:
        detached = await uow.repository(User).get(user_id)
    detached.age = 7
    async with bench.db.unit_of_work() as uow:
        live = await uow.repository(User).update(detached)
        assert live is not detached
        assert live in uow.session
        live.age = 8
    async with bench.db.unit_of_work(read_only=True) as uow:
        stored = await uow.repository(User).get(user_id)
        assert stored.age == 8
        assert stored.updated_at > OLD


async def test_updating_what_is_not_there_is_an_error(bench: Bench) -> None:
    """An update never inserts."""
    with pytest.raises(NotFoundError):
        async with bench.db.unit_of_work() as uow:
            await uow.repository(User).update(User(id=uuid4(), email="ann@example.com"))


async def test_a_bulk_update_moves_updated_at(bench: Bench) -> None:
    """No database does this by itself."""
    user_id = await ann(bench.db, updated_at=OLD)
    async with bench.db.unit_of_work() as uow:
        await uow.session.execute(update(User).values(age=3))
    async with bench.db.unit_of_work(read_only=True) as uow:
        assert (await uow.repository(User).get(user_id)).updated_at > OLD


async def test_getting_what_is_not_there_names_it(bench: Bench) -> None:
    """The 404 says which resource, and which id."""
    missing = uuid4()
    async with bench.db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(User).find_by_id(missing) is None
        with pytest.raises(NotFoundError) as caught:
            await uow.repository(User).get(missing)
    assert caught.value.details == {"resource": "User", "resource_id": str(missing)}


async def test_find_all_filters_exactly_and_pages(bench: Bench) -> None:
    """Pages are cut from one order, and None finds NULL."""
    async with bench.db.unit_of_work() as uow:
        repository = uow.repository(User)
        for n in range(5):
            await repository.save(User(email=f"{n}@example.com", age=n or None))
        assert len(await repository.find_all()) == 5
        assert [u.age for u in await repository.find_all(email="3@example.com")] == [3]
        assert [u.email for u in await repository.find_all(age=None)] == ["0@example.com"]
        assert await repository.count(age=2) == 1
        pages = [await repository.find_all(limit=2, offset=at) for at in (0, 2, 4)]
        assert len({u.id for page in pages for u in page}) == 5


async def test_an_unknown_filter_is_a_value_error_that_names_it(bench: Bench) -> None:
    """A misspelt column must not match every row."""
    async with bench.db.unit_of_work(read_only=True) as uow:
        with pytest.raises(ValueError, match=r"User has no column 'emial'.*email"):
            await uow.repository(User).find_all(emial="x")
        with pytest.raises(ValueError, match="emial"):
            await uow.repository(User).count(emial="x")


async def test_delete_removes_a_row_or_marks_it(bench: Bench) -> None:
    """Soft deletion is the model's choice; its rows are gone for every reader."""
    user_id = await ann(bench.db)
    async with bench.db.unit_of_work() as uow:
        notes = uow.repository(Note)
        first = await notes.save(Note(user_id=user_id, text="a"))
        second = await notes.save(Note(user_id=user_id, text="b"))
        await notes.delete(first)
        assert await notes.delete_by_id(second.id)
        assert not await notes.delete_by_id(second.id)
        assert await notes.find_by_id(first.id) is None
        assert (await notes.count(), list(await notes.find_all())) == (0, [])
        assert len(await notes.find_all(is_deleted=True)) == 2
        await uow.session.execute(text("DELETE FROM notes"))
        await uow.repository(User).delete_by_id(user_id)
        assert await uow.repository(User).count() == 0


# Types and errors


async def test_a_moment_comes_back_as_the_same_instant(bench: Bench) -> None:
    """Aware, in UTC, on both databases."""
    user_id = await ann(bench.db, seen_at=OLD + timedelta(microseconds=7))
    async with bench.db.unit_of_work(read_only=True) as uow:
        seen = (await uow.repository(User).get(user_id)).seen_at
        assert seen == OLD + timedelta(microseconds=7)
        assert seen is not None
        assert seen.tzinfo is UTC


async def test_a_naive_datetime_is_refused_before_it_is_sent(bench: Bench) -> None:
    """The error is about the value and shows no other one."""
    with pytest.raises(ValueError, match="no time zone"):
        await ann(bench.db, seen_at=datetime(2020, 1, 1))  # noqa: DTZ001


async def test_constraint_violations_become_our_errors_without_values(bench: Bench) -> None:
    """Conflict and validation errors name columns; the row's values appear nowhere."""
    user_id = await ann(bench.db)
    with pytest.raises(ConflictError) as unique:
        await ann(bench.db)
    with pytest.raises(ConflictError) as foreign:
        async with bench.db.unit_of_work() as uow:
            await uow.repository(Note).save(Note(user_id=uuid4(), text="x"))
    with pytest.raises(ValidationError) as missing:
        async with bench.db.unit_of_work() as uow:
            await uow.repository(Note).save(Note(user_id=user_id))
    assert unique.value.details["columns"] == ["email"]
    assert foreign.value.details["conflicting_resource"] == "notes"
    assert missing.value.details["field"] == "text"
    for caught in (unique, foreign, missing):
        assert "ann@example.com" not in str(caught.value.to_dict())
        assert caught.value.__suppress_context__


async def test_an_error_of_the_raw_session_is_translated_when_it_leaves(bench: Bench) -> None:
    """No SQLAlchemy error gets out of a unit of work."""
    with pytest.raises(DatabaseError) as caught:
        async with bench.db.unit_of_work() as uow:
            await uow.session.execute(text("SELECT * FROM nowhere"))
    assert caught.value.details["retryable"] is False
    assert caught.value.details["operation"] == "SELECT"
    assert "nowhere" in caught.value.message


# Component


async def test_several_instances_may_create_the_tables_at_once(url: str) -> None:
    """A rolling start has several processes at the same point."""
    dbs = [Database(settings(url), metadata=Model.metadata) for _ in range(4)]
    await asyncio.gather(*(db.start() for db in dbs))
    async with dbs[0].engine.begin() as connection:
        assert (await connection.execute(select(User.id))).all() == []
        await connection.run_sync(Model.metadata.drop_all)
    for db in dbs:
        await db.stop()


async def test_a_running_database_is_healthy_and_leaves_no_span(bench: Bench) -> None:
    """Starting and health checks are no part of anybody's trace."""
    check = await bench.db.check()
    assert check.healthy
    assert bench.names() == []


async def test_added_tables_are_created_with_the_services_own(url: str) -> None:
    """The outbox brings its tables along."""
    extra = MetaData()
    Table("extra", extra, Column("id", Integer, primary_key=True))
    db = Database(settings(url), metadata=Model.metadata)
    db.add_metadata(extra)
    await db.start()
    async with db.engine.begin() as connection:
        await connection.execute(text("INSERT INTO extra (id) VALUES (1)"))
        await connection.run_sync(extra.drop_all)
        await connection.run_sync(Model.metadata.drop_all)
    await db.stop()


@pytest.mark.parametrize(
    "bad_url",
    [
        "postgresql://shop:hunter2@127.0.0.1:1/shop",
        "postgresql://shop:hunter2@no-such-host.invalid/shop",
        "sqlite:////no/such/directory/shop.sqlite3",
    ],
)
async def test_an_unreachable_database_is_one_clear_error(bad_url: str) -> None:
    """It names the address and the setting, never the password."""
    db = Database(settings(bad_url, connect_timeout_s=2), service_name="orders-service")
    with pytest.raises(DatabaseError) as caught:
        await db.start()
    message = caught.value.message
    assert db_address(bad_url) in message
    assert "database.url" in message
    assert "ORDERS_DATABASE__URL" in message
    assert "hunter2" not in f"{message}{caught.value.details}{db!r}"
    assert not (await db.check()).healthy
    await db.stop()


def db_address(bad_url: str) -> str:
    return bad_url.rpartition("@")[2].removeprefix("sqlite://")


async def test_a_server_that_never_answers_is_given_up_at_the_deadline() -> None:
    """Starting does not hang on a silent port."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:hunter2@127.0.0.1:{silent.getsockname()[1]}/x"
        db = Database(settings(url, connect_timeout_s=0.2))
        with pytest.raises(DatabaseError, match="no answer in time"):
            await db.start()
        await db.stop()


async def test_a_missing_postgres_database_says_so(postgres: PostgresServer) -> None:
    """The hint leads to the setting that is wrong."""
    db = Database(settings(postgres.url_of("absent")))
    with pytest.raises(DatabaseError, match=r"does not exist.*database\.name") as caught:
        await db.start()
    assert caught.value.details["error_code"] == "3D000"
    await db.stop()


async def test_a_connection_the_server_ends_is_a_retryable_error(postgres: PostgresServer) -> None:
    """The unit of work is lost, the next one gets a connection that works."""
    db = Database(settings(postgres.url))

    async def lose() -> None:
        async with db.unit_of_work() as uow:
            pid = await uow.session.scalar(text("SELECT pg_backend_pid()"))
            async with db.unit_of_work() as other:
                await other.session.execute(select(func.pg_terminate_backend(pid)))
            await uow.session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseError) as caught:
        await lose()
    assert caught.value.details["retryable"] is True
    assert (await db.check()).healthy
    await db.stop()


async def test_postgres_connections_carry_the_service_name(postgres: PostgresServer) -> None:
    """Whoever looks at pg_stat_activity sees whose they are."""
    db = Database(settings(postgres.url), service_name="orders")
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.session.scalar(text("SHOW application_name")) == "orders"
    await db.stop()


async def test_a_database_in_memory_is_shared_by_its_units_of_work() -> None:
    """They take turns on the one connection that holds it."""
    db = Database(settings("sqlite+aiosqlite://"), metadata=Model.metadata)
    await db.start()
    await asyncio.gather(*(save_one(db, n) for n in range(5)))
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(User).count() == 5
    await db.stop()


async def save_one(db: Database, n: int) -> None:
    async with db.unit_of_work() as uow:
        await uow.repository(User).save(User(email=f"{n}@example.com"))


# Telemetry


async def test_each_statement_is_one_client_span_without_values(bench: Bench) -> None:
    """The span says what was asked of which database, never with what values."""
    await ann(bench.db, age=41)
    async with bench.db.unit_of_work() as uow:
        await uow.session.execute(text("SELECT id FROM users WHERE email = 'ann@example.com'"))
    assert bench.names() == ["INSERT users", "SELECT users"]
    select_span = bench.spans()[1]
    attributes = dict(select_span.attributes or {})
    assert select_span.kind is SpanKind.CLIENT
    system = "sqlite" if bench.url.startswith("sqlite") else "postgresql"
    assert attributes["db.system.name"] == system
    assert attributes["db.namespace"] == ("test.sqlite3" if system == "sqlite" else "postgres")
    assert attributes["db.operation.name"] == "SELECT"
    assert attributes["db.collection.name"] == "users"
    assert attributes["db.query.summary"] == "SELECT users"
    assert attributes["db.query.text"] == "SELECT id FROM users WHERE email = ?"
    assert ("server.address" in attributes) == (system == "postgresql")
    assert all("ann@" not in str(span.attributes) for span in bench.spans())


async def test_a_failed_statement_says_how_and_not_on_what(bench: Bench) -> None:
    """The database's own code is on the span; the row's values are not."""
    await ann(bench.db)
    with pytest.raises(ConflictError):
        await ann(bench.db)
    failed = bench.spans()[-1]
    is_sqlite = bench.url.startswith("sqlite")
    attributes = dict(failed.attributes or {})
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes["db.response.status_code"] == (
        "SQLITE_CONSTRAINT_UNIQUE" if is_sqlite else "23505"
    )
    assert attributes["error.type"] == (
        "sqlite3.IntegrityError" if is_sqlite else "asyncpg.exceptions.UniqueViolationError"
    )
    assert "ann@example.com" not in failed.to_json()


async def test_durations_are_measured_with_few_labels(bench: Bench) -> None:
    """The histogram has the advised buckets and no SQL text."""
    await ann(bench.db)
    data = bench.reader.get_metrics_data()
    assert data is not None
    found = {m.name: m for m in data.resource_metrics[0].scope_metrics[0].metrics}
    metric = found["db.client.operation.duration"]
    assert metric.unit == "s"
    (point,) = metric.data.data_points
    assert point.explicit_bounds[0] == 0.001
    assert point.count == 1
    assert set(point.attributes) >= {"db.system.name", "db.operation.name", "db.collection.name"}
    assert "db.query.text" not in point.attributes


async def test_a_batch_is_one_span_with_its_size(bench: Bench) -> None:
    """Many rows given at once are one operation."""
    rows = [{"email": f"{n}@example.com", "id": uuid4()} for n in range(3)]
    async with bench.db.unit_of_work() as uow:
        await uow.session.execute(insert(User), rows)
    assert bench.names() == ["INSERT users"]
    assert (bench.spans()[0].attributes or {})["db.operation.batch.size"] == 3


async def test_a_cancelled_statement_ends_its_span_as_failed(
    bench: Bench,
) -> None:
    """A request that is given up must not leave a span open for ever."""
    slow = (
        "SELECT pg_sleep(30)"
        if not bench.url.startswith("sqlite")
        else "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 300000000) "
        "SELECT count(*) FROM c"
    )

    async def give_up() -> None:
        async with asyncio.timeout(None) as limit, bench.db.unit_of_work() as uow:

            def begun(*_: object) -> None:
                limit.reschedule(asyncio.get_running_loop().time() + 0.1)

            event.listen(bench.db.engine.sync_engine, "before_cursor_execute", begun, once=True)
            await uow.session.execute(text(slow))

    with pytest.raises(TimeoutError):
        await give_up()
    (span,) = bench.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert str((span.attributes or {})["error.type"]).endswith("CancelledError")
    await ann(bench.db)


async def test_what_was_read_stays_readable_after_a_read_only_unit_of_work(bench: Bench) -> None:
    """Its end expires nothing."""
    user_id = await ann(bench.db, age=3)
    async with bench.db.unit_of_work(read_only=True) as uow:
        user = await uow.repository(User).get(user_id)
    assert (user.email, user.age) == ("ann@example.com", 3)


async def test_a_database_that_is_switched_off_is_left_alone() -> None:
    """The service starts without it; using it says which setting to look at."""
    off = settings("postgresql://u:p@127.0.0.1:1/x", enabled=False)
    db = Database(off, service_name="orders")
    await db.start()
    assert (await db.check()).healthy
    async with db.unit_of_work() as uow:
        with pytest.raises(ConfigurationError, match="ORDERS_DATABASE__ENABLED"):
            uow.repository(User)
    await db.stop()
