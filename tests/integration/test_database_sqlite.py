"""A unit of work on SQLite makes few trips to its connection's thread, and ends what it began."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, sqlite

SHORT = 4.0  # seconds; SQLite itself waits five for a lock
ROWS = 1_000  # more than come with the first answer


class Model(DeclarativeBase):
    metadata = MetaData()


class Word(Model):
    __tablename__ = "words"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]


@pytest.fixture(params=["our cursors", "their cursors"])
async def db(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    open_database: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Database:
    if request.param == "their cursors":
        monkeypatch.setattr(sqlite, "_KNOWN_AIOSQLITE", "none")
    url = f"sqlite+aiosqlite:///{tmp_path / 'words.sqlite3'}"
    seen = await open_database(url, Model.metadata, pool_size=2, max_overflow=0)
    opened: Database = seen.db
    return opened


async def test_a_unit_of_work_makes_a_trip_to_begin_to_ask_and_to_end(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is rolled back when the connection is given back after its transaction has ended."""

    async def read() -> None:
        async with db.unit_of_work(read_only=True) as uow:
            await uow.repository(Word).find_by_id(1)

    await read()
    trips: list[str] = []
    execute: Any = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, function: Any, *arguments: Any) -> Any:
        trips.append(function.__name__)
        return await execute(self, function, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    await read()
    if sqlite._KNOWN_AIOSQLITE == "none":
        assert trips == ["execute", "cursor", "execute", "fetchall", "close", "rollback"]
    else:
        assert trips == ["execute", "_ask", "rollback"]


async def refuses(connection: AsyncConnection) -> bool:
    try:
        await connection.execute(text("INSERT INTO words (word) VALUES ('told')"))
    except OperationalError as error:
        return "readonly" in str(error)
    finally:
        await connection.rollback()
    return False


async def test_options_say_how_a_transaction_begins(db: Database) -> None:
    """Those of the engine, of one made from it, and of a connection; the next one has its own."""
    query_only = db.engine.execution_options(**{sqlite.QUERY_ONLY: True})
    for engine, refused in (
        (query_only, True),
        (query_only.execution_options(other=1), True),
        (query_only.execution_options(**{sqlite.QUERY_ONLY: False}), False),
        (db.engine, False),
    ):
        async with engine.connect() as connection:
            assert await refuses(connection) is refused
            assert await refuses(connection) is refused
    async with db.engine.connect() as connection:
        await connection.execution_options(**{sqlite.QUERY_ONLY: True})
        assert await refuses(connection)
    async with db.engine.connect() as connection:
        assert not await refuses(connection)


async def test_who_may_not_begin_hears_why(db: Database) -> None:
    """A transaction that cannot have the lock fails as a statement does, and leaves nothing."""
    writing = db.engine.execution_options(**{sqlite.BEGIN: sqlite.WRITING})
    async with writing.connect() as first, writing.connect() as second:
        await first.begin()
        raw = await second.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(OperationalError, match="locked"):
            await second.begin()
        await first.rollback()
        async with second.begin():
            await second.execute(text("INSERT INTO words (word) VALUES ('kept')"))
        await raw.driver_connection.execute("PRAGMA busy_timeout = 5000")


async def test_options_of_a_connection_outlive_the_one_it_had(db: Database) -> None:
    """A connection that was given up is replaced at the next BEGIN, and is told as before."""
    async with db.engine.connect() as connection:
        await connection.execution_options(**{sqlite.QUERY_ONLY: True})
        assert await refuses(connection)
        await connection.invalidate()
        assert await refuses(connection)
    query_only = db.engine.execution_options(**{sqlite.QUERY_ONLY: True})
    async with query_only.connect() as connection:
        assert await refuses(connection)
        await connection.invalidate()
        await connection.execution_options(other=1)
        assert await refuses(connection)


async def test_what_a_service_does_at_a_begin_is_in_the_transaction(db: Database) -> None:
    """Its own listener comes after ours, so that what it writes is taken back with the rest."""

    def note(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO words (word) VALUES ('noted')")

    event.listen(db.engine.sync_engine, "begin", note)
    async with db.engine.connect() as connection:
        await connection.begin()
        await connection.rollback()
    event.remove(db.engine.sync_engine, "begin", note)
    async with db.unit_of_work() as uow:
        assert await uow.repository(Word).count() == 0


async def test_a_connection_given_back_in_a_transaction_is_rolled_back(db: Database) -> None:
    """Whatever went past SQLAlchemy, the next one finds neither its rows nor its locks."""
    async with db.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: aiosqlite.Connection = raw.driver_connection  # type: ignore[assignment]
        await driver.execute("BEGIN IMMEDIATE")
        await driver.execute("INSERT INTO words VALUES (1, 'lost')")
    async with db.unit_of_work() as uow:
        assert await uow.repository(Word).count() == 0


async def test_who_is_cancelled_while_waiting_to_begin_leaves_no_transaction(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite may still begin it once it can, in a thread that nobody asks any more."""
    is_asked = asyncio.Event()
    execute: Any = aiosqlite.Connection._execute

    async def told(self: aiosqlite.Connection, function: Any, *arguments: Any, **named: Any) -> Any:
        if asyncio.current_task() is waiting and arguments == (sqlite.WRITING, []):
            is_asked.set()
        return await execute(self, function, *arguments, **named)

    async def write() -> None:
        async with db.unit_of_work() as uow:
            await uow.repository(Word).save(Word(word="never"))

    async with db.unit_of_work() as first:
        await first.session.execute(text("SELECT 1"))
        waiting = asyncio.create_task(write())
        monkeypatch.setattr(aiosqlite.Connection, "_execute", told)
        async with asyncio.timeout(SHORT):
            await is_asked.wait()
        waiting.cancel()
        await first.repository(Word).save(Word(word="kept"))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(SHORT), db.unit_of_work() as one:
        await one.repository(Word).save(Word(word="kept too"))
        async with db.unit_of_work(read_only=True) as other:
            assert await other.repository(Word).count(word="kept") == 1


async def test_who_is_cancelled_while_streaming_keeps_no_lock(
    tmp_path: Path, open_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are still being read when it is told to stop, which stopped the rollback as well."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'words.sqlite3'}"
    seen = await open_database(url, Model.metadata, pool_size=2, max_overflow=0)
    db: Database = seen.db
    is_answered = asyncio.Event()
    execute: Any = aiosqlite.Connection._execute
    kept: list[object] = []

    async def held(self: aiosqlite.Connection, function: Any, *arguments: Any, **named: Any) -> Any:
        found = await execute(self, function, *arguments, **named)
        if asyncio.current_task() is streaming and kept:
            is_answered.set()
            await asyncio.Event().wait()
        return found

    async def stream() -> None:
        async with db.unit_of_work() as uow:
            await uow.repository(Word).save_all([Word(word=f"w{n}") for n in range(ROWS)])
            kept.append(await uow.session.stream(text("SELECT * FROM words")))
            await uow.session.execute(text("SELECT 1"))

    streaming = asyncio.create_task(stream())
    monkeypatch.setattr(aiosqlite.Connection, "_execute", held)
    async with asyncio.timeout(SHORT):
        await is_answered.wait()
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await streaming
    async with asyncio.timeout(SHORT), db.unit_of_work() as uow:
        assert await uow.repository(Word).count() == 0


async def test_a_start_waits_for_whoever_is_writing(tmp_path: Path) -> None:
    """SQLite refuses a change of the journal at once, however long it would wait for a lock."""
    path = tmp_path / "new.sqlite3"
    url = SecretStr(f"sqlite+aiosqlite:///{path}")
    db = Database(DatabaseSettings(url=url), metadata=Model.metadata)
    async with aiosqlite.connect(path, isolation_level=None) as other:
        await other.execute("BEGIN IMMEDIATE")
        starting = asyncio.create_task(db.start())
        await asyncio.sleep(0.3)  # by now it has been refused
        assert not starting.done()
        await other.execute("COMMIT")
        await starting
        await db.stop()
