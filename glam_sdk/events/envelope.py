"""Hold one event as it travels, without its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"
"""Header by which the server drops duplicates; its value is the idempotency key."""


Values = tuple[str, str, datetime, dict[str, Any], str | None, str, Mapping[str, Any]]
"""The values of an envelope in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Carry an event's payload with everything a consumer needs to place it."""

    event_id: str
    subject: str
    timestamp: datetime
    payload: dict[str, Any]
    correlation_id: str | None = None
    idempotency_key: str = ""
    """The event id, unless the producer chose a key of its own."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the default idempotency key and put the timestamp into UTC."""
        if not self.idempotency_key:
            object.__setattr__(self, "idempotency_key", self.event_id)
        if self.timestamp.tzinfo is not UTC:
            object.__setattr__(self, "timestamp", _utc(self.timestamp))

    @property
    def source_service(self) -> str | None:
        """Name of the producer, if it gave one."""
        value = self.metadata.get("source_service")
        return value if isinstance(value, str) else None

    @property
    def version(self) -> str | None:
        """Version of the payload's schema, if the producer gave one."""
        value = self.metadata.get("version")
        return value if isinstance(value, str) else None


class OpenEnvelope:
    """Be an envelope whose fields can be set: the class of a finished one is changed.

    A frozen dataclass fills each of its fields the slow way, and every message has an envelope.
    """

    __slots__ = tuple(field.name for field in fields(Envelope))


def filled(values: Values) -> Envelope:
    """Return an envelope of values that need no look any more: key given, timestamp in UTC."""
    envelope: Any = OpenEnvelope()
    (
        envelope.event_id,
        envelope.subject,
        envelope.timestamp,
        envelope.payload,
        envelope.correlation_id,
        envelope.idempotency_key,
        envelope.metadata,
    ) = values
    envelope.__class__ = Envelope
    found: Envelope = envelope
    return found


def answer_metadata(envelope: Envelope) -> dict[str, str]:
    """Return the metadata of an answer to this event: what triggered it, and whose it was."""
    answer = {"triggered_by": envelope.event_id}
    if envelope.source_service:
        answer["original_source"] = envelope.source_service
    return answer


def format_timestamp(moment: datetime) -> str:
    """Return a moment as the wire has it: UTC, microseconds always, ``+00:00``."""
    moment = _utc(moment)
    return moment.isoformat() if moment.microsecond else moment.isoformat(timespec="microseconds")


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    # Old producers wrote naive timestamps; they meant UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
