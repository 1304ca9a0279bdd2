"""Measure the outbox: ``python -m benchmarks.outbox``, on a real PostgreSQL and NATS server.

What an event adds to a transaction, how long it takes from the commit into the stream, what a
service costs that has nothing to do, and how fast a relay empties a full table. Our telemetry is
on and exported; ``faststream-outbox``, without any, is measured where it is installed, together
with ``faststream[nats]``.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID, uuid4

from opentelemetry import trace
from pydantic import SecretStr
from sqlalchemy import MetaData, insert, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

import glam_sdk
from benchmarks.database_peers import Base, Item
from benchmarks.processes import Tool
from glam_sdk.config import DatabaseSettings, NatsSettings
from glam_sdk.database import Database
from glam_sdk.events import MESSAGE_ID_HEADER, Event, StreamSpec, encode, envelope_of
from glam_sdk.lifecycle import Component
from glam_sdk.messaging import Nats, Publisher
from glam_sdk.outbox import OutboxRow, OutboxWriter, Relay, RelayPace, outbox_metadata
from glam_sdk.outbox.partitions import partition_of
from glam_sdk.testing.nats import NatsServer
from glam_sdk.testing.postgres import PostgresServer

PARCELS: Final = [uuid4() for _ in range(200)]
STREAM: Final = StreamSpec("BENCH", allow_batches=True)


class Moved(Event, subject="evt.bench.moved", key="parcel"):
    """A typical small event, in order for each parcel."""

    parcel: UUID
    place: str = "Utrecht"


def database(url: str) -> Database:
    """Return a database as a service has it."""
    settings = DatabaseSettings(url=SecretStr(url), repeated_query_limit=0)
    made = Database(
        settings,
        service_name="bench",
        metadata=Base.metadata,
        event_writer=OutboxWriter("bench"),
    )
    made.add_metadata(outbox_metadata)
    return made


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[None]:
    """Run components for the length of a block."""
    for component in components:
        await component.start()
    yield
    for component in reversed(components):
        await component.stop()


async def transaction(url: str, rounds: int) -> str:
    """Compare a transaction that inserts a row with one that tells of it as well."""
    db, tracer, number = database(url), trace.get_tracer("bench"), 0
    costs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    async with running(db):
        for _ in range(rounds):
            for tells in (False, True):
                cpu, wall = time.process_time(), time.perf_counter()
                for _ in range(200):
                    number += 1
                    with tracer.start_as_current_span("request"):
                        async with db.unit_of_work() as uow:
                            item = Item(id=number, name="item", price=1.5)
                            await uow.repository(Item).save(item)
                            if tells:
                                uow.emit(Moved(parcel=PARCELS[0]))
                spent = (time.process_time() - cpu, time.perf_counter() - wall)
                costs[tells].append((spent[0] / 200 * 1e6, spent[1] / 200 * 1e6))
        async with db.engine.begin() as connection:
            await connection.execute(text("DELETE FROM bench_items"))
            await connection.execute(text("DELETE FROM glam_outbox"))
    parts = []
    for place, kind in enumerate(("CPU", "wall")):
        pairs = [(plain[place], told[place]) for plain, told in zip(*costs.values(), strict=True)]
        ratio = median(told / plain for plain, told in pairs)
        plain, told = (median(column) for column in zip(*pairs, strict=True))
        parts.append(f"{kind} {plain:.0f} -> {told:.0f} us ({ratio:.2f} x)")
    return ", ".join(parts)


async def latency(writer: Database, relay: Relay, nats: Nats, count: int) -> str:
    """Measure from a commit's return until the message is published; 0 is before it returned."""
    arrived = asyncio.Event()

    at = 0.0

    async def note(_: object) -> None:
        nonlocal at
        at = time.perf_counter()
        arrived.set()

    subscription = await nats.client.subscribe("evt.bench.moved", cb=note)
    async with running(relay):
        await asyncio.sleep(0.5)  # its listener connects
        found = []
        for _ in range(count):
            arrived.clear()
            async with writer.unit_of_work() as uow:
                uow.emit(Moved(parcel=PARCELS[0]))
            started = time.perf_counter()
            await arrived.wait()
            found.append(max(at - started, 0) * 1000)
            await asyncio.sleep(0.02)
    await subscription.unsubscribe()
    found.sort()
    return f"median {median(found):.1f} ms, 95 % {found[int(count * 0.95)]:.1f} ms"


async def idle(relay: Relay, seconds: float) -> str:
    """Measure a relay that has nothing to send."""
    async with running(relay):
        await asyncio.sleep(1)
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        return f"{(time.process_time() - cpu) / seconds:.2%} of a core"


async def fill(db: Database, count: int) -> None:
    """Put messages into the table as the writer does."""
    rows = []
    for number in range(count):
        event = Moved(parcel=PARCELS[number % len(PARCELS)])
        envelope = envelope_of(event, source_service="bench")
        headers = {
            MESSAGE_ID_HEADER: envelope.event_id,
            "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
            "baggage": "correlation_id=corr_1",
        }
        rows.append({
            "event_id": envelope.event_id, "subject": envelope.subject, "body": encode(envelope),
            "headers": headers, "partition": partition_of(event, envelope.subject),
        })  # fmt: skip
    async with db.engine.begin() as connection:
        await connection.execute(insert(OutboxRow), rows)


async def emptying(db: Database, relay: Relay, count: int) -> tuple[float, float]:
    """Return events a second, and CPU microseconds an event, of a relay on a full table."""
    await fill(db, count)
    cpu, wall = time.process_time(), time.perf_counter()
    sent = await relay.send_pending()
    spent = (time.process_time() - cpu, time.perf_counter() - wall)
    if sent != count:
        raise RuntimeError(f"{sent} of {count} events were sent.")
    return count / spent[1], spent[0] / count * 1e6


async def emptying_faststream(url: str, nats_url: str, count: int) -> tuple[float, float]:
    """Do the same with faststream-outbox, tuned: large batches, many workers, deletes together."""
    from faststream.nats import (  # type: ignore[import-not-found,unused-ignore]  # optional
        NatsBroker,
    )
    from faststream_outbox import (  # type: ignore[import-not-found,unused-ignore]  # optional
        OutboxBroker,
        make_outbox_table,
    )

    metadata = MetaData()
    table = make_outbox_table(metadata, table_name="faststream_outbox")
    engine = create_async_engine(url, pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    source: Any = OutboxBroker(engine, outbox_table=table, logger=None)
    target: Any = NatsBroker(nats_url, logger=None)
    left, done = count, asyncio.Event()

    @source.subscriber(  # type: ignore[untyped-decorator,unused-ignore]  # optional
        "moved",
        max_workers=16,
        fetch_batch_size=500,
        min_fetch_interval=0.001,
        terminal_flush_batch_size=200,
    )
    async def relay(body: dict[str, Any]) -> None:
        nonlocal left
        headers = {MESSAGE_ID_HEADER: str(uuid4())}
        await target.publish(body, "evt.bench.moved", stream="BENCH", headers=headers)
        left -= 1
        if not left:
            done.set()

    async with async_sessionmaker(engine)() as session, session.begin():
        bodies = ({"parcel": str(PARCELS[n % 200]), "place": "Utrecht"} for n in range(count))
        await source.publish_batch(*bodies, queue="moved", session=session)
    await target.connect()
    cpu, wall = time.process_time(), time.perf_counter()
    await source.start()
    await done.wait()
    spent = (time.process_time() - cpu, time.perf_counter() - wall)
    await source.stop()
    await target.stop()
    await engine.dispose()
    return count / spent[1], spent[0] / count * 1e6


async def throughput(db: Database, nats: Nats, url: str, rounds: int) -> None:
    """Let the relays take turns and print what each did."""
    nats_url = f"nats://{nats.client.connected_url.netloc}" if nats.client.connected_url else ""
    fast = Relay(db, Publisher(nats, "bench"))

    async def plain() -> tuple[float, float]:
        config = (await nats.jetstream.stream_info("BENCH")).config
        await nats.jetstream.update_stream(config.evolve(allow_batched=False))
        try:
            return await emptying(db, Relay(db, Publisher(nats, "bench")), 3000)
        finally:
            await nats.jetstream.update_stream(config)

    peers: dict[str, Callable[[], Awaitable[tuple[float, float]]]] = {
        "glam": lambda: emptying(db, fast, 10_000),
        "glam, stream without batches": plain,
    }
    if find_spec("faststream_outbox") and find_spec("faststream"):
        peers["faststream-outbox"] = lambda: emptying_faststream(url, nats_url, 2000)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, peer in peers.items():
            found[name].append(await peer())
    for name, figures in found.items():
        speed, cpu = (median(column) for column in zip(*figures, strict=True))
        print(f"relay, {name}: {speed:.0f} events/s, CPU {cpu:.0f} us an event", flush=True)


async def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=10, help="seconds; 0 leaves it out")
    options = parser.parse_args()
    with (
        TemporaryDirectory() as directory,
        PostgresServer() as server,
        NatsServer() as broker,
        Tool("benchmarks.sink", None) as sink,
    ):
        endpoint = f"http://127.0.0.1:{sink.read()}/glam"
        service = glam_sdk.init(
            "bench", overrides={"telemetry": {"endpoint": endpoint}, "log": {"level": "ERROR"}}
        )
        async with service:
            lite = f"sqlite:///{Path(directory) / 'bench.sqlite3'}"
            await measure(server.url, lite, broker.url, options)


async def measure(url: str, lite: str, nats_url: str, options: argparse.Namespace) -> None:
    """Measure in a running service, and print line by line."""
    print("transaction, PostgreSQL:", await transaction(url, options.rounds), flush=True)
    print("transaction, SQLite:", await transaction(lite, options.rounds), flush=True)
    settings = NatsSettings(servers=(nats_url,))
    nats = Nats(settings, service_name="bench", streams=(STREAM,))
    ours, theirs, light = database(url), database(url), database(lite)
    pace = RelayPace(poll=timedelta(hours=1))
    async with running(ours, theirs, light, nats):
        relay = Relay(theirs, Publisher(nats, "bench"), pace=pace)
        print("latency, PostgreSQL:", await latency(ours, relay, nats, 200), flush=True)
        relay = Relay(light, Publisher(nats, "bench"), pace=pace)
        print("latency, SQLite:", await latency(light, relay, nats, 200), flush=True)
        relay = Relay(ours, Publisher(nats, "bench"))
        if options.idle > 0:
            print("idle:", await idle(relay, options.idle), flush=True)
        await throughput(ours, nats, ours.engine.url.render_as_string(False), options.rounds)


if __name__ == "__main__":
    asyncio.run(main())
