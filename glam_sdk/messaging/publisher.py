"""Send events and wait until a stream has them.

Flow: step 9, after the relay (or a direct call), before the subscriber.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from time import perf_counter
from typing import Any, Final

from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, Event, encode, envelope_of
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.outgoing import BatchReport, Outgoing
from glam_sdk.messaging.schedule import scheduled
from glam_sdk.messaging.sender import Sender
from glam_sdk.messaging.telemetry import MessagingTelemetry
from glam_sdk.messaging.write_buffer import is_plain, lines_of
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import inject

MAX_HEADER_BYTES: Final = 64 * 1024
"""Default for how large a message's headers may be, all together."""

PUBLISH_TIMEOUT: Final = timedelta(seconds=10)
"""Default deadline of a publish, retries included."""

_MESSAGE_ID: Final = f"{MESSAGE_ID_HEADER}: ".encode()
_DUPLICATE: Final = "duplicate"
_log = get_logger(__name__)


class Publisher:
    """Publish typed events, traced, acknowledged and without duplicates.

    A lost connection, a missing answer and a missing stream are retried within the deadline, under
    the same message id, so that the stream keeps one copy whatever got through before.

    Args:
        nats: Connection to use.
        service_name: Goes into ``metadata.source_service``.
        telemetry: The global providers' by default.
        max_header_bytes: Limit for all headers of one message.
    """

    def __init__(
        self,
        nats: Nats,
        service_name: str,
        *,
        telemetry: MessagingTelemetry | None = None,
        max_header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        self._service_name = service_name
        self._telemetry = telemetry or MessagingTelemetry()
        self._sender = Sender(nats, max_header_bytes=max_header_bytes)

    async def publish(
        self,
        event: Event | Envelope,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        delay: timedelta | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - covers retries, not one await
    ) -> Envelope:
        """Publish an event and return its envelope once the stream has it.

        A duplicate that the stream dropped is a success; the span says ``glam.outcome=duplicate``.

        Args:
            event: A typed event, or an envelope to send as it is.
            idempotency_key: Key by which the stream drops copies; the event id by default.
            metadata: Added to the envelope's metadata; not with an envelope.
            headers: Sent along; never changed.
            delay: Let the server hold it back for this long. Its stream must be declared with
                ``StreamSpec(..., allow_schedules=True)``.
            timeout: Deadline, retries included.

        Raises:
            MessageTooLargeError: Headers or message are larger than allowed; nothing was sent.
            MessageBusError: No stream acknowledged it in time, or the stream refused it.
        """
        envelope = as_envelope(
            event,
            source_service=self._service_name,
            idempotency_key=idempotency_key,
            metadata=metadata,
        )
        body = encode(envelope)
        with self._telemetry.publishing(envelope, len(body)) as span:
            carried = inject(dict(headers)) if headers else inject()
            carried[MESSAGE_ID_HEADER] = envelope.idempotency_key
            message = Outgoing(envelope.subject, body, carried)
            if delay is not None:
                message = scheduled(message, envelope, delay)
            ack = await self._sender.send(message, timeout_s=timeout.total_seconds())
            if ack.duplicate:
                span.set_attribute(conv.GLAM_OUTCOME, _DUPLICATE)
                _log.info("message.duplicate", subject=envelope.subject, event_id=envelope.event_id)
        return envelope

    async def publish_many(
        self,
        events: Iterable[Event | Envelope],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - covers retries, not one await
    ) -> list[Envelope]:
        """Publish events under one span and return their envelopes once streams have all of them.

        A stream declared with ``StreamSpec(..., allow_batches=True)`` takes them in order and at a
        fraction of the cost. To others several hundred are under way at once, and one that has to
        be sent again may be overtaken by those after it.

        Args:
            events: Typed events, or envelopes to send as they are.
            timeout: Deadline for all of them, retries included.

        Raises:
            MessageTooLargeError: One is larger than allowed; nothing was sent.
            MessageBusError: One was not taken; others may have been. Publishing the same envelopes
                again is safe within the streams' duplicate window.
        """
        envelopes = [as_envelope(e, source_service=self._service_name) for e in events]
        if not envelopes:
            return []
        with self._telemetry.publishing_many(envelopes):
            messages = list(_together(envelopes, inject()))
            for message in messages:
                self._sender.check_size(message)
            await self._sender.send_all(messages, timeout_s=timeout.total_seconds())
        return envelopes

    async def publish_raw(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - covers retries, not one await
    ) -> bool:
        """Publish bytes with the headers as they are, under no span of its own.

        Args:
            subject: Where to.
            body: An encoded event.
            headers: Should have ``Nats-Msg-Id``: a retry without it may store a second copy.
            timeout: Deadline, retries included.

        Returns:
            Whether the stream already had a message of this id.

        Raises:
            MessageTooLargeError: Headers or message are larger than allowed; nothing was sent.
            MessageBusError: No stream acknowledged it in time, or the stream refused it.
        """
        with self._telemetry.sending(subject):
            message = Outgoing(subject, body, headers)
            ack = await self._sender.send(message, timeout_s=timeout.total_seconds())
        return bool(ack.duplicate)

    async def publish_batch(
        self,
        messages: Sequence[Outgoing],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - covers retries, not one await
    ) -> BatchReport:
        """Publish messages as they are, those of one lane and stream in order, and say what became.

        It raises for none of them. After one that could not be sent the rest of its lane is not
        sent; one that is too large holds up nothing.

        Args:
            messages: Should have ``Nats-Msg-Id``, as for :meth:`publish_raw`.
            timeout: Deadline of each message, retries included.
        """
        started = perf_counter()
        report = await self._sender.send_lanes(messages, timeout_s=timeout.total_seconds())
        duration_s = perf_counter() - started
        counts = Counter(messages[place].subject for place in report.acked)
        for subject, count in counts.items():
            self._telemetry.sent(subject, count, duration_s)
        for place, error in report.failed.items():
            self._telemetry.sent(messages[place].subject, 1, duration_s, error)
        return report


def _together(envelopes: Iterable[Envelope], shared: Mapping[str, str]) -> Iterator[Outgoing]:
    """Make messages that have the same headers, but for each one's id."""
    # Where a propagator sends that header as well, each one's takes its place.
    start = None if MESSAGE_ID_HEADER in shared else lines_of(shared)
    for envelope in envelopes:
        key, lines = envelope.idempotency_key, b""
        if start is not None and is_plain(key):
            lines = b"".join((start, _MESSAGE_ID, key.encode(), b"\r\n"))
        headers = {**shared, MESSAGE_ID_HEADER: key}
        yield Outgoing(envelope.subject, encode(envelope), headers, lines=lines)


def as_envelope(
    event: Event | Envelope,
    *,
    source_service: str,
    idempotency_key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Envelope:
    """Return the envelope of an event; one that is given already stays as it is.

    Raises:
        TypeError: An envelope came with a key or metadata beside it.
    """
    if not isinstance(event, Envelope):
        return envelope_of(
            event,
            source_service=source_service,
            idempotency_key=idempotency_key,
            metadata=metadata,
        )
    if idempotency_key is not None or metadata is not None:
        raise TypeError("An envelope brings its own idempotency key and metadata.")
    return event
