"""Send what the outbox holds, in order, and forget it once a stream has it.

Flow: step 8, between the outbox and the publisher. A message is deleted after its stream
acknowledged it, so it can be sent twice (under one message id) but never lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Tracer
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database
from glam_sdk.lifecycle import Check
from glam_sdk.messaging import MessageTooLargeError
from glam_sdk.messaging.cancellation import end
from glam_sdk.outbox import store
from glam_sdk.outbox.gauges import OutboxGauges
from glam_sdk.outbox.models import outbox_metadata
from glam_sdk.outbox.notify import Listener
from glam_sdk.outbox.pace import RawPublisher, RelayPace
from glam_sdk.outbox.store import Message
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Link, get_tracer, record_error, span

_SCOPE: Final = "glam_sdk.outbox"
_log = get_logger(_SCOPE)


@dataclass(frozen=True, slots=True)
class _Sent:
    acked: list[int]
    parked: int
    failure: Exception | None


class Relay:
    """Be the component that empties the outbox of one database.

    With PostgreSQL, each process of a service may run one: they take turns, so that the order is
    kept. A SQLite database should have one.

    A message that cannot be sent holds up those behind it until it can: order comes first. One that
    no stream can ever take, for its size, is set aside in the table, and the check says so.

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
        self._parked = 0
        self._clean_at = 0.0
        self._observe_at = 0.0
        self._gauges = OutboxGauges()
        self._listener = Listener(db, self._wake.set)
        db.add_metadata(outbox_metadata)
        db.on_events_committed(self._wake.set)

    async def start(self) -> None:
        """Begin to send, first what was left from an earlier run."""
        if self._task is None:
            self._stopping = False
            self._listener.start()
            # In a context of its own: what is sent belongs to no request.
            self._task = asyncio.create_task(
                self._run(), name="glam-outbox-relay", context=contextvars.Context()
            )

    async def check(self) -> Check:
        """Tell whether messages get through; when not, the service works on and they wait."""
        if self._task is None or self._task.done():
            return Check(healthy=False, detail="the relay is not running", critical=False)
        if self._parked and not self._failures:
            return Check(
                healthy=False,
                detail=f"{self._parked} messages are set aside; see glam_outbox.problem",
                critical=False,
            )
        return Check(healthy=not self._failures, detail=self._problem, critical=False)

    async def stop(self) -> None:
        """Send what is committed, as far as it gets within the pace's ``drain``, and end."""
        await self._listener.stop()
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping = True
        self._wake.set()
        done, _ = await asyncio.wait([task], timeout=self._pace.drain.total_seconds())
        if not done:
            await end(task)

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
                await self._housekeep()
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
                if not await store.take_turn(uow.session):
                    return 0
                batch = await store.read(uow.session, self._pace.batch)
                sent, failure = await self._relay(batch, uow.session)
        else:
            # SQLite has one writer at a time: read, let go, send, and only then write.
            async with self._db.unit_of_work(read_only=True) as uow:
                batch = await store.read(uow.session, self._pace.batch)
            sent, failure = await self._relay(batch, None)
        if failure is not None:
            raise failure
        return sent

    async def _housekeep(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._clean_at:
            self._clean_at = now + self._pace.clean_every.total_seconds()
            await store.clean(self._db, sent=self._pace.keep_sent, inbox=self._pace.keep_inbox)
        if now >= self._observe_at:
            self._observe_at = now + self._pace.observe_every.total_seconds()
            self._parked = self._gauges.record(await store.standing(self._db))

    async def _relay(
        self, batch: Sequence[Message], session: AsyncSession | None
    ) -> tuple[int, Exception | None]:
        """Send a batch up to its first failure and delete what was acknowledged."""
        if not batch:
            return 0, None
        attributes = {conv.MESSAGING_BATCH_MESSAGE_COUNT: len(batch)}
        with span(
            self._tracer, "relay outbox", attributes=attributes, links=_links(batch)
        ) as current:
            sent = await self._publish(batch, session)
            if sent.failure is not None:
                record_error(current, sent.failure)
            if sent.acked:
                await self._forget(sent.acked, session)
        return len(sent.acked) + sent.parked, sent.failure

    async def _publish(self, batch: Sequence[Message], session: AsyncSession | None) -> _Sent:
        acked: list[int] = []
        parked = 0
        for message in batch:
            try:
                await self._publisher.publish_raw(
                    message.subject,
                    message.body,
                    message.headers,
                    timeout=self._pace.publish_timeout,
                )
            except MessageTooLargeError as exc:
                await self._park(message, exc, session)
                parked += 1
            except Exception as exc:  # noqa: BLE001 - raised again when what was sent is deleted
                return _Sent(acked, parked, exc)
            else:
                acked.append(message.id)
        return _Sent(acked, parked, None)

    async def _park(
        self, message: Message, exc: MessageTooLargeError, session: AsyncSession | None
    ) -> None:
        self._parked += 1
        _log.error(
            "outbox.parked", outbox_id=message.id, subject=message.subject, reason=exc.message
        )
        async with self._writing(session) as writing:
            await store.park(writing, message.id, exc.message)

    async def _forget(self, ids: Sequence[int], session: AsyncSession | None) -> None:
        async with self._writing(session) as writing:
            await store.settle(writing, ids, keep=bool(self._pace.keep_sent))

    @asynccontextmanager
    async def _writing(self, session: AsyncSession | None) -> AsyncIterator[AsyncSession]:
        """Go on with the transaction there is, else have one of its own."""
        if session is not None:
            yield session
            return
        async with self._db.unit_of_work() as uow:
            yield uow.session


def _links(batch: Sequence[Message]) -> tuple[Link, ...]:
    """Link to the spans in which the messages were created."""
    origins = (
        trace.get_current_span(extract(message.headers, Context())).get_span_context()
        for message in batch
    )
    return tuple(Link(origin) for origin in origins if origin.is_valid)
