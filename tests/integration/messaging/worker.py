"""Be a worker process: handle jobs, write down what was begun, and store the effect once.

Usage: ``python -m tests.integration.messaging.worker <nats url> <database url> <log file>
<ack_wait>``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings, NatsSettings
from glam_sdk.database import Database, UnitOfWork
from glam_sdk.events import Event, StreamSpec
from glam_sdk.messaging import Backoff, ConsumerPolicy, Nats, Subscriber, handles
from glam_sdk.outbox import inbox_scope
from tests.integration.messaging import doors  # noqa: F401 - it looks at the environment

STREAMS = [StreamSpec("SHOP"), StreamSpec("MAIL", max_msgs_per_subject=5)]


class Job(Event, subject="evt.jobs.created"):
    number: int
    kills: bool = False
    takes_s: float = 0.0


class Model(DeclarativeBase):
    metadata = MetaData()


class Effect(Model):
    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


def database(url: str) -> Database:
    return Database(DatabaseSettings(url=SecretStr(url)), metadata=Model.metadata)


async def main(url: str, database_url: str, log: Path, ack_wait_s: float) -> None:
    """Work until SIGTERM."""

    def note(line: str) -> None:
        with log.open("a") as out:
            out.write(line + "\n")

    @handles(Job, durable="worker", concurrency=8, retry=Backoff(0.05, attempts=3))
    async def work(job: Job, uow: UnitOfWork) -> None:
        note(f"begin {job.number}")
        if job.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(job.takes_s)  # The work itself.
        uow.session.add(Effect(number=job.number))

    db = database(database_url)
    nats = Nats(NatsSettings(servers=(url,)), service_name="jobs")
    policy = ConsumerPolicy(
        ack_wait=timedelta(seconds=ack_wait_s), idle_heartbeat=timedelta(seconds=0.5)
    )
    subscriber = Subscriber(nats, [work], service_name="jobs", scope=inbox_scope(db), policy=policy)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for component in (db, nats, subscriber):
        await component.start()
    note("ready")
    await ended.wait()
    for component in (subscriber, nats, db):
        await component.stop()
    note("stopped")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])))
