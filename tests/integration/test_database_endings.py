"""Prove that a transaction ends the way its unit of work says, whatever was done in between."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy import MetaData, exc, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import Database, UnitOfWork
from glam_sdk.errors import ConflictError, DatabaseError, ValidationError
from glam_sdk.testing.postgres import PostgresServer


class Model(DeclarativeBase):
    metadata = MetaData()


class Account(Model):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    balance: Mapped[int]


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    database: Database = (await open_database(url, Model.metadata)).db
    return database


@pytest.fixture
async def on_postgres(postgres: PostgresServer, open_database: Any) -> Database:
    database: Database = (await open_database(postgres.url, Model.metadata)).db
    return database


async def kind_of_transaction(uow: UnitOfWork) -> tuple[str, str]:
    names = "current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    isolation, read_only = (await uow.session.execute(text(f"SELECT {names}"))).one()
    return isolation, read_only


async def test_a_unit_of_work_begins_as_it_says_and_no_other_does(
    postgres: PostgresServer, open_database: Any
) -> None:
    """Also after a rollback inside it; the connection goes on to the next one as it was."""
    db: Database = (
        await open_database(postgres.url, Model.metadata, pool_size=1, max_overflow=0)
    ).db
    async with db.unit_of_work(isolation="SERIALIZABLE", read_only=True) as uow:
        assert await kind_of_transaction(uow) == ("serializable", "on")
        await uow.session.rollback()
        assert await kind_of_transaction(uow) == ("serializable", "on")
    async with db.unit_of_work(isolation="REPEATABLE READ") as uow:
        await uow.repository(Account).insert_many([{"id": 1, "balance": 0}])
        assert await kind_of_transaction(uow) == ("repeatable read", "off")
    async with db.unit_of_work() as uow:
        assert await kind_of_transaction(uow) == ("read committed", "off")


def in_use(db: Database) -> int:
    return db.engine.pool.checkedout()  # type: ignore[attr-defined]


async def count(db: Database) -> int:
    async with db.unit_of_work(read_only=True) as uow:
        return await uow.repository(Account).count()


async def unknown_table(uow: UnitOfWork) -> None:
    await uow.session.execute(text("SELECT * FROM nowhere"))


async def row_again(uow: UnitOfWork) -> None:
    await uow.repository(Account).insert_many([{"id": 1, "balance": 0}])


async def row_that_cannot_be(uow: UnitOfWork) -> None:
    rows = await uow.session.stream(text("SELECT 1 / (700 - n) FROM generate_series(1, 2000) n"))
    async for _ in rows:
        pass


@pytest.mark.parametrize("fail", [unknown_table, row_again, row_that_cannot_be])
async def test_a_transaction_the_server_gave_up_is_never_said_to_be_committed(
    on_postgres: Database, fail: Any
) -> None:
    """PostgreSQL answers COMMIT with a rollback there, and says nothing of it."""
    called: list[str] = []

    async def swallow() -> None:
        async with on_postgres.unit_of_work() as uow:
            uow.after_commit(lambda: called.append("committed"))
            await uow.repository(Account).save(Account(id=1, balance=5))
            with pytest.raises((ConflictError, exc.DBAPIError, asyncpg.PostgresError)):
                await fail(uow)

    with pytest.raises(DatabaseError, match=r"savepoint\(\)") as caught:
        await swallow()
    assert (caught.value.error_code, caught.value.retryable) == ("25P02", False)
    assert (called, in_use(on_postgres), await count(on_postgres)) == ([], 0, 0)


async def test_what_a_failed_flush_ended_is_not_committed_either(db: Database) -> None:
    """On SQLite too, for there the session has rolled back by itself."""

    async def swallow() -> None:
        async with db.unit_of_work() as uow:
            await uow.repository(Account).save(Account(id=1, balance=5))
            uow.session.expunge_all()
            with pytest.raises(ConflictError):
                await uow.repository(Account).save(Account(id=1, balance=6))

    with pytest.raises(DatabaseError, match=r"savepoint\(\)") as caught:
        await swallow()
    assert caught.value.retryable is False
    assert (in_use(db), await count(db)) == (0, 0)


async def test_an_error_that_ended_nothing_may_be_caught(db: Database) -> None:
    """Inside a savepoint, and where the statement was never sent."""
    async with db.unit_of_work() as uow:
        accounts = uow.repository(Account)
        await accounts.save(Account(id=1, balance=5))
        for fail, error in ((row_again, ConflictError), (unknown_table, DatabaseError)):
            with pytest.raises(error):
                async with uow.savepoint():
                    await fail(uow)
        with pytest.raises(ValidationError):
            await accounts.find_all(Account.balance == 2**70)
    assert await count(db) == 1


async def test_a_repository_that_outlives_its_unit_of_work_writes_nothing(db: Database) -> None:
    """It would begin a transaction that nobody commits, on a connection nobody gives back."""
    async with db.unit_of_work() as uow:
        accounts = uow.repository(Account)
        session = uow.session
        await accounts.count()
    with pytest.raises(exc.InvalidRequestError, match="closed"):
        await accounts.save(Account(id=1, balance=5))
    with pytest.raises(exc.InvalidRequestError, match="closed"):
        await session.scalar(select(func.count()).select_from(Account))
    assert in_use(db) == 0


async def test_tasks_that_share_a_unit_of_work_cost_no_connection(db: Database) -> None:
    """It is a mistake, and says so; the connection is given back when the last one is done."""

    async def share() -> None:
        async with db.unit_of_work() as uow:
            await asyncio.gather(*(uow.repository(Account).count() for _ in range(3)))

    for _ in range(3):
        with pytest.raises(exc.InvalidRequestError, match="concurrent operations"):
            await share()
    assert in_use(db) == 0
    assert await count(db) == 0


async def test_an_error_of_the_caller_survives_a_lost_connection(on_postgres: Database) -> None:
    """What went wrong in the block is what is raised; the rollback needs nobody any more."""

    async def fail() -> None:
        async with on_postgres.unit_of_work() as uow:
            pid = await uow.session.scalar(select(func.pg_backend_pid()))
            async with on_postgres.unit_of_work() as other:
                await other.session.execute(select(func.pg_terminate_backend(pid)))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert in_use(on_postgres) == 0
    assert await count(on_postgres) == 0


async def test_no_text_writes_in_a_read_only_unit_of_work(db: Database) -> None:
    """Refused on both databases, not lost in silence; the next one may write again."""
    write = text("INSERT INTO accounts (id, balance) VALUES (:id, 0)")
    for number in (1, 2):
        with pytest.raises(DatabaseError) as caught:
            async with db.unit_of_work(read_only=True) as uow:
                await uow.session.execute(write, {"id": number})
        assert caught.value.error_code in ("25006", "SQLITE_READONLY")
        async with db.unit_of_work() as uow:
            await uow.session.execute(write, {"id": number})
    assert await count(db) == 2


async def test_a_plan_that_a_migration_made_stale_is_worth_another_try(
    postgres: PostgresServer, open_database: Any, on_postgres: Database
) -> None:
    """Nothing was done, and the driver has forgotten the plan by then."""
    alone: Database = (await open_database(postgres.url, pool_size=1, max_overflow=0)).db

    async def read() -> object:
        async with alone.unit_of_work() as uow:
            return await uow.repository(Account).find_all()

    assert await read() == []
    async with on_postgres.unit_of_work() as uow:
        await uow.session.execute(text("ALTER TABLE accounts ALTER COLUMN balance TYPE bigint"))
    with pytest.raises(DatabaseError) as caught:
        await read()
    assert caught.value.retryable is True
    assert await read() == []
