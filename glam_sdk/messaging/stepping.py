"""Run a coroutine by hand, as far as it goes without waiting.

Most handlers that take no time, and every acknowledgement that is written to a buffer, never wait.
Who takes the first step of a coroutine knows, and needs no coroutine around it in that case.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Final, NoReturn, TypeVar, cast

T = TypeVar("T")


class _Done(Coroutine[Any, Any, None]):
    """Have nothing to do, any number of times."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield

    def send(self, _value: object, /) -> NoReturn:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, _trace: Any = None, /) -> NoReturn:
        raise kind if value is None else value

    def close(self) -> None:
        return


DONE: Final = _Done()
"""Stands for a coroutine that is done at once: most acknowledgements are, and need no new one."""


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
