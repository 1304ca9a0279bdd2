"""Receive events as dictionaries: the class-based face that services were written against.

It is the same runtime as :func:`~glam_sdk.messaging.handles`; new code writes typed handlers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar, cast, overload

from glam_sdk.events import Event, EventContext, event_dict
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.delivery import ConsumerPolicy, Delivery, HandlerSpec
from glam_sdk.messaging.handlers import mark
from glam_sdk.messaging.retry import Backoff, Permanent, Retry
from glam_sdk.messaging.subscriber import Subscriber
from glam_sdk.telemetry.logs import get_logger

T = TypeVar("T")
OLD_POLICY: Final = ConsumerPolicy(
    concurrency=10,
    batch=10,
    ack_wait=timedelta(seconds=30),
    retry=Backoff(1, 5, 30, attempts=3),
)
"""Limits of the old subscriber: three attempts, 30 seconds, ten at a time."""
_log = get_logger(__name__)


class DomainEventSubscriber:
    """Handle the events of one subject.

    ::

        class SyncStarted(DomainEventSubscriber):
            subject = "evt.catalog.sync_started"
            durable_name = "analytics-sync-started"

            async def on_event(self, event, headers): ...

    A message whose handling failed three times, or for which :meth:`on_error` says to give up, is
    kept as a dead letter.

    Args:
        nats: Connection to use.
        service_name: Name of the service.
        policy: Limits; those of the old subscriber by default.
    """

    subject: ClassVar[str] = ""
    durable_name: ClassVar[str] = ""

    def __init__(
        self, nats: Nats, service_name: str, *, policy: ConsumerPolicy = OLD_POLICY
    ) -> None:
        self._dependencies: dict[Hashable, object] = {}
        handler = mark(HandlerSpec(_any_event(self.subject), self.durable_name, self._handle))
        self._subscriber = Subscriber(nats, [handler], service_name=service_name, policy=policy)

    async def on_event(self, event: dict[str, Any], headers: Mapping[str, str]) -> None:
        """Handle one event; return to acknowledge it."""
        raise NotImplementedError

    async def on_error(self, error: Exception, event: dict[str, Any]) -> bool:  # noqa: ARG002 - overridden
        """Tell whether to give up on this message; it is tried again otherwise."""
        return False

    @overload
    def register_dependency(self, key: type[T], value: T) -> None: ...
    @overload
    def register_dependency(self, key: str, value: object) -> None: ...
    def register_dependency(self, key: Any, value: object) -> None:
        """Keep a value for :meth:`get_dependency`, under its type or a name."""
        self._dependencies[key] = value

    @overload
    def get_dependency(self, key: type[T]) -> T: ...
    @overload
    def get_dependency(self, key: str) -> Any: ...
    def get_dependency(self, key: Any) -> Any:
        """Return what was registered under a type or a name.

        Raises:
            KeyError: Nothing was; it names what was.
        """
        if key not in self._dependencies:
            known = ", ".join(sorted(str(known) for known in self._dependencies)) or "nothing"
            raise KeyError(f"{key} is not registered with {type(self).__name__}; {known} is.")
        return self._dependencies[key]

    async def start(self) -> None:
        """Begin to receive."""
        await self._subscriber.start()

    async def stop(self) -> None:
        """Finish what was begun and hand back the rest."""
        await self._subscriber.stop()

    async def _handle(self, delivery: Delivery) -> None:
        event = event_dict(delivery.envelope)
        try:
            await self.on_event(event, delivery.headers)
        except (Retry, Permanent):
            raise
        except Exception as exc:
            if await self.on_error(exc, event):
                raise Permanent(f"{type(exc).__name__}: {exc}") from exc
            raise


class EventContextManager:
    """Run a block as the handling of one event: log its begin, its end, duration and outcome.

    ::

        async with EventContextManager(event) as context:
            ...

    Args:
        event: The event's object.
    """

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.context = EventContext.from_event(event)
        self._running = _logged(self.context)

    async def __aenter__(self) -> EventContext:
        return await self._running.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._running.__aexit__(kind, exc, tb)


@asynccontextmanager
async def _logged(context: EventContext) -> AsyncIterator[EventContext]:
    fields = {"event_id": context.event_id, "subject": context.subject}
    started = time.perf_counter()
    outcome = "failed"
    _log.info("event.started", **fields)
    try:
        yield context
        outcome = "completed"
    finally:
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        _log.info("event.ended", outcome=outcome, duration_ms=duration_ms, **fields)


def _any_event(subject: str) -> type[Event]:
    """Return a class that takes any payload of a subject, which may be a pattern."""
    made = type("AnyEvent", (Event,), {"__doc__": "Any payload."}, extra="allow")
    made = cast("type[Event]", made)
    made.event_subject = subject
    return made
