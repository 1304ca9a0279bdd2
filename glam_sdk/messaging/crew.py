"""Handle messages side by side, in no more tasks than it takes.

Flow: between the pull and the pipeline.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from glam_sdk.messaging.cancellation import end
from glam_sdk.messaging.delivery import MessageKey
from glam_sdk.messaging.pull import JetStreamMessage
from glam_sdk.messaging.stepping import rest
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.messaging.work import Work

Begin = Callable[[JetStreamMessage, "Work | None"], Coroutine[Any, Any, None] | None]
_TURN_S: Final = 0.005  # as long as a thread may go on before others have their turn
_PREPARED: Final = 16
_ALWAYS: Final = ("all",)
_log = get_logger(__name__)


class Crew:
    """Handle what is offered, so many at once.

    A task takes one message after the other. As long as no handler has to wait, one task is enough;
    when one does, another task takes the next message. A task whose handler left something in its
    context variables ends there, so that the next message does not see it.

    Args:
        size: How many messages are handled at once.
        begin: Handles one, given what was prepared for it, and returns what of it has to be
            awaited.
        admit: Asked right before; what it refuses is its own to keep.
        ended: Called when a message is done with.
        prepare: Called for each message some time before its turn, for several in a row: the same
            few steps many times over are quicker than each between others. Not for all, because the
            garbage collector goes through what is made of them for as long as it is there. What it
            raises comes again when the message is begun.
        slowed: While there is nothing in it, ``admit`` is not asked, and ``ended`` called only when
            nothing is ready or :attr:`is_pacing` is set. By default both always are.
    """

    def __init__(
        self,
        size: int,
        begin: Begin,
        *,
        admit: Callable[[JetStreamMessage], bool],
        ended: Callable[[JetStreamMessage], None],
        prepare: Callable[[JetStreamMessage], Work] | None = None,
        slowed: Collection[object] = _ALWAYS,
    ) -> None:
        self.running: dict[MessageKey, JetStreamMessage] = {}
        """What is being handled and had to wait."""
        self._beginning: JetStreamMessage | None = None
        """What is being handled and has not had to so far: only its own handler sees it."""
        self.ready: deque[JetStreamMessage] = deque()
        """What is about to be begun; who adds to it sees to it that :meth:`call` is called."""
        self.is_called = False
        """Whether a task is about to begin with it."""
        self.is_pacing = False
        """Whether messages wait elsewhere for handlers that are slowed down."""
        self._size = size
        self._begin = begin
        self._admit = admit
        self._ended = ended
        self._prepare = prepare
        self._slowed = slowed
        self._prepared: deque[Work | None] = deque()
        """What was prepared for the first of them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn_ends: float | None = None
        """When others are to have their turn, once a task has gone on in this one."""
        self._clean = contextvars.copy_context()

    @property
    def free(self) -> int:
        """How many more messages could be begun at once."""
        return self._size - len(self.running) - len(self.ready)

    def offer(self, *messages: JetStreamMessage) -> None:
        """Handle messages as soon as there is room, in this order."""
        self.ready.extend(messages)
        self.call()

    @property
    def held(self) -> list[JetStreamMessage]:
        """What is being handled, and what is about to be."""
        beginning = () if self._beginning is None else (self._beginning,)
        return [*self.running.values(), *beginning, *self.ready]

    def find(self, message: JetStreamMessage) -> JetStreamMessage | None:
        """Return the same message, delivered before and still held, if it is."""
        key = message.key
        found = self.running.get(key)
        if found is None and message.deliveries > 1:
            found = next((ready for ready in self.ready if ready.key == key), None)
        return found

    def take_back(self) -> list[JetStreamMessage]:
        """Return what has not been begun, and forget it."""
        ready = list(self.ready)
        self.ready.clear()
        self._prepared.clear()
        return ready

    async def stop(self, timeout_s: float) -> int:
        """Wait for what is being handled, cancel what takes too long, and return how many."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        await end(*late)
        return len(late)

    def call(self) -> None:
        """Have another task, unless one is about to begin, nothing is left or all are there."""
        if self.is_called or not self.ready or len(self._tasks) >= self._size:
            return
        self.is_called = True
        context = self._clean.copy()
        task = asyncio.get_running_loop().create_task(self._serve(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.call()

    async def _serve(self) -> None:
        self.is_called = False
        ready, prepared, slowed = self.ready, self._prepared, self._slowed
        began = monotonic()
        while ready:
            work = (prepared or self._prepare_next()).popleft()
            message = ready.popleft()
            if slowed and not self._admit(message):
                continue
            self._beginning = message
            try:
                left = self._begin(message, work)
                if left is not None and await self._go_on(message, left):
                    began = monotonic()
            except Exception as exc:  # noqa: BLE001 - one message must not end the others
                _log.error("message.not_settled", subject=message.subject, exc_info=exc)
            finally:
                self._beginning = None
                if not ready or slowed or self.is_pacing:
                    self._ended(message)
            if not ready:
                return
            try:
                is_clean = contextvars.copy_context() == self._clean
            except Exception:  # noqa: BLE001 - the values are anybody's, and so is their comparison
                return
            if not is_clean:
                return
            while monotonic() >= (self._turn_ends or self._begin_turn(began)):
                await asyncio.sleep(0)  # Others have things to do as well.
                began = monotonic()

    def _begin_turn(self, began: float) -> float:
        self._turn_ends = ends = began + _TURN_S
        asyncio.get_running_loop().call_soon(self._end_turn)
        return ends

    def _end_turn(self) -> None:
        self._turn_ends = None

    async def _go_on(self, message: JetStreamMessage, work: Coroutine[Any, Any, None]) -> bool:
        """Await what is left; tell whether it had to wait.

        If it has to, another task takes the next message.
        """
        try:
            waits_for = work.send(None)
        except StopIteration:
            return False
        key, self._beginning = message.key, None
        self.running[key] = message
        try:
            self.call()
            await rest(work, waits_for)
        finally:
            del self.running[key]
        return True

    def _prepare_next(self) -> deque[Work | None]:
        prepare, prepared = self._prepare, self._prepared
        for message in list(islice(self.ready, _PREPARED)):
            try:
                prepared.append(None if prepare is None else prepare(message))
            except Exception:  # noqa: BLE001 - it raises again at its turn, and is dealt with there
                prepared.append(None)
        return prepared
