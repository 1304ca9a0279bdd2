"""Hold what is known about one event, in the form services used before they had typed events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from glam_sdk import context
from glam_sdk._internal.ids import new_correlation_id, uuid7
from glam_sdk.events.codec import envelope_from, event_dict
from glam_sdk.events.envelope import Envelope, answer_metadata


class EventPayload(BaseModel):
    """Be the base of payload classes; fields a newer producer added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


TData = TypeVar("TData", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class EventContext:
    """Tell where an event comes from and what it belongs to."""

    event_id: str
    subject: str
    timestamp: datetime
    source_service: str | None = None
    correlation_id: str | None = None
    idempotency_key: str = ""
    trace_id: str | None = None
    """Trace in which the event is made or handled, as 32 hex digits."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        subject: str,
        *,
        source_service: str,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the context of a new event, under the correlation id of the work being done."""
        event_id = str(uuid7())
        return cls(
            event_id=event_id,
            subject=subject,
            timestamp=datetime.now(UTC),
            source_service=source_service,
            correlation_id=correlation_id or context.correlation_id() or new_correlation_id(),
            idempotency_key=idempotency_key or event_id,
            trace_id=context.trace_id(),
            metadata={"source_service": source_service, "version": "1.0.0", **(metadata or {})},
        )

    @classmethod
    def from_event(cls, event: Mapping[str, Any] | Envelope) -> Self:
        """Return the context of a received event.

        Raises:
            MalformedEventError: It is not an event.
        """
        envelope = event if isinstance(event, Envelope) else envelope_from({"payload": {}, **event})
        return cls(
            event_id=envelope.event_id,
            subject=envelope.subject,
            timestamp=envelope.timestamp,
            source_service=envelope.source_service,
            correlation_id=envelope.correlation_id,
            idempotency_key=envelope.idempotency_key,
            trace_id=context.trace_id(),
            metadata=envelope.metadata,
        )

    def create_response_context(self, subject: str, *, source_service: str) -> Self:
        """Return the context of an answer: it names this event and keeps the correlation id."""
        return self.create(
            subject,
            source_service=source_service,
            correlation_id=self.correlation_id,
            metadata=answer_metadata(self.envelope({})),
        )

    def envelope(self, payload: Mapping[str, Any]) -> Envelope:
        """Return the event of this context that carries a payload."""
        return Envelope(
            event_id=self.event_id,
            subject=self.subject,
            timestamp=self.timestamp,
            payload=dict(payload),
            correlation_id=self.correlation_id,
            idempotency_key=self.idempotency_key,
            metadata=self.metadata,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the event's object without its payload, as the wire has it."""
        event = event_dict(self.envelope({}))
        del event["payload"]
        return event


@dataclass(frozen=True, slots=True)
class EventWrapper(Generic[TData]):
    """Tie a typed payload to the context of its event."""

    context: EventContext
    data: TData

    @classmethod
    def from_context(cls, context: EventContext, data: TData) -> Self:
        """Return the event of a context that carries this payload."""
        return cls(context, data)

    def to_event_dict(self) -> dict[str, Any]:
        """Return the event's object as the wire has it, its payload in JSON's own types."""
        return event_dict(self.context.envelope(self.data.model_dump(mode="json", by_alias=True)))
