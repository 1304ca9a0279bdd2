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

from functools import lru_cache
from typing import Final

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from glam_sdk._internal.guard import report
from glam_sdk.messaging.header_lines import HeaderBlock
from glam_sdk.messaging.inline import Messages

_LINE_END: Final = b"\r\n"
_NO_STATUS: Final = b"NATS/1.0\r\n"
_LEAST, _ALL = 4, 6
_WORDS: Final = {"MSG": (_LEAST, 5), "HMSG": (_ALL,)}
"""How many words a line has that announces a message: HMSG, subject, subscription, where an answer
goes to, which not every message says, length of the headers, and of both together."""
_LONG: Final = 128 * 1024
"""Of an unfinished message; from here on the client collects the rest."""


@lru_cache(1024)  # sizes come again and again, and to read one costs more
def _number(word: str) -> int:
    """Return a number that is written in digits and nothing else.

    Raises:
        ValueError: It is not.
    """
    if not (word.isascii() and word.isdigit()):
        raise ValueError(word)
    return int(word)


class QuickParser(Parser):
    """Read what the server sends to one client."""

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
        subscriptions, stats = self.nc._subs, self.nc.stats
        at = 0
        while (line_end := data.find(_LINE_END, at)) > 0:
            try:
                words = data[at:line_end].decode().split(" ")
                if len(words) not in _WORDS.get(words[0], ()):
                    break
                subscription, size = subscriptions.get(_number(words[2])), _number(words[-1])
                headers_size = _number(words[4]) if len(words) == _ALL else 0
            except ValueError:
                break
            if subscription is None or type(subscription._future) is not Messages:
                break
            start = line_end + 2
            body_start, end = start + headers_size, start + size
            if end + 2 > len(data):
                return at, True
            if subscription._max_msgs or (headers_size and not data.startswith(_NO_STATUS, start)):
                break
            lines = data[start + len(_NO_STATUS) : body_start]
            headers = HeaderBlock(lines) if lines else {}
            answer_to = words[3] if len(words) > _LEAST else ""
            at = end + 2
            subscription._received += 1
            stats["in_msgs"] += 1
            stats["in_bytes"] += end - body_start
            try:
                subscription._future.take(words[1], answer_to, headers, data[body_start:end])
            except Exception as failure:  # noqa: BLE001 - as in give, whose call would be felt
                report("messaging.receive", failure)
        return at, False
