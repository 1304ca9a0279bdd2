"""Keep the garbage collector away from what a service is made of."""

from __future__ import annotations

import gc
from typing import ClassVar


class Heap:
    """Hold what exists when a service has started, where no collection walks over it.

    Modules, routes, models and caches stay as long as the process does, but every full collection
    visits each of their hundred thousand objects and more: some 50 ms in which no request is
    answered, as often as once a second where requests leave garbage behind. Objects that exist
    now are still freed when their last reference goes; only cycles of them wait for
    :meth:`release`.

    Args:
        enabled: Whether anything is done at all.
    """

    _was_collected: ClassVar[bool] = False

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._is_held = False

    def hold(self) -> None:
        """Set aside what exists now, and what was set aside before; see :func:`gc.freeze`.

        What is garbage by then is collected first, once in a process: services that start and stop
        many times, as in tests, do not wait for it each time. A process that has switched the
        collector off is left alone.
        """
        if not self._enabled or not gc.isenabled():
            return
        if not Heap._was_collected:
            Heap._was_collected = True
            gc.collect()
        gc.freeze()
        self._is_held = True

    def release(self) -> None:
        """Give everything back to the collector."""
        if self._is_held:
            self._is_held = False
            gc.unfreeze()
