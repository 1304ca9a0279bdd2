"""Losing and regaining servers, streams, consumers and processes, on a real NATS server."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from datetime import timedelta

import pytest

from glam_sdk.config import NatsSettings
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event, StreamSpec
from glam_sdk.messaging import (
    Backoff,
    ConsumerPolicy,
    Delivery,
    Nats,
    Publisher,
    StreamFullError,
    Subscriber,
    ensure_stream,
    handles,
)
from glam_sdk.testing.nats import NatsServer
from tests.integration.messaging.conftest import answered


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


ORDER = OrderPlaced(number=1)


async def test_stop_waits_for_running_handlers_and_hands_back_the_rest(nats, receiving, until):
    """What was begun is finished and acked; what was only fetched is free for others at once."""
    gate, entered, done = asyncio.Event(), [], []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        entered.append(delivery.sequence)
        await gate.wait()
        done.append(delivery.sequence)

    one_at_a_time = ConsumerPolicy(concurrency=1)
    publisher = Publisher(nats, "orders")
    async with receiving(bill, policy=one_at_a_time) as subscriber:
        for _ in range(3):
            await publisher.publish(ORDER)
        await until(lambda: entered)
        stopping = asyncio.create_task(subscriber.stop())
        gate.set()
        await stopping
    assert entered == done == [1]
    async with receiving(bill, policy=one_at_a_time):
        await until(lambda: len(done) == 3, timeout_s=20)  # Less than ack_wait.
    assert sorted(done) == [1, 2, 3]


async def test_a_handler_that_outlasts_the_deadline_gives_its_message_back(nats, receiving, until):
    """It is cancelled, and another process gets the message without waiting for ack_wait."""
    entered, done = asyncio.Event(), []

    @handles(OrderPlaced, durable="billing")
    async def hang(event: OrderPlaced) -> None:
        entered.set()
        await asyncio.Event().wait()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        done.append(event)

    impatient = ConsumerPolicy(stop_timeout=timedelta(milliseconds=50))
    async with receiving(hang, policy=impatient):
        await Publisher(nats, "orders").publish(ORDER)
        await entered.wait()
    async with receiving(bill, policy=impatient):
        await until(lambda: done, timeout_s=20)  # Less than ack_wait.


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restarted_server_loses_no_event(server, nats, receiving, until, end):
    """Every publish that returned is handled, before, during and after the restart."""
    handled = Counter()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        handled[event.number] += 1

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        await publisher.publish(OrderPlaced(number=1))
        await until(lambda: handled[1])
        getattr(server, end)()
        waiting = asyncio.create_task(publisher.publish(OrderPlaced(number=2)))
        await until(lambda: not nats.is_connected)
        assert not (await nats.check()).healthy
        server.start()
        await waiting
        await publisher.publish(OrderPlaced(number=3))
        await until(lambda: handled[2] and handled[3])
    assert handled[2] == handled[3] == 1
    assert (await nats.check()).healthy


async def test_a_deleted_consumer_is_made_again(nats, receiving, until, pulling):
    """The subscriber goes on by itself and handles what comes afterwards."""
    seen = set()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.add(event.number)

    async with receiving(bill) as subscriber:
        await until(pulling(subscriber))
        await nats.jetstream.delete_consumer("ORDERS", "billing")
        await Publisher(nats, "orders").publish(OrderPlaced(number=2))
        await until(lambda: seen == {2})


async def test_a_deleted_stream_is_made_again(nats, receiving, until, pulling):
    """Publisher and subscriber both notice, and neither needs a restart."""
    seen = set()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.add(event.number)

    # Without a stream that stays, the server removes the directory of all of them for a moment.
    await ensure_stream(nats.jetstream, StreamSpec("STAYS"))
    publisher = Publisher(nats, "orders")
    async with receiving(bill) as subscriber:
        await publisher.publish(OrderPlaced(number=1))
        await until(lambda: seen == {1})
        await until(pulling(subscriber))
        await nats.jetstream.delete_stream("ORDERS")
        await publisher.publish(OrderPlaced(number=2))
        await until(lambda: seen == {1, 2})


async def test_a_connection_closed_for_good_is_opened_again(nats, receiving, until):
    """A client that gave up is replaced, and the subscriber moves to the new one."""
    seen = set()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.add(event.number)

    async with receiving(bill):
        given_up = nats.client
        await given_up.close()
        await until(lambda: nats.is_connected)
        assert nats.client is not given_up
        await Publisher(nats, "orders").publish(OrderPlaced(number=2))
        await until(lambda: seen == {2})


async def test_no_stream_in_time_is_one_retryable_error(server, nats):
    """A publish without a server ends at its deadline and says what was wrong."""
    server.stop()
    try:
        with pytest.raises(MessageBusError) as caught:
            await Publisher(nats, "orders").publish(ORDER, timeout=timedelta(milliseconds=300))
        assert caught.value.retryable is True
    finally:
        server.start()


async def test_an_unreachable_server_is_one_clear_error():
    """The error names address and setting, and never the password."""
    with NatsServer() as gone:
        address = gone.url.removeprefix("nats://")
    settings = NatsSettings(servers=(f"nats://u:hunter2@{address}",), connect_timeout_s=0.2)
    nats = Nats(settings, service_name="orders")
    with pytest.raises(MessageBusError) as caught:
        await nats.start()
    text = str(caught.value)
    assert address in text
    assert "NATS_SERVERS" in text
    assert "hunter2" not in text
    await nats.stop()
    with pytest.raises(MessageBusError, match="not started"):
        _ = nats.client


async def test_wrong_credentials_are_one_clear_error():
    """A server that refuses us is told apart from one that is not there."""
    with NatsServer(("--user", "glam", "--pass", "secret")) as server:
        good = NatsSettings(servers=(server.url,), user="glam", password="secret")
        async with asyncio.timeout(10):
            nats = Nats(good, service_name="orders")
            await nats.start()
            await nats.stop()
        bad = NatsSettings(
            servers=(server.url,), user="glam", password="hunter2", connect_timeout_s=2
        )
        with pytest.raises(MessageBusError, match=r"(?i)authorization") as caught:
            await Nats(bad, service_name="orders").start()
        assert "hunter2" not in str(caught.value)
        assert "NATS_PASSWORD" in str(caught.value)


async def test_a_refusal_whose_words_are_lost_is_told_as_one():
    """A server that closes while we still write resets the connection, and its ``-ERR`` is gone."""

    async def refuse(reader, writer):
        writer.write(b'INFO {"auth_required":true,"max_payload":1048576,"version":"2.15.0"}\r\n')
        await reader.readline()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        settings = NatsSettings(
            servers=(f"nats://127.0.0.1:{port}",),
            user="glam",
            password="hunter2",
            connect_timeout_s=0.5,
        )
        with pytest.raises(MessageBusError, match=r"reset.*Authorization Violation"):
            await Nats(settings, service_name="orders").start()


async def test_stop_is_safe_at_any_time(server):
    """Stopping what never started, and stopping twice, does nothing."""
    nats = Nats(NatsSettings(servers=(server.url,)), service_name="orders")
    subscriber = Subscriber(nats, [], service_name="orders")
    await subscriber.stop()
    await nats.stop()
    await nats.start()
    await subscriber.start()
    await subscriber.stop()
    await subscriber.stop()
    await nats.stop()
    await nats.stop()


async def test_a_deleted_consumer_goes_on_where_it_was(nats, receiving, until):
    """It is made anew from the ack floor, never from the start; nothing is handled twice."""
    handled = Counter()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        handled[event.number] += 1

    publisher = Publisher(nats, "orders")
    for number in range(1, 6):
        await publisher.publish(OrderPlaced(number=number))
    async with receiving(bill) as subscriber:
        binding = subscriber._consumers[0]._binding
        await until(lambda: len(handled) == 5)
        await until(lambda: binding._position.floor == 5)
        await nats.jetstream.delete_consumer("ORDERS", "billing")
        await publisher.publish(OrderPlaced(number=6))
        await until(lambda: handled[6])
        made_anew = await nats.jetstream.consumer_info("ORDERS", "billing")
    assert made_anew.config.opt_start_seq == 6
    assert set(handled.values()) == {1}


async def test_a_full_stream_is_one_immediate_error(server, nats, connect):
    """It is typed, not retried, and says what to do."""
    limits = {"max_msgs": 1, "discard": "new"}
    await nats.jetstream.add_stream(name="ORDERS", subjects=["evt.orders.>"], **limits)
    await nats.jetstream.publish("evt.orders.placed", b"first")
    publisher = Publisher(await connect(server, "shop"), "shop")
    async with asyncio.timeout(2):
        with pytest.raises(StreamFullError, match="full") as caught:
            await publisher.publish(ORDER)
        with pytest.raises(StreamFullError, match="full"):
            await publisher.publish_many([ORDER, ORDER])
    assert (caught.value.code, caught.value.retryable) == ("STREAM_FULL", False)


async def test_one_slow_message_does_not_hold_the_others(nats, receiving, until):
    """Everybody behind it is handled while it is still running."""
    gate, done = asyncio.Event(), []

    @handles(OrderPlaced, durable="billing", concurrency=2)
    async def bill(event: OrderPlaced) -> None:
        if event.number == 0:
            await gate.wait()
        done.append(event.number)

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        for number in range(20):
            await publisher.publish(OrderPlaced(number=number))
        await until(lambda: len(done) == 19)
        gate.set()
        await until(lambda: len(done) == 20)
    assert done[-1] == 0


async def test_a_hanging_handler_frees_its_place(nats, receiving, until):
    """Its attempts time out one by one, and it ends as a dead letter."""
    attempts = []
    limits = {"timeout": timedelta(milliseconds=50), "retry": Backoff(0.01, attempts=2)}

    @handles(OrderPlaced, durable="billing", concurrency=1, **limits)
    async def bill(event: OrderPlaced) -> None:
        attempts.append(event.number)
        if event.number == 0:
            await asyncio.Event().wait()

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        for number in range(3):
            await publisher.publish(OrderPlaced(number=number))

        async def kept():
            streams = [s.config.name for s in await nats.jetstream.streams_info()]
            return "DEAD_LETTERS" in streams

        await until(kept)
        await until(lambda: len(attempts) == 4)
    assert Counter(attempts) == {0: 2, 1: 1, 2: 1}


async def test_a_blocked_event_loop_does_not_run_a_handler_twice(nats, receiving, until):
    """The server gives the message out again after ack_wait; here it is known already."""
    calls = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        calls.append(event.number)
        time.sleep(1.6)  # noqa: ASYNC251 - blocking code in a handler is the case

    async def settled():
        info = await nats.jetstream.consumer_info("ORDERS", "billing")
        return info.num_ack_pending == 0 and info.num_pending == 0

    async with receiving(bill):
        await Publisher(nats, "orders").publish(ORDER)
        await until(lambda: calls)
        await until(settled)
    assert calls == [1]


async def test_a_blocked_event_loop_costs_no_attempt(nats, receiving, until):
    """What came again meanwhile began nothing; the attempt after the first is the second."""
    attempts = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) == 1:
            time.sleep(1.6)  # noqa: ASYNC251 - blocking code in a handler is the case
            (message,) = subscriber._consumers[0]._intake.held()
            await until(lambda: message.repeats)
            raise RuntimeError("card declined")

    async with receiving(bill) as subscriber:
        await Publisher(nats, "orders").publish(ORDER)
        await until(lambda: len(attempts) == 2)
    assert attempts == [1, 2]


async def test_stopping_takes_no_longer_than_said_while_the_server_hangs(connect):
    """Neither to drain nor to close, with more buffered than a socket takes."""
    with NatsServer() as own:
        nats = await connect(own, drain_timeout_s=1)
        await nats.client.subscribe("evt.orders.placed")
        await nats.client.flush()
        own.freeze()
        for _ in range(3):
            await nats.client.publish("evt.orders.placed", bytes(600_000))
        started = time.monotonic()
        await nats.stop()
        own.thaw()
        assert time.monotonic() - started < 5


async def test_stopping_after_the_server_died_is_no_error(connect, until):
    """What was buffered since is gone with it; the process ends as it should."""
    with NatsServer() as own:
        nats = await connect(own)
        own.kill()
        await until(lambda: not nats.is_connected)
        await nats.client.publish("evt.orders.placed", b"{}")
        await nats.stop()


async def test_many_events_survive_a_killed_server_once_each(server, nats, until):
    """publish_many returns when streams have all of them, whatever happened on the way."""
    publisher = Publisher(nats, "orders")
    await publisher.publish(OrderPlaced(number=0))
    events = [OrderPlaced(number=number) for number in range(1, 5001)]
    sending = asyncio.create_task(publisher.publish_many(events, timeout=timedelta(seconds=60)))

    async def under_way():
        return (await nats.jetstream.stream_info("ORDERS")).state.messages > 300

    await until(under_way)
    server.kill()
    server.start()
    sent = await sending
    state = (await answered(nats.jetstream.stream_info, "ORDERS")).state
    bodies = [
        (await nats.jetstream.get_msg("ORDERS", n)).data for n in range(1, state.last_seq, 50)
    ]
    assert len(sent) == 5000
    assert state.messages == 5001
    assert all(bodies)


async def test_stopping_as_the_server_dies_is_no_error(connect):
    """The loss is not known yet when the service stops; nothing of it comes out as cancelled."""
    with NatsServer() as own:
        nats = await connect(own)
    await nats.stop()
