"""A handler that fails for everything is slowed down, alone, and let go when it works again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from glam_sdk.events import Event
from glam_sdk.messaging import (
    Backoff,
    ConsumerPolicy,
    Delivery,
    MessagingTelemetry,
    Pacing,
    Publisher,
    handles,
)

AFTER = 10
FLOOD = 400


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


class OrderShipped(Event, subject="evt.orders.shipped"):
    number: int


def policy(longest_pause, **more):
    pacing = Pacing(
        after=AFTER, first_pause=timedelta(milliseconds=50), longest_pause=longest_pause
    )
    quick = {"ack_wait": timedelta(seconds=1), "idle_heartbeat": timedelta(milliseconds=300)}
    return ConsumerPolicy(pacing=pacing, retry=Backoff(0.05, attempts=5), **quick, **more)


@dataclass
class Outage:
    """A database that is down at first, and how often each message was tried."""

    down: asyncio.Event = field(default_factory=asyncio.Event)
    tried: Counter = field(default_factory=Counter)


@pytest.fixture
def outage():
    found = Outage()
    found.down.set()
    return found


@pytest.fixture
def bill(outage):
    """A handler that fails while the database is down."""

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        outage.tried[event.number] += 1
        if outage.down.is_set():
            raise ConnectionError("The database is down.")

    return bill


async def flood(nats):
    await Publisher(nats, "orders").publish_many([OrderPlaced(number=n) for n in range(FLOOD)])


def metric(reader, name):
    data = reader.get_metrics_data()
    return [
        point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


async def test_a_failing_flood_is_paced_and_goes_on_at_once(
    nats, receiving, until, bill, outage, telemetry
):
    """A handful of the flood is tried; the moment it works again all is handled, no letter made."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    def pause():
        return metric(reader, "glam.messaging.handler.pause")

    await flood(nats)
    options = {
        "policy": policy(timedelta(milliseconds=200)),
        "telemetry": MessagingTelemetry(meter=provider.get_meter("t")),
    }
    async with receiving(bill, **options) as subscriber:
        await until(lambda: pause() == [0.2])
        slowed = sum(outage.tried.values())
        assert (await subscriber.check()).data["slowed_handlers"] == 1
        await until(lambda: sum(outage.tried.values()) > slowed + 3)
        # Those of the beginning, and one for each pause; unpaced it would be hundreds.
        assert sum(outage.tried.values()) < AFTER + 30
        outage.down.clear()
        await until(lambda: len(outage.tried) == FLOOD)
        await until(lambda: pause() == [0.0])
        assert (await subscriber.check()).data["slowed_handlers"] == 0
    assert max(outage.tried.values()) <= 4
    (slowed_down,) = telemetry.logs("handler.slowed_down")
    assert (slowed_down["durable"], slowed_down["subject"]) == ("billing", "evt.orders.placed")
    assert len(telemetry.logs("handler.works_again")) == 1
    assert "DEAD_LETTERS" not in [s.config.name for s in await nats.jetstream.streams_info()]
    provider.shutdown()


async def test_neighbours_are_not_slowed(nats, receiving, until, bill, outage):
    """Neither a handler of another consumer, nor one that shares the consumer and its messages."""
    shipped, mailed = [], []

    @handles(OrderShipped, durable="billing")
    async def ship(event: OrderShipped) -> None:
        shipped.append(event.number)

    @handles(OrderPlaced, durable="mail")
    async def mail(event: OrderPlaced) -> None:
        mailed.append(event.number)

    await flood(nats)
    async with receiving(bill, ship, mail, policy=policy(timedelta(seconds=30))):
        await Publisher(nats, "orders").publish_many([OrderShipped(number=n) for n in range(50)])
        await until(lambda: len(shipped) == 50)
        await until(lambda: len(mailed) == FLOOD)
    assert sum(outage.tried.values()) < AFTER + 30


async def test_waiting_costs_no_attempt(nats, receiving, until, bill, outage):
    """What was held while another message was tried is at its first attempt afterwards."""
    attempts = []
    await flood(nats)
    async with receiving(bill, policy=policy(timedelta(seconds=30))):
        await until(lambda: len(outage.tried) >= AFTER)
    known = set(outage.tried)

    @handles(OrderPlaced, durable="billing")
    async def works(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append((event.number, delivery.attempt))

    async with receiving(works):
        await until(lambda: len({number for number, _ in attempts}) == FLOOD)
    assert {attempt for number, attempt in attempts if number not in known} == {1}


async def test_what_waits_is_not_given_to_others(nats, receiving, until, bill, outage):
    """Held longer than ack_wait, it is still ours: nothing is delivered twice meanwhile."""
    few = policy(timedelta(milliseconds=1500))
    await Publisher(nats, "orders").publish_many([OrderPlaced(number=n) for n in range(20)])
    async with receiving(bill, policy=few):
        await until(lambda: sum(outage.tried.values()) >= AFTER)

        async def held_past_ack_wait():
            found = await nats.jetstream.consumer_info("ORDERS", "billing")
            return found.delivered.consumer_seq >= 20

        await until(held_past_ack_wait)
        before = sum(outage.tried.values())
        await until(lambda: sum(outage.tried.values()) > before + 4)
        found = await nats.jetstream.consumer_info("ORDERS", "billing")
        # Each delivery beyond the first of a message is one after a failed attempt.
        assert found.delivered.consumer_seq - 20 <= sum(outage.tried.values())
        outage.down.clear()
        await until(lambda: len(outage.tried) == 20)
