"""Be a process that empties an outbox, and write down what it has sent.

Usage: ``python -m tests.integration.relay_worker <nats url> <database url> <log file> [stall]``.
With ``stall`` it holds its locks for ever after a hundred messages, half of a batch sent.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import MetaData

from glam_sdk.config import DatabaseSettings, NatsSettings
from glam_sdk.database import Database
from glam_sdk.messaging import BatchReport, Nats, Outgoing, Publisher
from glam_sdk.outbox import Relay, RelayPace


class LoggingPublisher(Publisher):
    """Publish, note how many, and stall where told to."""

    log: Path
    stalls = False
    count = 0

    async def publish_batch(
        self,
        messages: Sequence[Outgoing],
        *,
        timeout: timedelta = timedelta(seconds=5),  # noqa: ASYNC109 - the protocol's
    ) -> BatchReport:
        if self.stalls and self.count > 100:
            await super().publish_batch(messages[: len(messages) // 2], timeout=timeout)
            self.log.write_text("stalled")
            await asyncio.Event().wait()
        report = await super().publish_batch(messages, timeout=timeout)
        self.count += len(report.acked)
        self.log.write_text(str(self.count))
        return report


async def main(nats_url: str, database_url: str, log: str, *more: str) -> None:
    nats = Nats(NatsSettings(servers=(nats_url,)), service_name="parcels")
    db = Database(DatabaseSettings(url=SecretStr(database_url)), metadata=MetaData())
    publisher = LoggingPublisher(nats, "parcels")
    publisher.log, publisher.stalls = Path(log), bool(more)
    relay = Relay(db, publisher, pace=RelayPace(poll=timedelta(milliseconds=50), batch=10))
    for component in (db, nats, relay):
        await component.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
