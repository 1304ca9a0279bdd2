"""Rules of typed events."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from opentelemetry import context as otel
from pydantic import BaseModel, Field

from glam_sdk import context
from glam_sdk.events import (
    Envelope,
    Event,
    EventRegistry,
    MalformedEventError,
    answer_metadata,
    decode,
    encode,
    envelope_of,
)
from glam_sdk.events.registry import reader_of


class OrderPlaced(Event, subject="evt.orders.placed", version="1.2.0"):
    order_id: UUID
    total: Decimal
    at: datetime


class OrderClosed(Event, subject="evt.orders.closed"):
    order_id: UUID


PLACED = OrderPlaced(order_id=UUID(int=7), total=Decimal("9.90"), at=datetime.now(UTC))


def test_a_typed_event_survives_the_wire():
    """What was sent comes back equal, through bytes."""
    envelope = decode(encode(envelope_of(PLACED, source_service="orders")))
    assert OrderPlaced.from_envelope(envelope) == PLACED


def test_an_envelope_names_its_source_and_version():
    """Metadata, ids and the default idempotency key are filled in."""
    envelope = envelope_of(PLACED, source_service="orders", metadata={"tenant": "m1"})
    assert dict(envelope.metadata) == {
        "source_service": "orders",
        "version": "1.2.0",
        "tenant": "m1",
    }
    assert UUID(envelope.event_id).version == 7
    assert envelope.idempotency_key == envelope.event_id
    assert envelope.correlation_id


def test_the_correlation_id_of_the_work_being_done_is_used():
    """An event raised while handling a request carries the request's correlation id."""
    token = otel.attach(context.with_correlation_id("corr-9"))
    try:
        assert envelope_of(PLACED, source_service="orders").correlation_id == "corr-9"
    finally:
        otel.detach(token)


def test_fields_of_a_newer_producer_are_ignored():
    """An added field does not break a consumer."""
    envelope = Envelope(
        "e", "evt.orders.closed", datetime.now(UTC), {"order_id": str(UUID(int=1)), "new": 1}
    )
    assert OrderClosed.from_envelope(envelope).order_id == UUID(int=1)


def test_a_class_may_read_and_write_its_payload_itself():
    """``model_validate`` and ``model_dump`` are pydantic's doors, and a class may change them."""

    class OrderMoved(Event, subject="evt.orders.moved"):
        place: str
        note: str | None = None

        @classmethod
        def model_validate(cls, obj, **options):
            return super().model_validate({"place": obj.get("to"), **obj}, **options)

        def model_dump(self, **options):
            return super().model_dump(exclude_none=True, **options)

    envelope = envelope_of(OrderMoved(place="home"), source_service="orders")
    assert envelope.payload == {"place": "home"}
    old = Envelope("e", "evt.orders.moved", datetime.now(UTC), {"to": "home"})
    assert OrderMoved.from_envelope(old).place == "home"


def test_a_payload_has_the_names_of_the_wire():
    """Where a field has an alias, that is its name there, written and read."""

    class OrderPaid(Event, subject="evt.orders.paid"):
        order_id: UUID = Field(alias="orderId")

    envelope = envelope_of(OrderPaid(orderId=UUID(int=1)), source_service="orders")
    assert envelope.payload == {"orderId": UUID(int=1)}
    assert OrderPaid.from_envelope(decode(encode(envelope))).order_id == UUID(int=1)


def test_a_class_may_read_its_payload_itself_whatever_its_base_does():
    """A base's hook that says nothing to pydantic's own hides no method of another class."""

    class Silent(Event):
        @classmethod
        def __pydantic_init_subclass__(cls, **options):
            pass

    class OrderSold(Silent, subject="evt.orders.sold"):
        place: str

        @classmethod
        def model_validate(cls, obj, **options):
            return super().model_validate({"place": obj.get("to"), **obj}, **options)

    old = Envelope("e", "evt.orders.sold", datetime.now(UTC), {"to": "home"})
    assert OrderSold.from_envelope(old).place == "home"


def test_a_replaced_model_validate_reads_the_payload(monkeypatch):
    """As a test may replace it, when the class has long been made."""
    envelope = envelope_of(PLACED, source_service="orders")
    other = PLACED.model_copy(update={"total": Decimal(1)})
    monkeypatch.setattr(OrderPlaced, "model_validate", lambda _: other)
    assert OrderPlaced.from_envelope(envelope) is other
    monkeypatch.undo()
    assert OrderPlaced.from_envelope(envelope) == PLACED


def test_a_payload_that_does_not_fit_names_the_fields_and_not_the_values():
    """The error says what is wrong without repeating the data."""
    envelope = Envelope("e", "evt.orders.closed", datetime.now(UTC), {"order_id": "secret-value"})
    with pytest.raises(MalformedEventError, match="order_id") as caught:
        OrderClosed.from_envelope(envelope)
    assert "secret-value" not in str(caught.value)


def test_an_event_is_immutable():
    """A handler cannot change the event another one sees."""
    with pytest.raises(ValueError, match="frozen"):
        PLACED.total = Decimal(0)


def test_an_event_without_subject_cannot_be_published():
    """A base class says how to declare a subject."""

    class Base(OrderClosed):
        pass

    with pytest.raises(ValueError, match="Base has no subject"):
        envelope_of(Base(order_id=UUID(int=1)), source_service="orders")


def test_a_malformed_subject_fails_at_the_class():
    """A typing error in a subject is found when the module is imported."""
    with pytest.raises(ValueError, match="is not a subject"):
        type(Event)("Wrong", (Event,), {"__module__": __name__}, subject="orders.placed")


def test_an_answer_names_what_triggered_it():
    """The answering event's metadata points to the event answered and its source."""
    asked = envelope_of(PLACED, source_service="orders")
    assert answer_metadata(asked) == {"triggered_by": asked.event_id, "original_source": "orders"}


def test_a_registry_finds_classes_by_subject():
    """Each subject has one class; registering it twice changes nothing."""
    registry = EventRegistry([OrderPlaced, OrderClosed, OrderPlaced])
    assert registry.get("evt.orders.placed") is OrderPlaced
    assert registry.get("evt.orders.unknown") is None
    assert list(registry) == [OrderPlaced, OrderClosed]


def test_a_subject_belongs_to_one_class():
    """Two classes for one subject are refused, both named."""

    class Twin(Event, subject="evt.orders.closed"):
        pass

    with pytest.raises(ValueError, match=r"OrderClosed.*Twin"):
        EventRegistry([OrderClosed, Twin])


def test_a_reader_reads_as_the_class_does():
    """What fits, and what does not, with the same words."""
    read = reader_of(OrderClosed)
    good = Envelope("e", "evt.orders.closed", datetime.now(UTC), {"order_id": str(UUID(int=1))})
    assert read(good) == OrderClosed.from_envelope(good)
    bad = Envelope("e", "evt.orders.closed", datetime.now(UTC), {"order_id": "secret-value"})
    with pytest.raises(MalformedEventError) as caught:
        read(bad)
    with pytest.raises(MalformedEventError) as expected:
        OrderClosed.from_envelope(bad)
    assert str(caught.value) == str(expected.value)
    assert type(caught.value.__cause__) is type(expected.value.__cause__)


def test_a_reader_asks_a_class_that_reads_its_payload_itself():
    """By either of the methods that a class may change."""

    class Moved(Event, subject="evt.orders.moved"):
        place: str

    class MovedFrom(Moved):
        @classmethod
        def from_envelope(cls, envelope):
            return cls(place=envelope.payload["from"])

    class MovedTo(Moved):
        @classmethod
        def model_validate(cls, obj, **options):
            return super().model_validate({"place": obj["to"]}, **options)

    sent = Envelope("e", "evt.orders.moved", datetime.now(UTC), {"from": "shop", "to": "home"})
    assert reader_of(MovedFrom)(sent).place == "shop"
    assert reader_of(MovedTo)(sent).place == "home"


def test_a_reader_goes_by_a_model_that_is_rebuilt():
    """Its schema may be made anew while its handler is bound."""

    class Resized(Event, subject="evt.orders.resized"):
        size: int

    sent = Envelope("e", "evt.orders.resized", datetime.now(UTC), {"size": "large"})
    read = reader_of(Resized)
    with pytest.raises(MalformedEventError):
        read(sent)
    Resized.model_fields["size"].annotation = str
    Resized.model_rebuild(force=True)
    assert read(sent).size == "large"


def test_a_reader_can_be_made_before_a_class_is_complete():
    """A field's class may be declared further down in the module."""

    class Shipped(Event, subject="evt.orders.shipped"):
        to: Address

    read = reader_of(Shipped)

    class Address(BaseModel):
        city: str

    Shipped.model_rebuild()
    sent = Envelope("e", "evt.orders.shipped", datetime.now(UTC), {"to": {"city": "Oslo"}})
    assert read(sent).to.city == "Oslo"
