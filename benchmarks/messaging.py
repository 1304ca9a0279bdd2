"""Measure CPU per message beside the bare client: consuming and publishing, in one process.

Run it with ``python -m benchmarks.messaging``. Spans are made, sampled and batched; they are not
exported, as the log lines are rendered and not written. Rounds are interleaved; the median counts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from glam_sdk.config import NatsSettings
from glam_sdk.events import Event, encode, envelope_of
from glam_sdk.messaging import MessagingTelemetry, Nats, Publisher, Subscriber, handles
from glam_sdk.telemetry.logs import configure
from glam_sdk.testing.nats import NatsServer

MESSAGES: Final = 5000
ROUNDS: Final = 5


class Placed(Event, subject="evt.bench.placed"):
    """A typical small event."""

    number: int
    customer: str = "Ada"


class Nowhere(SpanExporter):
    """Take spans and drop them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - dropped
        """Drop the spans."""
        return SpanExportResult.SUCCESS


class Bench:
    """Hold what the measured ways share.

    Args:
        nats: A started connection.
    """

    def __init__(self, nats: Nats) -> None:
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
        meter = MeterProvider().get_meter("bench")
        self.nats = nats
        self.telemetry = MessagingTelemetry(tracer=tracers.get_tracer("bench"), meter=meter)
        self.publisher = Publisher(nats, "bench", telemetry=self.telemetry)
        self.events = [Placed(number=number) for number in range(MESSAGES)]

    async def consume_raw(self) -> None:
        """Fetch a hundred at a time and ack, as nats-py offers it."""
        js = self.nats.jetstream
        subscription = await js.pull_subscribe("evt.bench.placed", durable=f"raw{time.time_ns()}")
        left = MESSAGES
        while left:
            for message in await subscription.fetch(100):
                await message.ack()
                left -= 1

    async def consume_ours(self) -> None:
        """Decode, validate, trace, meter, log, handle and ack."""
        done, left = asyncio.Event(), MESSAGES

        @handles(Placed, durable=f"ours{time.time_ns()}", concurrency=100)
        async def handle(event: Placed) -> None:
            nonlocal left
            left -= event is not None
            if not left:
                done.set()

        subscriber = Subscriber(self.nats, [handle], service_name="bench", telemetry=self.telemetry)
        await subscriber.start()
        await done.wait()
        await subscriber.stop()

    async def publish_raw(self) -> None:
        """Encode and publish one after the other, without spans."""
        for event in self.events:
            envelope = envelope_of(event, source_service="bench")
            headers = {"Nats-Msg-Id": envelope.event_id}
            await self.nats.jetstream.publish(envelope.subject, encode(envelope), headers=headers)

    async def publish_ours(self) -> None:
        """Publish one after the other, traced and metered."""
        for event in self.events:
            await self.publisher.publish(event)

    async def publish_many(self) -> None:
        """Publish all at once, traced and metered."""
        await self.publisher.publish_many(self.events)


async def cpu_us(work: Callable[[], Awaitable[None]]) -> float:
    """Return the CPU microseconds a message cost."""
    before = time.process_time()
    await work()
    return (time.process_time() - before) / MESSAGES * 1e6


async def main() -> None:
    """Print the table."""
    configure(
        service="bench", environment="bench", console=False, provider=None, write=lambda _: None
    )
    with NatsServer() as server:
        nats = Nats(NatsSettings(servers=(server.url,)), service_name="bench")
        await nats.start()
        bench = Bench(nats)
        ways = (
            bench.publish_raw,
            bench.publish_ours,
            bench.publish_many,
            bench.consume_raw,
            bench.consume_ours,
        )
        found: dict[str, list[float]] = {way.__name__: [] for way in ways}
        for _ in range(ROUNDS):
            await nats.stream_for("evt.bench.placed")
            for way in ways:
                if way == bench.consume_raw:
                    await nats.jetstream.purge_stream("BENCH")
                    await bench.publish_many()
                found[way.__name__].append(await cpu_us(way))
        await nats.stop()
    for name, figures in found.items():
        line = f"{name:<14} {statistics.median(figures):7.1f} us  ({min(figures):.1f} best)\n"
        sys.stdout.write(line)


if __name__ == "__main__":
    asyncio.run(main())
