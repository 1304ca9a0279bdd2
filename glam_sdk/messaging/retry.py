"""Decide what becomes of a message whose handling failed: again after a while, or a dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from glam_sdk.errors import ValidationError
from glam_sdk.events import MalformedEventError

Reason = Literal["malformed", "unhandled", "invalid", "permanent", "exhausted", "crashed"]
"""Why a message became a dead letter; part of the header contract."""

_DEFAULT_DELAYS: Final = (1, 5, 30)


@dataclass(frozen=True, slots=True, init=False)
class Backoff:
    """Say how long to wait after each failed attempt, and how many attempts there are.

    ``Backoff(1, 5, 30, attempts=5)`` waits 1, 5, 30 and 30 seconds; the fifth failure makes the
    message a dead letter. The last wait repeats.

    Args:
        *delays: Seconds or ``timedelta``; 1, 5 and 30 seconds by default.
        attempts: How often a handler is started for one message, at most.

    Raises:
        ValueError: A wait is negative, or there is no attempt.
    """

    delays: tuple[timedelta, ...]
    attempts: int

    def __init__(self, *delays: float | timedelta, attempts: int = 5) -> None:
        """Take the waits in the order they are used."""
        waits = tuple(_duration(delay) for delay in delays or _DEFAULT_DELAYS)
        if attempts < 1 or min(waits) < timedelta(0):
            raise ValueError("A Backoff has 1 attempt or more, and no wait below zero.")
        object.__setattr__(self, "delays", waits)
        object.__setattr__(self, "attempts", attempts)

    @property
    def longest(self) -> timedelta:
        """The longest wait."""
        return max(self.delays)

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long to wait after the attempt of this number, counted from 1."""
        return self.delays[min(max(attempt, 1), len(self.delays)) - 1]


class Retry(Exception):  # noqa: N818 - what a handler asks for, not a failure of its own
    """Ask, from inside a handler, to get the message again after a time of your choice.

    It counts as an attempt: asked for in the last one, the message becomes a dead letter.

    Args:
        after: Seconds or ``timedelta``.
        reason: Shown in logs and in the dead letter.
    """

    def __init__(self, after: float | timedelta, reason: str = "") -> None:
        self.after = _duration(after)
        super().__init__(reason or f"The handler asked for a retry after {self.after}.")


class Permanent(Exception):  # noqa: N818 - what a handler states, not a failure of its own
    """State, from inside a handler, that no further attempt can succeed: it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Again:
    """Let the message be delivered again after a delay."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make the message a dead letter."""

    reason: Reason


def verdict(exc: Exception, attempt: int, backoff: Backoff) -> Again | GiveUp:
    """Return what follows from an error in the attempt of this number."""
    if isinstance(exc, UnhandledSubjectError):
        return GiveUp("unhandled")
    if isinstance(exc, MalformedEventError):
        return GiveUp("malformed")
    if isinstance(exc, ValidationError):
        return GiveUp("invalid")
    if isinstance(exc, WorkersCrashedError):
        return GiveUp("crashed")
    if isinstance(exc, Permanent):
        return GiveUp("permanent")
    if attempt >= backoff.attempts or isinstance(exc, AttemptsUsedError):
        return GiveUp("exhausted")
    return Again(exc.after if isinstance(exc, Retry) else backoff.delay_after(attempt))


def may_go_away(exc: Exception) -> bool:
    """Tell whether an error says something about the handler's world rather than the message."""
    return not isinstance(
        exc, Retry | Permanent | ValidationError | MalformedEventError | AttemptsUsedError
    )


class UnhandledSubjectError(MalformedEventError):
    """A message reached a consumer that has no handler for its subject."""

    code = "UNHANDLED_SUBJECT"


class HandlerCancelledError(Exception):
    """Something inside a handler was cancelled, and not the handler itself."""


class AttemptsUsedError(Exception):
    """Every attempt at a message has failed before."""


class WorkersCrashedError(Permanent):
    """Every attempt at a message ended with the end of its worker."""


def _duration(value: float | timedelta) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=value)
