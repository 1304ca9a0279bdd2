"""Hold what is known about one message while it is being handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from glam_sdk.events import Envelope, MalformedEventError
from glam_sdk.messaging.attempts import NOTHING, History
from glam_sdk.messaging.delivery import Delivery, Incoming
from glam_sdk.messaging.header_lines import HeaderBlock
from glam_sdk.telemetry.tracing import Link
from glam_sdk.telemetry.w3c import context_of

if TYPE_CHECKING:
    from glam_sdk.messaging.lanes import Lane

HANDLED: Final = "handled"


class Work:
    """Hold what is known about one message while it is being handled.

    The pipeline fills it in: a constructor of so many values would cost as much again.
    """

    __slots__ = (
        "carried",
        "envelope",
        "history",
        "lane",
        "links",
        "malformed",
        "message",
        "number",
        "outcome",
        "replay_for",
        "sender",
    )

    message: Incoming
    envelope: Envelope | None
    """None where it could not be decoded."""
    malformed: MalformedEventError | None
    """Why not; gone once it was refused for that, because it would keep itself alive."""
    lane: Lane
    carried: dict[str, object]
    """What the sender's context has besides its span, such as baggage."""
    sender: SpanContext | None
    """The sender's span, if its trace is continued."""
    links: tuple[Link, ...]
    """To the sender's span, if its trace is not continued."""
    replay_for: str | None
    """The one consumer a replay is for."""
    history: History
    number: int
    """Of the attempt."""
    outcome: str
    """Of an attempt that went well."""

    @property
    def context(self) -> Context:
        """The sender's context: its trace, if that is continued, and its baggage."""
        return context_of(self.carried, self.sender)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was ever tried with this message."""
        return self.history is NOTHING and self.message.deliveries == 1

    def delivery(self, durable: str) -> Delivery:
        """Return what a handler is told about how its event came."""
        message = self.message
        headers = message.headers
        assert self.envelope is not None  # noqa: S101 - else it was refused
        return Delivery(
            self.envelope,
            headers.read() if type(headers) is HeaderBlock else headers,
            message.stream,
            durable,
            message.sequence,
            self.number,
        )

    def fields(self, durable: str) -> dict[str, Any]:
        """Return what each log line about it has."""
        fields = {
            "subject": self.message.subject,
            "durable": durable,
            "stream": self.message.stream,
            "sequence": self.message.sequence,
            "attempt": self.number,
        }
        if self.envelope is not None:
            fields["event_id"] = self.envelope.event_id
        return fields
