"""What the shop's services tell each other."""

from decimal import Decimal
from uuid import UUID

from glam_sdk.events import Event, StreamSpec


class OrderPlaced(Event, subject="evt.orders.placed"):
    """A customer's order was stored."""

    order_id: UUID
    customer: str
    total: Decimal


class CustomerNotified(Event, subject="evt.notifications.sent"):
    """A customer was told about an order."""

    order_id: UUID
    notification_id: UUID


STREAMS = (StreamSpec("ORDERS"), StreamSpec("NOTIFICATIONS"))
"""Where they are kept; whoever of the two services starts first makes both."""
