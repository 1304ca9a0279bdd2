"""Prove that no error shows the values of a row, and that each says what happened."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, exc, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import Database, UnitOfWork, UuidKeyMixin
from glam_sdk.errors import ConflictError, DatabaseError, GlamBaseError, ValidationError
from glam_sdk.testing import CapturedTelemetry

SECRET = "ann@example.com"


class Model(DeclarativeBase):
    metadata = MetaData()


class Person(UuidKeyMixin, Model):
    __tablename__ = "people"
    __table_args__ = (CheckConstraint("age >= 0", name="age_positive"),)

    email: Mapped[str] = mapped_column(unique=True)
    age: Mapped[int] = mapped_column(default=1)


class Card(Model):
    __tablename__ = "cards"

    number: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(ForeignKey("people.email"))


@pytest.fixture
async def seen(url: str, open_database: Any) -> Any:
    observed = await open_database(url, Model.metadata)
    async with observed.db.unit_of_work() as uow:
        await uow.repository(Person).save(Person(email=SECRET))
    return observed


async def unique(uow: UnitOfWork) -> None:
    await uow.session.execute(insert(Person).values(email=SECRET))


async def foreign(uow: UnitOfWork) -> None:
    await uow.session.execute(insert(Card).values(number=SECRET, email=f"no-{SECRET}"))


async def missing(uow: UnitOfWork) -> None:
    await uow.session.execute(insert(Card).values(number=SECRET, email=None))


async def check(uow: UnitOfWork) -> None:
    await uow.session.execute(insert(Person).values(email=f"b{SECRET}", age=-1))


async def literal(uow: UnitOfWork) -> None:
    await uow.session.execute(text(f"SELECT nothing FROM people WHERE email = '{SECRET}'"))


async def not_a_number(uow: UnitOfWork) -> None:
    await uow.session.execute(text("SELECT * FROM people WHERE age = :age"), {"age": [SECRET]})


FAULTS = [unique, foreign, missing, check, literal, not_a_number]
Fault = Callable[[UnitOfWork], Awaitable[None]]


async def wrapping(db: Database, fault: Fault) -> None:
    async with db.unit_of_work() as uow:
        try:
            await fault(uow)
        except exc.SQLAlchemyError as error:
            raise RuntimeError("wrapped") from error


async def test_not_even_the_chain_behind_an_error_has_a_rows_values(seen: Any) -> None:
    """Every traceback of every error on the way: the driver's, the adapter's, SQLAlchemy's."""
    for fault in FAULTS:
        with pytest.raises(RuntimeError) as wrapped:
            await wrapping(seen.db, fault)
        with pytest.raises((GlamBaseError, exc.SQLAlchemyError)) as ours:
            async with seen.db.unit_of_work() as uow:
                await fault(uow)
        errors: list[BaseException] = [wrapped.value, ours.value]
        assert isinstance(wrapped.value.__cause__, exc.SQLAlchemyError)
        while errors:
            error = errors.pop()
            written = f"{''.join(traceback.format_exception(error))}{error!r}{error}"
            assert SECRET not in written, fault.__name__
            errors += [e for e in (error.__cause__, error.__context__) if e is not None]
    assert all(SECRET not in span.to_json() for span in seen.spans())


async def test_a_log_line_with_the_traceback_has_none_either(
    seen: Any, telemetry: CapturedTelemetry
) -> None:
    """Also where a service wraps SQLAlchemy's error in its own and logs the chain."""
    from glam_sdk.telemetry.logs import get_logger

    log = get_logger("shop")
    try:
        async with seen.db.unit_of_work() as uow:
            try:
                await unique(uow)
            except exc.IntegrityError as error:
                log.exception("signup.inner")
                raise KeyError("mine") from error
    except KeyError:
        log.exception("signup.outer")
    lines = str(telemetry.logs)
    assert "signup.outer" in lines
    assert "IntegrityError" in lines
    assert SECRET not in lines


async def test_the_error_behind_ours_is_within_reach(seen: Any) -> None:
    """SQLAlchemy's own, for code that needs it; tracebacks leave it out."""
    with pytest.raises(ConflictError) as caught:
        async with seen.db.unit_of_work() as uow:
            await unique(uow)
    assert caught.value.__suppress_context__
    behind = caught.value.__context__
    assert isinstance(behind, exc.IntegrityError)
    assert caught.value.details["columns"] == ["email"]


async def test_what_a_check_refuses_names_the_check(seen: Any) -> None:
    """The constraint's name is what the caller can look up."""
    with pytest.raises(ValidationError, match="age_positive") as caught:
        async with seen.db.unit_of_work() as uow:
            await check(uow)
    assert caught.value.details["constraint"] == "age_positive"


async def test_what_a_trigger_refuses_says_so_on_both_databases(seen: Any, url: str) -> None:
    """It is neither the connection's fault nor worth another try, and its text is not repeated."""
    is_sqlite = url.startswith("sqlite")
    function = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'no {SECRET}'; END $$"
    )
    trigger = (
        f"BEGIN SELECT RAISE(ABORT, 'no {SECRET}'); END"
        if is_sqlite
        else "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    create = [f"CREATE TRIGGER refuse BEFORE INSERT ON people {trigger}"]
    create[:0] = [] if is_sqlite else [function]
    db: Database = seen.db
    async with db.unit_of_work() as uow:
        for statement in create:
            await uow.session.execute(text(statement))
    with pytest.raises(DatabaseError, match="INSERT people was refused by a trigger") as caught:
        async with db.unit_of_work() as uow:
            await uow.repository(Person).save(Person(email="b"))
    assert caught.value.retryable is False
    assert SECRET not in "".join(traceback.format_exception(caught.value.__context__))
    if not is_sqlite:
        with pytest.raises(DatabaseError, match="A statement was refused by a trigger"):
            async with db.unit_of_work() as uow:
                await uow.session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'no'; END $$"))
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("DROP FUNCTION refuse CASCADE"))
    failed = [s for s in seen.spans() if s.status.status_code is StatusCode.ERROR]
    assert failed
    assert all(SECRET not in span.to_json() for span in failed)


async def test_a_row_somebody_holds_is_worth_another_try(postgres: Any, open_database: Any) -> None:
    """``NOWAIT`` and a lock timeout say so at once, by the same code."""
    db: Database = (await open_database(postgres.url, Model.metadata)).db
    async with db.unit_of_work() as uow:
        await uow.repository(Person).save(Person(email="a"))
    locking = text("SELECT * FROM people FOR UPDATE NOWAIT")
    waiting = [text("SET LOCAL lock_timeout = '20ms'"), text("UPDATE people SET age = 2")]
    async with db.unit_of_work() as holder:
        await holder.session.execute(locking)
        for statements in ([locking], waiting):
            with pytest.raises(DatabaseError) as caught:
                await run(db, statements)
            assert (caught.value.error_code, caught.value.retryable) == ("55P03", True)


async def run(db: Database, statements: list[Any]) -> None:
    async with db.unit_of_work() as uow:
        for statement in statements:
            await uow.session.execute(statement)


async def test_a_constraint_that_waits_for_the_commit_is_mapped_there(
    postgres: Any, open_database: Any
) -> None:
    """A deferred foreign key fails in COMMIT, where there is no statement to name."""
    db: Database = (await open_database(postgres.url)).db
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("CREATE TABLE a (id int PRIMARY KEY)"))
        await uow.session.execute(
            text("CREATE TABLE b (a_id int REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)")
        )
    try:
        with pytest.raises(ConflictError, match="A row of b refers") as caught:
            async with db.unit_of_work() as uow:
                await uow.session.execute(text("INSERT INTO b VALUES (1)"))
        assert caught.value.details["columns"] == ["a_id"]
    finally:
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("DROP TABLE b, a"))


async def test_errors_of_several_tasks_show_no_values_either(seen: Any) -> None:
    """A group is not translated, and what is in it is clean all the same."""

    async def fail() -> None:
        async with seen.db.unit_of_work() as uow:
            try:
                await unique(uow)
            except exc.IntegrityError as error:
                raise ExceptionGroup("several", [error]) from None

    with pytest.raises(BaseExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    assert SECRET not in "".join(traceback.format_exception(caught.value))
