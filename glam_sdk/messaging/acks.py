"""Publish to streams and receive their acknowledgements through one subscription.

A request of the client's own costs a future, a timeout and JSON each; here many messages are under
way at once. Whatever a lost connection took along is known at once instead of after a timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api
from nats.js import errors as js_errors

if TYPE_CHECKING:
    from glam_sdk.messaging.connection import Nats

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
        self._waiting: dict[str, Ack] = {}
        self._subscribing = asyncio.Lock()
        nats.on_reconnect(self._fail_all)

    async def send(self, subject: str, body: bytes, headers: Mapping[str, str]) -> Ack:
        """Send one message; the future has the stream's answer or an error of the client's.

        Whoever stops waiting cancels the future.
        """
        client = self._nats.client
        if client is not self._client:
            await self._subscribe(client)
        self._number += 1
        token = str(self._number)
        ack: Ack = asyncio.get_running_loop().create_future()
        self._waiting[token] = ack
        try:
            await client.publish(
                subject, body, reply=f"{self._inbox}.{token}", headers=dict(headers) or None
            )
        except BaseException:
            del self._waiting[token]
            raise
        return ack

    def drop_finished(self) -> None:
        """Forget futures nobody waits for any more, after a timeout."""
        self._waiting = {token: ack for token, ack in self._waiting.items() if not ack.done()}

    async def _subscribe(self, client: Client) -> None:
        async with self._subscribing:
            if client is self._client:
                return
            self._fail_all()
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
            self._client = client

    async def _on_answer(self, message: Msg) -> None:
        ack = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if ack is None or ack.done():
            return
        try:
            ack.set_result(_parsed(message))
        except (nats.errors.Error, ValueError, KeyError, TypeError) as exc:
            ack.set_exception(exc)

    def _fail_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for ack in waiting.values():
            if not ack.done():
                ack.set_exception(nats.errors.ConnectionReconnectingError())
                ack.exception()  # Its owner may be gone; then nobody is to be warned.


def _parsed(message: Msg) -> api.PubAck:
    headers = message.headers
    if headers and headers.get(api.Header.STATUS.value) == _NO_RESPONDERS:
        raise js_errors.NoStreamResponseError
    answer: dict[str, Any] = orjson.loads(message.data)
    if "error" in answer:
        js_errors.APIError.from_error(answer["error"])
    return api.PubAck(stream=answer["stream"], seq=answer["seq"], duplicate=answer.get("duplicate"))
