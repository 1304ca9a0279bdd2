"""Run a coroutine by hand, as far as it goes without waiting.

Most handlers that take no time, and every acknowledgement that is written to a buffer, never wait.
Who takes the first step of a coroutine knows, and needs no coroutine around it in that case.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar, cast

T = TypeVar("T")


def rest(work: Coroutine[Any, Any, T], waits_for: object) -> Coroutine[Any, Any, T]:
    """Return what is left of a coroutine whose first step is done, to be awaited.

    Args:
        work: The coroutine.
        waits_for: What that step returned, for the event loop.
    """
    return cast("Coroutine[Any, Any, T]", _rest(work, waits_for))


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: object) -> Generator[Any, Any, T]:
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as exc:  # noqa: BLE001 - it is for the coroutine to decide
                waits_for = work.throw(exc)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        found: T = done.value
        return found
