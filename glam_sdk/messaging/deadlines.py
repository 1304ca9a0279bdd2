"""Cancel what takes too long, with one timer for all that have the same limit."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any


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

    def begin(self, task: asyncio.Task[Any]) -> Deadline:
        """Let the limit of an attempt run, which this task makes."""
        loop = task.get_loop()
        deadline = Deadline(task, loop.time() + self.limit_s)
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
