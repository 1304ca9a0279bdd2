"""Take one message through everything between its bytes and its settlement.

Flow: steps 11 to 14: extract, CONSUMER span, scope (inbox), handler, settle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Final

from opentelemetry import context as otel

from glam_sdk.events import Envelope, Event, MalformedEventError, decode
from glam_sdk.messaging.attempts import GivenUp, Histories, History, LocalHistories
from glam_sdk.messaging.binding import Backlog
from glam_sdk.messaging.delivery import AlreadyHandled, Incoming, no_scope
from glam_sdk.messaging.handlers import BoundHandler, heed
from glam_sdk.messaging.lanes import Lanes
from glam_sdk.messaging.origin import origin_of
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.retry import (
    AttemptsUsedError,
    GiveUp,
    HandlerCancelledError,
    UnhandledSubjectError,
    WorkersCrashedError,
    may_go_away,
    verdict,
)
from glam_sdk.messaging.settlement import Settlement
from glam_sdk.messaging.solitude import NoRoomError
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.messaging.work import Prepared, Work
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.tracing import Span, error_type

_HANDLED: Final = "handled"
_DUPLICATE: Final = "duplicate"
_NOT_FOR_US: Final = "replay_for_another"
_RETRY: Final = "retry"
_DEAD_LETTER: Final = "dead_letter"
_LATER: Final = timedelta(seconds=5)
_log = get_logger(__name__)
_levels = logging.getLogger(__name__)


class Pipeline:
    """Process messages of one durable consumer.

    What succeeded is acked. What failed is handed back with the delay of its backoff, and becomes
    a dead letter when its attempts are used up or no attempt can help. Nothing is ever dropped: a
    dead letter that could not be stored is handed back and stored later.

    Args:
        durable: Name of the consumer.
        handlers: Handlers by subject.
        surroundings: What surrounds each handler call.
        histories: What is known about earlier attempts; this process alone by default.
    """

    def __init__(
        self,
        *,
        durable: str,
        handlers: Mapping[str, BoundHandler],
        surroundings: Surroundings,
        histories: Histories | None = None,
    ) -> None:
        self._durable = durable
        self._lanes = Lanes(durable, handlers, surroundings)
        self._with = surroundings
        self._histories = histories or LocalHistories()
        self._settlement = Settlement(durable, self._lanes, surroundings, self._histories)

    @property
    def paces(self) -> list[Pace]:
        """How fast each handler may be called."""
        return self._lanes.paces

    @property
    def slowed(self) -> int:
        """How many handlers are slowed down because nearly every message fails."""
        return self._lanes.slowed

    def pace_of(self, message: Incoming) -> Pace:
        """Return how fast the handler of a message may be called."""
        return self._lanes.get(message.subject).pace

    def prepare(self, message: Incoming) -> Prepared:
        """Do what can be done before a message's turn comes; it changes nothing."""
        decoded = _decoded(message)
        envelope = decoded if isinstance(decoded, Envelope) else None
        origin = origin_of(message, envelope, self._with.policy.child_max_age)
        return Prepared(decoded, envelope, self._lanes.get(message.subject), origin)

    async def process(self, message: Incoming, prepared: Prepared | None = None) -> None:
        """Handle and settle one message; raises nothing but a cancellation.

        What a handler does to context variables stays with the task that runs this.

        Args:
            message: A message of this consumer.
            prepared: What :meth:`prepare` made of it, if that was called.
        """
        if self._settlement.knows(message):
            await self._settlement.repeat(message)
            return
        work = Work(message, *(prepared or self.prepare(message)))
        try:
            work.history = self._histories.recall(message)
            if message.deliveries > 1:
                work.history = await self._histories.read(message)
            if not work.is_fresh:
                work.number = work.history.attempt(message.deliveries)
            await self._run(work)
        except asyncio.CancelledError:
            await self._settlement.hand_back(message, work.history)
            raise

    async def hand_back(self, message: Incoming, delay: timedelta | None = None) -> None:
        """Give back a message that was not begun; this costs it no attempt."""
        history = await self._histories.read(message)
        await self._settlement.hand_back(message, history, delay)

    def close(self) -> None:
        """End what runs beside the messages; call it when none is being handled."""
        self._lanes.close()

    def note_backlog(self, backlog: Backlog, *, running: int) -> None:
        """Record how much is waiting for this consumer and how much is under way here."""
        self._with.telemetry.backlog(self._durable, backlog, running)

    async def _run(self, work: Work) -> None:
        try:
            outcome = await self._attempt(work)
        except NoRoomError:
            await self._settlement.hand_back(work.message, work.history, _LATER)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is settled here
            token = otel.attach(work.origin.context)
            try:
                await self._settle_failed(work, exc)
            finally:
                otel.detach(token)
        else:
            if outcome is _HANDLED:
                work.lane.pace.succeeded()
            await self._settlement.finish(work.message)

    async def _settle_failed(self, work: Work, exc: Exception) -> None:
        lane, message = work.lane, work.message
        if may_go_away(exc):
            lane.pace.failed()
        found = verdict(exc, work.number, lane.backoff)
        if isinstance(found, GiveUp):
            given_up = work.history.given_up or GivenUp(found.reason, error_type(exc), str(exc))
            await self._settlement.give_up(message, work.history, given_up, work.number)
        else:
            await self._settlement.retry(message, work.history, found.delay)

    async def _attempt(self, work: Work) -> str:
        with work.lane.observed.processing(work, self._note_success) as span:
            try:
                event = self._event_of(work)
                if event is None:
                    outcome = _NOT_FOR_US
                elif work.is_fresh and self._with.solitude.is_free:
                    outcome = await self._invoke(work, event)
                else:
                    async with self._room(work):
                        outcome = await self._invoke(work, event)
            except Exception as exc:
                self._note_failure(span, work, exc)
                raise
            work.outcome = outcome
            if outcome is not _HANDLED:
                span.set_attribute(conv.GLAM_OUTCOME, outcome)
        return outcome

    def _event_of(self, work: Work) -> Event | None:
        """Return the event to handle, or None for a replay that is another consumer's."""
        handler, found = work.lane.handler, work.decoded
        if isinstance(found, MalformedEventError):
            raise found
        if handler is None:
            raise UnhandledSubjectError(
                f"{self._durable} has no handler for {work.message.subject}; other events come to "
                "it through the filter of its consumer."
            )
        if work.origin.replay_for not in (None, self._durable):
            return None
        return handler.spec.event.from_envelope(found)

    def _room(self, work: Work) -> AbstractAsyncContextManager[None]:
        """Refuse what has no attempt left, and isolate what may kill this worker."""
        last, history, deliveries = (
            work.lane.backoff.attempts,
            work.history,
            work.message.deliveries,
        )
        if history.given_up or work.number > last:
            if history.given_up or not history.lost(deliveries):
                raise AttemptsUsedError("No attempt is left; the last one failed before.")
            raise WorkersCrashedError(f"Of {last} attempts the last ended with its worker.")
        if work.number == last and history.lost(deliveries):
            return self._alone(work.message, history)
        return self._with.solitude.company()

    @asynccontextmanager
    async def _alone(self, message: Incoming, history: History) -> AsyncIterator[None]:
        # While it waits it is not begun: whoever kills this worker meanwhile, it costs no attempt.
        await self._histories.write(message, history.after_return())
        async with self._with.solitude.alone():
            await self._histories.write(message, history)
            yield

    async def _invoke(self, work: Work, event: Event) -> str:
        handler, deadlines, scope = work.lane.handler, work.lane.deadlines, self._with.scope
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        assert handler is not None  # noqa: S101 - else there was no event
        deadline = deadlines.begin(task)
        self._with.solitude.enter()
        try:
            if scope is no_scope and handler.only:
                heed(await handler.spec.function(**{handler.only: event}))
            else:
                delivery = work.delivery(self._durable)
                async with scope(handler.spec, delivery) as provided:
                    await handler(event, delivery, provided)
        except AlreadyHandled:
            return _DUPLICATE
        except asyncio.CancelledError as exc:
            if deadline.has_passed and task.cancelling() == 1:
                raise TimeoutError(
                    f"The handler took longer than {deadlines.limit_s:g} s."
                ) from exc
            if task.cancelling():
                raise
            raise HandlerCancelledError("Something inside the handler was cancelled.") from exc
        finally:
            self._with.solitude.leave()
            deadlines.end(deadline)
        return _HANDLED

    def _note_failure(self, span: Span, work: Work, exc: Exception) -> None:
        found = verdict(exc, work.number, work.lane.backoff)
        what: dict[str, str | float]
        if isinstance(found, GiveUp):
            outcome, level, what = _DEAD_LETTER, _log.error, {"reason": found.reason}
        else:
            outcome, level = _RETRY, _log.warning
            what = {"retry_in_s": found.delay.total_seconds()}
        span.set_attribute(conv.GLAM_OUTCOME, outcome)
        level(
            "message.failed",
            **work.fields(self._durable),
            **what,
            outcome=outcome,
            error_type=error_type(exc),
            exc_info=exc,
        )

    def _note_success(self, work: Work, duration_s: float, ended_ns: int) -> None:
        if not _levels.isEnabledFor(logging.INFO):
            return  # What a line would say costs more than the question.
        fields = {
            "outcome": work.outcome,
            "duration_ms": round(duration_s * 1000, 3),
            **work.fields(self._durable),
        }
        _log.log_at(ended_ns / 1e9, "info", "message.handled", fields)


def _decoded(message: Incoming) -> Envelope | MalformedEventError:
    try:
        return decode(message.body)
    except MalformedEventError as exc:
        return exc
