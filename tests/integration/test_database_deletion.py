"""Prove that no way through a session loses a row of a model that keeps its deleted ones."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, Index, MetaData, delete, func, select, text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from glam_sdk.database import (
    INCLUDE_DELETED,
    Database,
    Repository,
    SoftDeleteMixin,
    TimestampedMixin,
    UnitOfWork,
    UuidKeyMixin,
    VersionedMixin,
)
from glam_sdk.errors import ConflictError, NotFoundError


class Model(DeclarativeBase):
    metadata = MetaData()


class Order(UuidKeyMixin, TimestampedMixin, SoftDeleteMixin, VersionedMixin, Model):
    __tablename__ = "orders"
    __table_args__ = (
        # A code may be taken again once its order is deleted.
        Index(
            "uq_orders_code_live", "code", unique=True,
            postgresql_where=text("NOT is_deleted"), sqlite_where=text("NOT is_deleted"),
        ),
    )  # fmt: skip

    code: Mapped[str]
    lines: Mapped[list[Line]] = relationship(
        back_populates="order", cascade="all, delete-orphan", order_by="Line.text"
    )
    notes: Mapped[list[Note]] = relationship(cascade="all, delete-orphan")


class Line(UuidKeyMixin, SoftDeleteMixin, VersionedMixin, Model):
    __tablename__ = "lines"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))
    text: Mapped[str]
    order: Mapped[Order] = relationship(back_populates="lines")


class Note(UuidKeyMixin, Model):
    """A child that keeps nothing."""

    __tablename__ = "notes"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))


class Box(UuidKeyMixin, Model):
    """A parent that keeps nothing, with children that do."""

    __tablename__ = "boxes"

    things: Mapped[list[Thing]] = relationship(cascade="all, delete-orphan")


class Thing(UuidKeyMixin, SoftDeleteMixin, Model):
    __tablename__ = "things"

    box_id: Mapped[UUID] = mapped_column(ForeignKey("boxes.id"))


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    database: Database = (await open_database(url, Model.metadata)).db
    return database


async def an_order(db: Database, code: str = "a") -> UUID:
    async with db.unit_of_work() as uow:
        lines = [Line(text=text) for text in "xyz"]
        order = Order(code=code, lines=lines, notes=[Note()])
        return (await uow.repository(Order).save(order)).id


async def kept(db: Database, model: type[Any]) -> list[tuple[bool, bool]]:
    """Return for each row, deleted or not, whether it is marked and has its moment."""
    async with db.unit_of_work(read_only=True) as uow:
        everything = uow.repository(model).with_options(include_deleted=True)
        return [(e.is_deleted, e.deleted_at is not None) for e in await everything.find_all()]


LIVE, MARKED = (False, False), (True, True)


async def by_session(uow: UnitOfWork, order: Order) -> None:
    await uow.session.delete(order)


async def by_session_with_others(uow: UnitOfWork, order: Order) -> None:
    await uow.session.delete_all([order])


async def by_repository(uow: UnitOfWork, order: Order) -> None:
    await uow.repository(Order).delete(order)


async def by_key(uow: UnitOfWork, order: Order) -> None:
    assert await uow.repository(Order).delete_by_id(order.id)


@pytest.mark.parametrize("way", [by_session, by_session_with_others, by_repository, by_key])
async def test_deleting_an_entity_marks_it_and_what_belongs_to_it(db: Database, way: Any) -> None:
    """All with the same moment; a child that can't be marked stays, for its parent stays."""
    order_id = await an_order(db)
    async with db.unit_of_work() as uow:
        await way(uow, await uow.repository(Order).get(order_id))
    assert (await kept(db, Order), await kept(db, Line)) == ([MARKED], [MARKED] * 3)
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(Order).find_by_id(order_id) is None
        assert await uow.repository(Line).count() == 0
        assert await uow.repository(Note).count() == 1
        moments = select(func.count(func.distinct(Line.deleted_at)))
        options = {INCLUDE_DELETED: True}
        assert await uow.session.scalar(moments, execution_options=options) == 1
        everything = uow.repository(Order).with_options(include_deleted=True)
        assert (await everything.get(order_id)).version == 2


async def test_a_detached_or_new_entity_is_treated_as_by_sqlalchemy(db: Database) -> None:
    """One from elsewhere is attached; one never written can't be deleted."""
    order_id = await an_order(db)
    async with db.unit_of_work(read_only=True) as uow:
        detached = await uow.repository(Line).find_one(text="x")
        assert detached is not None
    async with db.unit_of_work() as uow:
        await uow.session.delete(detached)
        with pytest.raises(InvalidRequestError, match="not persisted"):
            await uow.session.delete(Line(text="new", order_id=order_id))
    assert sorted(await kept(db, Line)) == [LIVE, LIVE, MARKED]


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "written through the child"])
async def test_a_child_its_parent_let_go_of_is_marked(db: Database, *, loaded: bool) -> None:
    """``delete-orphan`` marks too, and the child still says whose it was."""
    order_id = await an_order(db)
    async with db.unit_of_work() as uow:
        orders = uow.repository(Order).with_options(selectinload(Order.lines))
        order = await orders.get(order_id)
        gone = order.lines[1]
        if loaded:
            order.lines.remove(gone)
        else:
            gone.order = None  # type: ignore[assignment]
        await uow.session.flush()
        assert (gone.is_deleted, gone.order_id, gone.order) == (True, order_id, order)
        assert [line.text for line in order.lines] == ["x", "z"]
        order.lines = []
    assert await kept(db, Line) == [MARKED] * 3
    async with db.unit_of_work(read_only=True) as uow:
        everything = uow.repository(Line).with_options(include_deleted=True)
        assert await everything.count(order_id=order_id) == 3


async def test_a_child_that_moves_to_another_parent_is_no_orphan(db: Database) -> None:
    """Taken out here and put in there, it is as alive as before."""
    first, second = await an_order(db, "a"), await an_order(db, "b")
    async with db.unit_of_work() as uow:
        orders = uow.repository(Order).with_options(selectinload(Order.lines))
        one, two = await orders.get(first), await orders.get(second)
        two.lines.append(one.lines.pop())
    assert await kept(db, Line) == [LIVE] * 6
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(Line).count(order_id=second) == 4


async def test_a_delete_statement_marks_the_rows_it_names(db: Database) -> None:
    """Written by hand it does what the repository does, and says how many rows it were."""
    await an_order(db)
    async with db.unit_of_work() as uow:
        held = await uow.repository(Line).find_one(text="y")
        result = await uow.session.execute(delete(Line).where(Line.text != "x"))
        assert result.rowcount == 2  # type: ignore[attr-defined]
        assert held is not None
        await uow.session.refresh(held)
        assert (held.is_deleted, held.version) == (True, 2)
        again = await uow.session.execute(delete(Line).where(Line.text == "y"))
        assert again.rowcount == 0  # type: ignore[attr-defined]
        returned = await uow.session.scalars(delete(Line).returning(Line.text))
        assert returned.all() == ["x"]
    assert await kept(db, Line) == [MARKED] * 3
    async with db.unit_of_work() as uow:
        for_good = delete(Line).where(Line.text == "x")
        await uow.session.execute(for_good, execution_options={INCLUDE_DELETED: True})
        await uow.session.execute(delete(Note))
    assert await kept(db, Line) == [MARKED] * 2


async def test_what_a_change_reads_beside_its_table_is_live(db: Database) -> None:
    """A deleted order is not there for ``UPDATE lines … FROM orders`` either."""
    key = await an_order(db)
    async with db.unit_of_work() as uow:
        await uow.repository(Order).delete_all(id=key)  # follows no cascade: its lines are there
        change = update(Line).where(Line.order_id == Order.id).values(text="changed")
        change = change.execution_options(synchronize_session=False)
        assert (await uow.session.execute(change)).rowcount == 0  # type: ignore[attr-defined]
        everything = {INCLUDE_DELETED: True}
        changed = await uow.session.execute(change, execution_options=everything)
        assert changed.rowcount == 3  # type: ignore[attr-defined]


async def test_a_row_marked_before_keeps_its_moment(db: Database) -> None:
    """Naming deleted rows finds them; deleting them once more changes nothing."""
    key = await an_order(db)
    async with db.unit_of_work() as uow:
        assert await uow.repository(Order).delete_all(id=key) == 1
    async with db.unit_of_work() as uow:
        found = await uow.repository(Order).find_one(is_deleted=True)
        assert found is not None
        before = (found.deleted_at, found.version)
        assert await uow.repository(Order).delete_all(is_deleted=True) == 0
        await uow.session.refresh(found)
        assert (found.deleted_at, found.version) == before


async def test_a_marked_row_in_hand_is_not_found_by_its_key(db: Database) -> None:
    """Neither by ``get``, which would not ask the database, nor by the repository."""
    await an_order(db)
    async with db.unit_of_work() as uow:
        line = await uow.repository(Line).find_one(text="x")
        assert line is not None
        await uow.session.delete(line)
        for _ in range(2):
            assert await uow.session.get(Line, line.id) is None
            with pytest.raises(NotFoundError):
                await uow.repository(Line).get(line.id)
            options = {INCLUDE_DELETED: True}
            assert await uow.session.get(Line, line.id, execution_options=options) is line
            await uow.session.flush()
        assert (await uow.repository(Line).restore(line.id)) is line
        assert await uow.session.get(Line, line.id) is line


async def test_the_way_round_deletes_for_good_with_everything_below(db: Database) -> None:
    """A repository that includes deleted rows removes them, marked or not."""
    order_id = await an_order(db)
    async with db.unit_of_work() as uow:
        await uow.repository(Line).delete_all(text="x")
        everything = uow.repository(Line).with_options(include_deleted=True)
        marked = await everything.find_one(text="x")
        assert marked is not None
        await everything.delete(marked)
    assert await kept(db, Line) == [LIVE] * 2
    async with db.unit_of_work() as uow:
        orders = uow.repository(Order).with_options(include_deleted=True)
        assert await orders.delete_by_id(order_id)
    assert (await kept(db, Order), await kept(db, Line)) == ([], [])
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(Note).count() == 0


async def test_children_of_a_parent_that_really_goes_are_not_lost_in_silence(db: Database) -> None:
    """They can't be marked, for their parent's row is gone; the error names the way round."""
    async with db.unit_of_work() as uow:
        box = await uow.repository(Box).save(Box(things=[Thing()]))
    with pytest.raises(RuntimeError, match=r"A Thing would be deleted for good.*include_deleted"):
        async with db.unit_of_work() as uow:
            await uow.session.delete(await uow.repository(Box).get(box.id))
    assert await kept(db, Thing) == [LIVE]
    async with db.unit_of_work() as uow:
        boxes = uow.repository(Box).with_options(include_deleted=True)
        await boxes.delete_by_id(box.id)
    assert await kept(db, Thing) == []


async def test_a_partial_unique_index_lets_a_deleted_rows_value_be_taken_again(
    db: Database,
) -> None:
    """Of the live rows one only; bringing the old one back is then a conflict."""
    order_id = await an_order(db, "a")
    with pytest.raises(ConflictError):
        await an_order(db, "a")
    async with db.unit_of_work() as uow:
        await uow.repository(Order).delete_by_id(order_id)
    await an_order(db, "a")
    with pytest.raises(ConflictError):
        async with db.unit_of_work() as uow:
            await uow.repository(Order).restore(order_id)


async def test_an_upsert_finds_the_live_row_by_a_partial_index(db: Database) -> None:
    """The deleted one with the same value is history and stays so."""
    old = await an_order(db, "a")
    async with db.unit_of_work() as uow:
        orders = uow.repository(Order)
        await orders.delete_by_id(old)
        (new,) = await orders.upsert([{"code": "a"}], on=["code"])
        (same,) = await orders.upsert([{"code": "a"}], on=["code"])
        assert await orders.upsert([{"code": "a"}], on=["code"], update=()) == []
        assert (new.id != old, same is new, same.version) == (True, True, 2)
    assert sorted(await kept(db, Order)) == [LIVE, MARKED]


async def test_a_session_of_somebody_else_deletes_as_it_always_did(db: Database) -> None:
    """The rules are those of our sessions; a repository on another one still marks."""
    await an_order(db)
    async with AsyncSession(db.engine) as session:
        lines = Repository(session, Line)
        first = (await lines.find_all(text="x"))[0]
        await lines.delete(first)
        second = (await lines.find_all(text="y"))[0]
        await session.delete(second)
        await session.commit()
    assert sorted(await kept(db, Line)) == [LIVE, MARKED]
