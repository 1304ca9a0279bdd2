"""Put off what nobody waits for until the event loop has served those who wait.

Under load one turn of the event loop answers several requests. What is then told of them, in
metrics, spans and log lines, costs a quarter less when it is done for all in a row, because its
code and data are still in the processor's caches; and the answers leave earlier.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from threading import RLock, local
from typing import Any, Final, Generic, TypeVar

from glam_sdk._internal.guard import report

T = TypeVar("T")
_IN_A_ROW: Final = 24
"""Items after which a turn does not put off any longer: more in a row are hardly quicker, and the
garbage collector walks over what waits once there are some hundred objects of it."""
_PATIENCE_S: Final = 1.0
_turns: dict[asyncio.AbstractEventLoop, _Turn] = {}


class Afterwards(Generic[T]):
    """Do the same with each item.

    What comes from an event loop that serves (see :func:`serving`) is done at the end of its turn,
    in the order it comes; everything else at once, also what comes while something is being done.
    All of it is done in the context variables of whoever brought it.

    Args:
        do: Called with each item, in the loop's thread or one that settles; must not raise.
        anywhere: Do it in whatever context variables there are, which costs less.
    """

    __slots__ = ("_anywhere", "_do")

    def __init__(self, do: Callable[[T], None], *, anywhere: bool = False) -> None:
        self._do = do
        self._anywhere = anywhere

    def __call__(self, item: T) -> None:
        """Take one item."""
        turn = _here.turn
        if (
            turn is None
            or turn.is_settling
            or not (turn.is_running() if turn.is_planned else turn.is_on())
        ):
            self._do(item)
            return
        waiting = turn.waiting
        waiting.append((None if self._anywhere else copy_context(), self._do, item))
        if not turn.is_planned or len(waiting) >= _IN_A_ROW:
            turn.go_on()


class _Turn:
    """Keep what one event loop has put off."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.is_running = loop.is_running
        self.blocks = 0
        """That want things put off."""
        self.failure: Exception | None = None
        self.begin()

    def begin(self) -> None:
        """Begin with nothing put off; again in a forked child, whose parent does it."""
        self.waiting: deque[tuple[Context | None, Callable[[Any], None], Any]] = deque()
        self.is_planned = False
        """Whether it will be done without further ado."""
        self._doing = RLock()
        self.is_settling = False
        """Whether something is being done: what comes meanwhile does not wait."""

    def is_on(self) -> bool:
        """Tell whether its loop runs here, in this thread.

        Asked once a turn, because in Python 3.11 that is a system call.
        """
        running: object = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises
        return running is self._loop

    def go_on(self) -> None:
        """See to it that what waits is done, at the end of the turn or, if that is much, now."""
        if not self.is_planned:
            self.is_planned = True
            self._loop.call_soon(self._end)
        else:
            self.settle()

    def settle(self) -> None:
        """Do all of it; when this returns it is done, whichever thread did it.

        Not where that thread waits for this one, as a signal handler may that shuts down.
        """
        if not self._doing.acquire(timeout=_PATIENCE_S):
            return
        try:
            self._do()
        finally:
            self._doing.release()

    def _end(self) -> None:
        try:
            self.settle()
        finally:
            self.is_planned = bool(self.waiting)  # where it was interrupted
            if self.is_planned:
                self._loop.call_soon(self._end)

    def _do(self) -> None:
        waiting = self.waiting
        self.is_settling = True
        try:
            while waiting:  # one of them may settle the rest
                context, do, item = waiting.popleft()
                try:
                    if context is None:
                        do(item)
                    else:
                        context.run(do, item)
                except Exception as failure:  # noqa: BLE001 - the others have their turn
                    self._fail(failure)
        finally:
            self.is_settling = False

    def _fail(self, failure: Exception) -> None:
        try:
            report("afterwards", failure)
        except Exception as seen:  # noqa: BLE001 - it must not break what comes next
            if seen is failure:  # in a test, which sees it when serving ends
                self.failure = self.failure or seen


@contextmanager
def serving() -> Iterator[None]:
    """Let what comes from the running event loop be put off, for the length of the block.

    Not from its start, so that where nothing serves, all is told when a call is over.
    """
    loop = asyncio.get_running_loop()
    for closed in [each for each in _turns if each.is_closed()]:
        _turns.pop(closed).settle()
    turn = _turns.setdefault(loop, _Turn(loop))
    turn.blocks += 1
    before, _here.turn = _here.turn, turn
    try:
        yield
    finally:
        turn.blocks -= 1
        if not turn.blocks:
            _turns.pop(loop, None)
            if _here.turn is turn:
                _here.turn = before if before is not None and before.blocks else None
        turn.settle()
        if turn.failure is not None:
            raise turn.failure


def settle() -> None:
    """Do everything that was put off, such as before a flush; safe in any thread."""
    for turn in list(_turns.values()):
        turn.settle()


class _Here(local):
    """Know the turn of this thread's loop, if that serves."""

    turn: _Turn | None = None


_here: Final = _Here()


def _begin_again() -> None:
    for turn in _turns.values():
        turn.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
