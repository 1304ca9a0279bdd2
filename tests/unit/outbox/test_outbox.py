from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer
from pydantic import SecretStr
from sqlalchemy import MetaData, func, select

from glam_sdk.config import DatabaseSettings
from glam_sdk.context import with_correlation_id
from glam_sdk.database import Database, UnitOfWork
from glam_sdk.database.telemetry import DatabaseTelemetry
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event, decode, envelope_of
from glam_sdk.messaging import AlreadyHandled, Delivery, HandlerSpec, MessageTooLargeError
from glam_sdk.outbox import (
    InboxRow,
    OutboxRow,
    OutboxWriter,
    Relay,
    RelayPace,
    inbox_scope,
    store,
)
from tests.conftest import new_tracers


class Placed(Event, subject="evt.orders.placed"):
    number: int


QUICK = RelayPace(
    poll=timedelta(hours=1),
    batch=3,
    first_backoff=timedelta(milliseconds=1),
    max_backoff=timedelta(milliseconds=5),
)


@dataclass
class RecordingBroker:
    """Take messages as a stream would, and fail where told to."""

    failing: set[int] = field(default_factory=set)
    down: bool = False
    sent: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    attempts: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def publish_raw(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - the protocol's
    ) -> bool:
        async with self.changed:
            self.attempts += 1
            self.changed.notify_all()
            if self.down or decode(body).payload["number"] in self.failing:
                raise MessageBusError("The broker is down.", subject=subject)
            self.sent.append((subject, body, dict(headers)))
        return False

    @property
    def numbers(self) -> list[int]:
        return [decode(body).payload["number"] for _, body, _ in self.sent]

    async def until(self, *, sent: int = 0, attempts: int = 0) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(
                lambda: len(self.sent) >= sent and self.attempts >= attempts
            )


@dataclass
class Bench:
    db: Database
    broker: RecordingBroker
    relay: Relay
    exporter: InMemorySpanExporter
    tracer: Tracer

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    async def emit(self, *numbers: int) -> None:
        async with self.db.unit_of_work() as uow:
            for number in numbers:
                uow.emit(Placed(number=number))

    async def left(self, row: type[OutboxRow | InboxRow] = OutboxRow) -> int:
        async with self.db.unit_of_work(read_only=True) as uow:
            return await uow.session.scalar(select(func.count()).select_from(row)) or 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    exporter = InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("t")
    db = Database(
        DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path / 'outbox.sqlite3'}")),
        metadata=MetaData(),
        event_writer=OutboxWriter("orders", tracer=tracer),
        telemetry=DatabaseTelemetry(tracer=tracer),
    )
    broker = RecordingBroker()
    relay = Relay(db, broker, pace=QUICK, tracer=tracer)
    await db.start()
    yield Bench(db, broker, relay, exporter, tracer)
    await relay.stop()
    await db.stop()
    provider.shutdown()


async def test_an_event_is_stored_with_the_transaction_and_its_trace(bench: Bench) -> None:
    """The row holds the message as it will be sent, under the request's trace."""
    with bench.tracer.start_as_current_span("POST /orders") as request:
        token = otel.attach(with_correlation_id("corr_1"))
        await bench.emit(7)
        otel.detach(token)
    async with bench.db.unit_of_work(read_only=True) as uow:
        row = (await uow.session.scalars(select(OutboxRow))).one()
    (created,) = bench.spans("create evt.orders.placed")
    context = created.get_span_context()
    assert context is not None
    assert created.kind is SpanKind.PRODUCER
    (transaction,) = bench.spans("transaction")
    assert created.parent == transaction.get_span_context()
    assert transaction.parent == request.get_span_context()
    carried = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    assert row.headers["traceparent"].startswith(carried)
    assert row.headers["baggage"] == "correlation_id=corr_1"
    assert row.headers["Nats-Msg-Id"] == row.event_id
    body = json.loads(row.body)
    assert (body["event_id"], body["payload"]) == (row.event_id, {"number": 7})
    assert body["correlation_id"] == "corr_1"
    attributes = dict(created.attributes or {})
    assert attributes["messaging.operation.name"] == "create"
    assert attributes["messaging.message.id"] == row.event_id


async def test_a_rolled_back_transaction_sends_nothing(bench: Bench) -> None:
    """An event tells of something that happened, or is not told."""
    await bench.relay.start()

    async def fail() -> None:
        async with bench.db.unit_of_work() as uow:
            uow.emit(Placed(number=1))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    await bench.emit(2)
    await bench.broker.until(sent=1)
    assert bench.broker.numbers == [2]


async def test_only_events_can_be_emitted(bench: Bench) -> None:
    """The error says what to emit instead."""
    async with bench.db.unit_of_work() as uow:
        with pytest.raises(TypeError, match="dict is no event"):
            uow.emit({"number": 1})


async def test_an_envelope_is_sent_as_it_is(bench: Bench) -> None:
    """Its own id and idempotency key are kept."""
    envelope = envelope_of(Placed(number=1), source_service="x", idempotency_key="key-1")
    async with bench.db.unit_of_work() as uow:
        uow.emit(envelope)
    assert await bench.relay.send_pending() == 1
    ((_, body, headers),) = bench.broker.sent
    assert decode(body).event_id == envelope.event_id
    assert headers["Nats-Msg-Id"] == "key-1"


async def test_messages_go_out_in_the_order_they_were_emitted(bench: Bench) -> None:
    """Also across batches; what is acknowledged is deleted."""
    await bench.emit(1, 2)
    await bench.emit(3, 4, 5, 6, 7)
    assert await bench.relay.send_pending() == 7
    assert bench.broker.numbers == [1, 2, 3, 4, 5, 6, 7]
    assert await bench.left() == 0


async def test_a_commit_wakes_the_relay_at_once(bench: Bench) -> None:
    """With an hour between polls, only the commit can have done it."""
    await bench.relay.start()
    await bench.emit(1)
    await bench.broker.until(sent=1)
    assert (await bench.relay.check()).healthy


async def test_what_another_process_left_is_sent_by_polling(bench: Bench) -> None:
    """A commit that this process does not hear of is found all the same."""
    relay = Relay(bench.db, bench.broker, pace=RelayPace(poll=timedelta(milliseconds=5)))
    await relay.start()
    bench.db._on_events.clear()  # as if another process had written
    await bench.emit(1)
    await bench.broker.until(sent=1)
    await relay.stop()


async def test_a_failure_stops_the_batch_and_keeps_the_order(bench: Bench) -> None:
    """What was acknowledged is gone, what failed and what comes after it waits."""
    await bench.emit(1, 2, 3)
    bench.broker.failing = {2}
    with pytest.raises(MessageBusError):
        await bench.relay.send_pending()
    assert bench.broker.numbers == [1]
    assert await bench.left() == 2
    bench.broker.failing.clear()
    await bench.relay.send_pending()
    assert bench.broker.numbers == [1, 2, 3]


async def test_what_no_stream_can_take_is_set_aside(bench: Bench) -> None:
    """It is kept with the reason, those behind it get through, and the check says so."""

    class SmallBroker(RecordingBroker):
        async def publish_raw(
            self,
            subject: str,
            body: bytes,
            headers: Mapping[str, str],
            *,
            timeout: timedelta,  # noqa: ASYNC109 - the protocol's
        ) -> bool:
            if decode(body).payload["number"] == 2:
                raise MessageTooLargeError("Too large.", size_bytes=2, max_size_bytes=1)
            return await super().publish_raw(subject, body, headers, timeout=timeout)

    broker = SmallBroker()
    relay = Relay(bench.db, broker, pace=QUICK)
    await relay.start()
    await bench.emit(1, 2, 3)
    await broker.until(sent=2)
    await bench.emit(4)
    await broker.until(sent=3)
    assert broker.numbers == [1, 3, 4]
    check = await relay.check()
    assert (check.healthy, check.critical) == (False, False)
    assert "1 messages are set aside" in check.detail
    await relay.stop()
    async with bench.db.unit_of_work(read_only=True) as uow:
        (row,) = await uow.session.scalars(select(OutboxRow))
    assert (row.problem, row.sent_at) == ("Too large.", None)
    assert row.parked_at is not None


async def test_sent_messages_are_kept_as_long_as_asked(bench: Bench) -> None:
    """They are marked, not sent again, and deleted when their time is over."""
    relay = Relay(bench.db, bench.broker, pace=RelayPace(keep_sent=timedelta(hours=1)))
    await bench.emit(1)
    assert await relay.send_pending() == 1
    assert await relay.send_pending() == 0
    await store.clean(bench.db, sent=timedelta(hours=1), inbox=timedelta(days=1))
    assert await bench.left() == 1
    assert await store.standing(bench.db) == store.Standing(0, 0, None)
    await store.clean(bench.db, sent=timedelta(0), inbox=timedelta(days=1))
    assert await bench.left() == 0


async def test_the_inbox_forgets_what_is_old(bench: Bench) -> None:
    """Notes older than the stated time are deleted, others stay."""
    async with inbox_scope(bench.db)(SPEC, delivery()):
        pass
    await store.clean(bench.db, sent=timedelta(0), inbox=timedelta(hours=1))
    assert await bench.left(InboxRow) == 1
    await store.clean(bench.db, sent=timedelta(0), inbox=timedelta(0))
    assert await bench.left(InboxRow) == 0


async def test_a_handler_without_inbox_runs_each_time(bench: Bench) -> None:
    """It gets its unit of work, and no note is left."""
    scope = inbox_scope(bench.db)
    spec = HandlerSpec(Placed, "billing", handle, inbox=False)
    for _ in range(2):
        async with scope(spec, delivery()) as provided:
            assert isinstance(provided[UnitOfWork], UnitOfWork)
    assert await bench.left(InboxRow) == 0


async def test_a_broker_that_is_down_loses_nothing(bench: Bench) -> None:
    """The relay keeps trying with backoff, says so in its check, and recovers by itself."""
    bench.broker.down = True
    await bench.relay.start()
    await bench.emit(1, 2)
    await bench.broker.until(attempts=4)
    check = await bench.relay.check()
    assert (check.healthy, check.critical, check.detail) == (False, False, "The broker is down.")
    assert await bench.left() == 2
    bench.broker.down = False
    await bench.broker.until(sent=2)
    assert bench.broker.numbers == [1, 2]


async def test_stopping_sends_what_is_committed(bench: Bench) -> None:
    """The last events of a process do not wait for the next one."""
    await bench.relay.start()
    await bench.emit(1, 2, 3, 4)
    await bench.relay.stop()
    assert bench.broker.numbers == [1, 2, 3, 4]
    assert not (await bench.relay.check()).healthy


async def test_stopping_with_the_broker_down_keeps_the_rows(bench: Bench) -> None:
    """There is a deadline, and then the next process goes on."""
    bench.broker.down = True
    await bench.relay.start()
    await bench.emit(1)
    await bench.broker.until(attempts=1)
    async with asyncio.timeout(4):  # Less than it may take to drain.
        await bench.relay.stop()
    assert await bench.left() == 1


async def test_the_write_lock_is_free_while_a_message_is_sent(bench: Bench) -> None:
    """A slow broker must not stop requests from writing to SQLite."""

    class WritingBroker(RecordingBroker):
        async def publish_raw(
            self,
            subject: str,
            body: bytes,
            headers: Mapping[str, str],
            *,
            timeout: timedelta,  # noqa: ASYNC109 - the protocol's
        ) -> bool:
            if not self.sent:
                async with asyncio.timeout(20):
                    await bench.emit(2)
            return await super().publish_raw(subject, body, headers, timeout=timeout)

    broker = WritingBroker()
    relay = Relay(bench.db, broker, pace=QUICK)
    await bench.emit(1)
    await relay.send_pending()
    assert broker.numbers == [1, 2]


async def test_a_batch_is_one_span_linked_to_its_messages_and_idling_none(bench: Bench) -> None:
    """Polling an empty outbox leaves no trace."""
    await bench.relay.send_pending()
    assert bench.exporter.get_finished_spans() == ()
    await bench.emit(1, 2)
    await bench.relay.send_pending()
    (batch,) = bench.spans("relay outbox")
    created = bench.spans("create evt.orders.placed")
    linked = [(link.context.trace_id, link.context.span_id) for link in batch.links]
    assert linked == [(s.context.trace_id, s.context.span_id) for s in created if s.context]
    assert (batch.attributes or {})["messaging.batch.message_count"] == 2
    (deletion,) = bench.spans("DELETE glam_outbox")
    (transaction,) = bench.spans("transaction")
    assert deletion.parent == transaction.get_span_context()
    assert transaction.parent == batch.get_span_context()
    assert bench.spans("SELECT glam_outbox") == []


async def test_the_relay_runs_under_no_request(bench: Bench) -> None:
    """Neither the trace nor the baggage of whoever started it goes along."""
    token = otel.attach(baggage.set_baggage("who", "starter"))
    with bench.tracer.start_as_current_span("startup"):
        await bench.relay.start()
    otel.detach(token)
    await bench.emit(1)
    await bench.relay.stop()
    (batch,) = bench.spans("relay outbox")
    assert batch.parent is None


# Inbox


async def handle(_: Placed) -> None: ...


def delivery(event_id: str = "evt-1") -> Delivery:
    envelope = envelope_of(Placed(number=1), source_service="orders")
    object.__setattr__(envelope, "event_id", event_id)
    return Delivery(
        envelope=envelope, headers={}, stream="ORDERS", durable="billing", sequence=1, attempt=1
    )


SPEC = HandlerSpec(Placed, "billing", handle)


async def test_an_event_is_handled_once(bench: Bench) -> None:
    """A redelivery does not reach the handler."""
    scope = inbox_scope(bench.db)
    async with scope(SPEC, delivery()) as provided:
        assert isinstance(provided[UnitOfWork], UnitOfWork)
    with pytest.raises(AlreadyHandled):
        async with scope(SPEC, delivery()):
            pytest.fail("the handler ran twice")
    async with scope(HandlerSpec(Placed, "mail", handle), delivery()):
        pass
    assert await bench.left(InboxRow) == 2


async def test_a_handler_that_fails_leaves_neither_its_writes_nor_the_note(bench: Bench) -> None:
    """The next delivery starts from nothing, and its effect is there once."""
    scope = inbox_scope(bench.db)

    async def attempt(*, fail: bool) -> None:
        async with scope(SPEC, delivery()) as provided:
            uow = provided[UnitOfWork]
            assert isinstance(uow, UnitOfWork)
            uow.emit(Placed(number=1))
            if fail:
                raise KeyError

    with pytest.raises(KeyError):
        await attempt(fail=True)
    assert (await bench.left(), await bench.left(InboxRow)) == (0, 0)
    await attempt(fail=False)
    assert (await bench.left(), await bench.left(InboxRow)) == (1, 1)


async def test_two_deliveries_at_once_have_one_effect(bench: Bench) -> None:
    """The second waits for the first and finds its note."""
    scope = inbox_scope(bench.db)
    outcomes: list[str] = []

    async def attempt() -> None:
        try:
            async with scope(SPEC, delivery()):
                outcomes.append("handled")
        except AlreadyHandled:
            outcomes.append("already")

    await asyncio.gather(attempt(), attempt(), attempt())
    assert sorted(outcomes) == ["already", "already", "handled"]
