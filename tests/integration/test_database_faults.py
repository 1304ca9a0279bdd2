"""Prove on real PostgreSQL what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, RetryPolicy, UnitOfWork, retry_transaction
from glam_sdk.errors import ConflictError, DatabaseError, is_retryable_error
from glam_sdk.testing.postgres import PostgresServer


class Model(DeclarativeBase):
    metadata = MetaData()


class Account(Model):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    balance: Mapped[int]


@pytest.fixture
async def db(postgres: PostgresServer, open_database: Any) -> Database:
    return await with_accounts(open_database, postgres.url)


async def with_accounts(open_database: Any, url: str, **settings: object) -> Database:
    database: Database = (await open_database(url, Model.metadata, **settings)).db
    async with database.unit_of_work() as uow:
        await uow.repository(Account).save_all(Account(id=n, balance=100) for n in (1, 2))
    return database


async def balances(db: Database) -> dict[int, int]:
    async with db.unit_of_work(read_only=True) as uow:
        return {a.id: a.balance for a in await uow.repository(Account).find_all()}


def in_use(db: Database) -> int:
    return db.engine.pool.checkedout()  # type: ignore[attr-defined]


async def add(uow: UnitOfWork, account_id: int, amount: int) -> None:
    account = await uow.repository(Account).get(account_id, lock=True)
    account.balance += amount
    await uow.repository(Account).save(account)


# Savepoints


async def test_a_savepoint_fails_alone(url: str, open_database: Any) -> None:
    """What surrounds it is kept; its callbacks are forgotten with its writes."""
    db = await with_accounts(open_database, url)
    called: list[str] = []
    async with db.unit_of_work() as uow:
        await add(uow, 1, 5)

        async def collide() -> None:
            async with uow.savepoint():
                uow.after_commit(lambda: called.append("inner"))
                uow.session.expunge_all()
                await uow.repository(Account).save(Account(id=2, balance=0))

        with pytest.raises(ConflictError):
            await collide()
        async with uow.savepoint():
            uow.after_commit(lambda: called.append("kept"))
            await uow.repository(Account).save(Account(id=3, balance=1))
    assert await balances(db) == {1: 105, 2: 100, 3: 1}
    assert called == ["kept"]


# Collisions


async def test_two_units_of_work_that_deadlock_are_one_retryable_error(db: Database) -> None:
    """PostgreSQL ends one of them; the other commits; nothing of the first is kept."""
    first_locked, second_locked = asyncio.Event(), asyncio.Event()

    async def work(one: int, two: int, mine: asyncio.Event, other: asyncio.Event) -> None:
        async with db.unit_of_work() as uow:
            await add(uow, one, 10)
            mine.set()
            await other.wait()
            await add(uow, two, 10)

    results = await asyncio.gather(
        work(1, 2, first_locked, second_locked),
        work(2, 1, second_locked, first_locked),
        return_exceptions=True,
    )
    (error,) = [r for r in results if r is not None]
    assert isinstance(error, DatabaseError)
    assert (error.error_code, error.retryable) == ("40P01", True)
    assert await balances(db) == {1: 110, 2: 110}
    assert in_use(db) == 0


async def test_a_serialization_failure_is_tried_again_until_it_fits(db: Database) -> None:
    """Ten concurrent read-then-write transactions all count."""

    async def grow(uow: UnitOfWork) -> int:
        account = await uow.repository(Account).get(1)
        account.balance += 1
        return account.balance

    policy = RetryPolicy(attempts=50)
    done = await asyncio.gather(*(retry_transaction(db, grow, policy=policy) for _ in range(10)))
    assert sorted(done) == list(range(101, 111))
    assert (await balances(db))[1] == 110


async def test_a_collision_is_given_up_after_the_last_attempt(db: Database) -> None:
    """The error of the last attempt comes out, with the waits the policy says."""
    waits: list[float] = []
    attempts: list[int] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    async def collide(uow: UnitOfWork) -> None:
        attempts.append(1)
        await uow.session.execute(
            text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
        )

    with pytest.raises(DatabaseError) as caught:
        await retry_transaction(db, collide, policy=RetryPolicy(attempts=3, sleep=note))
    assert (caught.value.error_code, len(attempts), len(waits)) == ("40001", 3, 2)


async def test_a_lost_connection_is_never_retried_in_silence(db: Database) -> None:
    """Whether its COMMIT arrived is unknown; only the caller can know whether to do it again."""
    attempts: list[int] = []

    async def die(uow: UnitOfWork) -> None:
        attempts.append(1)
        await uow.session.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))

    with pytest.raises(DatabaseError):
        await retry_transaction(db, die)
    assert len(attempts) == 1


async def test_a_connection_lost_in_commit_leaves_the_outcome_open(db: Database) -> None:
    """The error says so, and is not retryable."""

    async def commit_into_nothing() -> None:
        async with db.unit_of_work() as uow:
            await add(uow, 1, 1)
            pid = await uow.session.scalar(select(func.pg_backend_pid()))
            async with db.unit_of_work() as other:
                await other.session.execute(select(func.pg_terminate_backend(pid)))

    with pytest.raises(DatabaseError, match="during COMMIT") as caught:
        await commit_into_nothing()
    assert caught.value.retryable is False
    assert in_use(db) == 0


# Time


async def test_a_statement_is_given_up_after_its_timeout(
    postgres: PostgresServer, open_database: Any
) -> None:
    """The server ends it, the error is retryable and names the code."""
    db = (await open_database(postgres.url, statement_timeout_s=0.3)).db
    with pytest.raises(DatabaseError, match="statement timeout") as caught:
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("SELECT pg_sleep(30)"))
    assert (caught.value.error_code, caught.value.retryable) == ("57014", True)


async def test_an_exhausted_pool_says_so_and_who_holds_it(
    postgres: PostgresServer, open_database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait is that of the settings; the holders are in the log and in the error's notes."""
    seen = await open_database(postgres.url, pool_size=1, max_overflow=0, pool_timeout_s=0.2)
    db: Database = seen.db
    with seen.tracer.start_as_current_span("GET /slow") as request:
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("SELECT 1 AS greedy"))
            with pytest.raises(DatabaseError, match=r"within [\d.]+ s: all 1 are in use") as caught:
                async with db.unit_of_work() as other:
                    await other.session.execute(text("SELECT 2"))
    note = "".join(caught.value.__notes__)
    assert f"{request.get_span_context().trace_id:032x}" in note
    assert "last SELECT" in note
    assert is_retryable_error(caught.value)
    assert "Held" not in str(caught.value.to_dict())
    (timeouts,) = seen.metric("db.client.connection.timeouts")
    assert timeouts.value == 1
    assert (await db.check()).healthy


# Cancellation


async def test_a_cancelled_request_gives_its_connection_back(db: Database) -> None:
    """In the middle of a statement, with the row's lock released at once."""
    inside = asyncio.Event()

    async def work() -> None:
        async with db.unit_of_work() as uow:
            await add(uow, 1, 50)
            inside.set()
            await uow.session.execute(text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert in_use(db) == 0
    async with asyncio.timeout(30), db.unit_of_work() as uow:
        await add(uow, 1, 1)
    assert await balances(db) == {1: 101, 2: 100}


# The server


async def test_a_full_disk_is_an_error_that_is_not_worth_retrying(db: Database) -> None:
    """Nobody makes room within a retry; simulated by a trigger that fails as the disk would."""
    async with db.unit_of_work() as uow:
        await uow.session.execute(
            text(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
            )
        )
        await uow.session.execute(
            text(
                "CREATE TRIGGER fill BEFORE INSERT ON accounts "
                "FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
        )
    with pytest.raises(DatabaseError) as caught:
        async with db.unit_of_work() as uow:
            await uow.repository(Account).save(Account(id=9, balance=1))
    assert (caught.value.error_code, caught.value.retryable) == ("53100", False)
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("DROP FUNCTION full_disk CASCADE"))


async def test_a_server_killed_in_mid_transaction_comes_back() -> None:
    """The transaction is lost with a retryable error; later ones find the restarted server."""
    async with AsyncExitStack() as at_the_end:
        server = at_the_end.enter_context(PostgresServer())
        db = Database(DatabaseSettings(url=SecretStr(server.url)), metadata=Model.metadata)
        await db.start()
        at_the_end.push_async_callback(db.stop)
        async with db.unit_of_work() as uow:
            await uow.repository(Account).save_all(Account(id=n, balance=100) for n in (1, 2))

        async def lose() -> None:
            async with db.unit_of_work() as uow:
                await add(uow, 1, 5)
                server.kill()
                await add(uow, 2, 5)

        with pytest.raises(DatabaseError) as caught:
            await lose()
        assert is_retryable_error(caught.value)
        assert not (await db.check()).healthy
        server.restart()
        assert await balances(db) == {1: 100, 2: 100}
        assert (await db.check()).healthy
        assert in_use(db) == 0


STOPPED_IN_TRANSACTION = """
import asyncio, signal, sys
from pydantic import SecretStr
from sqlalchemy import text
from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database

async def main():
    db = Database(DatabaseSettings(url=SecretStr(sys.argv[1])))
    await db.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    async def work():
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("UPDATE accounts SET balance = 7 WHERE id = 1"))
            print("inside", flush=True)
            await stopping.wait()
            await uow.session.execute(text("UPDATE accounts SET balance = 7 WHERE id = 2"))

    running = asyncio.create_task(work())
    await stopping.wait()
    await db.stop()
    assert running.done(), "stopped before the transaction had ended"
    await running

asyncio.run(main())
"""


@pytest.fixture
async def process(db: Database, postgres: PostgresServer) -> AsyncIterator[Process]:
    """Run a process that is in the middle of a transaction; it ends with the test."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED_IN_TRANSACTION, postgres.url, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        async with asyncio.timeout(60):
            assert await started.stdout.readline() == b"inside\n"
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_sigterm_during_a_transaction_lets_it_end(db: Database, process: Process) -> None:
    """Stopping waits for transactions under way: all of it is kept."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    assert await balances(db) == {1: 7, 2: 7}


async def test_a_killed_process_leaves_nothing_of_its_transaction(
    db: Database, process: Process
) -> None:
    """The server rolls back what nobody can commit any more."""
    process.kill()
    async with asyncio.timeout(30):
        await process.wait()
        async with db.unit_of_work() as uow:
            await add(uow, 1, 1)
    assert await balances(db) == {1: 101, 2: 100}


# Secrets


async def test_the_password_is_in_no_repr_log_or_error(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is printed of a database that can't be reached."""
    caplog.set_level(logging.DEBUG)
    url = "postgresql+asyncpg://shop:hunter2@127.0.0.1:1/shop"
    settings = DatabaseSettings(url=SecretStr(url), echo=True)
    db = Database(settings)
    with pytest.raises(DatabaseError) as caught:
        await db.start()
    shown = (
        f"{db!r}{db.engine!r}{db.engine.url!r}{settings!r}{caught.value!r}{caught.value.to_dict()}"
    )
    assert "hunter2" not in shown + caplog.text
    await db.stop()
