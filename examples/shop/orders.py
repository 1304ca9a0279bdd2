"""Stores orders and tells the others: a row and its event in one transaction."""

from decimal import Decimal
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Numeric
from sqlalchemy.orm import Mapped, mapped_column

import glam_sdk
from examples.shop.events import STREAMS, CustomerNotified, OrderPlaced
from glam_sdk.api import (
    ApiResponse,
    PaginationDep,
    UnitOfWorkDep,
    paginated_response,
    success_response,
)
from glam_sdk.database import Base, TimestampedMixin, UnitOfWork
from glam_sdk.errors import ConflictError
from glam_sdk.messaging import handles

SOLD_OUT = {"unicorn"}


class Order(TimestampedMixin, Base):
    """One customer's order."""

    __tablename__ = "orders"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=glam_sdk.uuid7)
    customer: Mapped[str]
    product: Mapped[str]
    quantity: Mapped[int]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    notified: Mapped[bool] = mapped_column(default=False)


class NewOrder(BaseModel):
    """What the storefront asks for."""

    customer: str
    product: str
    quantity: int
    price: Decimal


class OrderOut(BaseModel):
    """What others may see of an order."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    customer: str
    product: str
    total: Decimal
    notified: bool


service = glam_sdk.init("orders", version="1.0.0")
app = service.install(FastAPI(title="Orders"))
log = glam_sdk.get_logger(__name__)


@app.post("/orders", status_code=201)
async def place(body: NewOrder, uow: UnitOfWorkDep) -> ApiResponse[OrderOut]:
    """Store an order; its event leaves with the same commit."""
    if body.product in SOLD_OUT:
        raise ConflictError(f"Product {body.product!r} is sold out.", current_state="sold_out")
    total = body.price * body.quantity
    order = await uow.repository(Order).save(
        Order(customer=body.customer, product=body.product, quantity=body.quantity, total=total)
    )
    uow.emit(OrderPlaced(order_id=order.id, customer=order.customer, total=total))
    log.info("order.placed", order_id=order.id, total=total)
    return success_response(OrderOut.model_validate(order))


@app.get("/orders")
async def recent(
    page: PaginationDep, uow: UnitOfWorkDep, request: Request
) -> ApiResponse[list[OrderOut]]:
    """List orders page by page."""
    repository = uow.repository(Order)
    orders = await repository.find_all(limit=page.limit, offset=page.offset)
    return paginated_response(
        [OrderOut.model_validate(order) for order in orders],
        request=request,
        page=page.page,
        limit=page.limit,
        total=await repository.count(),
    )


@handles(CustomerNotified, durable="orders")
async def mark_notified(event: CustomerNotified, uow: UnitOfWork) -> None:
    """Remember that the customer knows."""
    order = await uow.repository(Order).get(event.order_id)
    order.notified = True
    log.info("order.notified", order_id=event.order_id)


service.use_database(Base.metadata)
service.use_messaging(handlers=[mark_notified], streams=STREAMS)
