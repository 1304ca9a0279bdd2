"""Give the messaging tests a real server, a connection and a deadline to poll by."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from glam_sdk.config import NatsSettings
from glam_sdk.messaging import Backoff, ConsumerPolicy, Nats, Subscriber
from glam_sdk.testing.nats import NatsServer

QUICK = ConsumerPolicy(
    ack_wait=timedelta(seconds=1),
    retry=Backoff(0.02),
    idle_heartbeat=timedelta(milliseconds=500),
    stop_timeout=timedelta(seconds=5),
)


@pytest.fixture
def until():
    """Wait for a condition, plain or async, and fail after the deadline."""

    async def wait(condition, timeout_s=15):
        async with asyncio.timeout(timeout_s):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture(scope="module")
def server():
    """One server for the tests of a module."""
    with NatsServer() as running:
        yield running


@pytest.fixture
async def nats(server):
    """A connection to a server without streams."""
    connection = Nats(NatsSettings(servers=(server.url,)), service_name="orders")
    await connection.start()
    for stream in await connection.jetstream.streams_info():
        await connection.jetstream.delete_stream(stream.config.name)
    yield connection
    await connection.stop()


@pytest.fixture
def receiving(nats):
    """Run handlers until the block ends, with short waits unless another policy is given."""

    @asynccontextmanager
    async def run(*handlers, **options):
        options.setdefault("policy", QUICK)
        subscriber = Subscriber(nats, handlers, service_name="billing", **options)
        await subscriber.start()
        try:
            yield subscriber
        finally:
            await subscriber.stop()

    return run


@pytest.fixture
def pulling():
    """Make a condition: the subscriber is being served."""

    def of(subscriber):
        async def healthy():
            return (await subscriber.check()).healthy

        return healthy

    return of
