"""Send one batch of an outbox under one span, and forget what streams have.

With PostgreSQL the batch is a transaction that holds the locks of its partitions: a relay that dies
gives them back at once, and what it sent last is sent again under the same message ids.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, Tracer
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database
from glam_sdk.messaging import BatchReport, MessageTooLargeError
from glam_sdk.outbox import store
from glam_sdk.outbox.pace import BatchPublisher, RawPublisher, RelayPace
from glam_sdk.outbox.store import Message
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Link, record_error, span

_MAX_LINKS: Final = 128  # OTEL_SPAN_LINK_COUNT_LIMIT: others would be dropped
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_log = get_logger("glam_sdk.outbox")


@dataclass(slots=True)
class Outcome:
    """Say what became of a batch."""

    settled: int = 0
    parked: int = 0
    reached: set[int] = field(default_factory=set)
    """Partitions of which a stream has something now."""
    failures: dict[int, Exception] = field(default_factory=dict)
    """Partitions that wait for another attempt, and why."""


class Dispatch:
    """Send the batches of one outbox.

    Args:
        db: Whose outbox is sent.
        publisher: Where to.
        pace: How much.
        tracer: Makes a span for each batch.
    """

    def __init__(
        self, db: Database, publisher: RawPublisher, pace: RelayPace, tracer: Tracer
    ) -> None:
        self._db = db
        self._publisher = publisher
        self._pace = pace
        self._tracer = tracer

    async def send_batches(self, count: int, resting: Collection[int]) -> list[Outcome]:
        """Send several batches at once: while one waits for the database, another is sent.

        With SQLite, which cannot divide the work, it is one.

        Raises:
            Exception: What the database raised, when all have come to their end.
        """
        if count == 1 or self._db.engine.dialect.name != "postgresql":
            return [await self.send_batch(resting)]
        batches = (self.send_batch(resting) for _ in range(count))
        found = await asyncio.gather(*batches, return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in found if isinstance(outcome, Outcome)]

    async def send_batch(self, resting: Collection[int]) -> Outcome:
        """Send the oldest messages of partitions that are free and do not rest."""
        if self._db.engine.dialect.name == "postgresql":
            async with self._db.unit_of_work(isolation="READ COMMITTED") as uow:
                batch = await store.take(uow.session, self._pace.batch, resting)
                return await self._relay(batch, uow.session)
        # SQLite has one writer at a time: read, let go, send, and only then write.
        async with self._db.unit_of_work(read_only=True) as uow:
            batch = await store.read(uow.session, self._pace.batch, resting)
        return await self._relay(batch, None)

    async def _relay(self, batch: Sequence[Message], session: AsyncSession | None) -> Outcome:
        """Send a batch and delete what was acknowledged."""
        outcome = Outcome()
        if not batch:
            return outcome
        attributes = {conv.MESSAGING_BATCH_MESSAGE_COUNT: len(batch)}
        with span(
            self._tracer, "relay outbox", attributes=attributes, links=_links(batch)
        ) as current:
            report = await self._publish(batch)
            for place, error in report.failed.items():
                await self._failed(outcome, batch[place], error, session)
            for error in list(outcome.failures.values())[:1]:
                record_error(current, error)
            if report.acked:
                outcome.reached = {batch[place].lane for place in report.acked}
                async with self._writing(session) as writing:
                    ids = [batch[place].id for place in report.acked]
                    await store.settle(writing, ids, keep=bool(self._pace.keep_sent))
        outcome.settled = len(report.acked) + outcome.parked
        return outcome

    async def _publish(self, batch: Sequence[Message]) -> BatchReport:
        timeout = self._pace.publish_timeout
        if isinstance(self._publisher, BatchPublisher):
            return await self._publisher.publish_batch(batch, timeout=timeout)
        report = BatchReport()
        stopped: set[int] = set()
        for place, message in enumerate(batch):
            if message.lane in stopped:
                continue
            try:
                await self._publisher.publish_raw(
                    message.subject, message.body, message.headers, timeout=timeout
                )
            except Exception as exc:  # noqa: BLE001 - raised by the relay when the rest is sent
                report.failed[place] = exc
                if not isinstance(exc, MessageTooLargeError):
                    stopped.add(message.lane)
            else:
                report.acked.append(place)
        return report

    async def _failed(
        self, outcome: Outcome, message: Message, error: Exception, session: AsyncSession | None
    ) -> None:
        if not isinstance(error, MessageTooLargeError):
            outcome.failures[message.lane] = error
            return
        outcome.parked += 1
        _log.error(
            "outbox.parked", outbox_id=message.id, subject=message.subject, reason=error.message
        )
        async with self._writing(session) as writing:
            await store.park(writing, message.id, error.message)

    @asynccontextmanager
    async def _writing(self, session: AsyncSession | None) -> AsyncIterator[AsyncSession]:
        """Go on with the transaction there is, else have one of its own."""
        if session is not None:
            yield session
            return
        async with self._db.unit_of_work() as uow:
            yield uow.session


def _links(batch: Sequence[Message]) -> tuple[Link, ...]:
    """Link to the spans in which the messages were created, as many as a span keeps."""
    origins = (_origin(message.headers) for message in batch[:_MAX_LINKS])
    return tuple(Link(origin) for origin in origins if origin.is_valid)


def _origin(headers: Mapping[str, str]) -> SpanContext:
    found = _TRACEPARENT.match(headers.get("traceparent", ""))
    if found is None:  # Of another propagator, or none.
        return trace.get_current_span(extract(headers, Context())).get_span_context()
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
