"""Rules of processing one message, on messages that record how they were settled."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry import context as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from glam_sdk import context
from glam_sdk.events import Envelope, Event, encode
from glam_sdk.messaging import (
    AlreadyHandled,
    ConsumerPolicy,
    HandlerSpec,
    MessagingTelemetry,
)
from glam_sdk.messaging.delivery import no_scope
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.pipeline import Pipeline


class Placed(Event, subject="evt.orders.placed"):
    number: int


@dataclass
class Recorded:
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    subject: str = "evt.orders.placed"
    stream: str = "ORDERS"
    sequence: int = 7
    settled: list[object] = field(default_factory=list)

    async def ack(self):
        self.settled.append("ack")

    async def nak(self, delay=None):
        self.settled.append(("nak", delay))

    async def in_progress(self): ...


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def process(exporter, reader):
    """Run one message through a pipeline with the given handler and scope."""
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    telemetry = MessagingTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t"))

    async def run(handler, message, scope=no_scope):
        pipeline = Pipeline(
            durable="billing",
            handlers={"evt.orders.placed": bind(HandlerSpec(Placed, "billing", handler))},
            scope=scope,
            policy=ConsumerPolicy(),
            telemetry=telemetry,
        )
        await pipeline.process(message)
        return message.settled

    yield run
    meters.shutdown()


def body(**changes):
    values = {"event_id": "e-1", "subject": "evt.orders.placed", "timestamp": datetime.now(UTC)}
    return encode(Envelope(**{**values, "payload": {"number": 1}, **changes}))


async def succeed(event: Placed) -> None: ...


async def fail(event: Placed) -> None:
    raise RuntimeError("card declined")


async def test_success_is_acked(process):
    """A handler that returns settles the message."""
    assert await process(succeed, Recorded(body())) == ["ack"]


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 1), (2, 5), (3, 30), (4, 30), (5, 30), (9, 30)]
)
async def test_a_failure_is_handed_back_with_growing_delay(process, attempt, seconds):
    """The first failure waits a second, later ones longer; none is dropped or acked."""
    settled = await process(fail, Recorded(body(), attempt=attempt))
    assert settled == [("nak", timedelta(seconds=seconds))]


@pytest.mark.parametrize(
    "message",
    [
        Recorded(b"not json"),
        Recorded(b"\xff\xfe"),
        Recorded(b'{"event_id":"e"}'),
        Recorded(body(payload={"number": "many"})),
        Recorded(body(), subject="evt.orders.unknown"),
    ],
    ids=["json", "utf8", "fields", "schema", "subject"],
)
async def test_what_cannot_be_read_is_kept(process, exporter, message):
    """A poison message is handed back with the longest delay, and its span is an error."""
    assert await process(succeed, message) == [("nak", timedelta(seconds=30))]
    (span,) = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "MALFORMED_EVENT"


async def test_a_cancelled_handler_hands_its_message_back_at_once(process):
    """At shutdown another process can take the message without waiting for ack_wait."""
    entered = asyncio.Event()

    async def hang(event: Placed) -> None:
        entered.set()
        await asyncio.Event().wait()

    message = Recorded(body())
    task = asyncio.create_task(process(hang, message))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert message.settled == [("nak", None)]


async def test_a_duplicate_is_acked_without_calling_the_handler(process, exporter):
    """A scope that knows the event settles it."""

    @asynccontextmanager
    async def inbox(spec, delivery):
        raise AlreadyHandled
        yield {}

    assert await process(fail, Recorded(body()), inbox) == ["ack"]
    (span,) = exporter.get_finished_spans()
    assert span.attributes["glam.outcome"] == "duplicate"
    assert span.status.is_ok


async def test_the_ack_waits_for_the_scope(process):
    """A transaction that fails to commit leaves the message unacked."""

    @asynccontextmanager
    async def transaction(spec, delivery):
        yield {}
        raise RuntimeError("commit failed")

    settled = await process(succeed, Recorded(body()), transaction)
    assert settled == [("nak", timedelta(seconds=1))]


@pytest.mark.parametrize(
    ("changes", "headers", "expected"),
    [
        ({"correlation_id": "top"}, {}, "top"),
        ({"metadata": {"correlation_id": "inner"}}, {}, "inner"),
        ({"correlation_id": "top"}, {"Baggage": "correlation_id=travelled"}, "travelled"),
        ({"correlation_id": "not valid\n"}, {}, None),
    ],
)
async def test_the_handler_works_under_the_senders_correlation_id(
    process, changes, headers, expected
):
    """Baggage first, then the envelope of an old producer; an invalid id is not taken over."""
    seen = []

    async def look(event: Placed) -> None:
        seen.append(context.correlation_id())

    await process(look, Recorded(body(**changes), headers))
    assert seen == [expected]


async def test_the_span_continues_the_senders_trace(process, exporter):
    """The CONSUMER span is the child of the span named in the headers, whatever their case."""
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"TraceParent": f"00-{trace_id}-{parent_id}-01"}
    await process(succeed, Recorded(body(correlation_id="c-1"), headers, attempt=2))
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind.name) == ("process evt.orders.placed", "CONSUMER")
    assert f"{span.context.trace_id:032x}" == trace_id
    assert f"{span.parent.span_id:016x}" == parent_id
    attributes = dict(span.attributes)
    assert attributes.pop("messaging.message.body.size") > 0
    assert attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "evt.orders.placed",
        "messaging.consumer.group.name": "billing",
        "messaging.message.id": "e-1",
        "messaging.message.conversation_id": "c-1",
        "glam.delivery.attempt": 2,
    }


async def test_a_failure_is_recorded_once(process, exporter):
    """The span of a failed attempt has one exception event and an error status."""
    await process(fail, Recorded(body()))
    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == ["exception"]
    assert span.attributes["error.type"] == "RuntimeError"


@pytest.mark.parametrize("handler", [succeed, fail])
async def test_the_context_is_put_back(process, handler):
    """Nothing of one message stays for the next, also when its handler fails."""
    before = otel.get_current()
    await process(handler, Recorded(body(correlation_id="c-1")))
    assert otel.get_current() == before


async def test_messages_are_counted_and_timed_by_declared_labels(process, reader):
    """Count and duration have subject, consumer and error type, and no ids."""
    await process(succeed, Recorded(body()))
    await process(fail, Recorded(body()))
    metrics = {
        metric.name: list(metric.data.data_points)
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert set(metrics) == {"messaging.client.consumed.messages", "messaging.process.duration"}
    labels = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "evt.orders.placed",
        "messaging.consumer.group.name": "billing",
    }
    counted = [(dict(p.attributes), p.value) for p in metrics["messaging.client.consumed.messages"]]
    assert counted == [(labels, 1), ({**labels, "error.type": "RuntimeError"}, 1)]
