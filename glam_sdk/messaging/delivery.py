"""Describe one delivery of an event, and what surrounds the handler that gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from glam_sdk.events import Envelope, Event
from glam_sdk.messaging.pace import Pacing
from glam_sdk.messaging.retry import Backoff

if TYPE_CHECKING:
    from glam_sdk.config import NatsSettings


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
    """How often a handler was started for this message, this time included."""

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
    """Say which function handles which event, under which durable name, and how."""

    event: type[Event]
    durable: str
    function: Callable[..., Awaitable[object]]
    concurrency: int | None = None
    """How many run at once in this process; the subscriber's policy by default."""
    timeout: timedelta | None = None
    """How long one attempt may take; the subscriber's policy by default."""
    retry: Backoff | None = None
    """Waits and attempts; the subscriber's policy by default."""
    inbox: bool = True
    """Whether the inbox, where there is one, keeps the handler from running twice."""

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
    """Set how a subscriber reads and retries, where a handler does not say otherwise."""

    concurrency: int = 10
    """How many handlers of one durable run at once in this process."""
    batch: int = 10
    """How many messages are asked for at a time; never more than can be started at once."""
    timeout: timedelta = timedelta(minutes=5)
    """How long one attempt may take before it is cancelled and counts as failed."""
    retry: Backoff = field(default_factory=Backoff)
    """Waits between attempts, and how many there are."""
    ack_wait: timedelta = timedelta(seconds=30)
    """After how long without a sign of life the server gives a message to another consumer."""
    max_ack_pending: int = 10_000
    """How many messages may be under way or waiting for a retry, over all processes; beyond that
    the server holds new ones back, which is what paces a flood of failures."""
    idle_heartbeat: timedelta = timedelta(seconds=5)
    """How often the server says that it is still there while it has nothing for us."""
    child_max_age: timedelta = timedelta(hours=1)
    """Up to which age an event's handling is part of its sender's trace; older ones are linked."""
    pacing: Pacing = field(default_factory=Pacing)
    """When a handler that fails for nearly every message is slowed down, and how far."""
    bookkeeping_replicas: int | None = None
    """Copies of what is kept about attempts and positions: 3 by default, and never more than the
    servers can keep."""
    stop_timeout: timedelta = timedelta(seconds=10)
    """How long running handlers may take to finish at stop."""

    @classmethod
    def of(cls, settings: NatsSettings) -> ConsumerPolicy:
        """Return the policy with what an operator has set."""
        longest = timedelta(seconds=settings.longest_pause_s)
        return cls(
            pacing=Pacing(after=settings.slow_down_after, longest_pause=longest),
            bookkeeping_replicas=settings.bookkeeping_replicas,
        )

    def __post_init__(self) -> None:
        """Refuse values no consumer can work with."""
        if self.concurrency < 1 or self.batch < 1 or self.max_ack_pending < self.concurrency:
            raise ValueError(
                "concurrency and batch must be 1 or more, and max_ack_pending not below "
                "concurrency."
            )
        if min(self.timeout, self.ack_wait, self.idle_heartbeat) <= timedelta(0):
            raise ValueError("timeout, ack_wait and idle_heartbeat must be longer than nothing.")


MessageKey = str
"""Sequence and time of storage, in nanoseconds, as the server writes them: most are only compared,
and to read them would cost more."""


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
    def key(self) -> MessageKey:
        """What identifies it within its stream, also within one that was made anew."""
        ...

    @property
    def deliveries(self) -> int:
        """How often the server delivered it, this time included."""
        ...

    @property
    def repeats(self) -> int:
        """How often the server delivered it again while it was held here."""
        ...

    @property
    def stored_at(self) -> datetime:
        """When the stream took it."""
        ...

    def ack(self) -> Coroutine[Any, Any, None]:
        """Settle it: handled."""
        ...

    async def nak(self, delay: timedelta | None = None) -> None:
        """Hand it back, to be delivered again at once or after a delay."""
        ...

    async def term(self, reason: str) -> None:
        """Settle it: never to be delivered again."""
        ...

    async def in_progress(self) -> None:
        """Tell that it is still being worked on."""
        ...
