"""One suite for the in-memory bus and the real server: what a unit test proves holds there too."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from glam_sdk import context
from glam_sdk.events import Event, encode
from glam_sdk.messaging import (
    AlreadyHandled,
    Backoff,
    ConsumerPolicy,
    DeadLetterBox,
    Delivery,
    MessagingTelemetry,
    Permanent,
    Publisher,
    Retry,
    Subscriber,
    handles,
    inline,
)
from glam_sdk.testing import InMemoryBus
from tests.conftest import new_tracers
from tests.integration.messaging.conftest import unsettled

POLICY = ConsumerPolicy(retry=Backoff(0.01, attempts=3), idle_heartbeat=timedelta(milliseconds=500))


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


class OrderBilled(Event, subject="evt.orders.billed"):
    number: int


class InMemory:
    """Run a test's handlers on the in-memory bus."""

    @asynccontextmanager
    async def running(self, *handlers, **options):
        self.bus = InMemoryBus(handlers, service_name="billing", policy=POLICY, **options)
        self.publisher = self.bus
        self.publish, self.publish_raw = self.bus.publish, self.bus.publish_raw
        yield

    async def done(self):
        await self.bus.drain()

    async def letters(self):
        return [(letter.body, letter.headers) for letter in self.bus.dead_letters]


class OnServer:
    """Run a test's handlers on the real server."""

    def __init__(self, nats, until):
        self.nats, self.until = nats, until

    @asynccontextmanager
    async def running(self, *handlers, **options):
        publisher = Publisher(self.nats, "billing", telemetry=options.get("telemetry"))
        self.publisher = publisher
        self.publish, self.publish_raw = publisher.publish, publisher.publish_raw
        subscriber = Subscriber(
            self.nats, handlers, service_name="billing", policy=POLICY, **options
        )
        await self.nats.stream_for("dlq.any")
        await subscriber.start()
        try:
            yield
        finally:
            await subscriber.stop()

    async def done(self):
        async def settled():
            found = []
            for stream in await self.nats.jetstream.streams_info():
                name = stream.config.name
                consumers = await self.nats.jetstream.consumers_info(name)
                found += [await unsettled(self.nats, name, each.name) for each in consumers]
            return found and not any(found)

        await self.until(settled)

    async def letters(self):
        return [(s.body, s.headers) async for s in DeadLetterBox(self.nats).letters()]


@pytest.fixture(params=["memory", "server", "server by public doors"])
def bus(request, monkeypatch):
    """Run on the bus, and on the server both ways: by what is known of the client, and without."""
    if request.param == "memory":
        return InMemory()
    monkeypatch.setattr(inline, "IS_INLINE", request.param == "server")
    return OnServer(request.getfixturevalue("nats"), request.getfixturevalue("until"))


async def test_an_event_comes_typed_and_under_its_correlation_id(bus):
    """Event, delivery and correlation id are there, and the count starts at one."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append((event, delivery, context.correlation_id()))

    async with bus.running(bill):
        sent = await bus.publish(OrderPlaced(number=1), headers={"x-tenant": "m1"})
        await bus.done()
    ((event, delivery, correlation_id),) = seen
    assert event == OrderPlaced(number=1)
    assert (delivery.event_id, delivery.attempt) == (sent.event_id, 1)
    assert (delivery.stream, delivery.durable, delivery.sequence) == ("ORDERS", "billing", 1)
    assert delivery.headers["x-tenant"] == "m1"
    assert correlation_id == sent.correlation_id


async def test_many_events_are_published_alike(bus):
    """All are handled, in traces of one parent; the envelopes come back, and none for none."""
    seen, exporter = [], InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append(delivery.event_id)

    telemetry = MessagingTelemetry(tracer=provider.get_tracer("t"))
    async with bus.running(bill, telemetry=telemetry):
        assert await bus.publisher.publish_many([]) == []
        sent = await bus.publisher.publish_many(OrderPlaced(number=n) for n in range(20))
        await bus.done()
    assert sorted(seen) == sorted(envelope.event_id for envelope in sent)
    spans = exporter.get_finished_spans()
    (sender,) = (span for span in spans if span.name == "publish evt.orders.placed")
    handled = [span for span in spans if span.name == "process evt.orders.placed"]
    assert {span.parent.span_id for span in handled} == {sender.context.span_id}
    assert len(handled) == 20


async def test_an_envelope_brings_its_own_key(bus):
    """To give another beside it is an error, not ignored; every option is known to both."""
    async with bus.running():
        sent = await bus.publish(OrderPlaced(number=1), timeout=timedelta(seconds=3))
        with pytest.raises(TypeError, match="its own"):
            await bus.publish(sent, idempotency_key="k")


async def test_failures_retries_and_refusals_end_alike(bus):
    """Retry comes again, an error comes again until it is exhausted, Permanent ends at once."""
    attempts = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append((event.number, delivery.attempt))
        if event.number == 1 and delivery.attempt == 1:
            raise Retry(0.01)
        if event.number == 2:
            raise RuntimeError("no")
        if event.number == 3:
            raise Permanent("never")

    async with bus.running(bill):
        for number in (1, 2, 3):
            await bus.publish(OrderPlaced(number=number))
        await bus.publish_raw("evt.orders.placed", b"not json", {"Nats-Msg-Id": "poison"})
        await bus.done()
        kept = await bus.letters()
    assert sorted(attempts) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1)]
    found = sorted(
        (headers["x-dead-letter-sequence"], headers["x-dead-letter-reason"],
         headers["x-dead-letter-attempts"], headers["x-dead-letter-error-type"])
        for _, headers in kept
    )  # fmt: skip
    assert found == [
        ("2", "exhausted", "3", "RuntimeError"),
        ("3", "permanent", "1", "glam_sdk.messaging.retry.Permanent"),
        ("4", "malformed", "1", "MALFORMED_EVENT"),
    ]
    assert b"not json" in [body for body, _ in kept]


async def test_a_copy_is_dropped(bus):
    """One message of an idempotency key is kept."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append(event)

    async with bus.running(bill):
        sent = await bus.publish(OrderPlaced(number=1))
        await bus.publish(sent)
        await bus.done()
    assert len(seen) == 1


async def test_each_consumer_gets_its_own_copy(bus):
    """Two durable names, two handlings; what a handler publishes is handled too."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append("bill")
        await bus.publish(OrderBilled(number=event.number))

    @handles(OrderPlaced, durable="mail")
    async def mail(event: OrderPlaced) -> None:
        seen.append("mail")

    @handles(OrderBilled, durable="mail")
    async def thank(event: OrderBilled) -> None:
        seen.append("thank")

    async with bus.running(bill, mail, thank):
        await bus.publish(OrderPlaced(number=1))
        await bus.done()
    assert sorted(seen) == ["bill", "mail", "thank"]


async def test_a_scope_surrounds_the_handler_and_may_know_the_event(bus):
    """What it gives is passed on, and an event it knows is not handled again."""
    known, seen = set(), []

    @asynccontextmanager
    async def scope(spec, delivery):
        if delivery.event_id in known:
            raise AlreadyHandled
        yield {list: seen}
        known.add(delivery.event_id)

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, seen: list) -> None:
        seen.append(event.number)

    async with bus.running(bill, scope=scope):
        sent = await bus.publish(OrderPlaced(number=1))
        await bus.done()
        body_again = {"Nats-Msg-Id": "another"}
        await bus.publish_raw("evt.orders.placed", encode(sent), body_again)
        await bus.done()
    assert seen == [1]


async def test_the_trace_is_one(bus):
    """The consumer's spans, one for each attempt, are children of the producer's."""
    exporter = InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = MessagingTelemetry(tracer=provider.get_tracer("t"))

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        if delivery.attempt == 1:
            raise RuntimeError("no")

    async with bus.running(bill, telemetry=telemetry):
        await bus.publish(OrderPlaced(number=1))
        await bus.done()
    produced, *processed = exporter.get_finished_spans()
    assert produced.name == "publish evt.orders.placed"
    assert [span.name for span in processed] == ["process evt.orders.placed"] * 2
    assert {span.parent.span_id for span in processed} == {produced.context.span_id}
    assert [span.attributes["glam.delivery.attempt"] for span in processed] == [1, 2]
