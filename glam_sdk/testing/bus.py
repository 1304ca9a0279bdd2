"""Run handlers on events in memory, through the same pipeline as on a real server.

Bytes, headers, spans, inbox, retries and dead letters are the real ones; only the stream is a list.
Delays are not waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from glam_sdk.events import (
    MESSAGE_ID_HEADER,
    Envelope,
    Event,
    encode,
    get_stream_from_subject,
    subject_matches,
)
from glam_sdk.messaging import ConsumerPolicy, HandlerScope, MessagingTelemetry
from glam_sdk.messaging.dead_letters import DeadLetter, letter_headers
from glam_sdk.messaging.delivery import Incoming, no_scope
from glam_sdk.messaging.handlers import BoundHandler, bind, require_complete, spec_of
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.publisher import PUBLISH_TIMEOUT, as_envelope
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.telemetry.propagation import inject


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """Hold a message as a stream keeps it."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    sequence: int
    stored_at: datetime


@dataclass(slots=True, eq=False)
class _Delivered:
    """Be one message on its way through one consumer's pipeline."""

    stored: StoredMessage
    stream: str
    deliveries: int = 1
    repeats: int = 0
    again: bool = False
    delays: list[timedelta | None] = field(default_factory=list)

    @property
    def subject(self) -> str:
        return self.stored.subject

    @property
    def body(self) -> bytes:
        return self.stored.body

    @property
    def headers(self) -> Mapping[str, str]:
        return self.stored.headers

    @property
    def sequence(self) -> int:
        return self.stored.sequence

    @property
    def stored_at(self) -> datetime:
        return self.stored.stored_at

    @property
    def key(self) -> str:
        return f"{self.sequence}.{int(self.stored_at.timestamp() * 1_000_000_000)}"

    async def ack(self) -> None:
        self.again = False

    async def nak(self, delay: timedelta | None = None) -> None:
        self.again = True
        self.delays.append(delay)

    async def term(self, reason: str) -> None:
        del reason
        self.again = False

    async def in_progress(self) -> None:
        """Nobody is waiting."""


class InMemoryBus:
    """Publish to handlers in this process, and look at what became of each message.

    ::

        bus = InMemoryBus([charge], service_name="billing")
        await bus.publish(OrderPlaced(...))
        await bus.drain()
        assert not bus.dead_letters

    Args:
        handlers: Functions marked with ``@handles``.
        service_name: Name of the service.
        scope: Opened around each handler call, such as ``inbox_scope(db)``.
        policy: Limits of handlers that don't state their own.
        telemetry: The global providers' by default.
    """

    def __init__(
        self,
        handlers: Sequence[Callable[..., Awaitable[object]]] = (),
        *,
        service_name: str = "test",
        scope: HandlerScope = no_scope,
        policy: ConsumerPolicy | None = None,
        telemetry: MessagingTelemetry | None = None,
    ) -> None:
        self.service_name = service_name
        self.messages: list[StoredMessage] = []
        """Everything published, in order."""
        self.dead_letters: list[StoredMessage] = []
        """Every dead letter, with the headers of the contract."""
        self.delays: list[timedelta | None] = []
        """The wait before each retry, which is not waited for here."""
        self._telemetry = telemetry or MessagingTelemetry()
        self._ids: set[tuple[str, str]] = set()
        self._queue: deque[tuple[Pipeline, _Delivered]] = deque()
        surroundings = Surroundings(
            self, scope, policy or ConsumerPolicy(), telemetry=self._telemetry
        )
        groups = _grouped(handlers)
        if scope is no_scope:
            require_complete(bound for group in groups.values() for bound in group.values())
        self._consumers = [
            (tuple(group), Pipeline(durable=durable, handlers=group, surroundings=surroundings))
            for (durable, _), group in groups.items()
        ]

    async def publish(
        self,
        event: Event | Envelope,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        delay: timedelta | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - the publisher's signature
    ) -> Envelope:
        """Publish an event as a ``Publisher`` does; handlers run in :meth:`drain`."""
        del delay, timeout
        envelope = as_envelope(
            event,
            source_service=self.service_name,
            idempotency_key=idempotency_key,
            metadata=metadata,
        )
        body = encode(envelope)
        with self._telemetry.publishing(envelope, len(body)):
            carried = inject({**(headers or {}), MESSAGE_ID_HEADER: envelope.idempotency_key})
        await self._store(envelope.subject, body, carried)
        return envelope

    async def publish_many(
        self,
        events: Iterable[Event | Envelope],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - the publisher's signature
    ) -> list[Envelope]:
        """Publish events under one span as a ``Publisher`` does."""
        del timeout
        envelopes = [as_envelope(event, source_service=self.service_name) for event in events]
        if envelopes:
            with self._telemetry.publishing_many(envelopes):
                for envelope in envelopes:
                    carried = inject({MESSAGE_ID_HEADER: envelope.idempotency_key})
                    await self._store(envelope.subject, encode(envelope), carried)
        return envelopes

    async def publish_raw(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: timedelta = timedelta(seconds=1),  # noqa: ASYNC109 - the publisher's signature
    ) -> bool:
        """Publish bytes as they are; return whether a message of this id was there already."""
        del timeout
        return not await self._store(subject, body, dict(headers))

    async def drain(self) -> None:
        """Run the handlers until nothing is left to do, retries and their own events included."""
        while self._queue:
            pipeline, message = self._queue.popleft()
            message.again = False
            # A task of its own, as on a server: what it does to context variables ends with it.
            await asyncio.create_task(pipeline.process(message))
            if message.again:
                self.delays.append(message.delays[-1])
                message.deliveries += 1
                self._queue.append((pipeline, message))

    async def keep(self, message: Incoming, letter: DeadLetter) -> None:
        """Keep a dead letter, as the stream of dead letters does."""
        headers = letter_headers(message, letter, self.service_name)
        subject = f"dlq.{message.stream}.{letter.durable}.{message.subject}"
        number = len(self.dead_letters) + 1
        self.dead_letters.append(
            StoredMessage(subject, message.body, headers, number, datetime.now(UTC))
        )

    async def _store(self, subject: str, body: bytes, headers: Mapping[str, str]) -> bool:
        stream = get_stream_from_subject(subject)
        message_id = headers.get(MESSAGE_ID_HEADER)
        if message_id is not None:
            if (stream, message_id) in self._ids:
                return False
            self._ids.add((stream, message_id))
        stored = StoredMessage(subject, body, headers, len(self.messages) + 1, datetime.now(UTC))
        self.messages.append(stored)
        for patterns, pipeline in self._consumers:
            if any(subject_matches(pattern, subject) for pattern in patterns):
                self._queue.append((pipeline, _Delivered(stored, stream)))
        return True


def _grouped(
    handlers: Sequence[Callable[..., Awaitable[object]]],
) -> dict[tuple[str, str], dict[str, BoundHandler]]:
    groups: dict[tuple[str, str], dict[str, BoundHandler]] = {}
    for spec in map(spec_of, handlers):
        group = groups.setdefault((spec.durable, get_stream_from_subject(spec.subject)), {})
        if spec.subject in group:
            raise ValueError(f"Two handlers have durable {spec.durable!r} and {spec.subject}.")
        group[spec.subject] = bind(spec)
    return groups
