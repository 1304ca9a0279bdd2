"""Call the handler of a message: with its event, in its scope, within its limit.

Flow: step 13, inside the CONSUMER span.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import CoroutineType
from typing import Any, Final

from glam_sdk.events import Event
from glam_sdk.messaging.attempts import Histories, History
from glam_sdk.messaging.delivery import AlreadyHandled, Incoming, no_scope
from glam_sdk.messaging.handlers import BoundHandler, heed
from glam_sdk.messaging.retry import (
    AttemptsUsedError,
    HandlerCancelledError,
    UnhandledSubjectError,
    WorkersCrashedError,
)
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.messaging.work import HANDLED, Work

DUPLICATE: Final = "duplicate"
NOT_FOR_US: Final = "replay_for_another"

Call = Coroutine[Any, Any, object]
"""Of a handler, with its scope."""


class Handling:
    """Call the handlers of one durable consumer.

    Args:
        durable: Name of the consumer.
        surroundings: What surrounds each call.
        histories: Where it is noted that a message waits to run alone.
    """

    def __init__(self, durable: str, surroundings: Surroundings, histories: Histories) -> None:
        self._durable = durable
        self._with = surroundings
        self._is_bare = surroundings.scope is no_scope
        self._histories = histories

    def call(self, work: Work, event: Event | None = None) -> Call:
        """Return the handler's call for a message.

        Args:
            work: The message.
            event: What it carries, if that was read already.

        Raises:
            MalformedEventError: The message is no event, or not the handler's.
            UnhandledSubjectError: There is no handler.
        """
        handler, envelope = work.lane.handler, work.envelope
        if handler is None or envelope is None:
            raise self._refusal(work)
        if event is None:
            event = handler.read(envelope)
        if self._is_bare and handler.only:
            function = handler.spec.function
            call = function(event) if handler.is_positional else function(**{handler.only: event})
            return call if type(call) is CoroutineType else _awaited(call)
        return self._call_in_scope(work, handler, event)

    async def finish(self, work: Work, call: Call, spent_s: float = 0.0) -> str:
        """Await a handler's call, in the company of others and within its limit.

        Args:
            work: The message.
            call: From :meth:`call`.
            spent_s: How long the call has taken already.

        Returns:
            The outcome.
        """
        solitude = self._with.solitude
        solitude.running += 1
        try:
            heed(await work.lane.deadlines.within(call, spent_s))
        except AlreadyHandled:
            return DUPLICATE
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise HandlerCancelledError("Something inside the handler was cancelled.") from exc
        finally:
            solitude.leave()
        return HANDLED

    async def in_room(self, work: Work) -> str:
        """Handle a message that may have a history, or be a replay; return the outcome."""
        handler, envelope = work.lane.handler, work.envelope
        if handler is None or envelope is None:
            raise self._refusal(work)
        if work.replay_for not in {None, self._durable}:
            return NOT_FOR_US
        if work.is_fresh and not self._with.solitude.lone:
            return await self.finish(work, self.call(work))
        event = handler.read(envelope)  # What does not fit needs no room.
        async with self._room(work):
            return await self.finish(work, self.call(work, event))

    def _refusal(self, work: Work) -> Exception:
        malformed, work.malformed = work.malformed, None
        if malformed is not None:
            return malformed
        return UnhandledSubjectError(
            f"{self._durable} has no handler for {work.message.subject}; other events come to "
            "it through the filter of its consumer."
        )

    def _room(self, work: Work) -> AbstractAsyncContextManager[None]:
        """Refuse what has no attempt left, and isolate what may kill this worker."""
        history, deliveries = work.history, work.message.deliveries
        last = work.lane.backoff.attempts
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

    async def _call_in_scope(self, work: Work, handler: BoundHandler, event: Event) -> None:
        delivery = work.delivery(self._durable)
        async with self._with.scope(handler.spec, delivery) as provided:
            await handler(event, delivery, provided)


async def _awaited(call: Awaitable[object]) -> object:
    return await call
