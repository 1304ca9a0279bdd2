"""Receive messages where they are read, instead of through a queue and a task.

The client hands each message of a subscription with a future to that future, at once. One that
never ends receives them all; that saves a turn of the event loop and half of the cost of an answer.
It is known to work with the versions named here; with others the client's callback does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from glam_sdk._internal.guard import guarded

IS_INLINE: Final = version("nats-py").startswith("2.16.")

Take = Callable[[str, str, Mapping[str, str], bytes], None]
"""Takes a message: its subject, where an answer goes to, its headers, and what it carries."""


async def receive(client: Client, subject: str, take: Take) -> Subscription:
    """Subscribe and call a function with each message; it must be quick and not raise."""
    if IS_INLINE:
        return await client.subscribe(subject, future=Messages(take))

    async def callback(message: Msg) -> None:
        take(message.subject, message.reply, message.headers or {}, message.data)

    return await client.subscribe(subject, cb=callback)


class Messages(asyncio.Future[Msg]):
    """Be given one message after the other and never be done."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take

    def give(self, subject: str, reply: str, headers: Mapping[str, str], body: bytes) -> None:
        """Pass on one message."""
        try:
            self._take(subject, reply, headers, body)
        except Exception:  # it would end the client's reading; the guard decides
            with guarded("messaging.receive"):
                raise

    def set_result(self, result: Msg) -> None:
        """Pass on a message that the client has read."""
        self.give(result.subject, result.reply, result.headers or {}, result.data)
