"""Put off what nobody waits for until the event loop has served those who wait.

Under load one turn of the event loop answers several requests. What is then told of them, in
metrics, spans and log lines, costs a quarter less when it is done for all in a row, because its
code and data are still in the processor's caches; and the answers leave earlier.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
_IN_A_ROW: Final = 64  # then the event loop looks after the others again
_serving: Counter[asyncio.AbstractEventLoop] = Counter()
_all: weakref.WeakSet[Afterwards[Any]] = weakref.WeakSet()


class Afterwards(Generic[T]):
    """Do the same with each item, in the order they come.

    What comes from an event loop that serves (see :func:`serving`) is done at the end of its turn,
    everything else at once. Nothing waits past :func:`settle`, nor past a turn.

    Args:
        do: Called with each item, in any context and thread; must not raise.
    """

    def __init__(self, do: Callable[[T], None]) -> None:
        self._do = do
        self._items: deque[T] = deque()
        _all.add(self)

    def __call__(self, item: T) -> None:
        """Take one item."""
        loop = asyncio._get_running_loop()  # noqa: SLF001 - get_running_loop raises where none runs
        if loop is None or loop not in _serving:
            self._do(item)
            return
        items = self._items
        items.append(item)
        if len(items) == 1:
            loop.call_soon(self._turn, loop)

    def settle(self) -> None:
        """Do what was put off; safe in any thread."""
        while self._items:
            self._next()

    def forget(self) -> None:
        """Drop what was put off."""
        self._items.clear()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for _ in range(min(len(self._items), _IN_A_ROW)):
                self._next()
        finally:
            if self._items:
                loop.call_soon(self._turn, loop)

    def _next(self) -> None:
        try:
            item = self._items.popleft()
        except IndexError:  # another thread settles at the same time
            return
        self._do(item)


@contextmanager
def serving() -> Iterator[None]:
    """Let what comes from the running event loop be put off, for the length of the block.

    Not from its start, so that in a test without a server all is told when the call is over.
    """
    loop = asyncio.get_running_loop()
    _serving[loop] += 1
    try:
        yield
    finally:
        _serving[loop] -= 1
        if not _serving[loop]:
            del _serving[loop]
        settle()


def settle() -> None:
    """Do everything that was put off, such as before a flush."""
    for each in list(_all):
        each.settle()


def _forget() -> None:
    for each in list(_all):
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # what was put off is the parent's to do
