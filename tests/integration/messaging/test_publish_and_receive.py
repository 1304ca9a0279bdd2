"""Publishing and receiving on a real NATS server."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from glam_sdk import context
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event, StreamSpec, encode, envelope_of
from glam_sdk.messaging import (
    Delivery,
    MessageTooLargeError,
    MessagingTelemetry,
    Publisher,
    Subscriber,
    handles,
)
from tests.conftest import new_tracers


class OrderPlaced(Event, subject="evt.orders.placed"):
    order_id: UUID
    total: Decimal


ORDER = OrderPlaced(order_id=UUID(int=1), total=Decimal("9.90"))


async def test_an_event_reaches_its_handler_in_the_same_trace(nats, receiving, until, gone):
    """Typed in, typed out: one trace, the consumer's span under the producer's, and an ack."""
    exporter = InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = MessagingTelemetry(tracer=provider.get_tracer("test"))
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append((event, delivery, trace.get_current_span(), context.correlation_id()))

    publisher = Publisher(nats, "orders", telemetry=telemetry)
    async with receiving(bill, telemetry=telemetry):
        sent = await publisher.publish(ORDER)
        await until(lambda: len(exporter.get_finished_spans()) == 2)
    ((event, delivery, _, correlation_id),) = seen
    assert event == ORDER
    assert (delivery.event_id, delivery.stream, delivery.attempt) == (sent.event_id, "ORDERS", 1)
    assert correlation_id == sent.correlation_id
    spans = {span.name: span for span in exporter.get_finished_spans()}
    produced, consumed = spans["publish evt.orders.placed"], spans["process evt.orders.placed"]
    assert consumed.parent.span_id == produced.context.span_id
    assert consumed.context.trace_id == produced.context.trace_id
    assert produced.kind is trace.SpanKind.PRODUCER
    assert produced.attributes["messaging.operation.type"] == "send"
    assert produced.attributes["messaging.message.conversation_id"] == sent.correlation_id
    await gone()


async def test_the_stored_message_is_what_old_consumers_read(nats):
    """Body and message id are the contract's; trace headers are added beside them."""
    headers = {"x-tenant": "m1"}
    sent = await Publisher(nats, "orders").publish(ORDER, idempotency_key="k-1", headers=headers)
    stored = await nats.jetstream.get_msg("ORDERS", 1)
    assert stored.data == encode(sent)
    assert json.loads(stored.data)["payload"] == {"order_id": str(UUID(int=1)), "total": "9.90"}
    assert stored.headers == {"Nats-Msg-Id": "k-1", "x-tenant": "m1"}
    assert headers == {"x-tenant": "m1"}


async def test_an_old_producers_event_is_handled_under_its_correlation_id(
    nats, receiving, until, pulling
):
    """Without any header the handler still works under the sender's correlation id."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append((event.total, context.correlation_id()))

    async with receiving(bill) as subscriber:
        await until(pulling(subscriber))
        await nats.jetstream.publish(
            "evt.orders.placed",
            b'{"event_id":"e1","subject":"evt.orders.placed","correlation_id":"corr_old",'
            b'"timestamp":"2026-01-15T10:30:45.123456+00:00","metadata":{},'
            b'"payload":{"order_id":"00000000-0000-0000-0000-000000000001","total":9.9}}',
        )
        await until(lambda: seen)
    assert seen == [(Decimal("9.9"), "corr_old")]


async def test_a_second_copy_is_dropped_and_reported(nats, receiving, until):
    """The stream keeps one message of an idempotency key; publishing again is no error."""
    publisher = Publisher(nats, "orders")
    sent = await publisher.publish(ORDER)
    assert await publisher.publish(sent) == sent
    raw = {"Nats-Msg-Id": sent.idempotency_key}
    assert await publisher.publish_raw(sent.subject, encode(sent), raw) is True
    assert await publisher.publish_raw(sent.subject, encode(sent), {"Nats-Msg-Id": "new"}) is False
    assert (await nats.jetstream.stream_info("ORDERS")).state.messages == 2


@pytest.mark.parametrize(
    ("headers", "metadata"),
    [({"x": "y" * 70_000}, {}), ({}, {"blob": "y" * 1_100_000})],
    ids=["headers", "message"],
)
async def test_what_is_too_large_is_refused_before_sending(
    nats, receiving, until, headers, metadata
):
    """The error is typed and not retryable, and the connection stays up."""
    publisher = Publisher(nats, "orders")
    client = nats.client
    with pytest.raises(MessageTooLargeError) as caught:
        await publisher.publish(ORDER, headers=headers, metadata=metadata)
    assert caught.value.retryable is False
    await publisher.publish(ORDER)
    assert client is nats.client
    assert client.stats["reconnects"] == 0


async def test_a_failed_message_comes_again_until_it_succeeds(nats, receiving, until, gone):
    """Errors cost attempts, not the message."""
    attempts = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt < 5:
            raise RuntimeError("not yet")

    async with receiving(bill):
        await Publisher(nats, "orders").publish(ORDER)
        await until(lambda: len(attempts) == 5)
    assert attempts == [1, 2, 3, 4, 5]
    await gone()


async def test_a_handler_slower_than_ack_wait_runs_once(nats, receiving, until, gone):
    """Heartbeats keep the server from giving the message to somebody else."""
    started, done = [], []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        started.append(delivery.attempt)
        await asyncio.sleep(2.5)  # The slow work itself, two and a half times ack_wait.
        done.append(delivery.attempt)

    async with receiving(bill):
        await Publisher(nats, "orders").publish(ORDER)
        await until(lambda: done)
    assert started == done == [1]
    await gone()


async def test_handlers_run_side_by_side_up_to_the_limit(nats, receiving, until):
    """Ten at once by default, and never more than the policy allows."""
    gate, running, most, handled = asyncio.Event(), 0, 0, Counter()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        handled[delivery.event_id] += 1

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        for _ in range(35):
            await publisher.publish(ORDER)
        await until(lambda: running == 10)
        gate.set()
        await until(lambda: sum(handled.values()) == 35)
    assert most == 10
    assert set(handled.values()) == {1}


LEAK = ContextVar("leak", default=0)


async def test_nothing_of_one_handler_is_seen_by_the_next(nats, receiving, until):
    """Context variables and correlation id of a message end with it, also after an error."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append((LEAK.get(), context.correlation_id() == delivery.envelope.correlation_id))
        LEAK.set(LEAK.get() + 1)
        if delivery.attempt == 1:
            raise RuntimeError("first attempts fail")

    async with receiving(bill):
        for _ in range(5):
            await Publisher(nats, "orders").publish(ORDER)
        await until(lambda: len(seen) == 10)
    assert set(seen) == {(0, True)}


async def test_one_durable_name_may_have_several_events(nats, receiving, until):
    """Handlers of one stream under one name share a consumer; each gets its own subject."""

    class OrderClosed(Event, subject="evt.orders.closed"):
        number: int

    seen = []

    @handles(OrderPlaced, durable="billing")
    async def placed(event: OrderPlaced) -> None:
        seen.append(event)

    @handles(OrderClosed, durable="billing")
    async def closed(event: OrderClosed) -> None:
        seen.append(event)

    publisher = Publisher(nats, "orders")
    async with receiving(placed):
        await publisher.publish(ORDER)
        await until(lambda: seen)
    async with receiving(placed, closed):
        await publisher.publish(OrderClosed(number=2))
        await until(lambda: len(seen) == 2)
    assert seen == [ORDER, OrderClosed(number=2)]
    with pytest.raises(ValueError, match="Two handlers"):
        Subscriber(nats, [placed, placed], service_name="billing")


async def test_a_correlation_id_travels_from_publisher_to_handler_as_baggage(
    nats, receiving, until
):
    """What the request carried, the handler's own events carry on."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append(envelope_of(event, source_service="billing").correlation_id)

    async def request():
        from opentelemetry import context as otel

        otel.attach(context.with_correlation_id("corr-42"))
        await Publisher(nats, "orders").publish(ORDER)

    async with receiving(bill):
        await asyncio.create_task(request())
        await until(lambda: seen)
    assert seen == ["corr-42"]


async def test_many_events_are_sent_in_order_under_one_span(nats, receiving, until):
    """Each is acknowledged, and each handler's span is a child of the one that sent them."""
    exporter = InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = MessagingTelemetry(tracer=provider.get_tracer("test"))
    publisher = Publisher(nats, "orders", telemetry=telemetry)
    events = [OrderPlaced(order_id=UUID(int=number), total=Decimal(1)) for number in range(600)]
    sent = await publisher.publish_many(events)
    stored = [await nats.jetstream.get_msg("ORDERS", n) for n in (1, 300, 600)]
    assert [m.headers["Nats-Msg-Id"] for m in stored] == [sent[n].event_id for n in (0, 299, 599)]
    assert (await nats.jetstream.stream_info("ORDERS")).state.messages == 600
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("publish evt.orders.placed", trace.SpanKind.PRODUCER)
    assert span.attributes["messaging.batch.message_count"] == 600
    assert all(f"{span.context.span_id:016x}" in m.headers["traceparent"] for m in stored)
    assert await publisher.publish_many([]) == []
    with pytest.raises(MessageTooLargeError):
        await publisher.publish_many([sent[0], replace(sent[1], metadata={"x": "y" * 1_100_000})])
    small = Publisher(nats, "orders", max_header_bytes=300)
    await small.publish_many([replace(sent[0], idempotency_key="k" * 200)])
    with pytest.raises(MessageTooLargeError, match="headers"):
        await small.publish_many([sent[0], replace(sent[1], idempotency_key="k" * 300)])
    assert (await nats.jetstream.stream_info("ORDERS")).state.messages == 601


async def test_an_event_can_be_held_back_by_the_server(
    server, nats, connect, receiving, until, gone
):
    """It comes once, when its time has come, with its trace; a plain stream refuses it."""
    with pytest.raises(MessageBusError) as caught:
        await Publisher(nats, "orders").publish(ORDER, delay=timedelta(seconds=1))
    assert caught.value.retryable is False
    service = await connect(server, streams=[StreamSpec("ORDERS", allow_schedules=True)])
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append((delivery, time.monotonic()))

    async with receiving(bill):
        begun = time.monotonic()
        sent = await Publisher(service, "orders").publish(ORDER, delay=timedelta(seconds=1))
        await until(lambda: seen)
    ((delivery, at),) = seen
    assert delivery.event_id == sent.event_id
    assert at - begun > 0.9
    await gone()
