"""Keep what is measured before ``init``, and count it once there is a pipeline.

OpenTelemetry drops it: the instruments it gives out before a provider exists do nothing. A module
that counts while it is imported would then count nothing, depending on the order of imports.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MAX: Final = 10_000
"""Measurements that are kept; a process that never calls ``init`` must not grow."""
_log = logging.getLogger("glam_sdk.telemetry")


@dataclass(slots=True)
class _Early:
    kept: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    lost: int = 0
    is_open: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


_early = _Early()


def keep(measure: Callable[[], None]) -> None:
    """Take one measurement for later; after :func:`replay` there is no later."""
    early = _early
    if not early.is_open:
        return
    if len(early.kept) < _MAX:
        # A child that is forked before ``init`` has its parent's list, but did not measure it.
        early.kept.append((os.getpid(), measure))
    else:
        early.lost += 1


def replay() -> None:
    """Measure everything that was kept; called once the provider is the global one."""
    with _early.lock:
        _early.is_open = False
        kept, _early.kept = _early.kept, []
        lost, _early.lost = _early.lost, 0
    here = os.getpid()
    for pid, measure in kept:
        if pid == here:
            measure()
    if lost:
        _log.warning("metrics.early_measurements_lost", extra={"lost": lost, "kept": _MAX})


def close() -> None:
    """Drop what was kept and keep nothing more: telemetry is switched off."""
    with _early.lock:
        _early.is_open = False
        _early.kept, _early.lost = [], 0


def forget() -> None:
    """Drop what was kept and begin anew: one test must not see what another measured."""
    close()
    _early.is_open = True
