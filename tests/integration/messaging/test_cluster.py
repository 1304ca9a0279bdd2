"""Three servers on loopback whose leaders are killed: every confirmed publish is there once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta

import pytest
from nats.errors import Error as NatsError

from glam_sdk.config import NatsSettings
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event, StreamSpec, decode
from glam_sdk.messaging import Nats, Publisher, Subscriber, handles
from glam_sdk.testing import NatsServer, free_port
from tests.integration.messaging.conftest import answered

SPEC = StreamSpec("ORDERS", replicas=3, allow_batches=True)


TOTAL = 1600


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


@pytest.fixture
def cluster():
    """Start three servers that know each other; server names are their places."""
    ports = [free_port() for _ in range(3)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with ExitStack() as running:
        yield [
            running.enter_context(
                NatsServer(
                    ("--name", f"n{place}", "--cluster_name", "c", "--routes", routes,
                     "--cluster", f"nats://127.0.0.1:{port}")
                )
            )
            for place, port in enumerate(ports)
        ]  # fmt: skip


@pytest.fixture
async def nats(cluster, until):
    """Connect as soon as the cluster has elected whom it needs for the stream, and disconnect."""
    settings = NatsSettings(servers=tuple(server.url for server in cluster))
    nats = Nats(settings, service_name="orders", streams=[SPEC])

    async def started():
        try:
            await nats.start()
        except MessageBusError:
            return False
        return True

    try:
        await until(started, timeout_s=30)
        yield nats
    finally:
        await nats.stop()


async def leader_of_stream(nats):
    async with asyncio.timeout(30):
        while True:
            info = await answered(nats.jetstream.stream_info, "ORDERS")
            if info.cluster is not None and info.cluster.leader:
                return int(info.cluster.leader[1:])
            await asyncio.sleep(0.1)


async def stored_numbers(nats):
    """Read the number of each event the stream holds, in its order."""
    last = (await answered(nats.jetstream.stream_info, "ORDERS")).state.last_seq
    messages = [
        await answered(nats.jetstream.get_msg, "ORDERS", sequence)
        for sequence in range(1, last + 1)
    ]
    return [decode(message.data).payload["number"] for message in messages]


async def test_leaders_are_killed_and_every_confirmed_publish_is_there_once(cluster, nats, until):
    """One by one and in batches, through two elections; the stream has no copy and no gap.

    What is kept about positions is on all three servers, without anybody asking for it.
    """
    handled = Counter()

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        handled[event.number] += 1

    subscriber = Subscriber(nats, [bill], service_name="billing")
    publisher = Publisher(nats, "orders")
    deadline = timedelta(seconds=60)

    async def publish(first):
        for number in range(first, 400, 4):
            await publisher.publish(OrderPlaced(number=number), timeout=deadline)

    async def publish_batches():
        for first in range(400, TOTAL, 200):
            batch = [OrderPlaced(number=number) for number in range(first, first + 200)]
            await publisher.publish_many(batch, timeout=deadline)

    async with AsyncExitStack() as at_the_end:
        await subscriber.start()
        at_the_end.push_async_callback(subscriber.stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(publish_batches())
            for first in range(4):
                group.create_task(publish(first))
            for share in (200, 600):
                await until(lambda share=share: len(handled) >= share, timeout_s=60)
                leader = cluster[await leader_of_stream(nats)]
                leader.kill()
                leader.start()
        await until(lambda: len(handled) == TOTAL, timeout_s=60)
        await leader_of_stream(nats)
        assert Counter(await stored_numbers(nats)) == dict.fromkeys(range(TOTAL), 1)
        assert set(handled) == set(range(TOTAL))
        await until(lambda: copies_of(nats, "KV_GLAM_POSITIONS", 3), timeout_s=30)


async def copies_of(nats, stream, expected):
    """Tell whether a stream has so many copies, as far as the cluster answers."""
    try:
        return (await nats.jetstream.stream_info(stream)).config.num_replicas == expected
    except (NatsError, TimeoutError):
        return False
