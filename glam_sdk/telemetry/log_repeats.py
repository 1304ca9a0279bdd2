"""Hold back identical errors that repeat, and say how many were held back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_MAX_KEYS: Final = 1024
NEVER: Final = float("inf")


class ErrorKey(NamedTuple):
    """Tell errors apart: two with the same key are the same error again."""

    level: str
    logger: str
    message: str
    exception_type: str = ""
    place: str = ""
    said: str = ""
    """The exception's message and the line's fields: what differs in them is not identical."""


@dataclass(slots=True)
class Burst:
    """Count one error within its window."""

    key: ErrorKey
    ends_at: float
    seen: int = 0

    def held(self, limit: int) -> int:
        """Return how many lines were not written."""
        return max(0, self.seen - limit)


def error_key(
    level: str, logger: str, message: str, exc: BaseException | None, said: str = ""
) -> ErrorKey:
    """Return what identifies an error; its place is the line that raised."""
    if exc is None:
        return ErrorKey(level, logger, message, said=said)
    place, trace = "", exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return ErrorKey(level, logger, message, type(exc).__qualname__, place, said)


class RepeatLimiter:
    """Let the first lines of an error through in each window, and count the others.

    It takes no lock: it is called wherever something is logged, also from signal handlers.

    Args:
        limit: Lines of one error in one window; 0 lets everything through.
        window_s: Length of the window, from the first of the lines.
        clock: Monotonic seconds.
    """

    __slots__ = ("_bursts", "_clock", "_limit", "_window_s", "held_total", "next_end")

    def __init__(
        self, limit: int, window_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._bursts: dict[ErrorKey, Burst] = {}
        self.held_total = 0
        self.next_end = NEVER

    @property
    def window_s(self) -> float:
        """Length of the window in seconds."""
        return self._window_s

    def admit(self, key: ErrorKey) -> bool:
        """Tell whether a line is written."""
        if self._limit <= 0:
            return True
        burst = self._bursts.get(key)
        if burst is None:
            if len(self._bursts) >= _MAX_KEYS:
                return True  # so many different errors are no repetition
            burst = Burst(key, self._clock() + self._window_s)
            self._bursts[key] = burst
            self.next_end = min(self.next_end, burst.ends_at)
        burst.seen += 1
        if burst.seen <= self._limit:
            return True
        self.held_total += 1
        return False

    @property
    def is_due(self) -> bool:
        """Whether the window of an error is over, so that :meth:`ended` has something to do."""
        return bool(self._bursts and self._clock() >= self.next_end)

    def ended(self, *, all_of_them: bool = False) -> Iterator[tuple[ErrorKey, int]]:
        """Forget the errors whose window is over; yield those that were held back, and how often.

        Args:
            all_of_them: Also those whose window still runs, because the process ends.
        """
        now = self._clock()
        over = [b for b in list(self._bursts.values()) if all_of_them or b.ends_at <= now]
        for burst in over:
            # Of two threads only one gets it, so that no count is told twice.
            if self._bursts.pop(burst.key, None) is not None and (held := burst.held(self._limit)):
                yield burst.key, held
        self.next_end = min((b.ends_at for b in list(self._bursts.values())), default=NEVER)
