"""What the metrics say of messages is what became of them, counted on a real server."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from glam_sdk.events import Event, encode
from glam_sdk.messaging import (
    DeadLetterBox,
    MessageTooLargeError,
    MessagingTelemetry,
    Permanent,
    Publisher,
    handles,
)
from tests.integration.messaging.conftest import answered


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


class OrderShipped(Event, subject="evt.orders.shipped"):
    number: int


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def telemetry(reader):
    """Measure into the reader alone."""
    provider = MeterProvider([reader])
    yield MessagingTelemetry(meter=provider.get_meter("t"))
    provider.shutdown()


def points(reader, name):
    """Return the points of one metric, by subject and by what tells them apart."""
    data = reader.get_metrics_data()
    return {
        (
            point.attributes.get("messaging.destination.name"),
            point.attributes.get("error.type") or point.attributes.get("glam.reason"),
        ): point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


async def test_each_message_sent_is_counted_and_timed(nats, receiving, reader, telemetry):
    """Alone and together, and with its error when it could not be sent."""
    publisher = Publisher(nats, "orders", telemetry=telemetry)

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        del event

    async with receiving(bill):
        await publisher.publish(OrderPlaced(number=1))
        await publisher.publish_many([OrderPlaced(number=n) for n in range(20)])
    with pytest.raises(MessageTooLargeError):
        await publisher.publish(OrderShipped(number=1), headers={"x": "y" * 70_000})
    sent = points(reader, "messaging.client.sent.messages")
    assert {labels[0]: point.value for labels, point in sent.items()} == {
        "evt.orders.placed": 21,
        "evt.orders.shipped": 1,
    }
    assert ("evt.orders.shipped", None) not in sent
    timed = points(reader, "messaging.client.operation.duration")
    assert timed.keys() == sent.keys()
    assert timed["evt.orders.placed", None].count == 2
    assert 0 < timed["evt.orders.placed", None].sum < 60


async def test_dead_letters_are_counted_by_reason(nats, receiving, until, gone, reader, telemetry):
    """One that its handler refuses, and one whose subject nobody here handles."""

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        raise Permanent("The account is closed.")

    publisher, js = Publisher(nats, "orders"), nats.jetstream
    async with receiving(bill, telemetry=telemetry):
        # As a newer release does that handles more, while this one still runs.
        config = (await answered(js.consumer_info, "ORDERS", "billing")).config
        config.filter_subject = None
        config.filter_subjects = ["evt.orders.placed", "evt.orders.shipped"]
        await js.add_consumer("ORDERS", config)
        await publisher.publish(OrderPlaced(number=1))
        shipped = await publisher.publish(OrderShipped(number=2))
        counted = {("evt.orders.placed", "permanent"), ("_OTHER", "unhandled")}
        await until(lambda: counted <= points(reader, "glam.messaging.dead_letters").keys())
        await gone()
    found = points(reader, "glam.messaging.dead_letters")
    assert {labels: point.value for labels, point in found.items()} == dict.fromkeys(counted, 1)
    kept = {each["x-dead-letter-reason"]: each async for each in DeadLetterBox(nats).letters()}
    assert kept.keys() == {"permanent", "unhandled"}
    assert kept["unhandled"].body == encode(shipped)
