"""Decide whether a host that keeps failing is asked at all: closed, open, half-open."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class CircuitState(IntEnum):
    """Tell what happens to a call; the number is the metric's value."""

    CLOSED = 0
    """Every call goes out."""
    HALF_OPEN = 1
    """One call goes out on trial, the others are refused."""
    OPEN = 2
    """Every call is refused."""


class Outcome(Enum):
    """Say what a call showed about the host."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The call ended for reasons of our own, such as a cancellation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """Say when a host counts as down, and for how long it is then left alone.

    Args:
        failures: Failures in a row that open the circuit.
        open_s: Seconds until one call is let through on trial.
        clock: Monotonic seconds.

    Raises:
        ValueError: For fewer than one failure, or negative seconds.
    """

    failures: int = 5
    open_s: float = 30.0
    clock: Callable[[], float] = field(default=time.monotonic, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"CircuitPolicy(failures={self.failures}): it must be 1 or more.")
        if self.open_s < 0:
            raise ValueError(f"CircuitPolicy(open_s={self.open_s}): it must be 0 or more.")


class CircuitBreaker:
    """Keep the state of one host. Not safe for threads; a client belongs to one event loop.

    Args:
        policy: When to open, and for how long.
        on_change: Called with the breaker after each change of state.
    """

    __slots__ = (
        "_generation",
        "_on_change",
        "_on_trial",
        "_open_until",
        "_policy",
        "failures",
        "state",
    )

    def __init__(self, policy: CircuitPolicy, on_change: Callable[[CircuitBreaker], None]) -> None:
        self.state = CircuitState.CLOSED
        self.failures = 0
        self._policy = policy
        self._on_change = on_change
        self._open_until = 0.0
        self._on_trial = False
        self._generation = 0

    @property
    def open_for_s(self) -> float:
        """Seconds until a trial is let through; 0 when one may be already."""
        return max(0.0, self._open_until - self._policy.clock())

    def admit(self) -> int | None:
        """Return a ticket for one call, to be handed to :meth:`record`; None refuses it."""
        if self.state is CircuitState.OPEN and self.open_for_s == 0:
            self._change(CircuitState.HALF_OPEN)
        if self.state is CircuitState.OPEN or self._on_trial:
            return None
        self._on_trial = self.state is CircuitState.HALF_OPEN
        return self._generation

    def record(self, ticket: int, outcome: Outcome) -> None:
        """Take in how a call ended; one that began before the last change says nothing any more."""
        if ticket != self._generation:
            return
        self._on_trial = False
        if outcome is Outcome.ANSWERED:
            self.failures = 0
            if self.state is CircuitState.HALF_OPEN:
                self._change(CircuitState.CLOSED)
        elif outcome is Outcome.FAILED:
            self.failures += 1
            if self.state is CircuitState.HALF_OPEN or self.failures >= self._policy.failures:
                self._open_until = self._policy.clock() + self._policy.open_s
                self._change(CircuitState.OPEN)

    def _change(self, state: CircuitState) -> None:
        self.state = state
        self._generation += 1
        self._on_trial = False
        self._on_change(self)
