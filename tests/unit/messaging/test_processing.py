"""Rules of telling what was handled: when it is told, and what it says of when it was."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from time import time_ns

import orjson
import pytest
import structlog.testing
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from glam_sdk._internal.afterwards import Afterwards, serving
from glam_sdk.config import NatsSettings
from glam_sdk.events import Event, encode, envelope_of
from glam_sdk.messaging import ConsumerPolicy, HandlerSpec, MessagingTelemetry, Nats
from glam_sdk.messaging.consumer import Consumer
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import pipeline as lines
from glam_sdk.telemetry.logs import set_request_context
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider
from tests.conftest import new_tracers


class Placed(Event, subject="evt.orders.placed"):
    number: int


class NoLetters:
    async def keep(self, message, letter): ...


@dataclass
class Told:
    """Look at what has been told."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    lines: list[bytes] = field(default_factory=list)
    processors: list[SpanProcessor] = field(default_factory=list)

    def telemetry(self):
        tracers = new_tracers()
        for processor in (SimpleSpanProcessor(self.exporter), *self.processors):
            tracers.add_span_processor(processor)
        meters = MeterProvider([self.reader])
        return MessagingTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t"))

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def shown(self):
        return [orjson.loads(line) for line in self.lines]

    @property
    def counted(self):
        data = self.reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else ()
        return sum(
            point.value
            for metric in metrics
            if metric.name == conv.MESSAGING_CLIENT_CONSUMED_MESSAGES
            for point in metric.data.data_points
        )


@dataclass
class Message:
    number: int
    told: Told
    spans_at_ack: int = -1
    acked_at: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    deliveries: int = 1
    repeats: int = 0
    subject: str = "evt.orders.placed"
    stream: str = "ORDERS"

    def __post_init__(self):
        envelope = envelope_of(Placed(number=self.number), source_service="orders")
        self.body, self.stored_at = encode(envelope), envelope.timestamp

    @property
    def sequence(self):
        return self.number

    @property
    def key(self):
        return f"{self.number}.0"

    async def ack(self):
        self.spans_at_ack, self.acked_at = len(self.told.spans), time_ns()

    async def nak(self, delay=None):
        await self.ack()


@pytest.fixture
def told(monkeypatch):
    found = Told()
    monkeypatch.setattr(lines(), "write", found.lines.append)
    monkeypatch.setattr(lines(), "console", False)
    logger = logging.getLogger("glam_sdk.messaging.pipeline")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield found
    logger.setLevel(before)


def pipeline_of(told, handler, telemetry=None):
    telemetry = telemetry or told.telemetry()
    surroundings = Surroundings(dead_letters=NoLetters(), telemetry=telemetry)
    bound = bind(HandlerSpec(Placed, "billing", handler))
    return Pipeline(
        durable="billing", handlers={Placed.event_subject: bound}, surroundings=surroundings
    )


async def succeed(event: Placed) -> None: ...


async def fail(event: Placed) -> None:
    raise RuntimeError("no")


async def test_what_went_well_is_told_at_the_end_of_the_turn(told):
    """Messages handled in a row are settled first and told then, each as it was when it ended.

    But for spans and measurements, which end with their handlers.
    """
    pipeline = pipeline_of(told, succeed)
    messages = [Message(number, told) for number in (1, 2)]

    with serving():
        for message in messages:
            await pipeline.process(message)
        assert [message.spans_at_ack for message in messages] == [1, 2]
        assert (told.counted, told.lines) == (2, [])
        await asyncio.sleep(0)
        assert (len(told.spans), told.counted, len(told.lines)) == (2, 2, 2)

    for message, span, line in zip(messages, told.spans, told.shown, strict=True):
        assert span.end_time <= message.acked_at
        assert datetime.fromisoformat(line["timestamp"]).timestamp() <= message.acked_at / 1e9
        assert line["message"] == "message.handled"
        assert line["sequence"] == message.sequence
        assert line["span_id"] == f"{span.context.span_id:016x}"


class Batches:
    """Keep what is exported."""

    def __init__(self):
        self.spans = []

    def export(self, batch):
        self.spans += batch

    def shutdown(self): ...


SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


@pytest.mark.parametrize("sampled", ["1", "0"])
async def test_spans_nobody_sees_end_are_told_with_their_measurements(told, sampled):
    """All of it at the end of the turn; where none is recorded, only the line is put off."""
    batches, tracers = Batches(), LeanTracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor := EncodedSpanProcessor(batches))
    meters = MeterProvider([told.reader])
    telemetry = MessagingTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t"))
    pipeline = pipeline_of(told, succeed, telemetry)
    with serving():
        await pipeline.process(Message(1, told, headers={"traceparent": SENDER + sampled}))
        assert (told.counted, told.lines) == (1 - int(sampled), [])
    assert (told.counted, len(told.lines)) == (1, 1)
    processor.force_flush()
    spans = [Span.FromString(body) for _, body in batches.spans]
    assert len(spans) == int(sampled)
    (line,) = told.shown
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    for span in spans:
        assert span.parent_span_id.hex() == "b7ad6b7169203331"
        assert (span.name, span.kind) == ("process evt.orders.placed", Span.SPAN_KIND_CONSUMER)
        assert span.span_id.hex() == line["span_id"]
        shown = {each.key: each.value for each in span.attributes}
        assert shown[conv.GLAM_DELIVERY_ATTEMPT].int_value == 1
        assert shown[conv.MESSAGING_MESSAGE_ID].string_value == line["event_id"]
        assert shown[conv.MESSAGING_DESTINATION_NAME].string_value == "evt.orders.placed"
    processor.shutdown()


async def test_what_is_measured_later_keeps_the_trace_of_each(told):
    """An exemplar names the span of the attempt that took so long."""
    spans = []

    async def handle(event: Placed) -> None:
        spans.append(trace.get_current_span().get_span_context().span_id)
        time.sleep(0.055 * event.number)  # noqa: ASYNC251 - as a handler that computes

    tracers = LeanTracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(EncodedSpanProcessor(Batches()))
    meters = MeterProvider([told.reader])
    telemetry = MessagingTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t"))
    with serving():
        pipeline = pipeline_of(told, handle, telemetry)
        for number in (1, 0):
            await pipeline.process(Message(number, told))
        assert told.counted == 0
    (scope,) = told.reader.get_metrics_data().resource_metrics[0].scope_metrics
    seen = {metric.name: metric.data.data_points[0].exemplars for metric in scope.metrics}
    durations = {each.value > 0.05: each.span_id for each in seen[conv.MESSAGING_PROCESS_DURATION]}
    assert durations == {True: spans[0], False: spans[1]}
    (counted,) = seen[conv.MESSAGING_CLIENT_CONSUMED_MESSAGES]
    assert counted.span_id in spans


async def test_what_cannot_be_measured_is_told_all_the_same(told, monkeypatch):
    """Somebody's meter that fails changes nothing of the message, its span and its line."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    pipeline = pipeline_of(told, succeed)

    def refuse(*_args):
        raise RuntimeError("no")

    monkeypatch.setattr("glam_sdk.messaging.process_telemetry.SeriesOf.add", refuse)
    with serving():
        for number in range(50):
            await pipeline.process(Message(number, told))
    assert (len(told.spans), len(told.lines)) == (50, 50)


async def test_what_failed_is_told_at_once(told):
    """Its span and its line are there before it is handed back."""
    message = Message(1, told)
    with serving():
        await pipeline_of(told, fail).process(message)
        assert (message.spans_at_ack, told.counted) == (1, 1)
        assert [line["message"] for line in told.shown] == ["message.failed"]


async def test_a_line_has_what_its_handler_put_on_it(told):
    """Told later, it has the fields of its own handler and of no other."""

    async def handle(event: Placed) -> None:
        set_request_context(order=event.number)

    pipeline = pipeline_of(told, handle)
    with serving():
        for number in (1, 2):
            await pipeline.process(Message(number, told))
    assert [line["order"] for line in told.shown] == [1, 2]


@pytest.mark.usefixtures("telemetry")
async def test_processors_of_others_see_the_line():
    """What structlog captures in a test has what was handled."""
    told = Told()
    with structlog.testing.capture_logs() as captured:
        await pipeline_of(told, succeed).process(Message(1, told))
    assert [(line["event"], line["outcome"]) for line in captured] == [
        ("message.handled", "handled")
    ]


@pytest.mark.parametrize("place", ["note", "end"])
async def test_a_span_is_ended_and_its_message_acked_whatever_telling_it_does(
    told, place, monkeypatch
):
    """Somebody's processor that fails changes nothing of the message."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)

    class Failing(SpanProcessor):
        def on_end(self, span):
            raise RuntimeError("no")

    def refuse(line):
        raise RuntimeError("no")

    if place == "end":
        told.processors.append(Failing())
    else:
        monkeypatch.setattr(lines(), "write", refuse)
    message = Message(1, told)
    await pipeline_of(told, succeed).process(message)
    assert message.acked_at
    assert (len(told.spans), told.counted) == (1, 1)


async def test_a_consumer_puts_off_what_it_tells_while_it_runs(told):
    """From its start to its stop the event loop serves, and nothing is left after it."""
    consumer = Consumer(
        Nats(NatsSettings(), service_name="billing"),
        durable="billing",
        subjects=[Placed.event_subject],
        pipeline=pipeline_of(told, succeed),
        policy=ConsumerPolicy(),
    )
    done = []
    later = Afterwards(done.append)

    consumer.start()
    await asyncio.sleep(0)
    later("while it runs")
    assert done == []
    await consumer.stop()
    assert done == ["while it runs"]
    later("after it")
    assert done == ["while it runs", "after it"]


class Unstartable(SpanProcessor):
    """Be a processor of somebody's that fails at each CONSUMER span."""

    def on_start(self, span, parent_context=None):
        if span.kind is SpanKind.CONSUMER:
            raise RuntimeError("no")


@pytest.mark.parametrize("deliveries", [1, 2])
@pytest.mark.parametrize("handler", [succeed, fail])
async def test_a_message_is_handled_and_settled_without_a_span_that_cannot_start(
    told, handler, deliveries, monkeypatch
):
    """Whether it comes for the first time or may have a history; it is measured all the same."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    told.processors.append(Unstartable())
    message = Message(1, told, deliveries=deliveries)
    await pipeline_of(told, handler).process(message)
    assert message.acked_at
    assert (len(told.spans), told.counted) == (0, 1)


async def test_a_handler_whose_span_cannot_start_goes_on_with_the_senders_trace(told, monkeypatch):
    """What it does itself is found there, as below a span that is not sampled."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    async def look(event: Placed) -> None:
        seen.append(trace.get_current_span().get_span_context())

    told.processors.append(Unstartable())
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = Message(1, told, headers={"traceparent": parent})
    await pipeline_of(told, look).process(message)
    assert [f"{found.trace_id:032x}" for found in seen] == [parent[3:35]]
