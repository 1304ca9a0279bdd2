"""Send what the outbox holds, in order, and forget it once a stream has it.

Flow: step 8, between the outbox and the publisher. A message is deleted after its stream
acknowledged it, so it can be sent twice (under one message id) but never lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Tracer
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database
from glam_sdk.database.telemetry import UNTRACED
from glam_sdk.lifecycle import Check
from glam_sdk.outbox.models import OutboxRow, outbox_metadata
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Link, get_tracer, record_error, span

_SCOPE: Final = "glam_sdk.outbox"
_RELAY_LOCK: Final = 0x676C616D_6F7574  # "glam" "out": one relay of a database sends at a time
_QUIET: Final = {UNTRACED: True}
_log = get_logger(_SCOPE)


class RawPublisher(Protocol):
    """Send bytes and wait for the stream's acknowledgement."""

    async def publish_raw(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - covers the publisher's own retries
    ) -> bool:
        """Send one message; return whether the stream had it already, raise if it has it not."""
        ...


@dataclass(frozen=True, slots=True)
class RelayPace:
    """Set how often the relay looks and how much it sends."""

    poll: timedelta = timedelta(seconds=1)
    """Look at least this often; a commit in this process wakes the relay at once."""
    batch: int = 100
    """How many messages are read at a time."""
    publish_timeout: timedelta = timedelta(seconds=5)
    """How long one message may take to be acknowledged."""
    first_backoff: timedelta = timedelta(milliseconds=200)
    """Wait after a failure; doubled after each further one."""
    max_backoff: timedelta = timedelta(seconds=30)
    """Longest wait between attempts."""
    drain: timedelta = timedelta(seconds=5)
    """How long stopping may go on sending."""


@dataclass(frozen=True, slots=True)
class _Message:
    id: int
    subject: str
    body: bytes
    headers: dict[str, str]


class Relay:
    """Be the component that empties the outbox of one database.

    With PostgreSQL, each process of a service may run one: they take turns, so that the order is
    kept. A SQLite database should have one.

    A message that cannot be sent holds up those behind it until it can: order comes first.

    Args:
        db: Whose outbox is sent; its units of work wake the relay.
        publisher: Where to, such as a ``Publisher``.
        pace: How often and how much.
        tracer: The global provider's by default.
    """

    name: Final = "outbox"

    def __init__(
        self,
        db: Database,
        publisher: RawPublisher,
        *,
        pace: RelayPace | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._db = db
        self._publisher = publisher
        self._pace = pace or RelayPace()
        self._tracer = tracer or get_tracer(_SCOPE)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._failures = 0
        self._problem = ""
        db.add_metadata(outbox_metadata)
        db.on_events_committed(self._wake.set)

    async def start(self) -> None:
        """Begin to send, first what was left from an earlier run."""
        if self._task is None:
            self._stopping = False
            # In a context of its own: what is sent belongs to no request.
            self._task = asyncio.create_task(
                self._run(), name="glam-outbox-relay", context=contextvars.Context()
            )

    async def check(self) -> Check:
        """Tell whether messages get through; when not, the service works on and they wait."""
        if self._task is None or self._task.done():
            return Check(healthy=False, detail="the relay is not running", critical=False)
        return Check(healthy=not self._failures, detail=self._problem, critical=False)

    async def stop(self) -> None:
        """Send what is committed, as far as it gets within the pace's ``drain``, and end."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping = True
        self._wake.set()
        done, _ = await asyncio.wait([task], timeout=self._pace.drain.total_seconds())
        if not done:
            task.cancel()
            await asyncio.wait([task])

    async def send_pending(self) -> int:
        """Send everything committed so far; return how many messages a stream acknowledged.

        Raises:
            Exception: What the database or the publisher raised; nothing unsent is lost.
        """
        sent = 0
        while count := await self._send_batch():
            sent += count
        return sent

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            last_round = self._stopping
            wait = self._pace.poll
            try:
                await self.send_pending()
                self._succeeded()
            except Exception as exc:  # noqa: BLE001 - a message pipeline outlives any one failure
                wait = self._failed(exc)
            if last_round:
                return
            await self._sleep(wait)

    async def _sleep(self, wait: timedelta) -> None:
        """Wait for the time to pass, for a commit, or for the end; a backoff only for the end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        while (left := until - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if self._stopping or not self._failures:
                return
            self._wake.clear()

    def _succeeded(self) -> None:
        if self._failures:
            _log.info("outbox.recovered", failed_attempts=self._failures)
        self._failures, self._problem = 0, ""

    def _failed(self, exc: Exception) -> timedelta:
        self._problem = str(exc)
        if not self._failures:
            _log.warning("outbox.stalled", reason=self._problem, error_type=type(exc).__qualname__)
        backoff: timedelta = self._pace.first_backoff * (1 << min(self._failures, 20))
        self._failures += 1
        return min(backoff, self._pace.max_backoff)

    async def _send_batch(self) -> int:
        if self._db.engine.dialect.name == "postgresql":
            async with self._db.unit_of_work() as uow:
                if not await _take_turn(uow.session):
                    return 0
                batch = await self._read(uow.session)
                sent, failure = await self._relay(batch, uow.session)
        else:
            # SQLite has one writer at a time: read, let go, send, and only then write.
            async with self._db.unit_of_work(read_only=True) as uow:
                batch = await self._read(uow.session)
            sent, failure = await self._relay(batch, None)
        if failure is not None:
            raise failure
        return sent

    async def _read(self, session: AsyncSession) -> list[_Message]:
        columns = (OutboxRow.id, OutboxRow.subject, OutboxRow.body, OutboxRow.headers)
        statement = select(*columns).order_by(OutboxRow.id).limit(self._pace.batch)
        statement = statement.with_for_update(skip_locked=True)
        rows = await session.execute(statement, execution_options=_QUIET)
        return [_Message(*row) for row in rows]

    async def _relay(
        self, batch: Sequence[_Message], session: AsyncSession | None
    ) -> tuple[int, Exception | None]:
        """Send a batch up to its first failure and delete what was acknowledged."""
        if not batch:
            return 0, None
        attributes = {conv.MESSAGING_BATCH_MESSAGE_COUNT: len(batch)}
        with span(
            self._tracer, "relay outbox", attributes=attributes, links=_links(batch)
        ) as current:
            acked, failure = await self._publish(batch)
            if failure is not None:
                record_error(current, failure)
            if acked:
                await self._forget(acked, session)
        return len(acked), failure

    async def _publish(self, batch: Sequence[_Message]) -> tuple[list[int], Exception | None]:
        acked: list[int] = []
        for message in batch:
            try:
                await self._publisher.publish_raw(
                    message.subject,
                    message.body,
                    message.headers,
                    timeout=self._pace.publish_timeout,
                )
            except Exception as exc:  # noqa: BLE001 - raised again when what was sent is deleted
                return acked, exc
            acked.append(message.id)
        return acked, None

    async def _forget(self, ids: Sequence[int], session: AsyncSession | None) -> None:
        statement = delete(OutboxRow).where(OutboxRow.id.in_(ids))
        if session is not None:
            await session.execute(statement)
            return
        async with self._db.unit_of_work() as uow:
            await uow.session.execute(statement)


async def _take_turn(session: AsyncSession) -> bool:
    """Become the one relay of the database that sends, until the transaction ends."""
    lock = select(func.pg_try_advisory_xact_lock(_RELAY_LOCK))
    return bool(await session.scalar(lock, execution_options=_QUIET))


def _links(batch: Sequence[_Message]) -> tuple[Link, ...]:
    """Link to the spans in which the messages were created."""
    origins = (
        trace.get_current_span(extract(message.headers, Context())).get_span_context()
        for message in batch
    )
    return tuple(Link(origin) for origin in origins if origin.is_valid)
