"""Prove that a unit of work limited to one merchant can't touch another's rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ForeignKey, MetaData, func, insert, select, text, union_all, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    joinedload,
    mapped_column,
    relationship,
)

from glam_sdk.database import (
    ALL_MERCHANTS,
    NAMING_CONVENTION,
    Database,
    MerchantMixin,
    UnitOfWork,
    UuidKeyMixin,
)
from glam_sdk.errors import ConflictError, ForbiddenError, NotFoundError

OURS, THEIRS = uuid4(), uuid4()


class Model(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Order(UuidKeyMixin, MerchantMixin, Model):
    __tablename__ = "orders"

    code: Mapped[str] = mapped_column(unique=True)
    total: Mapped[int] = mapped_column(default=0)
    lines: Mapped[list[Line]] = relationship(back_populates="order")


class Line(UuidKeyMixin, MerchantMixin, Model):
    __tablename__ = "lines"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))
    order: Mapped[Order] = relationship(back_populates="lines")


class Country(UuidKeyMixin, Model):
    __tablename__ = "countries"

    name: Mapped[str]


def order(merchant_id: UUID | None, code: str) -> Order:
    return Order(merchant_id=merchant_id, merchant_domain="shop.example", code=code)


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    database: Database = (await open_database(url, Model.metadata)).db
    async with database.unit_of_work() as uow:
        for merchant_id, code in ((OURS, "ours"), (THEIRS, "theirs")):
            made = await uow.repository(Order).save(order(merchant_id, code))
            for owner in (OURS, THEIRS):  # a foreign line on each, as a bug might have left it
                uow.session.add(
                    Line(order_id=made.id, merchant_id=owner, merchant_domain="shop.example")
                )
    return database


async def their_order(db: Database) -> Order:
    async with db.unit_of_work(read_only=True) as uow:
        found = await uow.repository(Order).find_one(code="theirs")
        assert found is not None
        return found


async def test_another_merchants_rows_are_not_found(db: Database) -> None:
    """By key, in lists, counts, joins, aliases, relationships, streams and raw ORM statements."""
    theirs = await their_order(db)
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        assert uow.merchant_id == OURS
        orders = uow.repository(Order)
        assert await orders.find_by_id(theirs.id) is None
        assert [o.code for o in await orders.find_all()] == ["ours"]
        assert await orders.count() == 1
        assert await orders.exists(code="ours")
        assert not await orders.exists(code="theirs")
        assert not await orders.exists(Order.code == "theirs")
        assert (await orders.page(limit=5)).total == 1
        assert [o.code for o in (await orders.page_after(None)).items] == ["ours"]
        other = aliased(Order)
        for statement in (
            select(func.count()).select_from(Order),
            select(func.count()).select_from(other),
            select(func.count()).select_from(Order).join(Order.lines),
            select(func.count(Line.id)).join(Line.order),
        ):
            assert await uow.session.scalar(statement) == 1
        whole = await orders.with_options(joinedload(Order.lines)).get(
            (await orders.find_all())[0].id
        )
        await uow.session.refresh(whole, ["lines"])
        assert {line.merchant_id for line in whole.lines} == {OURS}
        streamed = [o.code async for chunk in orders.stream() for o in chunk]
        assert streamed == ["ours"]


async def test_new_rows_get_the_merchant_and_no_other(db: Database) -> None:
    """The column is filled in where it was left out."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        orders = uow.repository(Order)
        assert (await orders.save(order(None, "new"))).merchant_id == OURS
        await orders.insert_many([{"code": "bulk", "merchant_domain": "shop.example"}])
        row = {"code": "upserted", "merchant_domain": "shop.example"}
        (upserted,) = await orders.upsert([row], on=["code"])
        assert upserted.merchant_id == OURS
        assert await orders.count(merchant_id=OURS) == 4
    with pytest.raises(ForbiddenError, match="belongs to another merchant"):
        async with db.unit_of_work(merchant_id=OURS) as uow:
            await uow.repository(Order).save(order(THEIRS, "smuggled"))
    with pytest.raises(ForbiddenError):
        async with db.unit_of_work(merchant_id=OURS) as uow:
            await uow.repository(Order).insert_many([{"code": "x", "merchant_id": THEIRS}])


async def change_loaded(uow: UnitOfWork, theirs: Order) -> None:
    theirs.total = 7
    await uow.repository(Order).update(theirs)


async def add_loaded(uow: UnitOfWork, theirs: Order) -> None:
    theirs.total = 7
    await uow.repository(Order).save(theirs)


async def take_over(uow: UnitOfWork, theirs: Order) -> None:
    theirs.merchant_id = OURS
    await uow.repository(Order).save(theirs)


async def upsert(uow: UnitOfWork, theirs: Order) -> None:
    row = {"code": "theirs", "merchant_domain": "shop.example", "total": 7}
    await uow.repository(Order).upsert([row], on=["code"])


async def give_away(uow: UnitOfWork, theirs: Order) -> None:
    (ours,) = await uow.repository(Order).find_all()
    ours.merchant_id = THEIRS
    await uow.repository(Order).save(ours)


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        (change_loaded, NotFoundError),
        (add_loaded, ForbiddenError),
        (take_over, ForbiddenError),
        (upsert, ConflictError),
        (give_away, ForbiddenError),
    ],
)
async def test_another_merchants_rows_cannot_be_changed(
    db: Database,
    attempt: Callable[[UnitOfWork, Order], Awaitable[None]],
    refusal: type[Exception],
) -> None:
    """Whichever way it is tried."""
    theirs = await their_order(db)
    with pytest.raises(refusal):
        async with db.unit_of_work(merchant_id=OURS) as uow:
            await attempt(uow, theirs)
    assert (await their_order(db)).total == 0


async def test_bulk_changes_stay_within_the_merchant(db: Database) -> None:
    """Statements of the session included."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        assert await uow.repository(Order).update_all({"total": 1}) == 1
        await uow.session.execute(update(Order).values(total=2))
        await uow.repository(Line).delete_all()
    assert (await their_order(db)).total == 0
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.repository(Line).count() == 2


@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT code FROM orders"),
        select(Order).from_statement(text("SELECT * FROM orders")),
        select(Order.__table__.c.code),
        Order.__table__.update().values(total=1),
        insert(Order).values(code="x", merchant_id=THEIRS, merchant_domain="x"),
    ],
    ids=["text", "entities from text", "core select", "core update", "insert"],
)
async def test_what_cannot_be_limited_is_refused(db: Database, statement: Any) -> None:
    """The limit is not forgotten by stepping below the ORM; the way round is written down."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        with pytest.raises(RuntimeError, match=ALL_MERCHANTS):
            await uow.session.execute(statement)
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        codes = text("SELECT code FROM orders")
        found = await uow.session.scalars(codes, execution_options={ALL_MERCHANTS: True})
        assert set(found) == {"ours", "theirs"}


async def test_the_limit_cannot_be_changed_or_come_too_late(db: Database) -> None:
    """Setting it again to the same is nothing; to another is an error."""
    async with db.unit_of_work() as uow:
        uow.limit_to_merchant(OURS)
        uow.limit_to_merchant(OURS)
        with pytest.raises(RuntimeError, match="another merchant"):
            uow.limit_to_merchant(THEIRS)
    async with db.unit_of_work() as uow:
        loaded = await uow.repository(Order).find_all()
        assert len(loaded) == 2
        with pytest.raises(RuntimeError, match="before anything is loaded"):
            uow.limit_to_merchant(OURS)


async def test_tables_of_no_merchant_are_free(db: Database) -> None:
    """The limit is about rows that belong to merchants."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        await uow.repository(Country).save(Country(name="Chad"))
        await uow.session.execute(insert(Country).values(name="Peru"))
        assert await uow.session.scalar(select(func.count()).select_from(Country.__table__)) == 2


async def test_no_update_gives_a_row_to_another_merchant(db: Database) -> None:
    """Neither through the repository nor by a statement written by hand."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        with pytest.raises(ForbiddenError):
            await uow.repository(Order).update_all({"merchant_id": THEIRS}, code="ours")
        with pytest.raises(ForbiddenError):
            await uow.session.execute(update(Order).values(merchant_id=THEIRS))
        with pytest.raises(ForbiddenError):
            await uow.session.execute(
                update(Order).where(Order.code == "ours"), {"merchant_id": THEIRS}
            )
        assert await uow.repository(Order).update_all({"total": 3}, code="ours") == 1
        assert await uow.repository(Order).update_all({"merchant_id": OURS}, code="ours") == 1


async def test_what_a_change_reads_beside_its_table_is_limited_too(db: Database) -> None:
    """``UPDATE … FROM`` and ``DELETE … USING``: our lines on their order see no such order."""
    theirs = aliased(Order)
    async with db.unit_of_work(merchant_id=OURS) as uow:
        for order in (Order, theirs, Order.__table__.c):
            code, key = order.code, order.id
            changed = update(Line).where(Line.order_id == key, code == "theirs")
            unsynced = changed.values(merchant_domain=code).execution_options(
                synchronize_session=False
            )
            result = await uow.session.execute(unsynced)
            assert result.rowcount == 0  # type: ignore[attr-defined]
        ours = update(Line).where(Line.order_id == Order.id, Order.code == "ours")
        named = ours.values(merchant_domain=Order.code)
        named = named.execution_options(synchronize_session=False)
        assert (await uow.session.execute(named)).rowcount == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "call", ["bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"]
)
async def test_the_old_bulk_calls_are_refused_where_rows_are_limited(
    db: Database, call: str
) -> None:
    """They write past every event that could check them."""
    async with db.unit_of_work(merchant_id=OURS) as uow:
        given = ([],) if call == "bulk_save_objects" else (Order, [])
        with pytest.raises(ForbiddenError, match=call):
            await uow.session.run_sync(lambda session: getattr(session, call)(*given))


async def test_the_connection_below_the_session_is_refused(db: Database) -> None:
    """Nothing can limit what goes through it; the way round is written down where it is taken."""
    async with db.unit_of_work() as uow:
        await uow.session.connection()  # not limited yet
        uow.limit_to_merchant(OURS)
        with pytest.raises(ForbiddenError, match=ALL_MERCHANTS):
            await uow.session.connection()
        with pytest.raises(ForbiddenError):
            await uow.session.run_sync(lambda session: session.connection())
        connection = await uow.session.connection(execution_options={ALL_MERCHANTS: True})
        assert len((await connection.execute(text("SELECT code FROM orders"))).all()) == 2
        assert await uow.repository(Order).count() == 1
        async with uow.savepoint():
            await uow.repository(Order).save(order(None, "inside"))
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        assert await uow.repository(Order).count() == 2


async def test_a_core_delete_of_a_merchants_table_is_refused(db: Database) -> None:
    """In every form in which a statement is nothing but tables."""
    lines = Line.__table__
    core = (
        lines.delete(),
        lines.insert().values(id=uuid4()),
        select(lines).where(lines.c.merchant_id == OURS),
        select(func.count()).select_from(lines.join(Order.__table__)),
        select(Country.__table__.c.name, select(func.count(lines.c.id)).scalar_subquery()),
    )
    for statement in core:
        async with db.unit_of_work(merchant_id=OURS) as uow:
            with pytest.raises(RuntimeError, match=ALL_MERCHANTS):
                await uow.session.execute(statement)


async def test_a_bare_table_beside_entities_is_refused(db: Database) -> None:
    """It would be the one part of the statement that is not limited."""
    lines = Line.__table__
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        for statement in (
            select(Order).join(lines),
            select(lines.c.merchant_id).select_from(Order),
            select(Order, lines),
            select(Order.code, lines.c.id.label("line")),
            select(Order.code).select_from(Order.__table__.join(lines)),
            select(Country).join(lines, lines.c.id == Country.id),
            union_all(select(Line.merchant_id), select(lines.c.merchant_id)),
            union_all(select(lines.c.merchant_id), select(Line.merchant_id)),
            union_all(select(Line.id), union_all(select(Line.id), select(lines.c.id)).limit(9)),
            union_all(select(Line.id), select(lines.c.id).limit(1)),
        ):
            with pytest.raises(RuntimeError, match=ALL_MERCHANTS):
                await uow.session.execute(statement)


async def test_a_bare_table_inside_a_subquery_is_the_one_gap(db: Database) -> None:
    """What is promised ends there, as the documentation says; entities are limited there too."""
    lines = Line.__table__
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        bare = select(lines.c.merchant_id).subquery()
        mixed = select(bare.c.merchant_id).join(Order, Order.merchant_id != bare.c.merchant_id)
        assert set(await uow.session.scalars(mixed)) == {THEIRS}
        inner = select(Line.merchant_id).subquery()
        orm = select(inner.c.merchant_id).join(Order, Order.merchant_id != inner.c.merchant_id)
        assert set(await uow.session.scalars(orm)) == set()


async def test_a_column_of_an_entitys_table_is_limited_with_the_entity(db: Database) -> None:
    """SQLAlchemy itself writes such statements, to see what a bulk UPDATE is about to change."""
    lines = Line.__table__
    async with db.unit_of_work(merchant_id=OURS) as uow:
        for statement in (
            select(lines.c.merchant_id).select_from(Line),
            select(lines.c.merchant_id).select_from(Order).join(Line),
            select(lines.c.merchant_id).select_from(Order).join(Order.lines),
        ):
            assert set(await uow.session.scalars(statement)) == {OURS}, str(statement)
        assert await uow.repository(Order).update_all({"total": 5}, Order.code.like("%s")) == 1
        assert await uow.repository(Order).delete_all(Order.code.like("th%")) == 0


async def test_entities_in_every_form_are_no_bare_tables(db: Database) -> None:
    """What a service may write is not refused by mistake."""
    other, newest = aliased(Line), aliased(Line, select(Line).limit(9).subquery())
    cte = select(Line.order_id, func.count().label("n")).group_by(Line.order_id).cte()
    async with db.unit_of_work(read_only=True, merchant_id=OURS) as uow:
        for statement in (
            select(Order, other).join(other, other.order_id == Order.id),
            select(Order.code, func.count(Line.id)).join(Order.lines).group_by(Order.code),
            select(Order).join(newest, newest.order_id == Order.id),
            select(Order, cte.c.n).join(cte, cte.c.order_id == Order.id),
            select(Order).where(Order.lines.any(), Order.id.in_(select(Line.order_id))),
            select(Order.id.label("key")).union_all(select(Line.id)),
            select(Country.__table__.c.name, Order.code).join(Order, Order.total == 0),
            select(Order).options(joinedload(Order.lines)).limit(1),
        ):
            (await uow.session.execute(statement)).unique().all()
