"""Recognise what left a handler although it was not meant to: a cancellation of something else."""

from __future__ import annotations

import asyncio
from typing import Self


class EscapedError(Exception):
    """Stand for a ``BaseException`` that no error handler of the framework looks at."""

    @classmethod
    def of(cls, exc: BaseException) -> Self:
        """Return an error that tells what escaped, with it as the cause."""
        error = cls(f"{type(exc).__name__} left the application, which no error handler sees.")
        error.__cause__ = exc
        return error


def is_stray(exc: BaseException) -> bool:
    """Tell whether an exception is the handler's own fault rather than an order to stop.

    A handler that awaits a task it has cancelled itself gets that task's ``CancelledError``; its
    own request was never cancelled.
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(is_stray(inner) or isinstance(inner, Exception) for inner in exc.exceptions)
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() == 0
    return not isinstance(exc, Exception | KeyboardInterrupt | SystemExit | GeneratorExit)
