"""Several relays, each a process of its own, on one PostgreSQL and one NATS server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, func, select, text
from sqlalchemy.exc import DBAPIError

from glam_sdk.config import DatabaseSettings, NatsSettings
from glam_sdk.database import Database
from glam_sdk.errors import ValidationError
from glam_sdk.events import Event, StreamSpec, decode
from glam_sdk.messaging import Nats, Publisher
from glam_sdk.outbox import OutboxRow, OutboxWriter, Relay, outbox_metadata
from glam_sdk.outbox.pending import write_at_commit
from glam_sdk.testing.nats import NatsServer

ROOT = Path(__file__).parents[2]


class Moved(Event, subject="evt.parcels.moved", key="parcel"):
    parcel: UUID
    step: int


@pytest.fixture(scope="module")
def server():
    with NatsServer() as running:
        yield running


@pytest.fixture
async def db(postgres):
    database = Database(
        DatabaseSettings(url=SecretStr(postgres.url)),
        metadata=MetaData(),
        event_writer=OutboxWriter("parcels"),
    )
    database.add_metadata(outbox_metadata)
    await database.start()
    yield database
    async with database.engine.begin() as connection:
        await connection.run_sync(outbox_metadata.drop_all)
    await database.stop()


@pytest.fixture
async def nats(server):
    spec = StreamSpec("PARCELS", allow_batches=True, duplicate_window=timedelta(minutes=5))
    connection = Nats(NatsSettings(servers=(server.url,)), service_name="parcels", streams=(spec,))
    await connection.start()
    await connection.jetstream.purge_stream("PARCELS")
    yield connection
    await connection.stop()


@pytest.fixture
def relays(server, postgres, tmp_path):
    """Start relay processes by name; what still runs at the end is ended."""
    running = {}

    def start(name, *more):
        log = tmp_path / name
        log.write_text("0")
        command = [sys.executable, "-m", "tests.integration.relay_worker"]
        command += [server.url, postgres.url, str(log), *more]
        running[name] = subprocess.Popen(command, cwd=ROOT)
        return log

    yield start, running
    for process in running.values():
        process.kill()
        process.wait()


async def until(claim, within_s=30):
    async with asyncio.timeout(within_s):
        while not await claim():  # noqa: ASYNC110 - other processes have no event to wait on
            await asyncio.sleep(0.02)


async def waiting(db):
    async with db.unit_of_work(read_only=True) as uow:
        return await uow.session.scalar(select(func.count()).select_from(OutboxRow))


async def stored(nats):
    """Return the steps of each parcel in the order of the stream."""
    steps = defaultdict(list)
    subscription = await nats.jetstream.subscribe(
        "", stream="PARCELS", ordered_consumer=True, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    for _ in range((await nats.jetstream.stream_info("PARCELS")).state.messages):
        payload = decode((await subscription.next_msg(5)).data).payload
        steps[payload["parcel"]].append(payload["step"])
    await subscription.unsubscribe()
    return steps


async def test_a_relay_killed_with_its_locks_held_loses_nothing_and_keeps_the_order(
    db, nats, relays
):
    """Two processes share the work; one is killed mid-batch; each key's events stay in order."""
    start, running = relays
    logs = [start("survivor"), start("victim", "stall")]
    parcels = [UUID(int=number) for number in range(1, 25)]
    step = 0

    async def emit():
        nonlocal step
        for _ in range(5):
            async with db.unit_of_work() as uow:
                for parcel in parcels:
                    uow.emit(Moved(parcel=parcel, step=step))
            step += 1

    async def stalled():
        if await waiting(db) < 240:
            await emit()
        return logs[1].read_text() == "stalled"

    await until(stalled)
    assert await waiting(db) > 0
    running["victim"].kill()
    running["victim"].wait()

    async def empty():
        return await waiting(db) == 0

    await until(empty)
    assert int(logs[0].read_text()) > 100  # Both had a share.
    found = await stored(nats)
    assert {parcel: steps for parcel, steps in found.items() if steps != list(range(step))} == {}
    assert len(found) == len(parcels)


async def test_a_relay_leaves_the_other_half_to_others(db, nats):
    """While one transaction holds partitions, another relay sends what it did not take."""
    parcels = [UUID(int=number) for number in range(1, 25)]
    async with db.unit_of_work() as uow:
        for parcel in parcels:
            uow.emit(Moved(parcel=parcel, step=0))
    holding, done = asyncio.Event(), asyncio.Event()

    class Slow(Publisher):
        async def publish_batch(self, messages, **options):
            holding.set()
            await done.wait()
            return await super().publish_batch(messages, **options)

    slow = asyncio.create_task(Relay(db, Slow(nats, "parcels")).send_pending())
    await holding.wait()
    quick = await Relay(db, Publisher(nats, "parcels")).send_pending()
    assert quick >= len(parcels) // 3
    assert await waiting(db) == len(parcels) - quick
    done.set()
    assert await slow == len(parcels) - quick
    assert len(await stored(nats)) == len(parcels)


async def test_transactions_that_wait_for_each_other_are_told_in_their_order(db, nats):
    """Who gets a row's lock second commits second, and its event has the higher number."""
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("CREATE TABLE IF NOT EXISTS locks AS SELECT 1 AS n"))
    emitted, parcel = asyncio.Event(), UUID(int=1)

    async def second():
        async with db.unit_of_work() as uow:
            uow.emit(Moved(parcel=parcel, step=1))
            await uow.session.execute(text("SELECT 1"))
            emitted.set()
            await uow.session.execute(text("UPDATE locks SET n = 2"))

    async with db.unit_of_work() as uow:
        await uow.session.execute(text("UPDATE locks SET n = 1"))
        task = asyncio.create_task(second())
        await emitted.wait()
        uow.emit(Moved(parcel=parcel, step=0))
    await task
    await Relay(db, Publisher(nats, "parcels")).send_pending()
    assert list((await stored(nats)).values()) == [[0, 1]]
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("DROP TABLE locks"))


async def test_a_transaction_is_not_kept_without_its_event(db):
    """Who catches the error of a commit and commits again hears it again; nothing was sent."""
    row = {"event_id": "1", "subject": "evt.a", "body": b"{}", "headers": {}}

    async def swallow():
        async with db.unit_of_work() as uow:
            uow.session.add(OutboxRow(**row))
            write_at_commit(uow.session, {**row, "partition": 99_999})  # no smallint
            with pytest.raises(DBAPIError):
                await uow.session.commit()

    with pytest.raises(ValidationError):
        await swallow()
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.session.scalar(select(func.count()).select_from(OutboxRow)) == 0
