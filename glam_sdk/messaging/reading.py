"""Read the messages that are received inline at a third of the client's price.

The client's parser tries its patterns on a buffer, one after the other, cuts each piece off, and
awaits five calls for a message. What nearly all bytes are, whole messages of subscriptions of ours,
is read here in one pass over what came; from the first byte that is anything else on, the client's
own parser reads it. This is known to work, and imported, with the versions that
:mod:`~glam_sdk.messaging.inline` names; see its ``quicken``.
"""
# None of the client's fields has a public door.
# ruff: noqa: SLF001

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from glam_sdk._internal.guard import report
from glam_sdk.messaging.header_lines import HeaderBlock
from glam_sdk.messaging.inline import Messages

_FRAME: Final = len("NATS/1.0\r\n")
_LONG: Final = 128 * 1024
"""Of an unfinished message; from here on the client collects the rest."""
_SIZES: Final = 1024

# Subject and subscription, where an answer goes to, sizes: of the headers, and of both together.
# A word is what comes before a blank: to look for line ends at each of its characters costs as much
# as all the rest, so that is done afterwards. What comes last may not be whole yet.
_WITH_HEADERS: Final = re.compile(
    rb"HMSG ([^ ]++ [0-9]{1,9}+) ([^ ]++) ([0-9]{1,9}+ [0-9]{1,9}+)\r\n"
    rb"(?=NATS/1\.0\r\n|.{0,9}\Z)"
).match
# Not each of them says where an answer goes to.
_BARE: Final = re.compile(
    rb"MSG ([^ \r\n]++ [0-9]{1,9}+) (?:([^ \r\n]++) )?([0-9]{1,9}+)\r\n"
).match


class QuickParser(Parser):
    """Read what the server sends to one client."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._sizes: dict[bytes, tuple[int, int]] = {}
        """By how they are written; the same come again and again, and to read them costs more."""

    async def parse(self, data: bytes = b"") -> None:
        """Read what came next."""
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:
                data = bytes(self.buf) + data
                self.buf.clear()
            at, is_unfinished = self._read(data)
            if at:
                data = data[at:]
            if is_unfinished and len(data) < _LONG:
                self.buf.extend(data)
                return
        if data:
            await super().parse(data)

    def _read(self, data: bytes) -> tuple[int, bool]:
        """Pass on the messages at the beginning.

        Return where the rest begins, and whether that is a message of ours whose end is to come.
        """
        headers: Mapping[str, str]
        subscriptions, sizes, stats = self.nc._subs, self._sizes, self.nc.stats
        at = count = carried = 0
        last, all_of_it = b"", len(data)
        try:
            while found := _WITH_HEADERS(data, at) or _BARE(data, at):
                said, reply, announced = found.groups()
                try:
                    if said != last:  # as of many in a row only the first one
                        word, number = said.split(b" ")
                        last, subject, sid = said, word.decode(), int(number)
                    reply = reply.decode() if reply else ""
                    headers_size, size = sizes.get(announced) or self._learn(announced)
                except ValueError:
                    break
                subscription = subscriptions.get(sid)
                if subscription is None or type(future := subscription._future) is not Messages:
                    break
                if subscription._max_msgs or "\n" in subject or "\n" in reply:
                    break
                start = found.end()
                body_start, end = start + headers_size, start + size
                if end + 2 > all_of_it:
                    return at, True
                at, count, carried = end + 2, count + 1, carried + end - body_start
                subscription._received += 1
                if headers_size > _FRAME:
                    headers = HeaderBlock()
                    headers.raw = data[start + _FRAME : body_start]
                else:
                    headers = {}
                try:
                    future.take(subject, reply, headers, data[body_start:end])
                except Exception as failure:  # noqa: BLE001 - as in give, whose call would be felt
                    report("messaging.receive", failure)
            return at, False
        finally:
            stats["in_msgs"] += count
            stats["in_bytes"] += carried

    def _learn(self, announced: bytes) -> tuple[int, int]:
        """Return how long the headers are, and they and the body; remember it.

        Raises:
            ValueError: These are no headers.
        """
        headers, _, both = announced.rpartition(b" ")
        headers_size, size = int(headers or 0), int(both)
        if 0 < headers_size < _FRAME or size < headers_size:
            raise ValueError(announced)
        if len(self._sizes) >= _SIZES:
            self._sizes.clear()
        self._sizes[announced] = headers_size, size
        return headers_size, size
