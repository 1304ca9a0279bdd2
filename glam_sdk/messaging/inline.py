"""Receive messages where they are read, instead of through a queue and a task.

The client hands each message of a subscription with a future to that future, at once. One that
never ends receives them all; that saves a turn of the event loop and half of the cost of an answer.
It is known to work with the versions named here; with others the client's callback does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from nats.aio import client as theirs
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from glam_sdk._internal.guard import guarded
from glam_sdk.messaging.header_lines import parsed_lines

IS_INLINE: Final = version("nats-py").startswith("2.16.")

Take = Callable[[str, str, Mapping[str, str], bytes], None]
"""Takes a message: its subject, where an answer goes to, its headers, and what it carries."""


async def receive(client: Client, subject: str, take: Take) -> Subscription:
    """Subscribe and call a function with each message; it must be quick and not raise."""
    if IS_INLINE:
        return await client.subscribe(subject, future=Messages(take))

    async def callback(message: Msg) -> None:
        take(message.subject, message.reply, _headers(message), message.data)

    return await client.subscribe(subject, cb=callback)


def quicken(client: Any) -> None:
    """Have a client read messages and headers our way, where it is known to work.

    With ``fast_mail_parser`` installed the client reads headers as that does, and is left alone.
    """
    if not IS_INLINE or getattr(theirs, "parse_email", None) is not None:
        return
    # Another version may not have what the parser is made of.
    from glam_sdk.messaging.reading import QuickParser

    client._parse_header_lines = parsed_lines  # noqa: SLF001 - neither has a public door
    client._ps = QuickParser(client)  # noqa: SLF001


class Messages(asyncio.Future[Msg]):
    """Be given one message after the other and never be done."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self.take = take
        """Given each message; whoever calls it keeps its errors from the client."""

    def give(self, subject: str, reply: str, headers: Mapping[str, str], body: bytes) -> None:
        """Pass on one message."""
        try:
            self.take(subject, reply, headers, body)
        except Exception:  # it would end the client's reading; the guard decides
            with guarded("messaging.receive"):
                raise

    def set_result(self, result: Msg) -> None:
        """Pass on a message that the client has read."""
        self.give(result.subject, result.reply, _headers(result), result.data)


def _headers(message: Msg) -> Mapping[str, str]:
    """Return the headers that the client has read; ``fast_mail_parser`` has lists of values."""
    found: Mapping[str, Any] = message.headers or {}
    return {name: value if isinstance(value, str) else value[-1] for name, value in found.items()}
