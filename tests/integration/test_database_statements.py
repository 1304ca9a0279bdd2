"""Prove how many statements each operation sends, and that nothing needs another one to be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, MetaData, delete, event, func
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.orm.exc import DetachedInstanceError

from glam_sdk.database import (
    Database,
    MerchantMixin,
    SoftDeleteMixin,
    TimestampedMixin,
    UuidKeyMixin,
    VersionedMixin,
)


class Model(DeclarativeBase):
    metadata = MetaData()


class Item(UuidKeyMixin, TimestampedMixin, SoftDeleteMixin, VersionedMixin, MerchantMixin, Model):
    """Everything a model can have of ours."""

    __tablename__ = "items"

    sku: Mapped[str] = mapped_column(unique=True)
    stock: Mapped[int] = mapped_column(default=0)
    parts: Mapped[list[Part]] = relationship()


class Part(UuidKeyMixin, Model):
    __tablename__ = "parts"

    item_id: Mapped[UUID] = mapped_column(ForeignKey("items.id"))


US = UUID(int=1)


def row(number: int, **more: object) -> dict[str, object]:
    return {"sku": f"{number:05}", "merchant_domain": "us.example", **more}


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    database: Database = (await open_database(url, Model.metadata)).db
    return database


@contextmanager
def counted(db: Database, expected: int) -> Iterator[None]:
    """Count what goes to the database; a batch is one."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    engine = db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(sent) == expected, "\n".join(sent)


async def test_many_rows_go_in_few_statements(db: Database) -> None:
    """A thousand rows each, whether inserted, written over or saved as entities."""
    async with db.unit_of_work(merchant_id=US) as uow:
        items = uow.repository(Item)
        with counted(db, 3):
            assert await items.insert_many(row(n) for n in range(2500)) == 2500
        uow.session.expunge_all()
        with counted(db, 3):
            written = await items.upsert([row(n, stock=n) for n in range(2500)], on=["sku"])
        assert len(written) == 2500
        assert {item.version for item in written} == {2}
        with counted(db, 0):
            assert await items.upsert([], on=["sku"]) == []
            assert await items.insert_many([]) == 0
        with counted(db, 1):
            made = [Item(**row(n)) for n in range(3000, 3100)]
            await items.save_all(made)


async def test_each_operation_sends_what_it_needs(db: Database) -> None:
    """One statement; two where the row has to be seen first, or the whole list counted."""
    async with db.unit_of_work(merchant_id=US) as uow:
        items = uow.repository(Item)
        await items.insert_many(row(n) for n in range(10))
        key = (await items.find_all(limit=1, order_by="sku"))[0].id
        uow.session.expunge_all()
        with counted(db, 1):
            item = await items.get(key)
        with counted(db, 0):
            assert await items.find_by_id(str(key)) is item
            await items.save(item)
        with counted(db, 1):
            item.stock = 1
            await items.save(item)
        for call in (
            items.exists(sku="00001"), items.count(), items.find_one(stock=1),
            items.find_all(limit=3),
            items.page_after(None, limit=3), items.update_all({"stock": 2}, Item.sku < "00005"),
            items.delete_all(sku="00009"), items.with_options(selectinload(Item.parts)).count(),
        ):  # fmt: skip
            with counted(db, 1):
                await call
        with counted(db, 2):
            await items.page(limit=2)
        uow.session.expunge_all()
        with counted(db, 2):
            await items.delete_by_id(key)
    item.stock = 7
    async with db.unit_of_work(merchant_id=US) as uow:
        other = await uow.repository(Item).find_one(sku="00003")
        assert other is not None
    other.stock = 7
    async with db.unit_of_work(merchant_id=US) as uow:
        with counted(db, 2):
            await uow.repository(Item).update(other)


async def test_what_is_held_can_be_read_after_a_change_of_many_rows(db: Database) -> None:
    """Whatever the statement worked out, no attribute is left to be loaded behind the caller."""
    async with db.unit_of_work(merchant_id=US) as uow:
        items = uow.repository(Item)
        await items.insert_many(row(n) for n in range(3))
        held = await items.find_all(order_by="sku")
        before = held[0].updated_at
        await items.update_all({"stock": Item.stock + 4})
        assert [(item.stock, item.version) for item in held] == [(4, 2)] * 3
        assert all(item.updated_at > before for item in held)
        await items.update_all({"stock": func.abs(Item.stock - 10)}, sku="00001")
        assert [(item.stock, item.version) for item in held] == [(4, 2), (6, 3), (4, 2)]
        await items.delete_all(sku="00002")
        assert [item.is_deleted for item in held] == [False, False, True]
        assert [item.deleted_at is None for item in held] == [True, True, False]
        assert [item.version for item in held] == [2, 3, 3]
        held[0].stock = 9
        assert await items.update_all({"sku": "new"}, stock=9) == 1
        assert (held[0].sku, held[0].stock) == ("new", 9)


async def test_everything_loaded_is_readable_after_the_commit(db: Database) -> None:
    """What was not loaded says which attribute it is; nothing is loaded behind the caller."""
    async with db.unit_of_work(merchant_id=US) as uow:
        item = await uow.repository(Item).save(Item(**row(1), parts=[Part()]))
        changed = await uow.repository(Item).save(item)
        changed.stock = 3
    with counted(db, 0):
        assert (item.stock, item.version, len(item.parts)) == (3, 2, 1)
        assert item.updated_at >= item.created_at
    async with db.unit_of_work(merchant_id=US) as uow:
        bare = await uow.repository(Item).get(item.id)
        whole = await uow.repository(Item).with_options(selectinload(Item.parts)).get(item.id)
        assert bare is whole
    async with db.unit_of_work(merchant_id=US) as uow:
        bare = await uow.repository(Item).get(item.id)
    with pytest.raises(DetachedInstanceError, match=r"lazy load operation of attribute 'parts'"):
        _ = bare.parts


async def test_a_collection_may_be_loaded_in_the_same_statement(db: Database) -> None:
    """A join gives a row for each child; the list still has each entity once."""
    async with db.unit_of_work(merchant_id=US) as uow:
        await uow.repository(Item).save_all(
            Item(**row(n), parts=[Part(), Part(), Part()]) for n in range(4)
        )
        uow.session.expunge_all()
        joined = uow.repository(Item).with_options(joinedload(Item.parts))
        with counted(db, 1):
            found = await joined.find_all(limit=3, order_by="sku")
        assert [len(item.parts) for item in found] == [3, 3, 3]
        assert (await joined.find_one(sku="00003")) is not None
        first = await joined.page_after(None, limit=3, order_by="sku")
        rest = await joined.page_after(first.next_cursor, limit=3, order_by="sku")
        assert [item.sku for item in (*first.items, *rest.items)] == [f"{n:05}" for n in range(4)]
        assert len((await joined.page(limit=2)).items) == 2


async def test_a_delete_statement_of_a_limited_session_marks_its_own_rows_only(
    db: Database,
) -> None:
    """What it became, an UPDATE, is limited like any other."""
    them = UUID(int=2)
    for merchant_id, number in ((US, 1), (them, 2)):
        async with db.unit_of_work(merchant_id=merchant_id) as uow:
            await uow.repository(Item).insert_many([row(number)])
    async with db.unit_of_work(merchant_id=US) as uow:
        done = await uow.session.execute(delete(Item))
        assert done.rowcount == 1  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="read-only"):
        async with db.unit_of_work(read_only=True) as uow:
            await uow.session.execute(delete(Item))
    async with db.unit_of_work(read_only=True) as uow:
        assert [item.merchant_id for item in await uow.repository(Item).find_all()] == [them]
