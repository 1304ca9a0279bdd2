"""Crashes of workers and servers under load: every effect is there once, by the database."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError
from sqlalchemy import select

from glam_sdk.database import UnitOfWork
from glam_sdk.messaging import ConsumerPolicy, Publisher, Subscriber, handles
from glam_sdk.outbox import inbox_scope, outbox_metadata
from tests.integration.messaging.conftest import unsettled
from tests.integration.messaging.worker import Effect, Job, Model, database

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path):
    """Where the workers write what they begin."""
    return tmp_path / "worker.log"


@pytest.fixture
async def db(request, tmp_path):
    """The database the workers write to: SQLite, or what a test is parametrised with."""
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgres").url
    made = database(url)
    inbox_scope(made)  # Declares the inbox' table too.
    await made.start()
    try:
        yield made
        if "sqlite" not in url:
            async with made.engine.begin() as connection:
                await connection.run_sync(Model.metadata.drop_all)
                await connection.run_sync(outbox_metadata.drop_all)
    finally:
        await made.stop()


@pytest.fixture
async def spawn(server, tmp_path, log):
    """Start worker processes; what is left of them is killed at the end."""
    started = []

    async def start(ack_wait_s=1.0):
        url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
        arguments = [server.url, url, log, ack_wait_s]
        with (tmp_path / "stderr.log").open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.messaging.worker",
                *map(str, arguments),
                cwd=ROOT,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


async def effects(db):
    async with db.unit_of_work(read_only=True) as uow:
        return Counter(await uow.session.scalars(select(Effect.number)))


def settled(nats, durable="worker"):
    async def condition():
        return await unsettled(nats, "JOBS", durable) == 0

    return condition


async def publish(nats, jobs):
    publisher = Publisher(nats, "jobs")
    await asyncio.gather(*(publisher.publish(job) for job in jobs))


async def test_a_message_that_kills_its_worker_ends_as_a_dead_letter_alone(
    nats, db, spawn, log, until
):
    """Its neighbours die with it, and all of them have their effect once in the end."""
    jobs = [Job(number=n, takes_s=0.05) for n in range(1, 8)]
    await publish(nats, [Job(number=0, kills=True), *jobs])
    async with asyncio.timeout(480):
        while True:
            worker = await spawn()
            dying = asyncio.create_task(worker.wait())

            async def over(dying=dying):
                streams = [s.config.name for s in await nats.jetstream.streams_info()]
                return dying.done() or ("DEAD_LETTERS" in streams and await settled(nats)())

            await until(over)
            if not dying.done():
                worker.send_signal(signal.SIGTERM)
                await dying
                break
    letters = (await nats.jetstream.stream_info("DEAD_LETTERS")).state.messages
    letter = await nats.jetstream.get_msg("DEAD_LETTERS", 1)
    assert (letters, letter.headers["x-dead-letter-reason"]) == (1, "crashed")
    assert lines(log).count("begin 0") == 3
    assert await effects(db) == dict.fromkeys(range(1, 8), 1)


async def test_sigterm_under_load_does_nothing_twice_and_waits_for_nothing(
    nats, db, spawn, log, until
):
    """What one worker had begun it finishes, what it only held another gets at once."""
    first = await spawn(ack_wait_s=300)
    await until(lambda: "ready" in lines(log))
    await publish(nats, [Job(number=n, takes_s=0.02) for n in range(80)])
    await until(lambda: len(lines(log)) > 20)
    await spawn(ack_wait_s=300)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(first.wait(), 60) == 0
    await until(settled(nats))  # Less than ack_wait.
    begun = Counter(line for line in lines(log) if line.startswith("begin"))
    assert begun == {f"begin {n}": 1 for n in range(80)}
    assert await effects(db) == dict.fromkeys(range(80), 1)


async def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(nats, db, spawn, log, until):
    """After kill -9 another worker takes over, and each effect is there once."""
    first = await spawn()
    await until(lambda: "ready" in lines(log))
    await publish(nats, [Job(number=n, takes_s=0.02) for n in range(60)])
    await until(lambda: len(lines(log)) > 20)
    first.kill()
    await spawn()
    await until(settled(nats))
    assert await effects(db) == dict.fromkeys(range(60), 1)


async def test_a_killed_prefetcher_stalls_nobody(nats, db, spawn, log, until):
    """What it had been sent comes again after ack_wait; all else the other handles at once."""
    first, _ = await asyncio.gather(spawn(ack_wait_s=300), spawn(ack_wait_s=300))
    await until(lambda: lines(log).count("ready") == 2)

    async def both_ask():
        with suppress(NotFoundError):  # Until one of them has made it.
            return (await nats.jetstream.consumer_info("JOBS", "worker")).num_waiting == 2
        return False

    await until(both_ask)
    first.send_signal(signal.SIGSTOP)  # What is sent to it now, it has and never begins.
    await publish(nats, [Job(number=n) for n in range(40)])

    async def the_other_has_done_its_part():
        info = await nats.jetstream.consumer_info("JOBS", "worker")
        return info.num_pending == 0 and 0 < info.num_ack_pending <= 8

    await until(the_other_has_done_its_part)
    first.kill()
    await publish(nats, [Job(number=n) for n in range(40, 70)])

    async def new_ones_done():
        return set(range(40, 70)) <= set(await effects(db))

    await until(new_ones_done)  # Less than ack_wait.
    assert len(await effects(db)) < 70
    sooner = (await nats.jetstream.consumer_info("JOBS", "worker")).config.evolve(ack_wait=1)
    await nats.jetstream.add_consumer("JOBS", sooner)
    await until(settled(nats))
    assert await effects(db) == dict.fromkeys(range(70), 1)


@pytest.fixture
async def at_work(nats, db):
    """Run a worker in this process."""

    @handles(Job, durable="worker")
    async def work(job: Job, uow: UnitOfWork) -> None:
        await asyncio.sleep(job.takes_s)
        uow.session.add(Effect(number=job.number))

    policy = ConsumerPolicy(
        ack_wait=timedelta(seconds=1), idle_heartbeat=timedelta(milliseconds=300)
    )
    subscriber = Subscriber(nats, [work], service_name="jobs", scope=inbox_scope(db), policy=policy)
    await subscriber.start()
    yield subscriber
    await subscriber.stop()


@pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)
async def test_a_server_killed_under_load_loses_and_doubles_nothing(
    server, nats, db, at_work, until
):
    """Every publish that returned has one effect, though kill -9 forgets acks, again and again."""
    sending = asyncio.create_task(publish(nats, [Job(number=n, takes_s=0.005) for n in range(300)]))
    for share in (40, 120, 200):

        async def enough(share=share):
            return len(await effects(db)) >= share

        await until(enough)
        server.kill()
        server.start()
    await sending

    async def all_there():
        return len(await effects(db)) == 300

    await until(all_there)
    await until(settled(nats))
    assert await effects(db) == dict.fromkeys(range(300), 1)
    assert (await nats.jetstream.stream_info("JOBS")).state.messages == 300


async def test_a_frozen_server_delays_and_nothing_more(server, nats, db, at_work, until):
    """While it does not answer, publishes wait; afterwards all is there once."""
    await publish(nats, [Job(number=0)])
    server.freeze()
    sending = asyncio.create_task(publish(nats, [Job(number=n) for n in range(1, 20)]))
    await until(lambda: at_work._consumers[0].waiting_for is not None)
    server.thaw()
    await sending

    async def all_there():
        return len(await effects(db)) == 20

    await until(all_there)
    assert await effects(db) == dict.fromkeys(range(20), 1)


async def test_two_workers_share_the_work(server, nats, connect, db, at_work, until):
    """Processes with one durable name get different messages, and both get some."""
    seen = []

    @handles(Job, durable="worker")
    async def other(job: Job) -> None:
        await asyncio.sleep(job.takes_s)
        seen.append(job.number)

    subscriber = Subscriber(await connect(server, "jobs"), [other], service_name="jobs")

    async def both_pulling():
        return (await subscriber.check()).healthy and (await at_work.check()).healthy

    async with AsyncExitStack() as at_the_end:
        await subscriber.start()
        at_the_end.push_async_callback(subscriber.stop)
        await until(both_pulling)
        await publish(nats, [Job(number=n, takes_s=0.01) for n in range(60)])
        await until(settled(nats))
    found = await effects(db)
    assert len(seen) + sum(found.values()) == 60
    assert {*seen, *found} == set(range(60))
    assert seen
    assert found
