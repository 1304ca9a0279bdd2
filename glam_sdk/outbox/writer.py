"""Write an event into the outbox, in the transaction of what it tells.

Flow: step 6, after the repositories, before the relay. The trace headers are stored with the
event, so that its consumer continues the request's trace however much later it is sent.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, Event, encode, envelope_of
from glam_sdk.outbox.partitions import partition_of
from glam_sdk.outbox.pending import write_at_commit
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.propagation import inject
from glam_sdk.telemetry.tracing import SpanKind, get_tracer, span

_SCOPE: Final = "glam_sdk.outbox"


class OutboxWriter:
    """Be a database's event writer: ``Database(settings, event_writer=OutboxWriter("orders"))``.

    Args:
        service_name: Goes into ``metadata.source_service``.
        tracer: The global provider's by default.
    """

    def __init__(self, service_name: str, *, tracer: Tracer | None = None) -> None:
        self._service_name = service_name
        self._tracer = tracer or get_tracer(_SCOPE)

    def write(self, session: AsyncSession, event: object) -> None:
        """Let a typed event or an envelope be written with the session's transaction.

        Raises:
            TypeError: For anything else.
            MalformedEventError: If the payload cannot be written as JSON.
        """
        if not isinstance(event, Event | Envelope):
            raise TypeError(
                f"{type(event).__qualname__} is no event. Emit an instance of a class derived from "
                "glam_sdk.events.Event, or an Envelope."
            )
        envelope = self._envelope(event)
        body = encode(envelope)
        with span(
            self._tracer,
            f"create {envelope.subject}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes(envelope, len(body)),
        ):
            headers = inject()
        headers[MESSAGE_ID_HEADER] = envelope.idempotency_key
        row = {
            "event_id": envelope.event_id,
            "partition": partition_of(event, envelope.subject),
            "subject": envelope.subject,
            "body": body,
            "headers": headers,
        }
        write_at_commit(session, row)

    def _envelope(self, event: Event | Envelope) -> Envelope:
        if isinstance(event, Envelope):
            return event
        return envelope_of(event, source_service=self._service_name)


def _attributes(envelope: Envelope, size_bytes: int) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        conv.MESSAGING_SYSTEM: "nats",
        conv.MESSAGING_OPERATION_NAME: "create",
        conv.MESSAGING_OPERATION_TYPE: "create",
        conv.MESSAGING_DESTINATION_NAME: envelope.subject,
        conv.MESSAGING_MESSAGE_ID: envelope.event_id,
        conv.MESSAGING_MESSAGE_BODY_SIZE: size_bytes,
    }
    if envelope.correlation_id is not None:
        attributes[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = envelope.correlation_id
    return attributes
