"""Prove that a value a caller got wrong is the same clear error on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from traceback import format_exception
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import MetaData, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import Database, Repository, SoftDeleteMixin, UtcDateTime, UuidKeyMixin
from glam_sdk.errors import NotFoundError, ValidationError


class Model(DeclarativeBase):
    metadata = MetaData()


class Thing(UuidKeyMixin, SoftDeleteMixin, Model):
    __tablename__ = "things"

    owner: Mapped[UUID]
    name: Mapped[str] = mapped_column(String(5))
    rank: Mapped[int] = mapped_column(default=0)
    price: Mapped[Decimal | None]
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class Place(Model):
    __tablename__ = "places"

    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seat: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    database: Database = (await open_database(url, Model.metadata)).db
    return database


async def one_thing(db: Database) -> Thing:
    async with db.unit_of_work() as uow:
        return await uow.repository(Thing).save(Thing(owner=uuid4(), name="a", rank=3))


CALLS = {
    "find_by_id": lambda r, bad: r.find_by_id(bad),
    "get": lambda r, bad: r.get(bad),
    "delete_by_id": lambda r, bad: r.delete_by_id(bad),
    "restore": lambda r, bad: r.restore(bad),
    "find_one": lambda r, bad: r.find_one(id=bad),
    "find_all": lambda r, bad: r.find_all(id=bad),
    "exists": lambda r, bad: r.exists(id=bad),
    "count": lambda r, bad: r.count(id=bad),
    "page": lambda r, bad: r.page(id=bad),
    "page_after": lambda r, bad: r.page_after(None, id=bad),
    "update_all": lambda r, bad: r.update_all({"rank": 1}, id=bad),
    "delete_all": lambda r, bad: r.delete_all(id=bad),
    "stream": lambda r, bad: anext(r.stream(id=bad)),
}


async def test_what_is_no_uuid_is_a_validation_error_everywhere(db: Database) -> None:
    """The path parameter of a request goes straight in; the answer is 422 and names the field."""
    for name, call in CALLS.items():
        async with db.unit_of_work() as uow:
            with pytest.raises(ValidationError, match=r"Thing\.id must be a UUID") as caught:
                await call(uow.repository(Thing), "not-a-uuid")
            assert caught.value.details == {"field": "id", "value": "not-a-uuid"}, name
            assert await uow.repository(Thing).count() == 0  # the transaction is still usable


async def test_a_uuid_may_be_given_as_text(db: Database) -> None:
    """Whatever form the standard library reads, on both databases."""
    thing = await one_thing(db)
    for text in (str(thing.id), thing.id.hex, f"{{{thing.id}}}".upper()):
        async with db.unit_of_work() as uow:
            things = uow.repository(Thing)
            assert (await things.get(text)).id == thing.id
            assert await things.exists(id=text, owner=str(thing.owner))
            with pytest.raises(NotFoundError):
                await things.get(str(uuid4()))
    async with db.unit_of_work() as uow:
        assert await uow.repository(Thing).delete_by_id(str(thing.id))


WRONG: list[tuple[dict[str, object], str]] = [
    ({"rank": "many"}, r"Thing\.rank must be an integer"),
    ({"rank": 2**31}, r"Thing\.rank must be between"),
    ({"name": 5}, r"Thing\.name must be a string"),
    ({"price": "cheap"}, r"Thing\.price must be a decimal"),
    ({"seen_at": "yesterday"}, r"Thing\.seen_at must be a datetime"),
    ({"owner": [uuid4()]}, r"Thing\.owner must be a UUID"),
]


async def test_a_filter_s_value_has_to_fit_its_column(db: Database) -> None:
    """One database would convert in silence where the other fails."""
    async with db.unit_of_work(read_only=True) as uow:
        for filters, message in WRONG:
            with pytest.raises(ValidationError, match=message) as caught:
                await uow.repository(Thing).find_all(**filters)
            assert caught.value.details["field"] == next(iter(filters))


async def test_values_that_fit_and_expressions_are_left_alone(db: Database) -> None:
    """NULL, a number written as text, and what the database works out itself."""
    await one_thing(db)
    async with db.unit_of_work(read_only=True) as uow:
        things = uow.repository(Thing)
        assert await things.count(rank="3") == 1
        assert await things.count(rank=3, price=None, seen_at=None) == 1
        assert await things.count(name=func.lower("A")) == 1
        assert await things.count(rank=Thing.rank) == 1
        assert await things.count(price=5, seen_at=datetime.now(UTC)) == 0


async def test_keys_of_several_columns_are_checked_each(db: Database) -> None:
    """The column that is wrong is the one that is named."""
    async with db.unit_of_work() as uow:
        places = uow.repository(Place)
        await places.save(Place(row=1, seat="a"))
        assert (await places.get((1, "a"))).seat == "a"
        assert (await places.get({"row": "1", "seat": "a"})).seat == "a"
        with pytest.raises(ValidationError, match=r"Place\.row must be an integer"):
            await places.find_by_id(("x", "a"))
        with pytest.raises(ValidationError, match=r"Thing\.id must be a UUID, not None"):
            await uow.repository(Thing).find_by_id(None)


PAGES = [
    ("page", lambda r, n: r.page(page=n)),
    ("limit", lambda r, n: r.page(limit=n)),
    ("limit", lambda r, n: r.page_after(None, limit=n)),
    ("chunk_size", lambda r, n: anext(r.stream(chunk_size=n))),
]


async def test_a_page_begins_at_one(db: Database) -> None:
    """Neither a division by zero nor a broken transaction."""
    async with db.unit_of_work(read_only=True) as uow:
        for number in (0, -1, -(2**70)):
            for field, call in PAGES:
                with pytest.raises(ValidationError, match=f"{field} must be at least 1") as caught:
                    await call(uow.repository(Thing), number)
                assert caught.value.details == {"field": field, "value": str(number)}
        assert await uow.repository(Thing).count() == 0


async def test_a_list_takes_no_negative_bounds(db: Database) -> None:
    """Zero entities are a list; fewer are none."""
    await one_thing(db)
    async with db.unit_of_work(read_only=True) as uow:
        things: Repository[Thing] = uow.repository(Thing)
        assert await things.find_all(limit=0) == []
        with pytest.raises(ValidationError, match="limit must be at least 0"):
            await things.find_all(limit=-1)
        with pytest.raises(ValidationError, match="offset must be at least 0"):
            await things.find_all(offset=-1)
        far = await things.page(page=2**62, limit=1000)
        assert (list(far.items), far.total) == ([], 1)


async def test_an_expression_with_a_wrong_value_is_a_validation_error(db: Database) -> None:
    """Where only the driver can tell, its answer is mapped, without the value in it."""
    wrong = (Thing.id == "not-a-uuid", Thing.id.in_(["not-a-uuid"]), Thing.rank == 2**70)
    for condition in wrong:
        with pytest.raises(ValidationError) as caught:
            async with db.unit_of_work(read_only=True) as uow:
                await uow.repository(Thing).find_all(condition)
        assert "not-a-uuid" not in f"{caught.value} {caught.value.details}"


async def test_a_value_too_long_is_the_value_s_fault(postgres: Any, open_database: Any) -> None:
    """A 422, not a failing database; SQLite knows no lengths."""
    db = (await open_database(postgres.url, Model.metadata)).db
    with pytest.raises(ValidationError) as caught:
        async with db.unit_of_work() as uow:
            await uow.repository(Thing).save(Thing(owner=uuid4(), name="far too long"))
    assert caught.value.details["error_code"] == "22001"
    with pytest.raises(ValidationError) as caught:
        async with db.unit_of_work() as uow:
            await uow.repository(Thing).save(Thing(owner=uuid4(), name="\0"))
    assert caught.value.details["error_code"] == "22021"


async def test_a_value_of_another_type_is_not_repeated(db: Database) -> None:
    """Whoever notices it, SQLAlchemy's type or the driver, the answer is the same."""
    wrong: dict[str, Any] = {
        "owner": "secret", "price": "secret", "seen_at": "secret", "is_deleted": "secret",
        "name": {"a": "secret"},
    }  # fmt: skip
    for field, value in wrong.items():
        given: dict[str, Any] = {"owner": uuid4(), "name": "a", field: value}
        with pytest.raises(ValidationError) as caught:
            async with db.unit_of_work() as uow:
                await uow.repository(Thing).save(Thing(**given))
        assert "secret" not in "".join(format_exception(caught.value)), field


async def test_a_row_given_twice_to_an_upsert_is_refused(db: Database) -> None:
    """One database would write it twice, the other fail."""
    rows = [{"row": 1, "seat": "a"}, {"row": 2, "seat": "a"}, {"row": 1, "seat": "a"}]
    async with db.unit_of_work() as uow:
        places = uow.repository(Place)
        with pytest.raises(ValueError, match="Rows 0 and 2 have the same row, seat"):
            await places.upsert(rows, on=["row", "seat"])
        assert len(await places.upsert(rows[:2], on=["row", "seat"])) == 2
