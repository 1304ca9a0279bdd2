"""Slow down where a handler fails for nearly every message, until it works again.

What fails then is not the message: a database is down, a service does not answer. Trying them all
would use up the attempts of thousands for nothing and hit what is down with full force.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

_WORTH_OF_A_SUCCESS: Final = 5
"""Failures that one success outweighs: below five in six nothing is slowed down."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Say when a failing handler is slowed down, and how far."""

    after: int = 20
    """How many more failures than successes, a success counting five; 0 never slows down."""
    first_pause: timedelta = timedelta(milliseconds=100)
    """Time between attempts at first; it doubles with each further failure."""
    longest_pause: timedelta = timedelta(seconds=30)
    """Time between attempts at last."""

    def __post_init__(self) -> None:
        """Refuse pauses that never grow or never end."""
        if self.after < 0 or not timedelta(0) < self.first_pause <= self.longest_pause:
            raise ValueError(
                "Pacing needs after >= 0, and a first_pause above zero and not above longest_pause."
            )


class Pace:
    """Tell how fast one handler may be called.

    Args:
        pacing: The limits.
        changed: Called when the handler begins to be slowed down, when the pause grows, and when
            it works again.
        clock: Tells the seconds.
    """

    def __init__(
        self,
        pacing: Pacing,
        changed: Callable[[Pace], None],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.pause = timedelta(0)
        """Time between attempts; none while all is well."""
        self.failures = 0
        """How many attempts failed for a reason that may go away, since the beginning."""
        self.is_slowed = False
        """Whether messages are tried one by one, with a pause between them."""
        self.surplus = 0
        """How many failures no success has made up for; never 0 while it is slowed."""
        self._pacing = pacing
        self._changed = changed
        self._clock = clock
        self._since = 0.0

    def succeeded(self) -> None:
        """Note an attempt that went well; a slowed handler is let go at once."""
        if self.is_slowed:
            self.pause, self.is_slowed, self.surplus = timedelta(0), False, 0
            self._changed(self)
        elif self.surplus:
            self.surplus = max(0, self.surplus - _WORTH_OF_A_SUCCESS)

    def failed(self) -> None:
        """Note an attempt that failed for a reason that may go away."""
        self.failures += 1
        if self.is_slowed:
            # What began together fails together, and says no more than one.
            if self._clock() - self._since >= self.pause.total_seconds():
                self._slow_down(min(self.pause * 2, self._pacing.longest_pause))
            return
        self.surplus += 1
        if 0 < self._pacing.after <= self.surplus:
            self._slow_down(self._pacing.first_pause)

    def _slow_down(self, pause: timedelta) -> None:
        self.pause, self.is_slowed, self._since = pause, True, self._clock()
        self._changed(self)
