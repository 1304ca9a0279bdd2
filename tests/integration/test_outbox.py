"""Prove that a write and its event arrive together, over real databases and a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings, NatsSettings
from glam_sdk.database import Database, UnitOfWork
from glam_sdk.database.telemetry import DatabaseTelemetry
from glam_sdk.events import Event, decode
from glam_sdk.lifecycle import Component
from glam_sdk.messaging import (
    Backoff,
    ConsumerPolicy,
    MessagingTelemetry,
    Nats,
    Publisher,
    Subscriber,
    handles,
)
from glam_sdk.outbox import OutboxRow, OutboxWriter, Relay, RelayPace, inbox_scope, outbox_metadata
from glam_sdk.testing.nats import NatsServer
from glam_sdk.testing.postgres import PostgresServer
from tests.conftest import new_tracers


class Placed(Event, subject="evt.orders.placed"):
    number: int


class Model(DeclarativeBase):
    metadata = MetaData()


class Charge(Model):
    __tablename__ = "charges"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


PACE = RelayPace(
    poll=timedelta(milliseconds=20),
    publish_timeout=timedelta(milliseconds=500),
    first_backoff=timedelta(milliseconds=20),
    max_backoff=timedelta(milliseconds=100),
)


@dataclass
class Bench:
    db: Database
    server: NatsServer
    nats: Nats
    exporter: InMemorySpanExporter
    tracer: Tracer

    def relay(self) -> Relay:
        return Relay(self.db, Publisher(self.nats, "orders"), pace=PACE, tracer=self.tracer)

    def subscriber(self, handler: Callable[..., Awaitable[object]]) -> Subscriber:
        return Subscriber(
            self.nats,
            [handler],
            service_name="billing",
            scope=inbox_scope(self.db),
            policy=ConsumerPolicy(retry=Backoff(0.01)),
            telemetry=MessagingTelemetry(tracer=self.tracer),
        )

    async def emit(self, *numbers: int) -> None:
        async with self.db.unit_of_work() as uow:
            for number in numbers:
                uow.emit(Placed(number=number))

    async def count(self, model: type[Charge | OutboxRow]) -> int:
        async with self.db.unit_of_work(read_only=True) as uow:
            return await uow.repository(model).count()

    async def stored(self) -> list[int]:
        """Return the numbers in the stream, in its order."""
        js = self.nats.jetstream
        last = (await js.stream_info("ORDERS")).state.last_seq
        bodies = [(await js.get_msg("ORDERS", seq)).data or b"" for seq in range(1, last + 1)]
        return [decode(body).payload["number"] for body in bodies]

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


async def eventually(claim: Callable[[], Awaitable[bool]], *, within_s: float = 15) -> None:
    async with asyncio.timeout(within_s):
        while not await claim():  # noqa: ASYNC110 - other processes have no event to wait on
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[None]:
    """Start components in their order; all are stopped at the end, whatever happens."""
    async with AsyncExitStack() as at_the_end:
        for component in components:
            await component.start()
            at_the_end.push_async_callback(component.stop)
        yield


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite3'}"
    running: PostgresServer = request.getfixturevalue("postgres")
    return running.url


@pytest.fixture
async def bench(url: str, server: NatsServer) -> AsyncIterator[Bench]:
    exporter = InMemorySpanExporter()
    provider = new_tracers()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("t")
    db = Database(
        DatabaseSettings(url=SecretStr(url)),
        metadata=Model.metadata,
        event_writer=OutboxWriter("orders", tracer=tracer),
        telemetry=DatabaseTelemetry(tracer=tracer),
    )
    db.add_metadata(outbox_metadata)
    nats = Nats(NatsSettings(servers=(server.url,)), service_name="orders")
    await db.start()
    await nats.start()
    yield Bench(db, server, nats, exporter, tracer)
    await nats.stop()
    async with db.engine.begin() as connection:
        await connection.run_sync(Model.metadata.drop_all)
        await connection.run_sync(outbox_metadata.drop_all)
    await db.stop()
    provider.shutdown()


async def test_one_trace_leads_from_the_write_to_the_consumers_write(bench: Bench) -> None:
    """The consumer is a child of the span that created the event, whoever sent it and when."""

    @handles(Placed, durable="billing")
    async def charge(event: Placed, uow: UnitOfWork) -> None:
        await uow.repository(Charge).save(Charge(number=event.number))

    async def charged() -> bool:
        return await bench.count(Charge) == 1

    async with running(bench.relay(), bench.subscriber(charge)):
        with bench.tracer.start_as_current_span("POST /orders") as request:
            await bench.emit(7)
        await eventually(charged)
    (created,) = bench.spans("create evt.orders.placed")
    (processed,) = bench.spans("process evt.orders.placed")
    (written,) = bench.spans("INSERT charges")
    assert created.context is not None
    assert created.context.trace_id == request.get_span_context().trace_id
    assert processed.parent is not None
    assert created.context is not None
    assert processed.context is not None
    assert processed.parent.span_id == created.context.span_id
    assert written.parent is not None
    assert written.context is not None
    assert written.context.trace_id == request.get_span_context().trace_id
    assert await bench.count(OutboxRow) == 0


async def test_a_failed_attempt_and_a_second_copy_leave_one_effect(bench: Bench) -> None:
    """The handler's writes and the note that it ran are one transaction."""
    attempts: list[int] = []

    @handles(Placed, durable="billing")
    async def charge(event: Placed, uow: UnitOfWork) -> None:
        attempts.append(event.number)
        await uow.repository(Charge).save(Charge(number=event.number))
        if len(attempts) == 1:
            raise KeyError

    await bench.emit(7)
    assert await bench.relay().send_pending() == 1
    message = await bench.nats.jetstream.get_msg("ORDERS", 1)
    await Publisher(bench.nats, "orders").publish_raw(
        "evt.orders.placed", message.data or b"", {"Nats-Msg-Id": "another"}
    )

    async def settled() -> bool:
        if await bench.count(Charge) == 0:
            return False
        info = await bench.nats.jetstream.consumer_info("ORDERS", "billing")
        return info.num_ack_pending == 0 and info.num_pending == 0

    async with running(bench.subscriber(charge)):
        await eventually(settled)
    assert await bench.stored() == [7, 7]
    assert await bench.count(Charge) == 1
    assert len(attempts) == 2


async def test_events_written_while_the_broker_is_dead_arrive_in_order(bench: Bench) -> None:
    """The service goes on writing; nothing is lost and nothing overtakes."""
    relay = bench.relay()

    async def sent() -> bool:
        return await bench.count(OutboxRow) == 0

    async def stalled() -> bool:
        return not (await relay.check()).healthy

    async with running(relay):
        await bench.emit(1)
        await eventually(sent)
        bench.server.kill()
        await bench.emit(2, 3)
        await bench.emit(4)
        await eventually(stalled)
        assert await bench.count(OutboxRow) == 3
        bench.server.restart()
        await eventually(sent, within_s=30)
    assert await bench.stored() == [1, 2, 3, 4]


async def test_two_relays_of_one_database_keep_the_order(
    postgres: PostgresServer, server: NatsServer
) -> None:
    """Two processes of a service take turns; nothing is sent twice or out of order."""
    nats = Nats(NatsSettings(servers=(server.url,)), service_name="orders")
    relays, dbs = [], []
    for _ in range(2):
        db = Database(
            DatabaseSettings(url=SecretStr(postgres.url)),
            metadata=MetaData(),
            event_writer=OutboxWriter("orders"),
        )
        relays.append(Relay(db, Publisher(nats, "orders"), pace=RelayPace(PACE.poll, batch=3)))
        dbs.append(db)
    bench = Bench(dbs[0], server, nats, InMemorySpanExporter(), new_tracers().get_tracer("t"))

    async def sent() -> bool:
        return await bench.count(OutboxRow) == 0

    async with running(nats, *dbs):
        await bench.emit(*range(20))
        async with running(*relays):
            await bench.emit(*range(20, 40))
            await eventually(sent)
        assert await bench.stored() == list(range(40))


async def test_a_commit_in_another_process_wakes_the_relay(
    postgres: PostgresServer, server: NatsServer
) -> None:
    """With an hour between polls only NOTIFY can have done it, also from a limited session."""
    nats = Nats(NatsSettings(servers=(server.url,)), service_name="orders")
    settings = DatabaseSettings(url=SecretStr(postgres.url))
    ours = Database(settings, metadata=MetaData(), event_writer=OutboxWriter("orders"))
    theirs = Database(settings, metadata=MetaData(), event_writer=OutboxWriter("orders"))
    relay = Relay(ours, Publisher(nats, "orders"), pace=RelayPace(timedelta(hours=1)))
    bench = Bench(theirs, server, nats, InMemorySpanExporter(), new_tracers().get_tracer("t"))

    async def listening() -> bool:
        async with theirs.engine.connect() as connection:
            found = await connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
            return bool(found.scalar())

    async def sent() -> bool:
        return await bench.count(OutboxRow) == 0

    async with running(ours, theirs, nats, relay):
        await eventually(listening)
        await bench.emit(1)
        await eventually(sent)
        async with theirs.unit_of_work() as uow:
            uow.limit_to_merchant(UUID(int=1))
            uow.emit(Placed(number=2))
            uow.emit(Placed(number=3))
        await eventually(sent)
        assert await bench.stored() == [1, 2, 3]
