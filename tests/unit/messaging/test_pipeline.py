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
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from glam_sdk import context
from glam_sdk.errors import MessageBusError, ValidationError
from glam_sdk.events import Envelope, Event, encode
from glam_sdk.messaging import (
    AlreadyHandled,
    Backoff,
    Delivery,
    HandlerSpec,
    MessagingTelemetry,
    Permanent,
    Retry,
)
from glam_sdk.messaging.attempts import GivenUp, LocalHistories
from glam_sdk.messaging.dead_letters import DeadLetter
from glam_sdk.messaging.delivery import no_scope
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.surroundings import Surroundings
from tests.conftest import new_tracers


class Placed(Event, subject="evt.orders.placed"):
    number: int


@dataclass
class Recorded:
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    deliveries: int = 1
    repeats: int = 0
    subject: str = "evt.orders.placed"
    stream: str = "ORDERS"
    sequence: int = 7
    stored_at: datetime = datetime(2026, 1, 15, tzinfo=UTC)
    settled: list[object] = field(default_factory=list)

    @property
    def key(self):
        return self.sequence, int(self.stored_at.timestamp())

    async def ack(self):
        self.settled.append("ack")

    async def nak(self, delay=None):
        self.settled.append(("nak", delay))

    async def term(self, reason):
        self.settled.append(("term", reason))

    async def in_progress(self): ...


@dataclass
class Kept:
    """Keep dead letters in a list, or refuse them."""

    down: bool = False
    letters: list[tuple[Recorded, DeadLetter]] = field(default_factory=list)

    async def keep(self, message, letter):
        if self.down:
            raise MessageBusError("The stream is full.")
        self.letters.append((message, letter))


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def process(exporter, reader, kept):
    """Run one message through a pipeline with the given handler and scope."""
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    telemetry = MessagingTelemetry(tracer=tracers.get_tracer("t"), meter=meters.get_meter("t"))

    histories = LocalHistories()

    async def run(handler, message, scope=no_scope, **options):
        spec = HandlerSpec(Placed, "billing", handler, **options)
        pipeline = Pipeline(
            durable="billing",
            handlers={"evt.orders.placed": bind(spec)},
            surroundings=Surroundings(kept, scope, telemetry=telemetry),
            histories=histories,
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


async def test_failures_wait_longer_each_time_and_end_as_one_dead_letter(process, kept):
    """By default 1, 5, 30 and 30 seconds; the fifth failure is kept with its error, and ended."""
    settled = [await process(fail, Recorded(body(), deliveries=n)) for n in range(1, 6)]
    delays = [timedelta(seconds=s) for s in (1, 5, 30, 30)]
    assert settled == [*([("nak", delay)] for delay in delays), [("term", "exhausted")]]
    ((_, letter),) = kept.letters
    assert (letter.durable, letter.attempts) == ("billing", 5)
    assert letter.given_up == GivenUp("exhausted", "RuntimeError", "card declined")


async def test_a_handler_states_its_own_backoff(process, kept):
    """Two attempts, if it says so."""
    quick = Backoff(0.5, attempts=2)
    assert await process(fail, Recorded(body()), retry=quick) == [("nak", timedelta(seconds=0.5))]
    assert await process(fail, Recorded(body(), deliveries=2), retry=quick) == [
        ("term", "exhausted")
    ]


async def test_a_handler_chooses_when_it_gets_the_message_again(process):
    """Retry carries its own delay."""

    async def later(event: Placed) -> None:
        raise Retry(timedelta(minutes=2), "The bank is closed.")

    assert await process(later, Recorded(body())) == [("nak", timedelta(minutes=2))]


async def test_a_returned_retry_or_refusal_counts_like_a_raised_one(process):
    """What a handler returns is not lost in an ack."""

    async def later(event: Placed) -> Retry:
        return Retry(7)

    async def never(event: Placed) -> Permanent:
        return Permanent("No such account.")

    assert await process(later, Recorded(body())) == [("nak", timedelta(seconds=7))]
    assert await process(never, Recorded(body(), sequence=8)) == [("term", "permanent")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Permanent("No such account."), "permanent"),
        (ValidationError("No such currency.", field="currency"), "invalid"),
    ],
)
async def test_what_no_attempt_can_change_is_a_dead_letter_at_once(process, kept, error, reason):
    """The first attempt is the last."""

    async def refuse(event: Placed) -> None:
        raise error

    assert await process(refuse, Recorded(body())) == [("term", reason)]
    assert kept.letters[0][1].attempts == 1


async def test_a_hanging_handler_is_ended_and_tried_again(process, exporter):
    """Its timeout is a failure like any other."""

    async def hang(event: Placed) -> None:
        await asyncio.Event().wait()

    limit = timedelta(milliseconds=10)
    assert await process(hang, Recorded(body()), timeout=limit) == [("nak", timedelta(seconds=1))]
    (span,) = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "TimeoutError"


async def test_a_cancellation_inside_a_handler_is_a_failure(process):
    """A library that leaks CancelledError must not end the consumer or lose the message."""

    async def leak(event: Placed) -> None:
        raise asyncio.CancelledError

    assert await process(leak, Recorded(body())) == [("nak", timedelta(seconds=1))]


async def test_a_dead_letter_that_cannot_be_stored_is_stored_later(process, kept):
    """The message is kept meanwhile, its handler does not run again, and the reason is the same."""
    calls = []

    async def refuse(event: Placed) -> None:
        calls.append(event)
        raise Permanent("No such account.")

    kept.down = True
    assert await process(refuse, Recorded(body())) == [("nak", timedelta(seconds=30))]
    kept.down = False
    assert await process(refuse, Recorded(body(), deliveries=2)) == [("term", "permanent")]
    assert len(calls) == 1
    assert kept.letters[0][1].given_up.error == "No such account."


async def test_handing_back_costs_no_attempt(process):
    """Ten restarts in the middle of a handler leave a message its attempts."""
    entered = asyncio.Event()

    async def hang(event: Placed) -> None:
        entered.set()
        await asyncio.Event().wait()

    for restart in range(1, 11):
        entered.clear()
        task = asyncio.create_task(process(hang, Recorded(body(), deliveries=restart)))
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
    settled = await process(fail, Recorded(body(), deliveries=11))
    assert settled == [("nak", timedelta(seconds=1))]


@pytest.mark.parametrize("is_cut_short", [False, True])
async def test_what_came_again_while_it_was_held_costs_no_attempt(process, is_cut_short):
    """Three more deliveries during one attempt; then the second attempt is the second."""
    attempts, entered = [], asyncio.Event()

    async def note(event: Placed, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        entered.set()
        if is_cut_short and len(attempts) == 1:
            await asyncio.Event().wait()
        raise RuntimeError("card declined")

    first = asyncio.create_task(process(note, Recorded(body(), repeats=3)))
    await entered.wait()
    if is_cut_short:
        first.cancel()
    await asyncio.wait([first])
    await process(note, Recorded(body(), deliveries=5))
    assert attempts == ([1, 1] if is_cut_short else [1, 2])


async def test_a_message_whose_workers_died_is_given_up_without_another_try(process, kept):
    """Six deliveries of which nobody reported an end: it kills its workers, or is thought to."""
    calls = []

    async def count(event: Placed) -> None:
        calls.append(event)

    assert await process(count, Recorded(body(), deliveries=6)) == [("term", "crashed")]
    assert calls == []


async def test_a_suspect_runs_alone_on_its_last_attempt(kept):
    """It waits until its neighbours are done, and they until it is."""
    order, gate, inside = [], asyncio.Event(), asyncio.Event()

    async def work(event: Placed, delivery: Delivery) -> None:
        order.append(("begins", delivery.sequence))
        if delivery.sequence == 1:
            inside.set()
            await gate.wait()
        order.append(("ends", delivery.sequence))

    pipeline = Pipeline(
        durable="billing",
        handlers={"evt.orders.placed": bind(HandlerSpec(Placed, "billing", work))},
        surroundings=Surroundings(kept),
    )
    neighbour = asyncio.create_task(pipeline.process(Recorded(body(), sequence=1)))
    await inside.wait()
    suspect = asyncio.create_task(pipeline.process(Recorded(body(), sequence=2, deliveries=5)))
    later = asyncio.create_task(pipeline.process(Recorded(body(), sequence=3)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == [("begins", 1)]
    gate.set()
    await asyncio.gather(neighbour, suspect, later)
    assert order == [(what, n) for n in (1, 2, 3) for what in ("begins", "ends")]


async def test_what_was_settled_here_is_settled_again_without_its_handler(kept, reader):
    """A killed server forgets acks; the copy it sends costs nothing, and is counted."""
    calls, meters = [], MeterProvider([reader])

    async def count(event: Placed) -> None:
        calls.append(event)

    pipeline = Pipeline(
        durable="billing",
        handlers={"evt.orders.placed": bind(HandlerSpec(Placed, "billing", count))},
        surroundings=Surroundings(kept, telemetry=MessagingTelemetry(meter=meters.get_meter("t"))),
    )
    copies = [Recorded(body()), Recorded(body())]
    for copy in copies:
        await pipeline.process(copy)
    made_anew = Recorded(body(), stored_at=datetime(2026, 2, 1, tzinfo=UTC))
    await pipeline.process(made_anew)
    assert [copy.settled for copy in copies] == [["ack"], ["ack"]]
    assert len(calls) == 2
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    found = {
        metric.name: metric.data.data_points[0].value
        for metric in scope.metrics
        if metric.name == "glam.messaging.suppressed_duplicates"
    }
    assert found == {"glam.messaging.suppressed_duplicates": 1}
    meters.shutdown()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Recorded(b"not json"), "malformed"),
        (Recorded(b"\xff\xfe"), "malformed"),
        (Recorded(b'{"event_id":"e"}'), "malformed"),
        (Recorded(body(payload={"number": "many"})), "malformed"),
        (Recorded(body(), subject="evt.orders.unknown"), "unhandled"),
    ],
    ids=["json", "utf8", "fields", "schema", "subject"],
)
async def test_what_cannot_be_read_is_a_dead_letter_at_once(
    process, exporter, kept, message, reason
):
    """A poison message is kept with its reason, and its span is an error."""
    assert await process(succeed, message) == [("term", reason)]
    assert kept.letters[0][0] is message
    (span,) = exporter.get_finished_spans()
    assert span.attributes["glam.outcome"] == "dead_letter"
    assert span.status.is_ok is False


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
    await process(succeed, Recorded(body(correlation_id="c-1"), headers, deliveries=2))
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


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"timestamp": datetime.now(UTC) - timedelta(hours=2)}, {}),
        ({}, {"x-replay-of": "7"}),
    ],
    ids=["old", "replay"],
)
async def test_an_old_or_replayed_message_begins_a_trace_with_a_link(
    process, exporter, changes, headers
):
    """Its sender's trace is over; the correlation id goes on."""
    parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    seen = []

    async def look(event: Placed) -> None:
        seen.append(context.correlation_id())

    message = Recorded(body(correlation_id="c-1", **changes), {**headers, **parent})
    await process(look, message)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" not in parent["traceparent"]
    assert [f"{link.context.span_id:016x}" for link in span.links] == ["b7ad6b7169203331"]
    assert seen == ["c-1"]


async def test_each_attempt_is_a_span_of_its_own(process, exporter):
    """Siblings under the sender's span, numbered."""
    parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    for delivery in (1, 2):
        await process(fail, Recorded(body(), parent, deliveries=delivery))
    spans = exporter.get_finished_spans()
    assert [span.attributes["glam.delivery.attempt"] for span in spans] == [1, 2]
    assert {f"{span.parent.span_id:016x}" for span in spans} == {"b7ad6b7169203331"}
    assert [span.attributes["glam.outcome"] for span in spans] == ["retry", "retry"]


async def test_a_replay_for_another_consumer_is_not_handled(process, exporter):
    """Whoever handled the event the first time does not do so again."""
    settled = await process(fail, Recorded(body(), {"x-replay-of": "7", "x-replay-for": "mail"}))
    assert settled == ["ack"]
    (span,) = exporter.get_finished_spans()
    assert span.attributes["glam.outcome"] == "replay_for_another"


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


async def test_an_event_that_comes_again_is_read_once(process, monkeypatch):
    """Whether it fits is known before it has to wait for room, and then it is there."""
    read = []

    def look(payload):
        read.append(payload)
        return Placed(**payload)

    monkeypatch.setattr(Placed, "model_validate", look)
    assert await process(succeed, Recorded(body(), deliveries=2)) == ["ack"]
    assert len(read) == 1
