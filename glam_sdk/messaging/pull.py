"""Ask a durable consumer for messages, one pull request at a time, over the client's public API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.errors import translated

_EXPIRES: Final = timedelta(seconds=30)
_CLOSE_TIMEOUT_S: Final = 2.0
_HEARTBEAT: Final = "100"
# The pull request is over, and nothing is wrong: no messages, or it expired.
_ENDED: Final = frozenset({"404", "408"})


@dataclass(slots=True, eq=False)
class JetStreamMessage:
    """Show a JetStream message as the pipeline wants it."""

    client: Client
    raw: Msg
    """Replaced when the server delivers the same message again while it is being handled."""
    subject: str
    body: bytes
    headers: Mapping[str, str]
    stream: str
    sequence: int
    deliveries: int
    stored_at: datetime

    async def ack(self) -> None:
        """Settle it: handled."""
        await self.raw.ack()

    async def nak(self, delay: timedelta | None = None) -> None:
        """Hand it back, to be delivered again at once or after a delay."""
        await self.raw.nak(delay.total_seconds() if delay else None)

    async def term(self, reason: str) -> None:
        """Settle it: never to be delivered again; the server's advisory has the reason."""
        await self.client.publish(self.raw.reply, f"+TERM {reason}".encode())

    async def in_progress(self) -> None:
        """Tell that it is still being worked on."""
        await self.raw.in_progress()


class PullSource:
    """Receive the messages of one consumer through one subscription.

    Args:
        client: Connected client.
        stream: Name of the stream.
        durable: Name of the consumer.
        idle_heartbeat: How often the server answers while it has no message.
    """

    def __init__(
        self, client: Client, *, stream: str, durable: str, idle_heartbeat: timedelta
    ) -> None:
        self._client = client
        self._stream = stream
        self._subject = f"{api.DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._heartbeat = idle_heartbeat
        self._inbox = client.new_inbox()
        self._received: asyncio.Queue[JetStreamMessage | str] = asyncio.Queue()

    async def open(self) -> None:
        """Subscribe to the inbox the messages come to."""
        with translated("subscribe to", stream=self._stream):
            self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)

    async def request(self, count: int) -> None:
        """Ask for up to ``count`` messages; they come one by one from :meth:`next`."""
        expires = max(_EXPIRES, self._heartbeat * 3)
        body = {
            "batch": count,
            "expires": _nanoseconds(expires),
            "idle_heartbeat": _nanoseconds(self._heartbeat),
        }
        with translated("pull from", stream=self._stream):
            await self._client.publish(self._subject, orjson.dumps(body), reply=self._inbox)

    async def next(self) -> JetStreamMessage | None:
        """Return the next message, or None when the request is over without one.

        Raises:
            MessageBusError: The consumer is gone, the server silent, or the connection new.
        """
        while True:
            item = await self._take()
            if not isinstance(item, str):
                return item
            status, _, description = item.partition(" ")
            if status == _HEARTBEAT:
                continue
            if status in _ENDED:
                return None
            raise self._broken(description or f"status {status}")

    async def _take(self) -> JetStreamMessage | str:
        if not self._received.empty():
            return self._received.get_nowait()  # A deadline costs more than the queue.
        try:
            async with asyncio.timeout(self._heartbeat.total_seconds() * 2.5):
                return await self._received.get()
        except TimeoutError:
            raise self._broken("the server has been silent") from None  # says it all

    def interrupt(self, reason: str) -> None:
        """Make :meth:`next` fail after what has come already; a reconnect lost the request."""
        self._received.put_nowait(f"0 {reason}")

    async def close(self) -> list[JetStreamMessage]:
        """Unsubscribe and return what came and was not taken."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._subscription.drain()  # type: ignore[no-untyped-call]  # bare def there
        except (nats.errors.Error, TimeoutError, OSError):
            # Without a connection there is nothing to unsubscribe from; the server forgets us.
            pass
        left = []
        while not self._received.empty():
            item = self._received.get_nowait()
            if not isinstance(item, str):
                left.append(item)
        return left

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get(api.Header.STATUS.value)
        if status is not None and not message.reply.startswith("$JS.ACK."):
            description = headers.get(api.Header.DESCRIPTION.value, "")
            self._received.put_nowait(f"{status} {description}")
            return
        metadata = message.metadata
        self._received.put_nowait(
            JetStreamMessage(
                client=self._client,
                raw=message,
                subject=message.subject,
                body=message.data,
                headers=headers,
                stream=metadata.stream,
                sequence=metadata.sequence.stream,
                deliveries=metadata.num_delivered,
                stored_at=metadata.timestamp,
            )
        )

    def _broken(self, reason: str) -> MessageBusError:
        return MessageBusError(
            f"Pulling from stream {self._stream} was interrupted: {reason}.",
            operation="pull",
            stream=self._stream,
        )


def _nanoseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1_000_000_000)
