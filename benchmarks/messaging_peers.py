"""Publish in several ways; one process a way, asked over standard input.

A line ``<work> <times>`` is answered with the CPU microseconds of one message, exporting included:
the process's own, so what the NATS server needs is not in it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import nats
from opentelemetry import metrics, trace

import glam_sdk
from glam_sdk.events import Event, StreamSpec, encode, envelope_of
from glam_sdk.messaging import Publisher

WINDOW: Final = 256
STREAMS: Final = (StreamSpec("BENCH", allow_batches=True), StreamSpec("PLAIN"))

Work = Callable[[int], Awaitable[object]]


class Placed(Event, subject="evt.bench.placed"):
    """A typical small event, for a stream that allows batches."""

    number: int
    customer: str = "Ada"


class Noted(Event, subject="evt.plain.placed"):
    """The same for a stream that does not."""

    number: int
    customer: str = "Ada"


class Bare:
    """Publish the same bytes by nats-py alone: no spans, no metrics."""

    def __init__(self, client: Any) -> None:
        self._js = client.jetstream(publish_async_max_pending=WINDOW)

    def _message(self, number: int) -> tuple[str, bytes, dict[str, str]]:
        envelope = envelope_of(Noted(number=number), source_service="bench")
        return envelope.subject, encode(envelope), {"Nats-Msg-Id": envelope.event_id}

    async def single(self, times: int) -> None:
        """Wait for each acknowledgement."""
        for number in range(times):
            subject, body, headers = self._message(number)
            await self._js.publish(subject, body, headers=headers)

    async def many(self, times: int) -> None:
        """Have several hundred under way."""
        for number in range(times):
            subject, body, headers = self._message(number)
            await self._js.publish_async(subject, body, headers=headers)
        await self._js.publish_async_completed()


class Glam:
    """Publish typed events, traced and metered."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def single(self, times: int) -> None:
        """Wait for each acknowledgement."""
        for number in range(times):
            await self._publisher.publish(Noted(number=number))

    async def many(self, times: int) -> None:
        """Have several hundred under way."""
        await self._publisher.publish_many(Noted(number=number) for number in range(times))

    async def batch(self, times: int) -> None:
        """Let the stream take them in batches."""
        await self._publisher.publish_many(Placed(number=number) for number in range(times))


class FastStream:
    """Publish models by FastStream with its OpenTelemetry and Prometheus middlewares."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    async def _publish(self, number: int) -> None:
        event = Noted(number=number)
        headers = {"Nats-Msg-Id": str(uuid4())}
        await self._broker.publish(
            event, event.event_subject, stream="PLAIN", headers=headers, timeout=10
        )

    async def single(self, times: int) -> None:
        """Wait for each acknowledgement."""
        for number in range(times):
            await self._publish(number)

    async def many(self, times: int) -> None:
        """Have several hundred under way."""
        for first in range(0, times, WINDOW):
            numbers = range(first, min(first + WINDOW, times))
            await asyncio.gather(*(self._publish(number) for number in numbers))


def _stock_telemetry() -> tuple[Any, Any]:
    """Set the SDK's providers with OTLP exporters, and return them."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=16_384))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    return tracers, meters


@asynccontextmanager
async def opened(peer: str, url: str) -> AsyncIterator[Any]:
    """Connect a peer for the length of a block."""
    if peer == "bare":
        client = await nats.connect(url)
        yield Bare(client)
        await client.close()
    elif peer == "glam":
        # Standard output is for the answers.
        settings = {"nats": {"servers": (url,)}, "log": {"level": "ERROR"}}
        service = glam_sdk.init("bench", overrides=settings)
        publisher = service.use_messaging(streams=STREAMS)
        async with service:
            yield Glam(publisher)
    else:
        from faststream.nats import (  # type: ignore[import-not-found,unused-ignore]  # optional
            NatsBroker,
        )
        from faststream.nats.opentelemetry import (  # type: ignore[import-not-found,unused-ignore]  # optional
            NatsTelemetryMiddleware,
        )
        from faststream.nats.prometheus import (  # type: ignore[import-not-found,unused-ignore]  # optional
            NatsPrometheusMiddleware,
        )
        from prometheus_client import CollectorRegistry

        tracers, meters = _stock_telemetry()
        middlewares = [
            NatsTelemetryMiddleware(tracer_provider=tracers, meter_provider=meters),
            NatsPrometheusMiddleware(registry=CollectorRegistry()),
        ]
        async with NatsBroker(url, middlewares=middlewares, logger=None) as broker:
            yield FastStream(broker)


async def measure(work: Work, times: int) -> float:
    """Return the CPU microseconds that one message took."""
    started = time.process_time_ns()
    await work(times)
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush()
    return (time.process_time_ns() - started) / times / 1000


async def serve(peer: str, url: str) -> None:
    """Answer until standard input ends."""
    async with opened(peer, url) as works:
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, times = line.split()
            cost = await measure(getattr(works, name), int(times))
            print(f"{cost:.3f}", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
