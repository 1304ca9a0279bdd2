"""Crashes of workers and servers under load: every effect is there once, by the database."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from glam_sdk.config import NatsSettings
from glam_sdk.database import UnitOfWork
from glam_sdk.messaging import ConsumerPolicy, Nats, Publisher, Subscriber, handles
from glam_sdk.outbox import inbox_scope
from tests.integration.messaging.worker import Effect, Job, database

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path):
    """Where the workers write what they begin."""
    return tmp_path / "worker.log"


@pytest.fixture
async def db(tmp_path):
    """The database the workers write to."""
    made = database(tmp_path / "jobs.sqlite3")
    inbox_scope(made)  # Declares the inbox' table too.
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def spawn(server, tmp_path, log):
    """Start worker processes; what is left of them is killed at the end."""
    started = []

    async def start(ack_wait_s=1.0):
        arguments = [server.url, tmp_path / "jobs.sqlite3", log, ack_wait_s]
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
        info = await nats.jetstream.consumer_info("JOBS", durable)
        return info.num_ack_pending == 0 and info.num_pending == 0

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
    async with asyncio.timeout(60):
        while True:
            worker = await spawn()
            dying = asyncio.create_task(worker.wait())

            async def over(dying=dying):
                streams = [s.config.name for s in await nats.jetstream.streams_info()]
                return dying.done() or ("DEAD_LETTERS" in streams and await settled(nats)())

            await until(over, timeout_s=30)
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
    first = await spawn(ack_wait_s=30)
    await until(lambda: "ready" in lines(log), timeout_s=30)
    await publish(nats, [Job(number=n, takes_s=0.02) for n in range(80)])
    await until(lambda: len(lines(log)) > 20)
    await spawn(ack_wait_s=30)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(first.wait(), 15) == 0
    await until(settled(nats), timeout_s=20)  # Less than ack_wait.
    begun = Counter(line for line in lines(log) if line.startswith("begin"))
    assert begun == {f"begin {n}": 1 for n in range(80)}
    assert await effects(db) == dict.fromkeys(range(80), 1)


async def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(nats, db, spawn, log, until):
    """After kill -9 another worker takes over, and each effect is there once."""
    first = await spawn()
    await until(lambda: "ready" in lines(log), timeout_s=30)
    await publish(nats, [Job(number=n, takes_s=0.02) for n in range(60)])
    await until(lambda: len(lines(log)) > 20)
    first.kill()
    await spawn()
    await until(settled(nats), timeout_s=30)
    assert await effects(db) == dict.fromkeys(range(60), 1)


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


async def test_a_server_killed_under_load_loses_and_doubles_nothing(
    server, nats, db, at_work, until
):
    """Every publish that returned has one effect, though kill -9 forgets acks."""
    sending = asyncio.create_task(publish(nats, [Job(number=n, takes_s=0.005) for n in range(300)]))
    for share in (40, 120):

        async def enough(share=share):
            return len(await effects(db)) >= share

        await until(enough, timeout_s=30)
        server.kill()
        server.start()
    await sending

    async def all_there():
        return len(await effects(db)) == 300

    await until(all_there, timeout_s=30)
    await until(settled(nats), timeout_s=30)
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

    await until(all_there, timeout_s=30)
    assert await effects(db) == dict.fromkeys(range(20), 1)


async def test_two_workers_share_the_work(server, nats, db, at_work, until):
    """Processes with one durable name get different messages, and both get some."""
    seen = []

    @handles(Job, durable="worker")
    async def other(job: Job) -> None:
        await asyncio.sleep(job.takes_s)
        seen.append(job.number)

    second = Nats(NatsSettings(servers=(server.url,)), service_name="jobs")
    await second.start()
    subscriber = Subscriber(second, [other], service_name="jobs")
    await subscriber.start()

    async def both_pulling():
        return (await subscriber.check()).healthy and (await at_work.check()).healthy

    await until(both_pulling)
    await publish(nats, [Job(number=n, takes_s=0.01) for n in range(60)])
    await until(settled(nats), timeout_s=30)
    await subscriber.stop()
    await second.stop()
    found = await effects(db)
    assert len(seen) + sum(found.values()) == 60
    assert {*seen, *found} == set(range(60))
    assert seen
    assert found
