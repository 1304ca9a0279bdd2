"""Publish to streams and receive their acknowledgements through one subscription.

A request of the client's own costs a future, a timeout and JSON each; here many messages are under
way at once. Whatever a lost connection took along is known at once instead of after a timeout, and
one timer looks after all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.messaging.inline import receive
from glam_sdk.messaging.write_buffer import lines_of, post

if TYPE_CHECKING:
    from glam_sdk.messaging.connection import Nats

ACK_TIMEOUT_S: Final = 3.0
"""How long an acknowledgement may take before the message is sent again."""

_NO_RESPONDERS: Final = "503"
Ack = asyncio.Future[api.PubAck]


class Acks:
    """Send messages on one connection and hand out futures of their acknowledgements.

    Args:
        nats: Connection to use; a renewed one is noticed.
    """

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._client: Client | None = None
        self._inbox = ""
        self._number = 0
        self._waiting: dict[str, tuple[Ack, float]] = {}  # in the order of sending
        self._sweep: asyncio.TimerHandle | None = None
        self._subscribing = asyncio.Lock()
        nats.on_reconnect(self._fail_all)

    async def send(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        lines: bytes = b"",
        timeout_s: float = ACK_TIMEOUT_S,
    ) -> Ack:
        """Send one message; the future has the stream's answer or an error of the client's.

        Whoever stops waiting cancels the future.

        Args:
            subject: Where to.
            body: Sent as it is.
            headers: Sent as they are.
            lines: How they are written, where that is known.
            timeout_s: When the future gives up; never later than after three seconds.
        """
        client = self._nats.client
        if client is not self._client:
            await self._subscribe(client)
        loop = asyncio.get_running_loop()
        self._number += 1
        token = str(self._number)
        ack: Ack = loop.create_future()
        self._waiting[token] = (ack, loop.time() + ACK_TIMEOUT_S)
        if self._sweep is None:
            self._sweep = loop.call_later(ACK_TIMEOUT_S, self._expire)
        if timeout_s < ACK_TIMEOUT_S:
            loop.call_later(max(timeout_s, 0), _give_up, ack)
        reply = f"{self._inbox}.{token}"
        try:
            alone = len(self._waiting) == 1
            written = lines or lines_of(headers)
            if not post(client, subject, body, reply=reply, lines=written, at_once=alone):
                async with asyncio.timeout(timeout_s):
                    await client.publish(subject, body, reply, headers=dict(headers) or None)
        except BaseException:
            self._waiting.pop(token, None)
            raise
        return ack

    async def _subscribe(self, client: Client) -> None:
        async with self._subscribing:
            if client is self._client:
                return
            self._fail_all()
            self._inbox = client.new_inbox()
            await receive(client, f"{self._inbox}.*", self._on_answer)
            self._client = client

    def _on_answer(self, subject: str, _: str, headers: Mapping[str, str], body: bytes) -> None:
        ack, _due = self._waiting.pop(subject.rpartition(".")[2], (None, 0))
        if ack is None or ack.done():
            return
        try:
            ack.set_result(parsed(headers, body))
        except (nats.errors.Error, ValueError, KeyError, TypeError) as exc:
            ack.set_exception(exc)

    def _expire(self) -> None:
        """Give up what is overdue, and come back when the next one is."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        for token, (ack, due) in list(self._waiting.items()):
            if due > loop.time() and not ack.done():
                self._sweep = loop.call_at(due, self._expire)
                return
            del self._waiting[token]
            _give_up(ack)

    def _fail_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for ack, _ in waiting.values():
            if not ack.done():
                ack.set_exception(nats.errors.ConnectionReconnectingError())
                ack.exception()  # Its owner may be gone; then nobody is to be warned.


def parsed(headers: Mapping[str, str], body: bytes) -> api.PubAck:
    """Return the acknowledgement a server answered with.

    Raises:
        nats.js.errors.Error: No stream was there, or it refused the message.
    """
    if headers.get(api.Header.STATUS.value) == _NO_RESPONDERS:
        raise js_errors.NoStreamResponseError
    answer: dict[str, Any] = orjson.loads(body)
    if "error" in answer:
        js_errors.APIError.from_error(answer["error"])
    return api.PubAck(stream=answer["stream"], seq=answer["seq"], duplicate=answer.get("duplicate"))


def _give_up(ack: Ack) -> None:
    if not ack.done():
        ack.set_exception(TimeoutError())
        ack.exception()
