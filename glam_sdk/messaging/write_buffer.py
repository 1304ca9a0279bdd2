"""Write to the client's buffer at once, where its ``publish`` would do no more than that.

``publish`` is four coroutines for each message, and three calls and a buffer for each header; a
connected client with room in its buffer needs none of them. This is known to work with the versions
that :mod:`~glam_sdk.messaging.inline` names. With others, and whenever the client would wait,
refuse or change something, the caller publishes as usual.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client

from glam_sdk.messaging import inline
from glam_sdk.messaging.header_lines import USUAL

if inline.IS_INLINE:
    from nats.aio.transport import TcpTransport

    _CONNECTED: Final = Client.CONNECTED
_CROWDED_BYTES: Final = 1_000_000  # the client begins to wait for the socket at twice that
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_FRAME: Final = len("NATS/1.0\r\n\r\n")


def post(
    client: Client,
    subject: str,
    body: bytes,
    *,
    reply: str,
    lines: bytes | None,
    at_once: bool = False,
) -> bool:
    """Write a message with headers; False when the client has to publish it.

    Args:
        client: Connected or not.
        subject: Where to.
        body: Sent as it is.
        reply: Where the answer is to go to.
        lines: Its headers, at least one; from :func:`lines_of`.
        at_once: See :func:`put`.
    """
    if not (lines and subject) or not subject.isprintable() or " " in subject:
        return False
    if len(body) > client.max_payload:
        return False
    size = len(lines) + _FRAME
    start = f"HPUB {subject} {reply} {size} {size + len(body)}\r\nNATS/1.0\r\n".encode()
    command = b"".join((start, lines, b"\r\n", body, b"\r\n"))  # formatting takes twice as much
    return put(client, command, len(body), at_once=at_once)


def lines_of(headers: Mapping[str, str]) -> bytes | None:
    """Return headers as they are written; None where the client has to write or refuse them."""
    lines: list[str] = []
    for name, value in headers.items():
        if not is_plain(value) or (name not in USUAL and _NAME.fullmatch(name) is None):
            return None
        lines += (name, ": ", value, "\r\n")  # not formatted: an enum would become its name
    return "".join(lines).encode()


def is_plain(value: str) -> bool:
    """Tell whether the client writes a header's value as it is.

    Of others it strips blanks, replaces line ends, or refuses them.
    """
    return value.isprintable() and value == value.strip()


def put(client: Client, command: bytes, size_bytes: int = 0, *, at_once: bool = False) -> bool:
    """Write a command of the protocol; False when the client has to be asked for it.

    Args:
        client: Connected or not.
        command: The whole of it, line ends included.
        size_bytes: Of the message in it.
        at_once: Write it to the connection itself, where nothing else waits in the buffer: one that
            is sent alone need not wait for the task that writes for all of a turn together.
    """
    if not inline.IS_INLINE:
        return False
    # The buffer has no public door.
    queue, flusher = client._flush_queue, client._flusher_task  # noqa: SLF001
    waiting_bytes = client._pending_data_size  # noqa: SLF001
    if (
        client._status != _CONNECTED  # noqa: SLF001
        or waiting_bytes > _CROWDED_BYTES
        or queue is None
        or flusher is None
        or flusher.done()
    ):
        return False
    stats, pending = client.stats, client._pending  # noqa: SLF001
    stats["out_msgs"] += 1
    if size_bytes:  # an acknowledgement has none
        stats["out_bytes"] += size_bytes
    if at_once and not pending and type(client._transport) is TcpTransport:  # noqa: SLF001
        try:
            client._transport.write(command)  # type: ignore[no-untyped-call] # noqa: SLF001
        except RuntimeError:
            pass  # uvloop's, of a lost connection; the client will notice, and send what waits
        else:
            return True
    pending.append(command)
    client._pending_data_size = waiting_bytes + len(command)  # noqa: SLF001
    if queue.empty():
        queue.put_nowait(asyncio.Future())
    return True
