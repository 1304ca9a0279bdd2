"""Cancel what takes too long, with one timer for all that have the same limit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """Be the limit of one attempt."""

    __slots__ = ("at", "has_passed", "task")

    def __init__(self, task: asyncio.Task[Any], at: float) -> None:
        self.task = task
        self.at = at
        self.has_passed = False


class Deadlines:
    """Give each attempt the same time.

    Who begins first is due first, so a timer for the oldest is enough; a timer for each attempt
    costs more than many handlers do.

    Args:
        limit: How long an attempt may take.
    """

    def __init__(self, limit: timedelta) -> None:
        self.limit_s = limit.total_seconds()
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, attempt: Coroutine[Any, Any, T], spent_s: float = 0.0) -> T:
        """Await an attempt, and cancel it when it has reached the limit.

        Args:
            attempt: Made in the current task.
            spent_s: How long it has taken already.

        Raises:
            TimeoutError: It took too long.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - somebody awaits this
        deadline = self.begin(task, spent_s)
        try:
            return await attempt
        except asyncio.CancelledError as exc:
            if deadline.has_passed and task.cancelling() == 1:
                raise TimeoutError(f"The handler took longer than {self.limit_s:g} s.") from exc
            raise
        finally:
            self.end(deadline)

    def begin(self, task: asyncio.Task[Any], spent_s: float = 0.0) -> Deadline:
        """Let the limit of an attempt run, which this task makes.

        Args:
            task: Is cancelled when the limit is reached.
            spent_s: How much of it is used up already.
        """
        loop = task.get_loop()
        deadline = Deadline(task, loop.time() + self.limit_s - spent_s)
        self._open[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._look)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Let the attempt be over, and take back a cancellation that was the deadline's."""
        if deadline.has_passed:
            deadline.task.uncancel()
        else:
            del self._open[deadline]

    def close(self) -> None:
        """Stop the timer; nothing is under way any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for deadline in list(self._open):
            loop = deadline.task.get_loop()
            if deadline.at > loop.time():
                self._timer = loop.call_at(deadline.at, self._look)
                return
            del self._open[deadline]
            deadline.has_passed = True
            deadline.task.cancel()
