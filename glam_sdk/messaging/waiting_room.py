"""Keep messages of a slowed-down handler, and let one go at a time to see whether it works again.

Flow: between the pull and the pipeline, only while a handler fails for nearly every message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from glam_sdk.messaging.delivery import MessageKey
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.pull import JetStreamMessage


class WaitingRoom:
    """Hold the messages of one handler while it is slowed down.

    Waiting costs a message no attempt. The one that was tried least goes first: a new message says
    more about the handler than one that has failed before.

    Args:
        pace: How fast the handler may be called.
        size: How many messages can wait.
        release: Takes the messages that are to be handled now.
    """

    def __init__(
        self, pace: Pace, size: int, release: Callable[[list[JetStreamMessage]], None]
    ) -> None:
        self.pace = pace
        self._size = size
        self._release = release
        self._waiting: dict[MessageKey, JetStreamMessage] = {}
        self._trying: MessageKey | None = None
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """How many more messages can wait here."""
        return max(0, self._size - len(self._waiting))

    @property
    def waiting(self) -> list[JetStreamMessage]:
        """What is held."""
        return list(self._waiting.values())

    def admits(self, message: JetStreamMessage) -> bool:
        """Tell whether a message is to be handled now."""
        return not self.pace.is_slowed or message.key == self._trying

    def take_in(self, message: JetStreamMessage) -> bool:
        """Hold a message; False when there is no room."""
        known = self._waiting.get(message.key)
        if known is not None:
            known.merge(message)
            return True
        if not self.room:
            return False
        self._waiting[message.key] = message
        self._wait(self.pace.pause.total_seconds())
        return True

    def ended(self, message: JetStreamMessage) -> None:
        """Note that a message was handled; its result has reached the pace already."""
        pause_s = self.pace.pause.total_seconds()
        if message.key == self._trying:
            self._trying = None
            if self.pace.failures == self._failures:
                pause_s = 0  # It said nothing about the handler, such as a dead letter of its own.
        if self.pace.is_slowed:
            self._wait(pause_s)
        elif self._waiting:
            self._release(self.clear())

    def clear(self) -> list[JetStreamMessage]:
        """Hold nobody any more, and return who waited."""
        left, self._waiting = self.waiting, {}
        self._trying = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return left

    def _wait(self, pause_s: float) -> None:
        if self._timer is None and self._trying is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._try_one)

    def _try_one(self) -> None:
        self._timer = None
        if self._waiting:
            message = min(self._waiting.values(), key=lambda waiting: waiting.deliveries)
            self._trying, self._failures = message.key, self.pace.failures
            self._release([self._waiting.pop(self._trying)])
