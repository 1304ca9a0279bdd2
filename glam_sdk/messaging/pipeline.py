"""Take one message through everything between its bytes and its settlement.

Flow: steps 11 to 14: extract, CONSUMER span, scope (inbox), handler, settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final

from opentelemetry import context as otel

from glam_sdk.events import MalformedEventError, decode
from glam_sdk.messaging.attempts import NOTHING, GivenUp, Histories, LocalHistories
from glam_sdk.messaging.binding import Backlog
from glam_sdk.messaging.delivery import Incoming
from glam_sdk.messaging.handlers import BoundHandler
from glam_sdk.messaging.handling import Call, Handling
from glam_sdk.messaging.lanes import Lanes
from glam_sdk.messaging.origin import Freshness, origin_of
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.processing import Processing
from glam_sdk.messaging.retry import (
    GiveUp,
    may_go_away,
    verdict,
)
from glam_sdk.messaging.settlement import Settlement
from glam_sdk.messaging.solitude import NoRoomError
from glam_sdk.messaging.stepping import rest
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.messaging.work import HANDLED, Work
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.tracing import Span, error_type

_RETRY: Final = "retry"
_DEAD_LETTER: Final = "dead_letter"
_LATER: Final = timedelta(seconds=5)
_log = get_logger(__name__)


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
        self._declared = self._lanes.declared
        self.slowed = self._lanes.slowed
        """The paces of handlers that are slowed down because nearly every message fails."""
        self._with = surroundings
        self._fresh = Freshness(surroundings.policy.child_max_age)
        self._solitude = surroundings.solitude
        self._histories = histories or LocalHistories()
        self._known = self._histories.known
        self._handling = Handling(durable, surroundings, self._histories)
        self._settlement = Settlement(durable, self._lanes, surroundings, self._histories)

    @property
    def paces(self) -> list[Pace]:
        """How fast each handler may be called."""
        return self._lanes.paces

    def pace_of(self, message: Incoming) -> Pace:
        """Return how fast the handler of a message may be called."""
        return self._lanes.get(message.subject).pace

    def prepare(self, message: Incoming) -> Work:
        """Do what can be done before a message's turn comes; it changes nothing."""
        work = Work()
        work.message = message
        work.malformed = envelope = None
        try:
            try:
                envelope = decode(message.body)
            except MalformedEventError as exc:
                work.malformed = exc
            work.envelope = envelope
            origin = origin_of(message, envelope, self._fresh)
            work.carried, work.sender, work.links, work.replay_for = origin
            subject = message.subject
            work.lane = self._declared.get(subject) or self._lanes.get(subject)
            work.history, work.number, work.outcome = NOTHING, 1, HANDLED
            return work
        finally:
            del work  # an error has this frame, and would keep itself and the message

    async def process(self, message: Incoming) -> None:
        """Handle and settle one message; raises nothing but a cancellation.

        What a handler does to context variables stays with the task that runs this.
        """
        left = self.begin(message)
        if left is not None:
            await left

    def begin(
        self, message: Incoming, prepared: Work | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Handle one message as far as that goes without waiting; return the rest, to be awaited.

        The usual message comes for the first time, its handler does not wait, and neither does its
        acknowledgement: then there is no rest, nor any coroutine but the handler's and that one's.

        Args:
            message: A message of this consumer.
            prepared: What :meth:`prepare` made of it, if that was called.
        """
        settlement, key = self._settlement, message.key
        if key in settlement.done or key in settlement.done_before:
            return settlement.repeat(message)
        work = prepared
        if work is None or work.message is not message:  # whatever happened to its neighbours
            work = self.prepare(message)
        if (
            message.deliveries > 1
            or key in self._known
            or work.replay_for is not None
            or self._solitude.lone
        ):
            return self._or_hand_back(work, self._look_back(work))
        attempt = Processing(work.lane.observed, work)
        try:
            call = self._handling.call(work)
        except BaseException as exc:  # noqa: BLE001 - raised again where it is dealt with
            return self._go_on(work, attempt, _raised(exc))
        try:
            waits_for = call.send(None)
        except StopIteration as done:
            asked = done.value
        except BaseException as exc:  # noqa: BLE001 - as above
            return self._go_on(work, attempt, _raised(exc))
        else:
            return self._go_on(work, attempt, rest(call, waits_for))
        if asked is not None:
            return self._go_on(work, attempt, _returned(asked))
        attempt.succeed()
        if work.lane.pace.surplus:
            work.lane.pace.succeeded()
        return settlement.finish(message)

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

    def _go_on(self, work: Work, attempt: Processing, call: Call) -> Coroutine[Any, Any, None]:
        """Return what is left of a message whose handler has begun."""
        handled = self._handling.finish(work, call, attempt.elapsed_s)
        return self._or_hand_back(work, self._conclude(work, attempt, handled))

    async def _or_hand_back(self, work: Work, left: Awaitable[None]) -> None:
        try:
            await left
        except asyncio.CancelledError:
            await self._settlement.hand_back(work.message, work.history)
            raise

    async def _look_back(self, work: Work) -> None:
        """Handle a message that may have a history, or has to wait for one that runs alone."""
        message = work.message
        work.history = self._known.get(message.key, NOTHING)
        if message.deliveries > 1:
            work.history = await self._histories.read(message)
        if not work.is_fresh:
            work.number = work.history.attempt(message.deliveries)
        attempt = Processing(work.lane.observed, work)
        await self._conclude(work, attempt, self._handling.in_room(work))

    async def _conclude(self, work: Work, attempt: Processing, outcome: Awaitable[str]) -> None:
        """Settle a message by how its attempt ends."""
        try:
            with attempt as span:
                work.outcome = await self._noted(work, span, outcome)
        except NoRoomError:
            await self._settlement.hand_back(work.message, work.history, _LATER)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is settled here
            token = otel.attach(work.context)
            try:
                await self._settle_failed(work, exc)
            finally:
                otel.detach(token)
        else:
            if work.outcome is HANDLED:
                work.lane.pace.succeeded()
            left = self._settlement.finish(work.message)
            if left is not None:
                await left

    async def _noted(self, work: Work, span: Span, outcome: Awaitable[str]) -> str:
        try:
            found = await outcome
        except Exception as exc:
            self._note_failure(span, work, exc)
            raise
        if found is not HANDLED:
            span.set_attribute(conv.GLAM_OUTCOME, found)
        return found

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


async def _returned(found: object) -> object:
    return found


async def _raised(exc: BaseException) -> object:
    try:
        raise exc
    finally:
        del exc  # it has this frame, and with it the message, for as long as anybody has it
