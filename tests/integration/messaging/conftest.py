"""Give the messaging tests a real server, a connection and a deadline to poll by."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import pytest
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from glam_sdk.config import NatsSettings
from glam_sdk.messaging import Backoff, ConsumerPolicy, Nats, Subscriber
from glam_sdk.testing.nats import NatsServer
from tests.integration.messaging import doors  # noqa: F401 - it looks at the environment

QUICK = ConsumerPolicy(
    ack_wait=timedelta(seconds=1),
    retry=Backoff(0.02),
    idle_heartbeat=timedelta(milliseconds=500),
    stop_timeout=timedelta(seconds=5),
)


@pytest.fixture
def until():
    """Wait for a condition, plain or async, and fail after the deadline."""

    async def wait(condition, timeout_s=120):
        async with asyncio.timeout(timeout_s):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def server():
    """A server of the test's own: it is there in no time, and has nothing of another test.

    To delete the streams of a shared one is not enough: a stream that is made again at once may
    have its old messages, for the server answers before its files are gone.
    """
    with NatsServer() as running:
        yield running


@pytest.fixture
async def connect():
    """Open connections; all are closed at the end, whatever becomes of the test."""
    async with AsyncExitStack() as at_the_end:

        async def connected(server, service_name="orders", *, streams=(), **settings):
            given = NatsSettings(servers=(server.url,), **settings)
            connection = Nats(given, service_name=service_name, streams=streams)
            at_the_end.push_async_callback(connection.stop)
            await connection.start()
            return connection

        yield connected


@pytest.fixture
async def nats(server, connect):
    """A connection to a server without streams."""
    return await connect(server)


async def answered(question, *subjects):
    """Ask until there is an answer: servers that elect, or have just come back, have none."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await question(*subjects)
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.1)


async def unsettled(nats, stream="ORDERS", durable="billing"):
    """Count what a consumer has not settled; not zero while it has yet to learn of a message.

    A server confirms a message, and reads an acknowledgement, before its consumer's numbers show
    it: a single look may be too early, so wait for the number.
    """
    try:
        info = await nats.jetstream.consumer_info(stream, durable)
    except NotFoundError:
        return 1  # It is being created.
    subjects = info.config.filter_subjects or [info.config.filter_subject or ">"]
    last = 0
    for subject in subjects:
        with suppress(NotFoundError):  # None was stored yet.
            last = max(last, (await nats.jetstream.get_last_msg(stream, subject)).seq)
    return info.num_ack_pending + info.num_pending or int(last > info.delivered.stream_seq)


@pytest.fixture
def gone(nats, until):
    """Wait until every message of the consumer is settled."""

    async def settled():
        return await unsettled(nats) == 0

    return lambda: until(settled)


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
