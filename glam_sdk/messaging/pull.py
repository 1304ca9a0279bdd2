"""Ask a durable consumer for messages, one pull request at a time, over the client's public API.

Flow: before the crew and the pipeline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.js import api

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.delivery import MessageKey
from glam_sdk.messaging.errors import translated
from glam_sdk.messaging.inline import receive
from glam_sdk.messaging.stepping import DONE
from glam_sdk.messaging.write_buffer import put

_EXPIRES: Final = timedelta(seconds=30)
_CLOSE_TIMEOUT_S: Final = 2.0
_ACK: Final = "$JS.ACK."
_SHORT: Final = 9
_HEARTBEAT: Final = "100"
# The pull request is over, and nothing is wrong: no messages, or it expired.
_ENDED: Final = frozenset({"404", "408"})


class JetStreamMessage:
    """Show a JetStream message as the pipeline wants it.

    The source fills it in: a constructor of so many values would cost as much as all the rest.
    """

    __slots__ = (
        "body",
        "client",
        "deliveries",
        "headers",
        "key",
        "repeats",
        "reply",
        "stream",
        "subject",
    )

    client: Client
    reply: str
    """Replaced when the server delivers the same message again while it is being handled."""
    subject: str
    body: bytes
    headers: Mapping[str, str]
    stream: str
    key: MessageKey
    deliveries: int
    repeats: int
    """How often the server delivered it again while it was held here."""

    def merge(self, copy: JetStreamMessage) -> None:
        """Be settled by what the server knows now; it delivered the message again."""
        self.reply = copy.reply
        self.repeats += 1

    @property
    def sequence(self) -> int:
        """Position in the stream."""
        return int(self.key.partition(".")[0])

    @property
    def stored_at(self) -> datetime:
        """When the stream took it."""
        stored_ns = int(self.key.partition(".")[2])
        return datetime.fromtimestamp(stored_ns / 1_000_000_000, UTC)

    def ack(self) -> Coroutine[Any, Any, None]:
        """Settle it: handled."""
        # The reply came from the server as one token of its protocol, so it can go back as one.
        if put(self.client, f"PUB {self.reply} 0\r\n\r\n".encode()):
            return DONE
        return self.client.publish(self.reply)

    async def nak(self, delay: timedelta | None = None) -> None:
        """Hand it back, to be delivered again at once or after a delay."""
        wait = b' {"delay": %d}' % nanoseconds(delay) if delay else b""
        await self.client.publish(self.reply, b"-NAK" + wait)

    async def term(self, reason: str) -> None:
        """Settle it: never to be delivered again; the server's advisory has the reason."""
        await self.client.publish(self.reply, f"+TERM {reason}".encode())

    async def in_progress(self) -> None:
        """Tell that it is still being worked on."""
        await self.client.publish(self.reply, b"+WPI")


class PullSource:
    """Receive the messages of one consumer through one subscription.

    Args:
        client: Connected client.
        stream: Name of the stream.
        durable: Name of the consumer.
        idle_heartbeat: How often the server answers while it has no message.
        deliver: Called with each message, in the order they come.
    """

    def __init__(
        self,
        client: Client,
        *,
        stream: str,
        durable: str,
        idle_heartbeat: timedelta,
        deliver: Callable[[JetStreamMessage], None],
    ) -> None:
        self._client = client
        self._stream = stream
        self._subject = f"{api.DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._heartbeat = idle_heartbeat
        self._patience_s = idle_heartbeat.total_seconds() * 2.5
        self._deliver = deliver
        self._inbox = client.new_inbox()
        self._before: str | None = None
        """What replies to messages begin with, all alike."""
        self._behind = 5
        """How many tokens there are behind it."""
        self._left = 0
        self._problem: str | None = None
        self._heard_at = 0.0
        self._waiter: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Subscribe to the inbox the messages come to."""
        with translated("subscribe to", stream=self._stream):
            self._subscription = await receive(self._client, self._inbox, self._on_message)

    async def request(self, count: int) -> None:
        """Ask for up to ``count`` messages, and return when they came or no more will.

        Raises:
            MessageBusError: The consumer is gone, the server silent, or the connection new.
        """
        expires = max(_EXPIRES, self._heartbeat * 3)
        body = {
            "batch": count,
            "expires": nanoseconds(expires),
            "idle_heartbeat": nanoseconds(self._heartbeat),
        }
        self._left, self._heard_at = count, monotonic()
        with translated("pull from", stream=self._stream):
            await self._client.publish(self._subject, orjson.dumps(body), reply=self._inbox)
        while self._left > 0 and self._problem is None:
            await self._wait()
        if self._problem is not None:
            raise self._broken(self._problem)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._heard_at + self._patience_s - monotonic()):
                await self._waiter
        except TimeoutError:
            if monotonic() - self._heard_at >= self._patience_s:
                raise self._broken("the server has been silent") from None  # says it all
        finally:
            self._waiter = None

    def interrupt(self, reason: str) -> None:
        """Make :meth:`request` fail; a reconnect lost it."""
        self._problem = reason
        self._wake()

    async def close(self) -> None:
        """Unsubscribe; what has come until then is delivered before this returns."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._subscription.drain()  # type: ignore[no-untyped-call]  # bare def there
        except (nats.errors.Error, TimeoutError, OSError):
            # Without a connection there is nothing to unsubscribe from; the server forgets us.
            pass

    def _on_message(
        self, subject: str, reply: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        self._heard_at = monotonic()
        tokens = reply.rsplit(".", self._behind)
        if tokens[0] != self._before:
            if not reply.startswith(_ACK):
                self._note(headers)
                return
            tokens = self._learn(reply)
        self._left -= 1
        message = JetStreamMessage()
        message.client = self._client
        message.reply = reply
        message.subject = subject
        message.body = body
        message.headers = headers
        message.stream = self._stream
        message.key = f"{tokens[2]}.{tokens[4]}"
        message.deliveries = 1 if tokens[1] == "1" else int(tokens[1])
        message.repeats = 0
        self._deliver(message)
        if self._left <= 0:
            self._wake()

    def _learn(self, reply: str) -> list[str]:
        """Return the tokens of a reply, the constant ones together, and remember those.

        Raises:
            ValueError: No server sends such a reply.
        """
        # "$JS.ACK", in newer servers domain and account, stream and consumer.
        # Behind what differs in each message there may be a random one in newer servers.
        count = reply.count(".") + 1
        if count < _SHORT:
            raise ValueError(f"A message came with the reply {reply!r}, which says no position.")
        self._behind = count - (4 if count == _SHORT else 6)
        tokens = reply.rsplit(".", self._behind)
        self._before = tokens[0]
        return tokens

    def _note(self, headers: Mapping[str, str]) -> None:
        status = headers.get(api.Header.STATUS.value)
        if status == _HEARTBEAT:
            return
        if status in _ENDED:
            self._left = 0
        else:
            self._problem = headers.get(api.Header.DESCRIPTION.value) or f"status {status}"
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _broken(self, reason: str) -> MessageBusError:
        return MessageBusError(
            f"Pulling from stream {self._stream} was interrupted: {reason}.",
            operation="pull",
            stream=self._stream,
        )


def nanoseconds(duration: timedelta) -> int:
    """Return a duration as JetStream's API counts it."""
    return int(duration.total_seconds() * 1_000_000_000)
