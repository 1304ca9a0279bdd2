"""Keep telemetry from breaking the code it observes.

Whatever our instrumentation does inside :func:`guarded` may fail without the caller noticing: the
failure is logged, at most once a minute per place. Under pytest it is raised, so that a fault
cannot hide in a test, nor in a module that pytest imports to collect tests.
"""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Final

_SILENCE_S: Final = 60.0
# The first is there from pytest's start to its end (since 8.2), the second while a test runs.
_TESTED: Final = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")
_log = logging.getLogger("glam_sdk.guard")
_last_logged: dict[str, float] = {}


class guarded:  # noqa: N801 - reads as a statement: `with guarded("place"):`
    """Swallow and report any ``Exception`` raised in the block.

    Args:
        place: Where it happened, in dotted form; failures are reported once a minute per place.
    """

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> bool:
        if exc is None or not isinstance(exc, Exception):
            return False
        report(self._place, exc)
        return True


def report(place: str, exc: Exception) -> None:
    """Log a failure of our own telemetry; raise it under pytest."""
    if any(name in os.environ for name in _TESTED):
        raise exc
    now = time.monotonic()
    if now - _last_logged.get(place, -_SILENCE_S) >= _SILENCE_S:
        _last_logged[place] = now
        _log.warning("telemetry.failed", extra={"place": place}, exc_info=exc)
