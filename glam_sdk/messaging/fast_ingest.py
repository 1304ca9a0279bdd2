"""Send many messages to one stream under few acknowledgements (NATS 2.14, ADR-50).

A batch is no transaction: its messages are stored one by one, in order, and an acknowledgement
speaks for all up to its number. The server ends a batch at the first message it did not take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson
from nats.aio.client import Client

from glam_sdk.messaging.inline import receive
from glam_sdk.messaging.outgoing import Outgoing
from glam_sdk.messaging.write_buffer import lines_of, post

if TYPE_CHECKING:
    from glam_sdk.messaging.connection import Nats

SMALLEST_BATCH: Final = 8
"""Opening a batch costs a round trip; fewer messages are quicker one by one."""

_ACK_EVERY: Final = 200
_UNACKED: Final = 2  # acknowledgements under way, as ADR-50 advises
_STALL_S: Final = 3.0
_ASK_AGAIN_S: Final = 60.0
_START, _APPEND, _COMMIT = 0, 1, 2
_FAILURES: Final = (nats.errors.Error, TimeoutError, OSError)


class FastIngest:
    """Send batches on one connection.

    Args:
        nats: Connection to use; a renewed one is noticed.
    """

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._client: Client | None = None
        self._inbox = ""
        self._batches: dict[str, _Batch] = {}
        self._refused: dict[str, float] = {}
        self._subscribing = asyncio.Lock()
        nats.on_reconnect(self._start_over)

    def suits(self, stream: str, count: int) -> bool:
        """Tell whether that many messages should be tried as a batch."""
        if count < SMALLEST_BATCH or not self._nats.is_connected:
            return False
        return asyncio.get_running_loop().time() >= self._refused.get(stream, 0.0)

    async def send(self, stream: str, messages: Sequence[Outgoing], *, timeout_s: float) -> int:
        """Send messages to one stream; return how many of them, from the first on, it has.

        Of the others it may have some: whoever sends those again does so under their message ids.
        """
        batch: _Batch | None = None
        try:
            async with asyncio.timeout(timeout_s):
                batch = await self._open(len(messages))
                await self._run(batch, messages)
        except _FAILURES:
            pass  # What is confirmed is confirmed, and the caller sees to the rest.
        if batch is None:
            return 0
        self._batches.pop(batch.name, None)
        if batch.is_refused:
            self._refused[stream] = asyncio.get_running_loop().time() + _ASK_AGAIN_S
        return batch.confirmed

    async def _open(self, count: int) -> _Batch:
        client = self._nats.client
        if client is not self._client:
            await self._subscribe(client)
        name = client.new_inbox().rpartition(".")[2]
        batch = self._batches[name] = _Batch(name, count)
        return batch

    async def _run(self, batch: _Batch, messages: Sequence[Outgoing]) -> None:
        client = self._nats.client
        reply = f"{self._inbox}.{batch.name}.{_ACK_EVERY}.fail"
        last = len(messages)
        for number, message in enumerate(messages, 1):
            while number > batch.allowed and not batch.is_over:
                await batch.news()
            if batch.is_over:
                return
            step = _START if number == 1 else _COMMIT if number == last else _APPEND
            answer = f"{reply}.{number}.{step}.$FI"
            subject, body, headers = message.subject, message.body, message.headers
            lines = message.lines or lines_of(headers)
            if not post(client, subject, body, reply=answer, lines=lines):
                await client.publish(subject, body, answer, headers=dict(headers))
        while not batch.is_over:
            await batch.news()

    async def _subscribe(self, client: Client) -> None:
        async with self._subscribing:
            if client is self._client:
                return
            self._inbox = client.new_inbox()
            await receive(client, f"{self._inbox}.>", self._on_answer)
            self._client = client

    def _on_answer(
        self, subject: str, _reply: str, _headers: Mapping[str, str], body: bytes
    ) -> None:
        batch = self._batches.get(subject[len(self._inbox) + 1 :].partition(".")[0])
        if batch is not None:
            batch.take(body)

    def _start_over(self) -> None:
        """The server may be another one now, and has forgotten what was under way."""
        self._refused.clear()
        for batch in self._batches.values():
            batch.end()


class _Batch:
    """Follow one batch by the server's answers."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.confirmed = 0
        self.allowed = 1
        """The number up to which messages may be sent; the first one asks for leave."""
        self.is_over = False
        self.is_refused = False
        self._count = count
        self._news = asyncio.Event()

    async def news(self) -> None:
        """Wait for the server's next answer.

        Raises:
            TimeoutError: It says nothing any more.
        """
        self._news.clear()
        async with asyncio.timeout(_STALL_S):
            await self._news.wait()

    def take(self, data: bytes) -> None:
        """Note an answer; after the first bad one nothing counts any more."""
        if self.is_over:
            return
        answer: dict[str, Any] = orjson.loads(data or b"{}")
        if answer.get("type") == "ack":
            self.confirmed = max(self.confirmed, answer["seq"])
            self.allowed = self.confirmed + _UNACKED * answer["msgs"]
            self._news.set()
            return
        if answer.get("batch") == self.name:
            self.confirmed = min(answer["count"], self._count)
        elif "type" not in answer:
            # Refused, or stored by a server that knows no batches and answers as it always did.
            self.is_refused = self.allowed == 1 and bool(answer)
            self.confirmed = max(self.confirmed, int("error" not in answer and "seq" in answer))
        self.end()

    def end(self) -> None:
        """Let nothing more be sent."""
        self.is_over = True
        self._news.set()
