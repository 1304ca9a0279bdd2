"""Send events and wait until a stream has them.

Flow: step 9, after the relay (or a direct call), before the subscriber.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import nats.errors
from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, Event, encode, envelope_of
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.errors import MessageTooLargeError, bus_error
from glam_sdk.messaging.telemetry import MessagingTelemetry
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import inject

MAX_HEADER_BYTES: Final = 64 * 1024
"""Default for how large a message's headers may be, all together."""

PUBLISH_TIMEOUT: Final = timedelta(seconds=10)
"""Default deadline of a publish, retries included."""

_ATTEMPTS: Final = 5
_ATTEMPT_TIMEOUT_S: Final = 3.0
_FIRST_WAIT_S: Final = 0.1
_HEADER_FRAME: Final = len("NATS/1.0\r\n\r\n")
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
        self._nats = nats
        self._service_name = service_name
        self._telemetry = telemetry or MessagingTelemetry()
        self._max_header_bytes = max_header_bytes

    async def publish(
        self,
        event: Event | Envelope,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - covers retries, not one await
    ) -> Envelope:
        """Publish an event and return its envelope once the stream has it.

        A duplicate that the stream dropped is a success; the span says ``glam.outcome=duplicate``.

        Args:
            event: A typed event, or an envelope to send as it is.
            idempotency_key: Key by which the stream drops copies; the event id by default.
            metadata: Added to the envelope's metadata; not with an envelope.
            headers: Sent along; never changed.
            timeout: Deadline, retries included.

        Raises:
            MessageTooLargeError: Headers or message are larger than allowed; nothing was sent.
            MessageBusError: No stream acknowledged it in time, or the stream refused it.
        """
        envelope = self._envelope(event, idempotency_key=idempotency_key, metadata=metadata)
        body = encode(envelope)
        with self._telemetry.publishing(envelope, len(body)) as span:
            carried = inject({**(headers or {}), MESSAGE_ID_HEADER: envelope.idempotency_key})
            ack = await self._send(
                envelope.subject, body, carried, timeout_s=timeout.total_seconds()
            )
            if ack.duplicate:
                span.set_attribute(conv.GLAM_OUTCOME, _DUPLICATE)
                _log.info("message.duplicate", subject=envelope.subject, event_id=envelope.event_id)
        return envelope

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
            ack = await self._send(subject, body, headers, timeout_s=timeout.total_seconds())
        return bool(ack.duplicate)

    def _envelope(
        self,
        event: Event | Envelope,
        *,
        idempotency_key: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Envelope:
        if isinstance(event, Event):
            return envelope_of(
                event,
                source_service=self._service_name,
                idempotency_key=idempotency_key,
                metadata=metadata,
            )
        if idempotency_key is not None or metadata is not None:
            raise TypeError("An envelope brings its own idempotency key and metadata.")
        return event

    async def _send(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> api.PubAck:
        self._check_size(subject, body, headers)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        wait_s = _FIRST_WAIT_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._attempt(subject, body, headers, timeout_s=deadline - loop.time())
            except MessageBusError as exc:
                left_s = deadline - loop.time()
                if not exc.retryable or attempt == _ATTEMPTS or left_s <= wait_s:
                    raise
                _log.debug("message.publish_retried", subject=subject, reason=exc.message)
            await asyncio.sleep(wait_s)
            wait_s *= 2
        raise AssertionError  # The loop returns or raises.

    async def _attempt(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> api.PubAck:
        # Without a connection the client would only buffer, and buffer again at each retry.
        await self._nats.wait_connected(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._nats.stream_for(subject)
                return await self._nats.jetstream.publish(
                    subject, body, timeout=min(timeout_s, _ATTEMPT_TIMEOUT_S), headers=dict(headers)
                )
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            if isinstance(exc, js_errors.NoStreamResponseError):
                self._nats.topology.forget(subject)
            raise bus_error(exc, operation="publish", subject=subject) from exc

    def _check_size(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        # The client does not look, and the server answers by closing the connection.
        size = _HEADER_FRAME + sum(
            len(k.encode()) + len(v.encode()) + 4 for k, v in headers.items()
        )
        if size > self._max_header_bytes:
            raise MessageTooLargeError(
                f"The headers of {subject} are {size} bytes, more than {self._max_header_bytes}. "
                "Send less baggage, or put the data into the payload.",
                operation="publish",
                subject=subject,
                size_bytes=size,
                max_size_bytes=self._max_header_bytes,
            )
        allowed = self._nats.client.max_payload
        if size + len(body) > allowed:
            raise MessageTooLargeError(
                f"The message {subject} is {size + len(body)} bytes, more than the {allowed} the "
                "server takes. Store the data elsewhere and send a reference.",
                operation="publish",
                subject=subject,
                size_bytes=size + len(body),
                max_size_bytes=allowed,
            )
