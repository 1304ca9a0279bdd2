"""What our own pipeline exports of a message's span, whichever way it is started."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from glam_sdk._internal.afterwards import serving
from glam_sdk.events import Envelope, Event, encode
from glam_sdk.messaging import HandlerSpec, MessagingTelemetry
from glam_sdk.messaging.domain_subscriber import _any_event
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider

SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Placed(Event, subject="evt.orders.placed"):
    number: int


class NoLetters:
    async def keep(self, message: Any, letter: Any) -> None: ...


@dataclass
class Message:
    headers: dict[str, str]
    sent_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    subject: str = "evt.orders.placed"
    stream: str = "ORDERS"
    sequence: int = 1
    deliveries: int = 1
    repeats: int = 0

    @property
    def body(self) -> bytes:
        return encode(Envelope("e-1", "evt.orders.placed", self.sent_at, {"number": 1}))

    @property
    def stored_at(self) -> datetime:
        return self.sent_at

    @property
    def key(self) -> tuple[int, int]:
        return f"{self.sequence}.0"

    async def ack(self) -> None: ...

    async def nak(self, delay: object = None) -> None: ...


class Batches:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def export(self, batch: list[tuple[bytes, bytes]]) -> None:
        self.spans += [Span.FromString(body) for _, body in batch]

    def shutdown(self) -> None: ...


async def succeed(event: Placed) -> None: ...


async def take_anything(event: Any) -> None: ...


class Bench:
    """A pipeline under our own tracer, and what it exports."""

    def __init__(self, event: type[Event] = Placed, handler: Any = succeed) -> None:
        self.batches, self.reader = Batches(), InMemoryMetricReader()
        self.tracers = LeanTracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(EncodedSpanProcessor(self.batches))
        meter = MeterProvider([self.reader]).get_meter("t")
        telemetry = MessagingTelemetry(tracer=self.tracers.get_tracer("t"), meter=meter)
        self.pipeline = Pipeline(
            durable="billing",
            handlers={event.event_subject: bind(HandlerSpec(event, "billing", handler))},
            surroundings=Surroundings(dead_letters=NoLetters(), telemetry=telemetry),  # type: ignore[arg-type]
        )

    async def span_of(self, message: Message) -> Span:
        with serving():
            await self.pipeline.process(message)  # type: ignore[arg-type]
        self.tracers.force_flush()
        (span,) = self.batches.spans
        assert not span.status.code  # it was handled
        return span


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.tracers.shutdown()


TWO_DAYS_AGO = datetime.now(UTC) - timedelta(days=2)


@pytest.mark.parametrize("more", [{}, {"tracestate": "k=v"}])
@pytest.mark.parametrize(
    ("replayed", "sent_at"), [({"x-replay-of": "DEAD:1"}, None), ({}, TWO_DAYS_AGO)]
)
async def test_a_replay_or_old_message_is_a_root_with_a_link(
    bench: Bench, more: dict[str, str], replayed: dict[str, str], sent_at: datetime | None
) -> None:
    """To its sender, whose trace nobody looks at any more."""
    headers = {"traceparent": SENDER, **more, **replayed}
    span = await bench.span_of(Message(headers, sent_at or datetime.now(UTC)))
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != SENDER[3:35]
    assert [link.span_id.hex() for link in span.links] == [SENDER[36:52]]


@pytest.mark.parametrize("more", [{}, {"tracestate": "k=v"}])
async def test_a_fresh_message_is_a_child(bench: Bench, more: dict[str, str]) -> None:
    """One trace tells the story."""
    span = await bench.span_of(Message({"traceparent": SENDER, **more}))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (SENDER[3:35], SENDER[36:52])
    assert not span.links
    assert span.trace_state == more.get("tracestate", "")


async def test_a_message_under_a_pattern_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own subject is the destination, the pattern the template."""
    event = _any_event("evt.orders.*")
    monkeypatch.setitem(take_anything.__annotations__, "event", event)
    bench = Bench(event, take_anything)
    span = await bench.span_of(Message({}))
    bench.tracers.shutdown()
    shown = {pair.key: pair.value.string_value for pair in span.attributes}
    assert shown[conv.MESSAGING_DESTINATION_NAME] == "evt.orders.placed"
    assert shown[conv.MESSAGING_DESTINATION_TEMPLATE] == "evt.orders.*"


async def test_without_lines_spans_and_measurements_stay(bench: Bench) -> None:
    """The level of a logger says nothing about the other signals."""
    logger = logging.getLogger("glam_sdk.messaging.pipeline")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        await bench.span_of(Message({}))
    finally:
        logger.setLevel(before)
    data = bench.reader.get_metrics_data()
    assert data is not None
    names = [each.name for each in data.resource_metrics[0].scope_metrics[0].metrics]
    assert conv.MESSAGING_CLIENT_CONSUMED_MESSAGES in names
