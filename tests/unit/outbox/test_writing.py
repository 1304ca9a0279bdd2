"""What reaches the outbox table, when, and under which partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.trace import SpanKind
from pydantic import SecretStr
from sqlalchemy import MetaData, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database
from glam_sdk.errors import MessageBusError
from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, Event, decode, envelope_of
from glam_sdk.messaging import BatchReport
from glam_sdk.outbox import OutboxRow, OutboxWriter, Relay, RelayPace, outbox_metadata
from glam_sdk.outbox.models import InboxRow
from glam_sdk.outbox.partitions import PARTITIONS, partition_of
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider


class Placed(Event, subject="evt.orders.placed"):
    number: int


class Shipped(Event, subject="evt.parcels.shipped", key="order_id"):
    order_id: UUID
    number: int = 0


class Billed(Event, subject="evt.bills.sent", key="order_id"):
    order_id: str


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(
        DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path / 'outbox.sqlite3'}")),
        metadata=MetaData(),
        event_writer=OutboxWriter("orders"),
    )
    Relay(database, Lanes(), pace=RelayPace())  # brings the tables along
    await database.start()
    yield database
    await database.stop()


class Lanes:
    """Take messages in lanes, but for those of lanes that fail."""

    def __init__(self) -> None:
        self.failing: set[int] = set()
        self.sent: list[int] = []
        self.changed = asyncio.Event()

    async def publish_raw(self, *_, **__):
        raise AssertionError("A batch is sent as one.")

    async def publish_batch(self, messages, *, timeout):  # noqa: ASYNC109 - the protocol's
        report = BatchReport()
        for place, message in enumerate(messages):
            if message.lane in self.failing:
                report.failed.setdefault(place, MessageBusError("Closed."))
            else:
                report.acked.append(place)
                self.sent.append(decode(message.body).payload["number"])
        self.changed.set()
        return report


async def numbers(db: Database) -> list[int]:
    async with db.unit_of_work(read_only=True) as uow:
        bodies = await uow.session.scalars(select(OutboxRow.body).order_by(OutboxRow.id))
        return [decode(body).payload["number"] for body in bodies]


async def test_events_around_and_in_savepoints_keep_the_order_they_were_emitted_in(db):
    """A released savepoint neither sends its events earlier nor later than their place."""
    async with db.unit_of_work() as uow:
        uow.emit(Placed(number=1))
        async with uow.savepoint():
            uow.emit(Placed(number=2))
            async with uow.savepoint():
                uow.emit(Placed(number=3))
        uow.emit(Placed(number=4))
    assert await numbers(db) == [1, 2, 3, 4]


async def test_what_a_savepoint_takes_back_is_not_told(db):
    """Its events go with it, those of savepoints within it too; what was before stays."""
    async with db.unit_of_work() as uow:
        uow.emit(Placed(number=1))
        with pytest.raises(KeyError):  # noqa: PT012 - the savepoint is what is tested
            async with uow.savepoint():
                uow.emit(Placed(number=2))
                async with uow.savepoint():
                    uow.emit(Placed(number=3))
                raise KeyError
        async with uow.savepoint():
            uow.emit(Placed(number=4))
    assert await numbers(db) == [1, 4]


async def test_a_transaction_taken_back_leaves_its_session_without_events(db):
    """A session that goes on after a rollback tells only of what it does afterwards."""
    async with db.unit_of_work() as uow:
        uow.emit(Placed(number=1))
        await uow.session.rollback()
        uow.emit(Placed(number=2))
    assert await numbers(db) == [2]


async def test_events_are_written_after_everything_else(db):
    """The row's number is given last: it follows the order in which transactions commit."""
    async with db.unit_of_work() as uow:
        uow.emit(Placed(number=2))
        uow.session.add(
            OutboxRow(
                event_id="first", subject="evt.orders.placed", headers={},
                body=b'{"event_id":"1","subject":"evt.orders.placed",'
                b'"timestamp":"2026-01-01T00:00:00+00:00","payload":{"number":1}}',
            )
        )  # fmt: skip
    assert await numbers(db) == [1, 2]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("style", ["qmark", "named"])
async def test_a_row_is_read_as_it_was_written(tmp_path: Path, count: int, style: str):
    """The driver gets what SQLAlchemy's types would give it, by place or by name."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'o.sqlite3'}", paramstyle=style)
    async with engine.begin() as connection:
        await connection.run_sync(outbox_metadata.create_all)
    before = datetime.now(UTC)
    async with AsyncSession(engine) as session:
        for number in range(count):
            OutboxWriter("orders").write(session, Placed(number=number))
        await session.commit()
        rows = (await session.scalars(select(OutboxRow).order_by(OutboxRow.id))).all()
    await engine.dispose()
    assert [decode(row.body).payload["number"] for row in rows] == list(range(count))
    for row in rows:
        assert row.headers[MESSAGE_ID_HEADER] == row.event_id == decode(row.body).event_id
        assert before <= row.created_at <= datetime.now(UTC)
        assert (row.subject, row.sent_at, row.parked_at) == ("evt.orders.placed", None, None)
        assert row.partition == partition_of(Placed(number=0), row.subject)


class Bodies:
    """Keep encoded spans."""

    def __init__(self) -> None:
        self.spans: list[SpanMessage] = []

    def export(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        self.spans += [SpanMessage.FromString(body) for _, body in batch]

    def shutdown(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize("correlation_id", ["corr_1", UUID(int=7), None])
async def test_a_row_carries_the_ids_of_the_span_that_is_told(tmp_path: Path, correlation_id):
    """A consumer's parent is what was exported, and what an envelope brings is told as text."""
    bodies, provider = Bodies(), LeanTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(EncodedSpanProcessor(bodies))
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'o.sqlite3'}")
    async with engine.begin() as connection:
        await connection.run_sync(outbox_metadata.create_all)
    envelope = Envelope("e1", "evt.orders.placed", datetime.now(UTC), {}, correlation_id)
    async with AsyncSession(engine) as session:
        OutboxWriter("orders", tracer=provider.get_tracer("t")).write(session, envelope)
        await session.commit()
        row = (await session.scalars(select(OutboxRow))).one()
    await engine.dispose()
    provider.shutdown()
    (one,) = bodies.spans
    assert (one.name, one.kind) == ("create evt.orders.placed", SpanKind.PRODUCER.value + 1)
    trace_id, span_id = row.headers["traceparent"].split("-")[1:3]
    assert (one.trace_id.hex(), one.span_id.hex()) == (trace_id, span_id)
    texts = {pair.key: pair.value.string_value for pair in one.attributes}
    assert texts["messaging.message.id"] == "e1"
    told = None if correlation_id is None else str(correlation_id)
    assert texts.get("messaging.message.conversation_id") == told


class Subject(str, Enum):  # noqa: UP042 - a StrEnum is written as its text anyway
    """Be texts that are written as the names of their members, if one is not careful."""

    PLACED = "evt.orders.placed"


async def test_a_member_of_an_enumeration_is_the_text_it_stands_for(tmp_path: Path):
    """On the span as in the row, and for whoever uses the plain text after it."""
    bodies, provider = Bodies(), LeanTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(EncodedSpanProcessor(bodies))
    writer = OutboxWriter("orders", tracer=provider.get_tracer("t"))
    async with AsyncSession(
        create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'o'}")
    ) as session:
        for subject in (Subject.PLACED, "evt.orders.placed"):
            writer.write(session, Envelope("e1", subject, datetime.now(UTC), {}))
    provider.shutdown()
    assert [span.name for span in bodies.spans] == ["create evt.orders.placed"] * 2


@given(st.uuids())
def test_events_of_one_key_share_a_partition_whatever_their_class(order_id):
    """Key and partition are the same for a UUID and its text, in every process."""
    shipped = partition_of(Shipped(order_id=order_id), "evt.parcels.shipped")
    assert shipped == partition_of(Billed(order_id=str(order_id)), "evt.bills.sent")
    assert 0 <= shipped < PARTITIONS


def test_events_without_a_key_share_the_partition_of_their_domain():
    """So do envelopes, which name no key; keys spread over all partitions."""
    placed = Placed(number=1)
    envelope = envelope_of(placed, source_service="x")
    assert partition_of(placed, "evt.orders.placed") == partition_of(envelope, "cmd.orders.place")
    assert partition_of(envelope, "evt.orders.placed") == 46
    spread = {partition_of(Shipped(order_id=uuid4()), "evt.parcels.shipped") for _ in range(2000)}
    assert len(spread) == PARTITIONS


def test_a_key_that_is_no_field_is_refused_where_it_is_declared():
    """The error names the fields there are; a derived class inherits the key."""
    with pytest.raises(TypeError, match=r'Lost has key="id", but no such field. It has: number'):

        class Lost(Event, subject="evt.orders.lost", key="id"):
            number: int

    class Returned(Shipped, subject="evt.parcels.returned"):
        pass

    assert Returned.event_key == "order_id"


async def test_a_partition_that_fails_holds_up_no_other(db):
    """It is tried again with backoff; what is committed meanwhile elsewhere goes out at once."""
    lanes = Lanes()
    pace = RelayPace(poll=timedelta(hours=1), first_backoff=timedelta(hours=1))
    relay = Relay(db, lanes, pace=pace)
    orders = [UUID(int=1), UUID(int=2)]
    bad, good = (partition_of(Shipped(order_id=one), "evt.parcels.shipped") for one in orders)
    assert bad != good
    lanes.failing = {bad}
    await relay.start()
    for number in range(3):
        lanes.changed.clear()
        async with db.unit_of_work() as uow:
            for place, order_id in enumerate(orders):
                uow.emit(Shipped(order_id=order_id, number=10 * number + place))
        async with asyncio.timeout(30):
            while len(lanes.sent) <= number:
                lanes.changed.clear()
                await lanes.changed.wait()
    check = await relay.check()
    assert (check.healthy, check.detail) == (False, "Closed.")
    assert lanes.sent == [1, 11, 21]
    lanes.failing = set()
    await relay.stop()
    assert lanes.sent == [1, 11, 21, 0, 10, 20]
    assert await numbers(db) == []


class Busy(Lanes):
    """Have another event committed while each batch is sent, as long as somebody wants."""

    def __init__(self, db: Database, wants: Callable[[int], Awaitable[bool]], most: int) -> None:
        super().__init__()
        self.batches = 0
        self.ended = asyncio.Event()
        self._db, self._wants, self._most = db, wants, most

    async def publish_batch(self, messages, *, timeout):  # noqa: ASYNC109 - the protocol's
        self.batches += 1
        if self.batches < self._most and await self._wants(self.batches):
            async with self._db.unit_of_work() as uow:
                uow.emit(Placed(number=self.batches))
        else:
            self.ended.set()
        return await super().publish_batch(messages, timeout=timeout)


async def test_a_partition_that_failed_is_tried_again_beside_traffic_that_never_ends(db):
    """After its rest, not when nothing else is left; the check speaks of it all the while."""
    healthy: list[bool] = []

    async def wants(batches: int) -> bool:
        healthy.append((await relay.check()).healthy)
        if batches == 5:
            busy.failing = set()
        return 0 not in busy.sent or not healthy[-1]

    busy = Busy(db, wants, most=50)
    relay = Relay(db, busy, pace=RelayPace(poll=timedelta(hours=1), first_backoff=timedelta(0)))
    async with db.unit_of_work() as uow:
        shipped = Shipped(order_id=UUID(int=1), number=0)
        uow.emit(shipped)
        uow.emit(Placed(number=1))
    busy.failing = {partition_of(shipped, "evt.parcels.shipped")}
    await relay.start()
    async with asyncio.timeout(30):
        await busy.ended.wait()
    await relay.stop()
    assert healthy[:5] == [True, False, False, False, False]
    assert busy.batches < 50
    assert await numbers(db) == []


async def test_what_is_old_is_cleaned_beside_traffic_that_never_ends(db):
    """A relay with always more to send does its other work after some batches."""

    async def wants(_batches: int) -> bool:
        async with db.unit_of_work(read_only=True) as uow:
            return await uow.session.scalar(select(InboxRow.event_id)) is not None

    busy = Busy(db, wants, most=300)
    relay = Relay(db, busy, pace=RelayPace(poll=timedelta(hours=1), keep_inbox=timedelta(0)))
    async with db.unit_of_work() as uow:
        uow.session.add(InboxRow(durable="billing", event_id="old"))
        uow.emit(Placed(number=0))
    await relay.start()
    async with asyncio.timeout(30):
        await busy.ended.wait()
    await relay.stop()
    assert busy.batches < 300
    assert busy.sent == [*range(busy.batches)]


async def test_a_database_that_fails_is_tried_again_until_it_works(db):
    """The relay says what is wrong meanwhile, and sends what was written."""
    lanes = Lanes()
    pace = RelayPace(first_backoff=timedelta(milliseconds=5), max_backoff=timedelta(milliseconds=5))
    relay = Relay(db, lanes, pace=pace)
    async with db.unit_of_work() as uow:
        uow.emit(Placed(number=1))
    async with db.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE glam_outbox RENAME TO hidden"))
    await relay.start()
    async with asyncio.timeout(30):
        while (check := await relay.check()).healthy:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert "glam_outbox" in check.detail
    async with db.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO glam_outbox"))
    async with asyncio.timeout(30):
        await lanes.changed.wait()
        while not (await relay.check()).healthy:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    await relay.stop()
    assert (lanes.sent, await numbers(db)) == ([1], [])
