"""Handle messages side by side, in no more tasks than it takes.

Flow: between the pull and the pipeline.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import islice
from time import monotonic
from typing import Any, Final

from glam_sdk.messaging.cancellation import end
from glam_sdk.messaging.delivery import MessageKey
from glam_sdk.messaging.pull import JetStreamMessage
from glam_sdk.messaging.stepping import rest
from glam_sdk.telemetry.logs import get_logger

Work = Callable[[JetStreamMessage], Coroutine[Any, Any, None] | None]
_TURN_S: Final = 0.005  # as long as a thread may go on before others have their turn
_PREPARED: Final = 16
_log = get_logger(__name__)


class Crew:
    """Handle what is offered, so many at once.

    A task takes one message after the other. As long as no handler has to wait, one task is enough;
    when one does, another task takes the next message. A task whose handler left something in its
    context variables ends there, so that the next message does not see it.

    Args:
        size: How many messages are handled at once.
        work: Handles one, and returns what of it has to be awaited.
        admit: Asked right before; what it refuses is its own to keep.
        ended: Called when a message is done with.
        prepare: Called for each message some time before its turn, for several in a row: the same
            few steps many times over are quicker than each between others. Not for all, because the
            garbage collector goes through what is made of them for as long as it is there.
    """

    def __init__(
        self,
        size: int,
        work: Work,
        *,
        admit: Callable[[JetStreamMessage], bool],
        ended: Callable[[JetStreamMessage], None],
        prepare: Callable[[JetStreamMessage], None] | None = None,
    ) -> None:
        self.running: dict[MessageKey, JetStreamMessage] = {}
        """What is being handled."""
        self._size = size
        self._work = work
        self._admit = admit
        self._ended = ended
        self._prepare = prepare
        self._ready: deque[JetStreamMessage] = deque()
        self._prepared = 0
        """How many of them are, the first ones."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_called = False
        self._turn_began: float | None = None
        """When the first task began to go on in this turn of the event loop, if one did."""
        self._clean = contextvars.copy_context()

    @property
    def free(self) -> int:
        """How many more messages could be begun at once."""
        return self._size - len(self.running) - len(self._ready)

    def offer(self, *messages: JetStreamMessage) -> None:
        """Handle messages as soon as there is room, in this order."""
        self._ready.extend(messages)
        if not self._is_called:  # as for all but the first of those that come together
            self._call()

    @property
    def has_ready(self) -> bool:
        """Whether something is about to be begun."""
        return bool(self._ready)

    @property
    def held(self) -> list[JetStreamMessage]:
        """What is being handled, and what is about to be."""
        return [*self.running.values(), *self._ready]

    def find(self, message: JetStreamMessage) -> JetStreamMessage | None:
        """Return the same message, delivered before and still held, if it is."""
        key = message.key
        found = self.running.get(key)
        if found is None and message.deliveries > 1:
            found = next((ready for ready in self._ready if ready.key == key), None)
        return found

    def take_back(self) -> list[JetStreamMessage]:
        """Return what has not been begun, and forget it."""
        ready, self._ready = list(self._ready), deque()
        self._prepared = 0
        return ready

    async def stop(self, timeout_s: float) -> int:
        """Wait for what is being handled, cancel what takes too long, and return how many."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        await end(*late)
        return len(late)

    def _call(self) -> None:
        """Have another task, unless one is about to begin, nothing is left or all are there."""
        if self._is_called or not self._ready or len(self._tasks) >= self._size:
            return
        self._is_called = True
        context = self._clean.copy()
        task = asyncio.get_running_loop().create_task(self._serve(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._call()

    async def _serve(self) -> None:
        self._is_called = False
        began = monotonic()
        while self._ready:
            if not self._prepared:
                self._prepare_next()
            message = self._ready.popleft()
            self._prepared -= 1
            if not self._admit(message):
                continue
            key = message.key
            self.running[key] = message
            try:
                left = self._work(message)
                if left is not None and await self._go_on(left):
                    began = monotonic()
            except Exception as exc:  # noqa: BLE001 - one message must not end the others
                _log.error("message.not_settled", subject=message.subject, exc_info=exc)
            finally:
                del self.running[key]
                self._ended(message)
            if not self._ready:
                return
            try:
                is_clean = contextvars.copy_context() == self._clean
            except Exception:  # noqa: BLE001 - the values are anybody's, and so is their comparison
                return
            if not is_clean:
                return
            while monotonic() - (self._turn_began or self._begin_turn(began)) >= _TURN_S:
                await asyncio.sleep(0)  # Others have things to do as well.
                began = monotonic()

    def _begin_turn(self, began: float) -> float:
        self._turn_began = began
        asyncio.get_running_loop().call_soon(self._end_turn)
        return began

    def _end_turn(self) -> None:
        self._turn_began = None

    async def _go_on(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await what is left; tell whether it had to wait.

        If it has to, another task takes the next message.
        """
        try:
            waits_for = work.send(None)
        except StopIteration:
            return False
        self._call()
        await rest(work, waits_for)
        return True

    def _prepare_next(self) -> None:
        following = list(islice(self._ready, _PREPARED))
        if self._prepare is not None:
            for message in following:
                self._prepare(message)
        self._prepared = len(following)
