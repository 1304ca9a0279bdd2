"""Tells customers about their orders: a consumer with a database of its own."""

from uuid import UUID

from fastapi import FastAPI
from sqlalchemy.orm import Mapped, mapped_column

import glam_sdk
from examples.shop.events import STREAMS, CustomerNotified, OrderPlaced
from glam_sdk.database import Base, TimestampedMixin, UnitOfWork
from glam_sdk.messaging import handles


class Notification(TimestampedMixin, Base):
    """One message to one customer."""

    __tablename__ = "notifications"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=glam_sdk.uuid7)
    order_id: Mapped[UUID] = mapped_column(unique=True)
    text: Mapped[str]


service = glam_sdk.init("notifications", version="1.0.0")
app = service.install(FastAPI(title="Notifications"))
log = glam_sdk.get_logger(__name__)


@handles(OrderPlaced, durable="notifications")
async def notify(event: OrderPlaced, uow: UnitOfWork) -> None:
    """Write to the customer once, and say so in an event."""
    text = f"Thank you, {event.customer}: your order of {event.total} EUR is on its way."
    sent = await uow.repository(Notification).save(Notification(order_id=event.order_id, text=text))
    uow.emit(CustomerNotified(order_id=event.order_id, notification_id=sent.id))
    log.info("notification.sent", order_id=event.order_id)


service.use_database(Base.metadata)
service.use_messaging(handlers=[notify], streams=STREAMS)
