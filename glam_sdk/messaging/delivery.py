"""Describe one delivery of an event, and what surrounds the handler that gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from glam_sdk.events import Envelope, Event


class AlreadyHandled(Exception):  # noqa: N818 - an outcome the scope states, not a failure
    """Tell the pipeline, at a scope's entry, that this event was handled before; it is acked."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Tell a handler how its event came."""

    envelope: Envelope
    headers: Mapping[str, str]
    stream: str
    durable: str
    sequence: int
    """Position in the stream; the same for each attempt."""
    attempt: int
    """1 for the first delivery."""

    @property
    def subject(self) -> str:
        """Subject of the event."""
        return self.envelope.subject

    @property
    def event_id(self) -> str:
        """Id of the event; the same for each attempt and each copy."""
        return self.envelope.event_id


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """Say which function handles which event, under which durable name."""

    event: type[Event]
    durable: str
    function: Callable[..., Awaitable[object]]

    @property
    def subject(self) -> str:
        """Subject the handler is called for."""
        return self.event.event_subject


HandlerScope = Callable[[HandlerSpec, Delivery], AbstractAsyncContextManager[Mapping[type, object]]]
"""Open what a handler call runs in, such as a database transaction.

The mapping gives values for handler parameters by their annotation. The message is acked after the
scope has exited without an exception.
"""


@asynccontextmanager
async def no_scope(_spec: HandlerSpec, _delivery: Delivery) -> AsyncIterator[Mapping[type, object]]:
    """Surround the handler with nothing."""
    yield {}


@dataclass(frozen=True, slots=True)
class ConsumerPolicy:
    """Set how a subscriber reads and retries."""

    concurrency: int = 10
    """How many handlers of one durable run at once in this process."""
    batch: int = 10
    """How many messages are asked for at a time; never more than can be started at once."""
    ack_wait: timedelta = timedelta(seconds=30)
    """After how long without a sign of life the server gives a message to another consumer."""
    backoff: tuple[timedelta, ...] = (
        timedelta(seconds=1),
        timedelta(seconds=5),
        timedelta(seconds=30),
    )
    """Waits after the first, second, … failed attempt; the last one repeats."""
    max_attempts: int = 5
    """From this attempt on a failure is logged as an error and waits longest."""
    idle_heartbeat: timedelta = timedelta(seconds=5)
    """How often the server says that it is still there while it has nothing for us."""
    stop_timeout: timedelta = timedelta(seconds=10)
    """How long running handlers may take to finish at stop."""

    def __post_init__(self) -> None:
        """Refuse values no consumer can work with."""
        if self.concurrency < 1 or self.batch < 1 or self.max_attempts < 1 or not self.backoff:
            raise ValueError(
                "concurrency, batch and max_attempts must be 1 or more, and backoff not empty."
            )

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long to wait after a failed attempt."""
        if attempt >= self.max_attempts:
            return max(self.backoff)
        return self.backoff[min(attempt, len(self.backoff)) - 1]


class Incoming(Protocol):
    """Stand for a message as the pipeline sees it, whatever brought it."""

    @property
    def subject(self) -> str:
        """Subject it was sent to."""
        ...

    @property
    def body(self) -> bytes:
        """Bytes it carries."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers as they were sent."""
        ...

    @property
    def stream(self) -> str:
        """Stream that keeps it."""
        ...

    @property
    def sequence(self) -> int:
        """Position in the stream."""
        ...

    @property
    def attempt(self) -> int:
        """How often it was delivered, this time included."""
        ...

    async def ack(self) -> None:
        """Settle it: handled."""
        ...

    async def nak(self, delay: timedelta | None = None) -> None:
        """Hand it back, to be delivered again at once or after a delay."""
        ...

    async def in_progress(self) -> None:
        """Tell that it is still being worked on."""
        ...
