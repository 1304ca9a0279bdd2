"""How a transaction's events reach the table when something is not as usual."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database
from glam_sdk.errors import DatabaseError, ValidationError
from glam_sdk.events import Event, decode
from glam_sdk.outbox import OutboxRow, OutboxWriter, outbox_metadata
from glam_sdk.outbox.pending import write_at_commit

ROW = {"event_id": "1", "partition": 0, "subject": "evt.a", "body": b"{}", "headers": {}}


class Paid(Event, subject="evt.payments.paid"):
    number: int


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(
        DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path / 'outbox.sqlite3'}")),
        metadata=outbox_metadata,
        event_writer=OutboxWriter("payments"),
    )
    await database.start()
    await database.create_all()
    yield database
    await database.stop()


async def engine_at(path: Path) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.begin() as connection:
        await connection.run_sync(outbox_metadata.create_all)
    return engine


async def numbers(db: Database) -> list[int]:
    async with db.unit_of_work(read_only=True) as uow:
        bodies = await uow.session.scalars(select(OutboxRow.body).order_by(OutboxRow.id))
        return [decode(body).payload["number"] for body in bodies]


async def test_events_of_a_commit_that_failed_are_in_the_next_one(db: Database) -> None:
    """Who catches the error and commits again keeps the rows, and tells of them, once."""
    async with db.unit_of_work() as uow:
        for number in (1, 2):
            uow.emit(Paid(number=number))
        await uow.session.execute(text("ALTER TABLE glam_outbox RENAME TO hidden"))
        with pytest.raises(OperationalError):
            await uow.session.commit()
        await uow.session.execute(text("ALTER TABLE hidden RENAME TO glam_outbox"))
        await uow.session.commit()
        uow.emit(Paid(number=3))
    assert await numbers(db) == [1, 2, 3]


@pytest.mark.parametrize("path", ["as it is", "by SQLAlchemy"])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"subject": None}, IntegrityError),
        ({"subject": "evt.\ud800"}, UnicodeEncodeError),
        ({"partition": 2**70}, ValidationError),
    ],
)
async def test_events_before_one_that_was_refused_are_written_once(
    db: Database, path: str, wrong: dict[str, object], error: type[Exception]
) -> None:
    """SQLite keeps what a batch wrote before it failed; it is taken back, whatever refused it."""
    options = {} if path == "as it is" else {"schema_translate_map": {"other": None}}
    count = 1_500  # more than one statement takes back
    async with db.unit_of_work() as uow:
        await uow.session.connection(execution_options=options)
        rows = [{**ROW, "event_id": str(number)} for number in range(count)]
        rows[-1] |= wrong
        for row in rows:
            write_at_commit(uow.session, row)
        with pytest.raises(error):
            await uow.session.commit()
        rows[-1] |= {name: ROW[name] for name in wrong}
    async with db.unit_of_work(read_only=True) as uow:
        found = await uow.session.scalars(select(OutboxRow.event_id).order_by(OutboxRow.id))
        assert found.all() == [str(number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2])
async def test_events_that_meet_a_lost_connection_may_be_tried_again(
    db: Database, count: int
) -> None:
    """However many there are: what is taken back must not say something else."""

    async def lose() -> None:
        async with db.unit_of_work() as uow:
            connection = await (await uow.session.connection()).get_raw_connection()
            await connection.driver_connection.close()
            for number in range(count):
                uow.emit(Paid(number=number))

    with pytest.raises(DatabaseError) as caught:
        await lose()
    assert caught.value.retryable
    assert "INSERT glam_outbox" in str(caught.value)


async def test_headers_are_stored_in_characters_that_every_database_has(db: Database) -> None:
    """A key of one's own may have others."""
    async with db.unit_of_work() as uow:
        for key in ("plain", "schlüssel"):
            headers = {"Nats-Msg-Id": key}
            write_at_commit(uow.session, {**ROW, "headers": headers})
    async with db.unit_of_work(read_only=True) as uow:
        kept = (await uow.session.scalars(text("SELECT headers FROM glam_outbox"))).all()
        read = (await uow.session.scalars(select(OutboxRow.headers).order_by(OutboxRow.id))).all()
    assert all(one.isascii() for one in kept)
    assert read == [{"Nats-Msg-Id": "plain"}, {"Nats-Msg-Id": "schlüssel"}]


async def test_events_of_a_commit_that_failed_go_with_a_rollback(db: Database) -> None:
    """They belong to the transaction that emitted them."""
    async with db.unit_of_work() as uow:
        uow.emit(Paid(number=1))
        await uow.session.execute(text("ALTER TABLE glam_outbox RENAME TO hidden"))
        with pytest.raises(OperationalError):
            await uow.session.commit()
        await uow.session.rollback()
        uow.emit(Paid(number=2))
    assert await numbers(db) == [2]


async def test_a_disposed_engine_is_kept_by_nobody(tmp_path: Path) -> None:
    """What was prepared for its dialect goes with it."""
    engine = await engine_at(tmp_path / "o.sqlite3")
    async with AsyncSession(engine) as session:
        OutboxWriter("payments").write(session, Paid(number=1))
        await session.commit()
    await engine.dispose()
    dialect = weakref.ref(engine.dialect)
    del engine, session
    gc.collect()
    assert dialect() is None


@pytest.mark.parametrize("count", [1, 2])
async def test_events_follow_the_schema_of_their_connection(tmp_path: Path, count: int) -> None:
    """Where a session's tables are another tenant's, so is its outbox."""
    engine = await engine_at(tmp_path / "o.sqlite3")
    other = tmp_path / "other.sqlite3"
    await (await engine_at(other)).dispose()
    options = {"schema_translate_map": {None: "other"}}
    async with AsyncSession(engine) as session:
        await session.execute(text("ATTACH :path AS other"), {"path": str(other)})
        await session.commit()
        await session.connection(execution_options=options)
        for number in range(count):
            OutboxWriter("payments").write(session, Paid(number=number))
        await session.commit()
        rows = select(func.count()).select_from(OutboxRow)
        assert await session.scalar(rows) == 0
        assert await session.scalar(rows, execution_options=options) == count
    await engine.dispose()


@pytest.mark.parametrize("bad", [{"headers": {"a": object()}}, {"body": "text"}])
async def test_a_value_that_fits_no_column_is_refused_as_any_statements(
    db: Database, tmp_path: Path, bad: dict[str, object]
) -> None:
    """SQLAlchemy's own error where the session is one's own, a ``ValidationError`` of ours."""
    engine = await engine_at(tmp_path / "o.sqlite3")
    async with AsyncSession(engine) as session:
        write_at_commit(session, {**ROW, **bad})
        with pytest.raises(StatementError):
            await session.commit()
    await engine.dispose()
    with pytest.raises(ValidationError):
        async with db.unit_of_work() as uow:
            write_at_commit(uow.session, {**ROW, **bad})
