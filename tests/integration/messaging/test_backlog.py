"""What is waiting is visible: backlog and its age, as the server sees it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from glam_sdk.events import Event
from glam_sdk.messaging import Delivery, MessagingTelemetry, Publisher, Retry, handles


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


def gauges(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: metric.data.data_points[0].value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name.startswith("glam.messaging.")
    }


async def test_what_was_delivered_again_and_is_not_settled_is_a_gauge(nats, receiving, until):
    """As a message is whose first attempt failed, until another one succeeds."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    gate = asyncio.Event()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise Retry(timedelta(milliseconds=10))
        await gate.wait()

    telemetry = MessagingTelemetry(meter=provider.get_meter("t"))
    async with receiving(bill, telemetry=telemetry):
        await Publisher(nats, "orders").publish(OrderPlaced(number=1))
        await until(lambda: gauges(reader).get("glam.messaging.consumer.redelivered") == 1)
        gate.set()
        await until(lambda: gauges(reader)["glam.messaging.consumer.redelivered"] == 0)
    provider.shutdown()


async def test_lag_age_and_work_in_flight_are_gauges(nats, receiving, until):
    """While a handler is slow, they say how much waits behind it and for how long."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    gate = asyncio.Event()

    @handles(OrderPlaced, durable="billing", concurrency=1)
    async def bill(event: OrderPlaced) -> None:
        await gate.wait()

    telemetry = MessagingTelemetry(meter=provider.get_meter("t"))
    async with receiving(bill, telemetry=telemetry):
        await Publisher(nats, "orders").publish_many([OrderPlaced(number=n) for n in range(5)])
        waiting = {
            "glam.messaging.consumer.lag": 4,
            "glam.messaging.consumer.unsettled": 1,
            "glam.messaging.in_flight": 1,
        }
        await until(lambda: waiting.items() <= gauges(reader).items())
        assert 0 < gauges(reader)["glam.messaging.consumer.oldest.age"] < 60
        gate.set()
        await until(lambda: gauges(reader)["glam.messaging.consumer.lag"] == 0)
        await until(lambda: gauges(reader)["glam.messaging.consumer.unsettled"] == 0)
    provider.shutdown()
