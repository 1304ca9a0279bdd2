"""Send what the outbox holds, in order, and forget it once a stream has it.

Flow: step 8, between the outbox and the publisher. A message is deleted after its stream
acknowledged it, so it can be sent twice (under one message id) but never lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import Tracer

from glam_sdk.database import Database
from glam_sdk.lifecycle import Check
from glam_sdk.messaging.cancellation import end
from glam_sdk.outbox import store
from glam_sdk.outbox.dispatch import Dispatch, Outcome
from glam_sdk.outbox.gauges import OutboxGauges
from glam_sdk.outbox.models import outbox_metadata
from glam_sdk.outbox.notify import Listener
from glam_sdk.outbox.pace import RawPublisher, RelayPace
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.tracing import get_tracer

_SCOPE: Final = "glam_sdk.outbox"
_BATCHES_A_ROUND: Final = 100
"""Where traffic never ends, something else has its turn after so many."""
_log = get_logger(_SCOPE)


@dataclass(slots=True)
class _Rest:
    """Say until when something is not tried again, after how many failures."""

    failures: int
    until: float


class Relay:
    """Be the component that empties the outbox of one database.

    With PostgreSQL, each process of a service may run one: they share the partitions, so that the
    order within each is kept. A SQLite database should have one.

    A message that cannot be sent holds up those behind it in its partition until it can: order
    comes first. One that no stream can ever take, for its size, is set aside in the table, and the
    check says so.

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
        self._pace = pace or RelayPace()
        self._dispatch = Dispatch(db, publisher, self._pace, tracer or get_tracer(_SCOPE))
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._resting: dict[int, _Rest] = {}
        self._outage: _Rest | None = None
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
        is_stalled = bool(self._resting or self._outage)
        if self._parked and not is_stalled:
            return Check(
                healthy=False,
                detail=f"{self._parked} messages are set aside; see glam_outbox.problem",
                critical=False,
            )
        return Check(healthy=not is_stalled, detail=self._problem, critical=False)

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
        """Send everything committed so far; return how many messages are settled.

        Other relays' partitions are theirs, and one that failed a moment ago rests.

        Raises:
            Exception: What the database or the publisher raised; nothing unsent is lost.
        """
        settled, failures = await self._round()
        self._recover()
        for failure in failures.values():
            raise failure
        return settled

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            last_round = self._stopping
            try:
                await self._round(None if last_round else _BATCHES_A_ROUND)
                await self._housekeep()
            except Exception as exc:  # noqa: BLE001 - a message pipeline outlives any one failure
                self._outage = self._rest(self._outage)
                self._failed(exc)
            else:
                self._outage = None
                self._recover()
            if last_round:
                return
            await self._sleep()

    async def _round(self, batches: int | None = None) -> tuple[int, dict[int, Exception]]:
        """Send until nothing is left but what rests; return the failures by partition.

        Args:
            batches: End after so many, or once somebody has rested, and leave more to the next.
        """
        now = asyncio.get_running_loop().time()
        # The last round is everybody's last attempt.
        kept = {p: rest for p, rest in self._resting.items() if rest.until > now}
        resting = {} if self._stopping else kept
        settled, failures, at_once, sent = 0, dict[int, Exception](), 1, 0
        while at_once:
            outcomes = await self._dispatch.send_batches(at_once, {*resting})
            for outcome in outcomes:
                settled += outcome.settled
                failures |= outcome.failures
                resting |= self._note(outcome)
            is_full = any(outcome.settled >= self._pace.batch for outcome in outcomes)
            has_moved = any(outcome.settled or outcome.failures for outcome in outcomes)
            at_once = 2 if is_full else int(has_moved)
            sent += len(outcomes)
            if batches is not None and at_once and (sent >= batches or _is_over(resting)):
                self._wake.set()
                if sent < batches:
                    return settled, failures  # others that were to be tried may still be waiting
                break
        self._resting = resting
        return settled, failures

    async def _sleep(self) -> None:
        """Wait for the time to pass, for a commit, or for the end; in an outage not for commits."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._pace.poll.total_seconds()
        until = min([until, *(rest.until for rest in self._resting.values())])
        if self._outage is not None:
            until = self._outage.until
        while (left := until - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if self._stopping or self._outage is None:
                return
            self._wake.clear()

    def _rest(self, last: _Rest | None) -> _Rest:
        failures = last.failures if last else 0
        wait = min(self._pace.first_backoff * (1 << min(failures, 20)), self._pace.max_backoff)
        now = asyncio.get_running_loop().time()
        return _Rest(failures + 1, now + wait.total_seconds())

    def _note(self, outcome: Outcome) -> dict[int, _Rest]:
        """Take down which partitions a batch got on with; return how long the others rest."""
        self._parked += outcome.parked
        failed = {p: self._rest(self._resting.get(p)) for p in outcome.failures}
        self._resting |= failed
        for partition in outcome.reached.difference(failed):
            self._resting.pop(partition, None)
        for failure in outcome.failures.values():
            self._failed(failure)
        return failed

    def _recover(self) -> None:
        if self._problem and not (self._resting or self._outage):
            _log.info("outbox.recovered")
            self._problem = ""

    def _failed(self, exc: Exception) -> None:
        if not self._problem:
            _log.warning("outbox.stalled", reason=str(exc), error_type=type(exc).__qualname__)
        self._problem = str(exc) or type(exc).__qualname__

    async def _housekeep(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._clean_at:
            self._clean_at = now + self._pace.clean_every.total_seconds()
            await store.clean(self._db, sent=self._pace.keep_sent, inbox=self._pace.keep_inbox)
        if now >= self._observe_at:
            self._observe_at = now + self._pace.observe_every.total_seconds()
            self._parked = self._gauges.record(await store.standing(self._db))


def _is_over(resting: Mapping[int, _Rest]) -> bool:
    now = asyncio.get_running_loop().time()
    return any(rest.until <= now for rest in resting.values())
