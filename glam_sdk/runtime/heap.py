"""Keep the garbage collector away from what a service is made of."""

from __future__ import annotations

import gc
from typing import ClassVar, Final

_GROWTH: Final = 1.25  # as much as CPython lets a heap grow before it collects all of it


class Heap:
    """Hold what exists when a service has started, where no collection walks over it.

    Modules, routes, models and caches stay as long as the process does, but every full collection
    visits each of their hundred thousand objects and more: some 50 ms in which no request is
    answered. Objects that are set aside are still freed when their last reference goes; only cycles
    of them wait for :meth:`renew` or :meth:`release`.

    Args:
        enabled: Whether anything is done at all.
    """

    _holding: ClassVar[int] = 0
    """Services of this process that hold something."""
    _clean: ClassVar[float] = 0
    """Objects that were left when everything was last collected."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._is_held = False

    def hold(self) -> None:
        """Set aside what exists now, and what was set aside before; see :func:`gc.freeze`.

        What is garbage by then is collected first, so that it does not stay. Where a service starts
        anew in a process that has not grown by a quarter, as in tests, that waits. A process that
        has switched the collector off is left alone.
        """
        if not self._enabled or not gc.isenabled():
            return
        if self._is_held:
            gc.collect()  # only over what came since
            gc.freeze()
            return
        self._is_held = True
        Heap._holding += 1
        gc.freeze()
        if gc.get_freeze_count() > Heap._clean * _GROWTH:
            self.renew()

    def renew(self) -> None:
        """Collect all that is garbage, also of what is set aside, and set aside the rest."""
        if not self._is_held:
            return
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        Heap._clean = gc.get_freeze_count()

    def release(self) -> None:
        """Give everything back to the collector once no other service holds it."""
        if not self._is_held:
            return
        self._is_held = False
        Heap._holding -= 1
        if not Heap._holding:
            gc.unfreeze()
