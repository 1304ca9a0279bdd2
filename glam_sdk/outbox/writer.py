"""Write an event into the outbox, in the transaction of what it tells.

Flow: step 6, after the repositories, before the relay. The trace headers are stored with the
event, so that its consumer continues the request's trace however much later it is sent.
"""

from __future__ import annotations

from time import time_ns
from typing import Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, Tracer
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.context import SPAN_KEY
from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, Event, encode, envelope_of
from glam_sdk.outbox.partitions import partition_of
from glam_sdk.outbox.pending import write_at_commit
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.propagation import inject
from glam_sdk.telemetry.telling import SpanForm, tell
from glam_sdk.telemetry.tracing import OwnAttributes, SharedAttributes, SpanKind, get_tracer

_SCOPE: Final = "glam_sdk.outbox"
_SUBJECTS_KEPT: Final = 1024


class OutboxWriter:
    """Be a database's event writer: ``Database(settings, event_writer=OutboxWriter("orders"))``.

    Args:
        service_name: Goes into ``metadata.source_service``.
        tracer: The global provider's by default.
    """

    def __init__(self, service_name: str, *, tracer: Tracer | None = None) -> None:
        self._service_name = service_name
        self._tracer = tracer or get_tracer(_SCOPE)
        self._forms: dict[str, SpanForm] = {}

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
        headers = self._create(envelope, len(body))
        headers[MESSAGE_ID_HEADER] = envelope.idempotency_key
        row = {
            "event_id": envelope.event_id,
            "partition": partition_of(event, envelope.subject),
            "subject": envelope.subject,
            "body": body,
            "headers": headers,
        }
        write_at_commit(session, row)

    def _create(self, envelope: Envelope, size_bytes: int) -> dict[str, str]:
        """Tell that a message was made; return the headers by which its consumer goes on."""
        own: OwnAttributes = {
            conv.MESSAGING_MESSAGE_ID: _text(envelope.event_id),
            conv.MESSAGING_MESSAGE_BODY_SIZE: size_bytes,
        }
        if envelope.correlation_id is not None:
            own[conv.MESSAGING_MESSAGE_CONVERSATION_ID] = _text(envelope.correlation_id)
        subject, here, now = _text(envelope.subject), get_current(), time_ns()
        form = self._forms.get(subject) or self._add(subject)
        span = NonRecordingSpan(tell(self._tracer, form, here, own, (now, now)))
        return inject(context=Context({**here, SPAN_KEY: span}))

    def _envelope(self, event: Event | Envelope) -> Envelope:
        if isinstance(event, Envelope):
            return event
        return envelope_of(event, source_service=self._service_name)

    def _add(self, subject: str) -> SpanForm:
        attributes = SharedAttributes(
            {
                conv.MESSAGING_SYSTEM: "nats",
                conv.MESSAGING_OPERATION_NAME: "create",
                conv.MESSAGING_OPERATION_TYPE: "create",
                conv.MESSAGING_DESTINATION_NAME: subject,
            }
        )
        made = SpanForm(f"create {subject}", SpanKind.PRODUCER, attributes)
        if len(self._forms) < _SUBJECTS_KEPT:
            self._forms[subject] = made
        return made


def _text(value: object) -> str:
    """Return a value of an envelope, which may be anything, as plain text.

    A member of an enumeration of texts is the text that stands in the row.
    """
    if type(value) is str:
        return value
    return str.__str__(value) if isinstance(value, str) else str(value)
