"""Consume in several ways; one process a way, asked over standard input.

A line ``consume <times>`` is answered with the CPU microseconds of one message, from the request to
the acknowledgement, exporting included: the process's own, so what the NATS server needs is not in
it. Each time all messages of the stream are consumed anew, under another durable name.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TextIO

import nats
from opentelemetry import trace
from pydantic import BaseModel

import glam_sdk
from benchmarks.messaging_peers import Noted, _stock_telemetry
from glam_sdk.config import NatsSettings
from glam_sdk.messaging import Nats, Subscriber, handles

STREAM: Final = "PLAIN"
AT_ONCE: Final = 100

Consume = Callable[[int], Awaitable[None]]


class Wire(BaseModel):
    """What a message has, for frameworks that know no envelope."""

    event_id: str
    subject: str
    timestamp: datetime
    payload: dict[str, Any]


class Countdown:
    """Tell when so many messages were handled."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.done = asyncio.Event()

    def one(self) -> None:
        """Note one message."""
        self.left -= 1
        if self.left == 0:
            self.done.set()


def new_name() -> str:
    """Return a durable name nobody had."""
    return f"c{time.time_ns()}"


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Consume]:
    """Fetch a hundred and ack them, by nats-py alone: nothing is read, traced or counted."""
    client = await nats.connect(url)

    async def consume(times: int) -> None:
        subscription = await client.jetstream().pull_subscribe(
            Noted.event_subject, durable=new_name()
        )
        while times > 0:
            for message in await subscription.fetch(AT_ONCE):
                await message.ack()
                times -= 1
        await client.flush()

    yield consume
    await client.close()


@asynccontextmanager
async def glam(url: str, **settings: Any) -> AsyncIterator[Consume]:
    """Handle typed events."""
    service = glam_sdk.init("bench", overrides={"nats": {"servers": (url,)}, **settings})
    nats = Nats(NatsSettings(servers=(url,)), service_name="bench")

    async def consume(times: int) -> None:
        countdown = Countdown(times)

        @handles(Noted, durable=new_name(), concurrency=AT_ONCE)
        async def handle(event: Noted) -> None:
            del event
            countdown.one()

        subscriber = Subscriber(nats, [handle], service_name="bench")
        await subscriber.start()
        await countdown.done.wait()
        await subscriber.stop()

    async with service:
        await nats.start()
        yield consume
        await nats.stop()


@asynccontextmanager
async def faststream(url: str, **settings: Any) -> AsyncIterator[Consume]:
    """Handle models by FastStream with its OpenTelemetry and Prometheus middlewares."""
    from faststream.nats import (  # type: ignore[import-not-found,unused-ignore]  # optional
        NatsBroker,
        PullSub,
    )
    from faststream.nats.opentelemetry import (  # type: ignore[import-not-found,unused-ignore]  # optional
        NatsTelemetryMiddleware,
    )
    from faststream.nats.prometheus import (  # type: ignore[import-not-found,unused-ignore]  # optional
        NatsPrometheusMiddleware,
    )
    from prometheus_client import CollectorRegistry

    tracers, meters = _stock_telemetry()

    async def consume(times: int) -> None:
        countdown = Countdown(times)
        middlewares = [
            NatsTelemetryMiddleware(tracer_provider=tracers, meter_provider=meters),
            NatsPrometheusMiddleware(registry=CollectorRegistry()),
        ]
        broker = NatsBroker(url, middlewares=middlewares, **settings)

        async def handle(event: Wire) -> None:
            del event
            countdown.one()

        broker.subscriber(
            Noted.event_subject, stream=STREAM, durable=new_name(), pull_sub=PullSub(AT_ONCE)
        )(handle)
        async with broker:
            await broker.start()
            await countdown.done.wait()

    yield consume


_QUIET: Final = {"log": {"level": "WARNING"}}
_NONE: Final = {"telemetry": {"disabled": True}}
PEERS: Final[dict[str, Callable[[str], Any]]] = {
    "bare": bare,
    "glam": lambda url: glam(url, **_QUIET),
    "glam-log": glam,
    "glam-off": lambda url: glam(url, **_QUIET, **_NONE),
    "faststream": lambda url: faststream(url, logger=None),
    "faststream-log": faststream,
}


async def measure(consume: Consume, times: int) -> float:
    """Return the CPU microseconds that one message took."""
    started = time.process_time_ns()
    await consume(times)
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush()
    return (time.process_time_ns() - started) / times / 1000


async def serve(peer: str, url: str, answers: TextIO) -> None:
    """Answer until standard input ends."""
    async with PEERS[peer](url) as consume:
        while line := await asyncio.to_thread(sys.stdin.readline):
            cost = await measure(consume, int(line.split()[1]))
            print(f"{cost:.3f}", file=answers, flush=True)


if __name__ == "__main__":
    # Standard output is for the answers; log lines are rendered and written to nowhere, also those
    # of FastStream, which go to standard error.
    with os.fdopen(os.dup(1), "w") as out, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        if sys.argv[1] == "faststream-log":
            os.dup2(nowhere.fileno(), 2)
        asyncio.run(serve(sys.argv[1], sys.argv[2], out))
