"""Take one message through everything between its bytes and its settlement.

Flow: steps 11 to 14: extract, CONSUMER span, scope (inbox), handler, settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from time import perf_counter
from typing import Final

from opentelemetry import context as otel

from glam_sdk.events import Envelope, Event, MalformedEventError, decode
from glam_sdk.messaging.attempts import GivenUp, Histories, History, LocalHistories
from glam_sdk.messaging.binding import Backlog
from glam_sdk.messaging.delivery import (
    AlreadyHandled,
    Delivery,
    Incoming,
)
from glam_sdk.messaging.handlers import BoundHandler, HandlerTable
from glam_sdk.messaging.origin import REPLAY_FOR, Origin, header, origin_of
from glam_sdk.messaging.retry import (
    AttemptsUsedError,
    Backoff,
    GiveUp,
    HandlerCancelledError,
    UnhandledSubjectError,
    WorkersCrashedError,
    verdict,
)
from glam_sdk.messaging.settlement import Settlement
from glam_sdk.messaging.solitude import NoRoomError
from glam_sdk.messaging.surroundings import Surroundings
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
        self._handlers = HandlerTable(handlers)
        self._with = surroundings
        self._histories = histories or LocalHistories()
        self._settlement = Settlement(durable, self._handlers, surroundings, self._histories)

    async def process(self, message: Incoming) -> None:
        """Handle and settle one message; raises nothing but a cancellation.

        Run it in a task of its own: contexts are attached here and detached at the end, and a task
        keeps what a handler does to context variables from the next message.
        """
        if await self._settlement.repeat(message):
            return
        decoded = _decoded(message)
        envelope = decoded if isinstance(decoded, Envelope) else None
        origin = origin_of(message, envelope, self._with.policy.child_max_age)
        token = otel.attach(origin.context)
        history = History()
        try:
            history = await self._histories.read(message)
            await self._run(message, decoded, history, origin)
        except asyncio.CancelledError:
            await self._settlement.hand_back(message, history)
            raise
        finally:
            otel.detach(token)

    async def hand_back(self, message: Incoming) -> None:
        """Give back a message that was not begun; this costs it no attempt."""
        await self._settlement.hand_back(message, await self._histories.read(message))

    def note_backlog(self, backlog: Backlog, *, running: int) -> None:
        """Record how much is waiting for this consumer and how much is under way here."""
        self._with.telemetry.backlog(self._durable, backlog, running)

    async def _run(
        self,
        message: Incoming,
        decoded: Envelope | MalformedEventError,
        history: History,
        origin: Origin,
    ) -> None:
        attempt = history.attempt(message.deliveries)
        try:
            await self._attempt(message, decoded, attempt, history, origin)
        except NoRoomError:
            await self._settlement.hand_back(message, history, _LATER)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is settled here
            handler = self._handlers.get(message.subject)
            found = verdict(exc, attempt, self._backoff(handler))
            if isinstance(found, GiveUp):
                given_up = history.given_up or GivenUp(found.reason, error_type(exc), str(exc))
                await self._settlement.give_up(message, history, given_up, attempt)
            else:
                await self._settlement.retry(message, history, found.delay)
        else:
            await self._settlement.finish(message)

    async def _attempt(
        self,
        message: Incoming,
        decoded: Envelope | MalformedEventError,
        attempt: int,
        history: History,
        origin: Origin,
    ) -> None:
        started = perf_counter()
        fields = self._fields(message, decoded, attempt)
        with self._with.telemetry.processing(
            message,
            template=self._handlers.template(message.subject),
            durable=self._durable,
            attempt=attempt,
            envelope=decoded if isinstance(decoded, Envelope) else None,
            links=origin.links,
        ) as span:
            try:
                outcome = await self._call(message, decoded, attempt, history)
            except Exception as exc:
                self._note_failure(span, message, fields, exc)
                raise
            _note_success(span, outcome, started, fields)

    async def _call(
        self,
        message: Incoming,
        envelope: Envelope | MalformedEventError,
        attempt: int,
        history: History,
    ) -> str:
        if isinstance(envelope, MalformedEventError):
            raise envelope
        handler = self._handlers.get(message.subject)
        if handler is None:
            raise UnhandledSubjectError(
                f"{self._durable} has no handler for {message.subject}; other events come to it "
                "through the filter of its consumer."
            )
        if header(message.headers, REPLAY_FOR) not in (None, self._durable):
            return _NOT_FOR_US
        event = handler.spec.event.from_envelope(envelope)
        delivery = Delivery(
            envelope=envelope,
            headers=message.headers,
            stream=message.stream,
            durable=self._durable,
            sequence=message.sequence,
            attempt=attempt,
        )
        async with self._room(message, handler, attempt, history):
            return await self._invoke(handler, event, delivery)

    def _room(
        self, message: Incoming, handler: BoundHandler, attempt: int, history: History
    ) -> AbstractAsyncContextManager[None]:
        """Refuse what has no attempt left, and isolate what may kill this worker."""
        last = self._backoff(handler).attempts
        if history.given_up or attempt > last:
            if history.given_up or not history.lost(message.deliveries):
                raise AttemptsUsedError("No attempt is left; the last one failed before.")
            raise WorkersCrashedError(f"Of {last} attempts the last ended with its worker.")
        if attempt == last and history.lost(message.deliveries):
            return self._alone(message, history)
        return self._with.solitude.company()

    @asynccontextmanager
    async def _alone(self, message: Incoming, history: History) -> AsyncIterator[None]:
        # While it waits it is not begun: whoever kills this worker meanwhile, it costs no attempt.
        await self._histories.write(message, history.after_return())
        async with self._with.solitude.alone():
            await self._histories.write(message, history)
            yield

    async def _invoke(self, handler: BoundHandler, event: Event, delivery: Delivery) -> str:
        limit_s = (handler.spec.timeout or self._with.policy.timeout).total_seconds()
        try:
            async with asyncio.timeout(limit_s) as deadline:
                async with self._with.scope(handler.spec, delivery) as provided:
                    await handler(event, delivery, provided)
        except AlreadyHandled:
            return _DUPLICATE
        except TimeoutError as exc:
            if not deadline.expired():
                raise
            raise TimeoutError(f"The handler took longer than {limit_s:g} s.") from exc
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise HandlerCancelledError("Something inside the handler was cancelled.") from exc
        return _HANDLED

    def _backoff(self, handler: BoundHandler | None) -> Backoff:
        chosen = handler.spec.retry if handler is not None else None
        return chosen or self._with.policy.retry

    def _note_failure(
        self, span: Span, message: Incoming, fields: Mapping[str, str | int], exc: Exception
    ) -> None:
        found = verdict(
            exc, int(fields["attempt"]), self._backoff(self._handlers.get(message.subject))
        )
        what: dict[str, str | float]
        if isinstance(found, GiveUp):
            outcome, level, what = _DEAD_LETTER, _log.error, {"reason": found.reason}
        else:
            outcome, level = _RETRY, _log.warning
            what = {"retry_in_s": found.delay.total_seconds()}
        span.set_attribute(conv.GLAM_OUTCOME, outcome)
        level(
            "message.failed",
            **fields,
            **what,
            outcome=outcome,
            error_type=error_type(exc),
            exc_info=exc,
        )

    def _fields(
        self, message: Incoming, decoded: Envelope | MalformedEventError, attempt: int
    ) -> dict[str, str | int]:
        fields: dict[str, str | int] = {
            "subject": message.subject,
            "durable": self._durable,
            "stream": message.stream,
            "sequence": message.sequence,
            "attempt": attempt,
        }
        if isinstance(decoded, Envelope):
            fields["event_id"] = decoded.event_id
        return fields


def _note_success(
    span: Span, outcome: str, started: float, fields: Mapping[str, str | int]
) -> None:
    if outcome != _HANDLED:
        span.set_attribute(conv.GLAM_OUTCOME, outcome)
    duration_ms = round((perf_counter() - started) * 1000, 3)
    _log.info("message.handled", outcome=outcome, duration_ms=duration_ms, **fields)


def _decoded(message: Incoming) -> Envelope | MalformedEventError:
    try:
        return decode(message.body)
    except MalformedEventError as exc:
        return exc
