"""A consumer that somebody deleted while nobody ran goes on where it was."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import timedelta
from itertools import chain

import pytest
from nats.js import api

from glam_sdk.events import Event, StreamSpec
from glam_sdk.messaging import ConsumerPolicy, Publisher, Subscriber, ensure_stream, handles
from glam_sdk.messaging.attempts import SharedHistories
from glam_sdk.messaging.bucket import Bucket
from glam_sdk.messaging.positions import Position, Positions


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


@pytest.fixture
def handled():
    return Counter()


@pytest.fixture
def service(server, connect, handled):
    """Run a service with a connection of its own until a condition holds, as a process would."""

    async def run(condition, until):
        @handles(OrderPlaced, durable="billing")
        async def bill(event: OrderPlaced) -> None:
            handled[event.number] += 1

        own = await connect(server, "billing")
        policy = ConsumerPolicy(idle_heartbeat=timedelta(milliseconds=200))
        subscriber = Subscriber(own, [bill], service_name="billing", policy=policy)
        try:
            await subscriber.start()
            await until(condition)
        finally:
            await subscriber.stop()
            await own.stop()

    return run


async def publish(nats, numbers):
    await Publisher(nats, "orders").publish_many([OrderPlaced(number=n) for n in numbers])


async def test_a_consumer_deleted_between_two_runs_goes_on_where_it_was(
    nats, until, service, handled
):
    """Neither from the start, nor from what is new: what came meanwhile is handled, once."""
    await publish(nats, range(5))
    await service(lambda: len(handled) == 5, until)
    await nats.jetstream.delete_consumer("ORDERS", "billing")
    await publish(nats, range(5, 8))
    await service(lambda: len(handled) == 8, until)
    assert handled == dict.fromkeys(range(8), 1)
    info = await nats.jetstream.consumer_info("ORDERS", "billing")
    assert info.config.opt_start_seq is not None
    assert info.config.opt_start_seq > 1


async def test_the_position_is_kept_while_the_service_runs(nats, until, service, handled):
    """A process that is killed leaves a note that is a few seconds old, and no older."""
    await publish(nats, range(5))
    created = (await nats.jetstream.stream_info("ORDERS")).created

    async def noted():
        return (await Positions(nats, "billing").read("ORDERS", created)).floor == 5

    await service(noted, until)
    assert handled == dict.fromkeys(range(5), 1)


async def test_another_stream_of_the_same_name_begins_at_its_start(
    server, nats, until, service, handled
):
    """The numbers of its messages mean nothing to the one before."""
    await publish(nats, range(5))
    await service(lambda: len(handled) == 5, until)
    await nats.jetstream.delete_stream("ORDERS")
    # The server answers before the files are gone, and would find the old messages in them.
    await until(
        lambda: "ORDERS" not in chain(*(names for _, names, _ in os.walk(server.directory)))
    )
    await publish(nats, range(5, 8))
    await service(lambda: len(handled) == 8, until)
    assert handled == dict.fromkeys(range(8), 1)


async def test_a_work_queue_goes_on_with_what_it_has(
    server, nats, connect, until, service, handled
):
    """It lets nobody begin elsewhere, and has only what nobody settled."""
    await ensure_stream(
        nats.jetstream, StreamSpec("ORDERS", ("evt.orders.>",), retention="workqueue")
    )
    other = await connect(server, "shop")
    await publish(other, range(3))
    await service(lambda: len(handled) == 3, until)
    await nats.jetstream.delete_consumer("ORDERS", "billing")
    await publish(other, range(3, 5))
    await service(lambda: len(handled) == 5, until)
    assert handled == dict.fromkeys(range(5), 1)


async def test_a_position_beyond_the_stream_skips_nothing(nats, until, service, handled):
    """A server that lost its last messages in a crash gives their numbers to new ones."""
    await publish(nats, range(3))
    created = (await nats.jetstream.stream_info("ORDERS")).created
    await Positions(nats, "billing").write("ORDERS", created, Position(100))
    running = service(lambda: 3 in handled, until)

    async def publish_when_there():
        names = [c.name for c in await nats.jetstream.consumers_info("ORDERS")]
        if "billing" in names and not handled:
            await publish(nats, [3])
        return "billing" in names

    work = asyncio.create_task(running)
    await until(publish_when_there)
    await work
    assert handled[3] == 1


async def test_a_position_is_read_back_for_its_stream_only(nats):
    """What is written by others, or of another stream, is none."""
    await publish(nats, [1])
    created = (await nats.jetstream.stream_info("ORDERS")).created
    positions, kept = Positions(nats, "billing"), Position(7, created)
    assert await positions.read("ORDERS", created) == Position()
    for written in (Position(7), kept):
        await positions.write("ORDERS", created, written)
        assert await Positions(nats, "billing").read("ORDERS", created) == written
    later = created + timedelta(seconds=1)
    assert await Positions(nats, "billing").read("ORDERS", later) == Position()
    assert await Positions(nats, "other").read("ORDERS", created) == Position()
    bucket = await nats.jetstream.key_value("GLAM_POSITIONS")
    for junk in (b"", b"[]", b"no json", b'{"floor": "x"}'):
        await bucket.put("ORDERS.billing", junk)
        assert await Positions(nats, "billing").read("ORDERS", created) == Position()


@pytest.mark.parametrize("lost", [2, 4])
async def test_numbers_given_anew_are_not_taken_for_settled(nats, until, service, handled, lost):
    """A stream that was put back to an old copy gives the numbers of what it lost to new events."""
    await publish(nats, range(4))
    await service(lambda: len(handled) == 4, until)
    kept = await (await nats.jetstream.key_value("GLAM_POSITIONS")).get("ORDERS.billing")
    created = (await nats.jetstream.stream_info("ORDERS")).created
    await nats.jetstream.delete_consumer("ORDERS", "billing")
    position = await Positions(nats, "billing").read("ORDERS", created)
    assert position.stored_at is not None, kept.value
    # As if these had been settled as the last ones, and then been lost: same number, other time.
    earlier = (await nats.jetstream.get_msg("ORDERS", seq=4 - lost)).time if lost < 4 else None
    stale = Position(4, earlier or created)
    await Positions(nats, "billing").write("ORDERS", created, stale)
    handled.clear()
    await publish(nats, [4])
    await service(lambda: 4 in handled, until)
    assert handled == dict.fromkeys(range(4 - lost, 5), 1)
    await service(lambda: True, until)
    assert max(handled.values()) == 1


async def test_a_position_that_cannot_be_read_for_a_moment_is_waited_for(
    nats, until, service, handled, monkeypatch
):
    """A store that elects a leader does not make a service begin at the start of its stream."""
    await publish(nats, range(3))
    await service(lambda: len(handled) == 3, until)
    await nats.jetstream.delete_consumer("ORDERS", "billing")
    await publish(nats, [3])
    opened, tries = Bucket.open, []

    async def open_later(bucket):
        tries.append(bucket)
        if len(tries) < 3:
            raise TimeoutError
        return await opened(bucket)

    monkeypatch.setattr(Bucket, "open", open_later)
    await service(lambda: 3 in handled, until)
    assert handled == dict.fromkeys(range(4), 1)


async def test_without_a_store_a_service_works_all_the_same(
    nats, until, service, handled, monkeypatch, telemetry
):
    """It begins at the start of its stream after three tries, and says so once."""

    async def never(_):
        raise TimeoutError

    monkeypatch.setattr(Bucket, "open", never)
    await publish(nats, range(3))
    await service(lambda: len(handled) == 3, until)
    assert len(telemetry.logs("position.not_kept")) == 1


async def test_a_bucket_has_as_many_copies_as_the_server_can_keep(nats):
    """A single server keeps one, whatever was asked for, and works."""
    config = api.KeyValueConfig(bucket="PLENTY")
    assert await Bucket(nats, config, 3).open()
    stream = await nats.jetstream.stream_info("KV_PLENTY")
    assert stream.config.num_replicas == 1
    assert await Bucket(nats, config, 3).open()
    await SharedHistories(nats, "billing", replicas=5)._bucket.open()
    stream = await nats.jetstream.stream_info("KV_GLAM_ATTEMPTS")
    assert stream.config.num_replicas == 1
