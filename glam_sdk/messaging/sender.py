"""Get messages into streams: size limits, deadlines, retries under one message id.

Flow: step 9, inside of the publisher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import nats.errors
from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.acks import Ack
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.errors import MessageTooLargeError, bus_error
from glam_sdk.telemetry.logs import get_logger

_ATTEMPT_TIMEOUT_S: Final = 3.0
_FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 2.0
_WINDOW: Final = 256
_HEADER_FRAME: Final = len("NATS/1.0\r\n\r\n")
_FAILURES: Final = (nats.errors.Error, TimeoutError, OSError)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Hold one message to send."""

    subject: str
    body: bytes
    headers: Mapping[str, str]


class Sender:
    """Send messages and wait until streams have them.

    Args:
        nats: Connection to use.
        max_header_bytes: Limit for all headers of one message.
    """

    def __init__(self, nats: Nats, *, max_header_bytes: int) -> None:
        self._nats = nats
        self._max_header_bytes = max_header_bytes

    async def send(self, message: Outgoing, *, timeout_s: float) -> api.PubAck:
        """Send one message, again where that may help, within the deadline.

        Raises:
            MessageTooLargeError: It is larger than allowed; nothing was sent.
            MessageBusError: No stream acknowledged it in time, or the stream refused it.
        """
        self.check_size(message)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return await self._attempt(message, timeout_s=deadline - loop.time())
            except MessageBusError as exc:
                left_s = deadline - loop.time()
                if not exc.retryable or left_s <= wait_s:
                    raise
                _log.debug("message.publish_retried", subject=message.subject, reason=exc.message)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _MAX_WAIT_S)

    async def send_all(self, messages: Iterable[Outgoing], *, timeout_s: float) -> None:
        """Send many messages, several hundred under way at once.

        Raises:
            MessageBusError: One was not taken; others may have been.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        window: deque[tuple[Outgoing, Ack | None]] = deque()
        try:
            for message in messages:
                if len(window) >= _WINDOW:
                    await self._confirm(*window.popleft(), timeout_s=deadline - loop.time())
                window.append((message, await self._begin(message, deadline - loop.time())))
            while window:
                await self._confirm(*window.popleft(), timeout_s=deadline - loop.time())
        finally:
            for _, ack in window:
                if ack is not None:
                    ack.cancel()

    async def _begin(self, message: Outgoing, timeout_s: float) -> Ack | None:
        """Send without waiting; None where only the patient way can help."""
        if not self._nats.is_connected:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                await self._nats.stream_for(message.subject)
                return await self._nats.acks.send(message.subject, message.body, message.headers)
        except (*_FAILURES, MessageBusError):
            return None

    async def _confirm(self, message: Outgoing, ack: Ack | None, *, timeout_s: float) -> api.PubAck:
        if ack is not None:
            try:
                if not ack.done():
                    async with asyncio.timeout(min(timeout_s, _ATTEMPT_TIMEOUT_S)):
                        await ack
                return ack.result()
            except _FAILURES as exc:
                error = self._translated(exc, message)
                if not error.retryable:
                    raise error from exc
        return await self.send(message, timeout_s=timeout_s)

    async def _attempt(self, message: Outgoing, *, timeout_s: float) -> api.PubAck:
        # Without a connection the client would only buffer, and buffer again at each retry.
        await self._nats.wait_connected(timeout_s)
        try:
            async with asyncio.timeout(min(timeout_s, _ATTEMPT_TIMEOUT_S)):
                await self._nats.stream_for(message.subject)
                ack = await self._nats.acks.send(message.subject, message.body, message.headers)
                return await ack
        except _FAILURES as exc:
            raise self._translated(exc, message) from exc

    def _translated(self, exc: Exception, message: Outgoing) -> MessageBusError:
        if isinstance(exc, js_errors.NoStreamResponseError):
            self._nats.topology.forget(message.subject)
        elif isinstance(exc, TimeoutError):
            self._nats.acks.drop_finished()
        return bus_error(exc, operation="publish", subject=message.subject)

    def check_size(self, message: Outgoing) -> None:
        """Refuse what the server would answer by closing the connection.

        Raises:
            MessageTooLargeError: It is larger than allowed.
        """
        size = _HEADER_FRAME + sum(
            len(k.encode()) + len(v.encode()) + 4 for k, v in message.headers.items()
        )
        if size > self._max_header_bytes:
            raise MessageTooLargeError(
                f"The headers of {message.subject} are {size} bytes, more than "
                f"{self._max_header_bytes}. Send less baggage, or put the data into the payload.",
                operation="publish",
                subject=message.subject,
                size_bytes=size,
                max_size_bytes=self._max_header_bytes,
            )
        allowed = self._nats.client.max_payload
        total = size + len(message.body)
        if total > allowed:
            raise MessageTooLargeError(
                f"The message {message.subject} is {total} bytes, more than the {allowed} the "
                "server takes. Store the data elsewhere and send a reference.",
                operation="publish",
                subject=message.subject,
                size_bytes=total,
                max_size_bytes=allowed,
            )
