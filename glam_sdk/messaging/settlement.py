"""Settle messages: acknowledge, hand back, or make a dead letter of them.

Flow: step 14, after the handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.attempts import GivenUp, Histories, History
from glam_sdk.messaging.dead_letters import DeadLetter
from glam_sdk.messaging.delivery import Incoming, MessageKey
from glam_sdk.messaging.errors import describe
from glam_sdk.messaging.lanes import Lanes
from glam_sdk.messaging.stepping import DONE, rest
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.messaging.surroundings import Surroundings

_REMEMBERED: Final = 25_000
"""At least so many messages are known again, and at most twice as many."""
_log = get_logger(__name__)


class Settlement:
    """Settle the messages of one consumer, and know again those it settled before.

    A server that was killed forgets acknowledgements and delivers such messages once more.

    Args:
        durable: Name of the consumer.
        lanes: What subjects are declared.
        surroundings: Where dead letters and measurements go, and how long to wait.
        histories: Where failed attempts are noted.
    """

    def __init__(
        self,
        durable: str,
        lanes: Lanes,
        surroundings: Surroundings,
        histories: Histories,
    ) -> None:
        self._durable = durable
        self._lanes = lanes
        self._with = surroundings
        self._histories = histories
        self.done: dict[MessageKey, None] = {}
        """What this process has settled lately."""
        self.done_before: dict[MessageKey, None] = {}
        """What it settled before that."""

    async def repeat(self, message: Incoming) -> None:
        """Settle a message again that this process has settled before."""
        self._with.telemetry.suppressed(self._lanes.template(message.subject), self._durable)
        await _send(message, message.ack())

    def finish(self, message: Incoming) -> Coroutine[Any, Any, None] | None:
        """Acknowledge a message that was handled; return what of it has to be awaited."""
        self._note_done(message)
        sending = message.ack()
        if sending is not DONE:
            try:
                waits_for = sending.send(None)
            except StopIteration:
                pass
            except (nats.errors.Error, OSError) as exc:
                _note_lost(message, exc)
            else:
                return self._finish(message, rest(sending, waits_for))
        return self._histories.forget(message) if message.deliveries > 1 else None

    async def _finish(self, message: Incoming, sending: Awaitable[None]) -> None:
        await _send(message, sending)
        if message.deliveries > 1:
            await self._histories.forget(message)

    async def retry(self, message: Incoming, history: History, delay: timedelta) -> None:
        """Let a failed message come again after a delay."""
        await self._histories.write(message, history.after_failure(repeats=message.repeats))
        await _send(message, message.nak(delay))

    async def hand_back(
        self, message: Incoming, history: History, delay: timedelta | None = None
    ) -> None:
        """Let a message come again, at once by default; this costs it no attempt."""
        await self._histories.write(message, history.after_return(repeats=message.repeats))
        await _send(message, message.nak(delay))

    async def give_up(
        self, message: Incoming, history: History, given_up: GivenUp, attempts: int
    ) -> None:
        """Store the message as a dead letter, then end it; keep it if it could not be stored."""
        letter = DeadLetter(given_up, self._durable, attempts)
        try:
            await self._with.dead_letters.keep(message, letter)
        except MessageBusError as exc:
            delay = self._with.policy.retry.longest
            _log.error(
                "dead_letter.not_stored",
                subject=message.subject,
                sequence=message.sequence,
                durable=self._durable,
                reason=exc.message,
                retry_in_s=delay.total_seconds(),
            )
            failed = history.after_failure(given_up, repeats=message.repeats)
            await self._histories.write(message, failed)
            await _send(message, message.nak(delay))
            return
        declared = self._lanes.template(message.subject)
        self._with.telemetry.dead_lettered(declared, self._durable, given_up.reason)
        self._note_done(message)
        await _send(message, message.term(given_up.reason))

    def _note_done(self, message: Incoming) -> None:
        self.done[message.key] = None
        if len(self.done) >= _REMEMBERED:
            self.done, self.done_before = {}, self.done


async def _send(message: Incoming, settlement: Awaitable[None]) -> None:
    try:
        await settlement
    except (nats.errors.Error, OSError) as exc:
        _note_lost(message, exc)


def _note_lost(message: Incoming, exc: Exception) -> None:
    # Not settled means delivered again after ack_wait.
    _log.warning(
        "message.settle_failed",
        subject=message.subject,
        sequence=message.sequence,
        reason=describe(exc),
    )
