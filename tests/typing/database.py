"""Pin what type checkers know about repositories and mappers: nothing is to be found here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column

from glam_sdk.database import (
    Base,
    Database,
    KeysetPage,
    Page,
    Repository,
    UnitOfWork,
    retry_transaction,
)
from glam_sdk.mappers import CRUDMapper


class TypedOrder(Base):
    """Be a model."""

    __tablename__ = "typed_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class TypedOrderOut(BaseModel):
    """Be a response."""

    id: int


async def repositories(uow: UnitOfWork) -> None:
    """Every method knows the model."""
    orders = uow.repository(TypedOrder)
    assert_type(orders, Repository[TypedOrder])
    assert_type(await orders.get(1), TypedOrder)
    assert_type(await orders.find_by_id(1, lock=True), TypedOrder | None)
    found = await orders.find_all(TypedOrder.total > 1, limit=3, order_by="-total", id=1)
    assert_type(found, Sequence[TypedOrder])
    assert_type(await orders.page(page=1), Page[TypedOrder])
    assert_type(await orders.page_after(None), KeysetPage[TypedOrder])
    assert_type(await orders.upsert([{"id": 1}], on=["id"]), list[TypedOrder])
    assert_type(orders.with_options(include_deleted=True), Repository[TypedOrder])
    async for chunk in orders.stream():
        assert_type(chunk, Sequence[TypedOrder])
    await orders.save("no entity")  # type: ignore[arg-type]
    await orders.find_all(limit="three")  # type: ignore[arg-type]


async def retried(db: Database) -> None:
    """The result is that of the work."""

    async def count(uow: UnitOfWork) -> int:
        return await uow.repository(TypedOrder).count()

    assert_type(await retry_transaction(db, count), int)


def mapped(order: TypedOrder) -> None:
    """A mapper knows both sides."""
    mapper = CRUDMapper(TypedOrder, TypedOrderOut)
    assert_type(mapper.to_out(order), TypedOrderOut)
    assert_type(mapper.list_to_out([order]), list[TypedOrderOut])
    assert_type(mapper.to_model(TypedOrderOut(id=1)), TypedOrder)
